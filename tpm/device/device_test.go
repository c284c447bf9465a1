package device_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
	"touchmark/tpm/quote"
)

var (
	x1      = [32]byte{1}
	x2      = [32]byte{2}
	outside = sha256.New().Sum([]byte{})
)

func open(t *testing.T, s *swtpm.Server, cfg device.Config) *device.TPM {
	t.Helper()
	cfg.Timeout = cmp.Or(cfg.Timeout, patience)
	tpm, err := device.OpenConfig(s.Spec(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tpm.Close() })
	return tpm
}

// enrolled starts a TPM and enrols it.
func enrolled(t *testing.T) (*swtpm.Server, *device.TPM, *quote.AK) {
	t.Helper()
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	return s, tpm, enrol(t, tpm)
}

func enrol(t *testing.T, tpm *device.TPM) *quote.AK {
	t.Helper()
	e, err := tpm.MakeAK(outside)
	if err != nil {
		t.Fatal(err)
	}
	must(t, tpm.MakeHead())
	ak, err := quote.ParseAK(e.AK)
	if err != nil {
		t.Fatal(err)
	}
	if err := ak.VerifyCreation(e.Creation, outside); err != nil {
		t.Fatal(err)
	}
	return ak
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func extend(h, x [32]byte) [32]byte {
	return sha256.Sum256(append(h[:], x[:]...))
}

// values reads HEAD and PCR and compares.
func values(t *testing.T, tpm *device.TPM, wantHead, wantPCR [32]byte) {
	t.Helper()
	head, err := tpm.Head()
	must(t, err)
	pcr, err := tpm.PCR()
	must(t, err)
	if head != wantHead {
		t.Errorf("HEAD %x, want %x", head, wantHead)
	}
	if pcr != wantPCR {
		t.Errorf("PCR %x, want %x", pcr, wantPCR)
	}
}

func TestCapable(t *testing.T) {
	tpm := open(t, swtpm.Start(t), device.Config{})
	must(t, tpm.Capable(context.Background()))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := tpm.Capable(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	must(t, tpm.Capable(context.Background()))
}

// TestCapableNamesWhatIsMissing answers a capability question with "no such
// command" as a TPM without NV_Extend would.
func TestCapableNamesWhatIsMissing(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	const fifthIsNVExtend = 5
	none := []byte{0x80, 1, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0}
	s.Fail(swtpm.Fault{Code: swtpm.GetCapability, Nth: fifthIsNVExtend, Kind: swtpm.Replace, Response: none})
	if err := tpm.Capable(context.Background()); err == nil || !strings.Contains(err.Error(), "NV_Extend") {
		t.Errorf("a TPM without NV_Extend: %v", err)
	}
}

func TestUnallocatedBank(t *testing.T) {
	s, tpm, ak := enrolled(t)
	if _, err := s.Tool("tpm2_pcrallocate", "-P", "", "sha1:all+sha256:none+sha384:none+sha512:none"); err != nil {
		t.Fatal(err)
	}
	must(t, s.PowerCycle())
	if err := tpm.Capable(context.Background()); !errors.Is(err, device.ErrNoBank) {
		t.Errorf("Capable: %v", err)
	}
	if _, err := tpm.PCR(); !errors.Is(err, device.ErrNoBank) {
		t.Errorf("PCR: %v", err)
	}
	a, err := tpm.QuotePCR(quote.QuoteTag(x1))
	if err != nil {
		return // this TPM refuses, better still
	}
	if _, err := ak.VerifyQuote(a, 14, quote.QuoteTag(x1)); err == nil {
		t.Error("quote of an unallocated bank accepted")
	}
}

func TestHotPath(t *testing.T) {
	_, tpm, ak := enrolled(t)
	values(t, tpm, [32]byte{}, [32]byte{})
	if _, err := tpm.CertifyHead(quote.CertifyTag(x1)); err == nil {
		t.Error("HEAD certified before its first write")
	}

	before := tpm.Counts()
	must(t, tpm.ExtendHead(x1))
	must(t, tpm.ExtendPCR(x1))
	certify, err := tpm.CertifyHead(quote.CertifyTag(x1))
	must(t, err)
	quoted, err := tpm.QuotePCR(quote.QuoteTag(x1))
	must(t, err)
	sent := tpm.Counts()
	maps.DeleteFunc(sent, func(name string, n int) bool { return n == before[name] })
	for name := range sent {
		sent[name] -= before[name]
	}
	if want := map[string]int{"NV_Extend": 1, "PCR_Extend": 1, "NV_Certify": 1, "Quote": 1}; !maps.Equal(sent, want) {
		t.Errorf("commands %v, want %v", sent, want)
	}

	want := extend([32]byte{}, x1)
	values(t, tpm, want, want)
	nv, err := ak.VerifyNV(certify, quote.HeadName(0x01800100), quote.CertifyTag(x1))
	must(t, err)
	if nv.Contents != want {
		t.Errorf("certified HEAD %x, want %x", nv.Contents, want)
	}
	q, err := ak.VerifyQuote(quoted, 14, quote.QuoteTag(x1))
	must(t, err)
	if q.PCRDigest != quote.PCRDigest(want) {
		t.Errorf("quoted %x, want %x", q.PCRDigest, quote.PCRDigest(want))
	}
	wrongContext(t, ak, certify, quoted)

	must(t, tpm.ExtendHead(x2))
	values(t, tpm, extend(want, x2), want)
}

// wrongContext verifies honest attestations as something else.
func wrongContext(t *testing.T, ak *quote.AK, certify, quoted quote.Attestation) {
	t.Helper()
	head := quote.HeadName(0x01800100)
	for what, err := range map[string]error{
		"certify with another tag":   second(ak.VerifyNV(certify, head, quote.CertifyTag(x2))),
		"certify as hello":           second(ak.VerifyNV(certify, head, quote.HelloTag(x1[:]))),
		"certify of another index":   second(ak.VerifyNV(certify, quote.HeadName(0x01800101), quote.CertifyTag(x1))),
		"certify of no index":        second(ak.VerifyNV(certify, nil, quote.CertifyTag(x1))),
		"quote as certify":           second(ak.VerifyNV(quoted, head, quote.QuoteTag(x1))),
		"quote with another tag":     second(ak.VerifyQuote(quoted, 14, quote.QuoteTag(x2))),
		"quote of another PCR":       second(ak.VerifyQuote(quoted, 15, quote.QuoteTag(x1))),
		"quote of PCR -1":            second(ak.VerifyQuote(quoted, -1, quote.QuoteTag(x1))),
		"quote of PCR 99":            second(ak.VerifyQuote(quoted, 99, quote.QuoteTag(x1))),
		"certify as quote":           second(ak.VerifyQuote(certify, 14, quote.CertifyTag(x1))),
		"signature of the other one": second(ak.VerifyQuote(quote.Attestation{Attest: quoted.Attest, Sig: certify.Sig}, 14, quote.QuoteTag(x1))),
	} {
		if err == nil {
			t.Errorf("%s accepted", what)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestTamper flips each byte of a real TPM's attestation and signature.
func TestTamper(t *testing.T) {
	_, tpm, ak := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	a, err := tpm.CertifyHead(quote.CertifyTag(x1))
	must(t, err)
	verify := func(a quote.Attestation) error {
		return second(ak.VerifyNV(a, quote.HeadName(0x01800100), quote.CertifyTag(x1)))
	}
	must(t, verify(a))
	for i := range a.Attest {
		bad := bytes.Clone(a.Attest)
		bad[i] ^= 0x40
		if verify(quote.Attestation{Attest: bad, Sig: a.Sig}) == nil {
			t.Errorf("byte %d of the attestation flipped and accepted", i)
		}
	}
	for i := range a.Sig {
		bad := bytes.Clone(a.Sig)
		bad[i] ^= 0x40
		if verify(quote.Attestation{Attest: a.Attest, Sig: bad}) == nil {
			t.Errorf("byte %d of the signature flipped and accepted", i)
		}
	}
}

func TestPowerCycle(t *testing.T) {
	s, tpm, ak := enrolled(t)
	clock := func() quote.Clock {
		a, err := tpm.CertifyHead(quote.BootTag(x1))
		must(t, err)
		facts, err := ak.VerifyNV(a, quote.HeadName(0x01800100), quote.BootTag(x1))
		must(t, err)
		return facts.Clock
	}
	must(t, tpm.ExtendHead(x1))
	must(t, tpm.ExtendPCR(x1))
	head := extend([32]byte{}, x1)
	values(t, tpm, head, head)
	before := clock()
	must(t, s.PowerCycle())
	values(t, tpm, head, [32]byte{})
	after := clock()
	if after.ResetCount-before.ResetCount != 1 || after.RestartCount != before.RestartCount {
		t.Errorf("one reset took the counts from %+v to %+v", before, after)
	}
	must(t, tpm.ExtendHead(x2))
	values(t, tpm, extend(head, x2), [32]byte{})
}

// TestManyCallers: calls take turns, none is lost.
func TestManyCallers(t *testing.T) {
	_, tpm, ak := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				a, err := tpm.CertifyHead(x1)
				if err == nil {
					_, err = ak.VerifyNV(a, quote.HeadName(0x01800100), x1)
				}
				if err = errors.Join(err, tpm.ExtendPCR(x2)); err != nil {
					t.Error(err)
				}
				tpm.Counts()
			}
		})
	}
	wg.Wait()
	var pcr [32]byte
	for range 20 {
		pcr = extend(pcr, x2)
	}
	values(t, tpm, extend([32]byte{}, x1), pcr)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for spec, want := range map[string]string{
		"":                      "neither a device",
		"tcp:localhost":         "neither a device",
		"swtpm:/does/not/exist": "is swtpm running",
		"/does/not/exist":       "no such file",
		"/etc/passwd":           "not a character device",
	} {
		if _, err := device.Open(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v, want mention of %q", spec, err, want)
		}
	}
	for _, cfg := range []device.Config{{Head: 1}, {Head: 0x01c00000}, {PCR: 7}, {PCR: 16}, {AK: 0x80000000}, {AK: 0x81800000}, {Timeout: -1}} {
		if _, err := device.OpenConfig("swtpm:/x", cfg); err == nil || strings.Contains(err.Error(), "swtpm") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
