package quote_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"testing"

	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

// BenchmarkVerifyNV stands beside the bare signature check that it contains.
func BenchmarkVerifyNV(b *testing.B) {
	tpm := quotetest.New()
	ak, name, a := tpm.AK(), tpm.HeadName(), tpm.CertifyHead(tag)
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ak.VerifyNV(a, name, tag); err != nil {
				b.Fatal(err)
			}
		}
	})
	r, s, err := quote.ParseSignature(a.Sig)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			digest := sha256.Sum256(a.Attest)
			if !ecdsa.Verify(ak.Public(), digest[:], r, s) {
				b.Fatal("bad signature")
			}
		}
	})
}
