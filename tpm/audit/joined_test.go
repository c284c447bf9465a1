package audit

import (
	"bytes"
	"slices"
	"testing"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// spare has the policy name a second key, media in slot 82, and makes it; the
// token signs with it from now on, and swap goes back. It is not the log's yet.
func (w *world) spare(p parts) ledger.TokenKey {
	w.t.Helper()
	w.adopt(w.nextPolicy("\n[[class]]", secondTables+"\n[[class]]"))
	w.other = held{w.token, w.key, w.cert}
	w.newTokenKey()
	if p.firmware == "" {
		p.firmware = "5.7.1"
	}
	return w.record(p, "media", "82")
}

// pins is the input with the next trust file, which has the new key too.
func (w *world) pins(in Input) Input {
	next := *w.trust
	next.Version, next.Certs = 2, append(slices.Clone(w.trust.Certs), w.cert.Bytes())
	in.Trust = &next
	return in
}

// A key joins by order: from then on it signs, whoever pins the next trust file
// has nothing to say about it, and its certificate is renewed as any other's.
func TestAKeyJoins(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	w.signsIn("pacman-db")
	record := w.spare(parts{})
	w.do(&order.Key{Token: &record})
	before := w.checkpoint()
	w.signsIn("iso")
	pinned := w.pins(w.input()).Trust
	first := *w.trust
	w.renew2("media")
	w.boot()
	for _, since := range []bool{false, true} {
		in := w.input()
		if since {
			in.Since = before
		}
		in.Trust = pinned
		r := audited(t, in)
		want := []report.Certificate{report.CertificateOf("packages", w.other.cert), report.CertificateOf("media", w.cert)}
		if r.Verdict != finding.Clean || !slices.EqualFunc(r.Certificates, want, sameCertificate) {
			t.Errorf("since %v: %+v", since, r)
		}
		in.Trust = &first
		if r := audited(t, in); !slices.Equal(codes(r, finding.Warning), []string{finding.TrustOutdated}) || codes(r, finding.Evidence) != nil {
			t.Errorf("since %v, by the first trust: %+v", since, r.Findings)
		}
	}
}

// renew2 renews the certificate of the key that the token has.
func (w *world) renew2(name string) {
	w.t.Helper()
	w.orderedCert(&order.Cert{Key: name}).run()
}

// What an honest board refuses. None of these keys is the log's afterwards: what
// it signs is evidence too.
func TestKeysThatCannotJoin(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin parts
		key   parts
		harm  func(w *world, k *ledger.TokenKey)
		code  string
	}{
		{"in no policy", parts{}, parts{}, func(_ *world, k *ledger.TokenKey) { k.Name = "other" }, finding.OrderInvalid},
		{"in another slot", parts{}, parts{}, func(_ *world, k *ledger.TokenKey) { k.Slot = "83" }, finding.OrderInvalid},
		{"the log's first key", parts{}, parts{}, func(w *world, k *ledger.TokenKey) {
			w.swap()
			*k = w.record(parts{firmware: "5.7.1"}, "media", "82")
			w.swap()
		}, finding.OrderInvalid},
		{"another key's certificate", parts{}, parts{}, func(w *world, k *ledger.TokenKey) { k.Cert = w.other.cert.Bytes() }, finding.OrderInvalid},
		{"emulated among real ones", parts{genuine: true}, parts{}, nil, finding.OrderInvalid},
		{"said to be real", parts{genuine: true}, parts{}, func(_ *world, k *ledger.TokenKey) { k.Token.Emulated = false }, finding.Token},
		{"without a touch", parts{}, parts{touch: 1}, nil, finding.Token},
		{"of another token", parts{}, parts{}, func(_ *world, k *ledger.TokenKey) { k.Token.Serial++ }, finding.Token},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.begin)
			w.boot()
			record := w.spare(c.key)
			if c.harm != nil {
				c.harm(w, &record)
			}
			w.do(&order.Key{Token: &record})
			w.boot()
			old := w.checkpoint()
			if got := codes(audited(t, w.pins(w.input())), finding.Evidence); !slices.Equal(got, []string{c.code}) {
				t.Errorf("evidence %q, want %q", got, c.code)
			}
			w.signsIn("iso")
			in := w.pins(w.input())
			if got := codes(audited(t, in), finding.Evidence); !slices.Contains(got, finding.Key) {
				t.Errorf("it signs, and that is evidence %q", got)
			}
			in.Since = old
			if got := codes(audited(t, in), finding.Evidence); !slices.Contains(got, finding.Key) {
				t.Errorf("since: it signs, and that is evidence %q", got)
			}
		})
	}
}

// A key that nobody ordered, or that a void order brought, is none of the log's,
// though the trust file pins it.
func TestAKeyThatDidNotJoin(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	record := w.spare(parts{})
	w.add(w.entry(ledger.KindKey, w.orderNote(&order.Key{Token: &record}))) // HEAD never takes it
	w.do(&order.Note{})
	w.signsIn("iso")
	if got := codes(audited(t, w.pins(w.input())), finding.Evidence); !slices.Contains(got, finding.Key) {
		t.Errorf("evidence %q", got)
	}
}

// It is good from the commit of its order on, not before.
func TestAKeyBeforeItJoined(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	record := w.spare(parts{})
	w.signsIn("iso")
	w.do(&order.Key{Token: &record})
	w.signsIn("iso")
	if got := codes(audited(t, w.pins(w.input())), finding.Evidence); !slices.Equal(got, []string{finding.Key}) {
		t.Errorf("evidence %q", got)
	}
}

// EUCLEAK is warned of for a key that joins, too.
func TestAWeakKeyJoins(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	record := w.spare(parts{firmware: "5.4.3"})
	w.do(&order.Key{Token: &record})
	if got := codes(audited(t, w.pins(w.input())), finding.Warning); !slices.Equal(got, []string{finding.EUCLEAK}) {
		t.Errorf("warnings %q", got)
	}
}

// A second key order about one key is refused by its name and by its bytes.
func TestAKeyJoinsOnce(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	record := w.spare(parts{})
	w.do(&order.Key{Token: &record})
	w.do(&order.Key{Token: &record})
	if got := codes(audited(t, w.pins(w.input())), finding.Evidence); !slices.Equal(got, []string{finding.OrderInvalid}) {
		t.Errorf("evidence %q", got)
	}
	if c, err := certificate.Parse(record.Cert); err != nil || !bytes.Equal(c.Bytes(), w.cert.Bytes()) || record.Fingerprint != w.key.Fingerprint() {
		t.Errorf("%v", err)
	}
}
