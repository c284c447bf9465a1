package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// signsIn has the present key sign in a class.
func (w *world) signsIn(class string) *job {
	w.t.Helper()
	w.pass(time.Minute)
	j := w.newJob(1, func(a *message.Approval, _ *message.Submission) { a.Class = class })
	j.run()
	return j
}

// Each key signs in its class, each has a certificate of its own, and what is
// ordered about one changes nothing about the other.
func TestSeveralKeys(t *testing.T) {
	w := newWorld(t, parts{second: true})
	w.boot()
	w.signsIn("pacman-db")
	w.swap()
	w.signsIn("iso")
	w.orderedCert(&order.Cert{Key: "media", Revoke: true, Code: certificate.Superseded}).run()
	revoked := w.cert
	w.swap()
	w.signsIn("pacman-db")
	w.renew(w.now.Add(time.Hour))
	for _, since := range []bool{false, true} {
		in := w.input()
		if since {
			in.Since = w.checkpoint()
		}
		r := audited(t, in)
		want := []report.Certificate{report.CertificateOf("packages", w.cert), report.CertificateOf("media", revoked)}
		if r.Verdict != finding.Clean || len(r.Certificates) != 2 || !slices.EqualFunc(r.Certificates, want, sameCertificate) {
			t.Errorf("since %v: %+v", since, r)
		}
	}
}

func sameCertificate(a, b report.Certificate) bool {
	return a.Key == b.Key && a.Revoked == b.Revoked && slices.Equal(a.OpenPGP, b.OpenPGP)
}

var keyAttacks = []struct {
	name    string
	code    string
	attack  func(t *testing.T, w *world) Input
	besides []string
}{
	{"a key of another class", finding.Key, func(_ *testing.T, w *world) Input {
		w.signsIn("iso")
		return w.input()
	}, nil},
	{"another of the log's keys signs than the intent names", finding.Signature, func(_ *testing.T, w *world) Input {
		fpr := w.key.Fingerprint()
		w.swap()
		w.pass(time.Minute)
		j := w.newJob(1)
		j.intent.Key = fpr
		j.run()
		return w.input()
	}, nil},
	{"the one key signs on, the other was revoked", finding.KeyRevoked, func(_ *testing.T, w *world) Input {
		w.swap()
		w.orderedCert(&order.Cert{Key: "media", Revoke: true, Code: certificate.Superseded}).run()
		w.signsIn("iso")
		return w.input()
	}, nil},
	{"one key's certification in the name of the other", finding.Cert, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "media"})
		c.run()
		return w.input()
	}, []string{finding.Signature}},
	{"a key that is not pinned", finding.Genesis, func(_ *testing.T, w *world) Input {
		in := w.input()
		pinned := *w.trust
		pinned.Certs, pinned.Version = pinned.Certs[:1], 2
		in.Trust = &pinned
		return in
	}, nil},
	{"certificates pinned in another order", finding.Trust, func(_ *testing.T, w *world) Input {
		in := w.input()
		pinned := *w.trust
		pinned.Certs = [][]byte{pinned.Certs[1], pinned.Certs[0]}
		in.Trust = &pinned
		return in
	}, nil},
	{"a key that the TPM does not vouch for", finding.AK, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{second: true, genesis: func(g *ledger.Genesis) { g.Keys[1].Attestation.Intermediate = g.Keys[0].Attestation.Intermediate }})
		return w.input()
	}, []string{finding.Token}},
	{"a key less than the policy has", finding.Genesis, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{second: true, genesis: func(g *ledger.Genesis) { g.Keys = g.Keys[:1] }})
		return w.input()
	}, []string{finding.AK}},
	{"keys in another order than the policy's", finding.Genesis, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{second: true, keys: slices.Reverse[[]ledger.TokenKey]})
		return w.input()
	}, nil},
	{"the second key is in another slot", finding.Token, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{second: true, genesis: func(g *ledger.Genesis) { g.Keys[1].Slot = "83" }})
		return w.input()
	}, []string{finding.Genesis}},
}

func TestAttacksOnSeveralKeys(t *testing.T) {
	for _, a := range keyAttacks {
		t.Run(a.name, func(t *testing.T) {
			w := newWorld(t, parts{second: true})
			w.boot()
			r := audited(t, a.attack(t, w))
			got := codes(r, finding.Evidence)
			if !slices.Contains(got, a.code) {
				t.Errorf("no %s: %+v", a.code, r.Findings)
			}
			for _, c := range got {
				if c != a.code && !slices.Contains(a.besides, c) {
					t.Errorf("also found %s: %+v", c, r.Findings)
				}
			}
		})
	}
}

// An intent of a class that names both keys may name either.
func TestEitherKeyOfAClass(t *testing.T) {
	w := newWorld(t, parts{second: true, more: "[[class]]\nname = \"both\"\nkeys = [\"media\", \"packages\"]\nhosts = [\"repo1\"]\nnames = [\"*\"]\nformats = [\"openpgp-binary\"]\nmax_size = \"1GiB\"\nrates = [\"9/1h\"]\napprovals = 0\nbatch = 1\n"})
	w.boot()
	w.signsIn("both")
	w.swap()
	w.signsIn("both")
	if r := audited(t, w.input()); r.Verdict != finding.Clean || r.Items["signed"] != 2 {
		t.Errorf("%+v", r)
	}
}
