package ledger

import (
	"strings"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/quote"
)

// ValidName reports whether s may name a policy key, a firmware or a slot:
// graphic ASCII of moderate length.
func ValidName(s string) bool { return canon.ValidField(s) && len(s) <= MaxName }

func readOrigin(r *canon.Reader) string { return checkOrigin(r, r.Line("origin", 1)[0]) }

func checkOrigin(r *canon.Reader, s string) string {
	if err := message.ValidOrigin(s); err != nil {
		r.Failf("%v", err)
	}
	return s
}

func readToken(r *canon.Reader, s string) string {
	if !message.ValidToken(s) {
		r.Failf("%q is not a word of lowercase letters, digits, dots and hyphens", s)
	}
	return s
}

func readName(r *canon.Reader, s string) string {
	if !ValidName(s) {
		r.Failf("%q is not a name of 1 to %d characters", s, MaxName)
	}
	return s
}

func readChoice(r *canon.Reader, s string, among ...string) string {
	for _, a := range among {
		if s == a {
			return s
		}
	}
	r.Failf("%q is none of %s", s, strings.Join(among, ", "))
	return ""
}

func readHash(r *canon.Reader, s string) [32]byte { return [32]byte(r.Hex(s, 32)) }

func readBytes(r *canon.Reader, s string, max int) []byte {
	b := r.Base64(s, max)
	if len(b) == 0 {
		r.Failf("a value is missing")
	}
	return b
}

func writeAttestation(w *canon.Writer, key string, a quote.Attestation) {
	w.Line(key, canon.Base64(a.Attest), canon.Base64(a.Sig))
}

func readAttestation(r *canon.Reader, key string) quote.Attestation {
	f := r.Line(key, 2)
	return quote.Attestation{Attest: readBytes(r, f[0], MaxAttest), Sig: readBytes(r, f[1], MaxSig)}
}
