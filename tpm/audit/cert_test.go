package audit

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// certifying is one ceremony in which the token signs something about its own
// key.
type certifying struct {
	w       *world
	x       certificate.Certification
	plan    *signing.Plan
	entry   *ledger.Order
	index   uint64
	outcome *ledger.Outcome
}

// orderedCert plans what administrators order.
func (w *world) orderedCert(a *order.Cert) *certifying {
	w.t.Helper()
	w.pass(time.Minute)
	msg := w.orderNote(a)
	hash, err := order.Hash(msg)
	w.must(err)
	o, err := order.Open(msg, w.pol.Administrators.Keys, 1)
	w.must(err)
	c := &certifying{w: w, entry: w.entry(ledger.KindCert, msg)}
	c.x, err = o.Certification(w.now, hash)
	w.must(err)
	c.plan, err = w.cert.Plan(c.x)
	w.must(err)
	c.entry.Sign = message.Digest{Alg: c.plan.Alg, Sum: c.plan.Digest}
	c.outcome = &ledger.Outcome{Job: c.x.Order}
	return c
}

func (c *certifying) record() {
	c.index = c.w.add(c.entry)
	c.outcome.Intent = c.index
}

// commit has HEAD take it.
func (c *certifying) commit() {
	c.record()
	c.w.commit()
	c.w.newest = c.index
}

// sign touches the token.
func (c *certifying) sign() []byte {
	sig, err := c.plan.Finish(c.w.sign(c.plan.Digest))
	c.w.must(err)
	c.outcome.Items = []ledger.ItemResult{{State: ledger.Signed, Signature: sig}}
	return sig
}

func (c *certifying) end(s ledger.State) {
	c.outcome.Items = []ledger.ItemResult{{State: s}}
}

// run is the whole of it; the signature counts if there is one.
func (c *certifying) run() {
	c.commit()
	if c.outcome.Items == nil {
		next, err := c.w.cert.With(c.x, c.sign())
		c.w.must(err)
		c.w.cert = next
	}
	c.w.attest()
	c.w.add(c.outcome)
}

func (w *world) renew(expires time.Time) {
	w.t.Helper()
	w.orderedCert(&order.Cert{Key: "packages", Expires: expires}).run()
}

func (w *world) revoke(code certificate.Reason) {
	w.t.Helper()
	w.orderedCert(&order.Cert{Key: "packages", Revoke: true, Code: code}).run()
}

// bind has the key agree to a primary, always the same.
func (w *world) bind() {
	w.t.Helper()
	p, err := subkey.ParsePrimary([]byte{4, 0x60, 1, 2, 3, 22, 1, 2, 3, 4})
	w.must(err)
	w.orderedCert(&order.Cert{Key: "packages", Primary: p}).run()
}

// asked ends a cert entry in a state without signature.
func (w *world) asked(s ledger.State) {
	w.t.Helper()
	c := w.orderedCert(&order.Cert{Key: "packages"})
	c.end(s)
	c.run()
}

// year is when a certificate expires that was renewed for a year.
func year(w *world) time.Time { return w.now.Add(365 * 24 * time.Hour) }

// certHistories are what honest boards do with their certificate, and what the
// audit says of it.
var certHistories = []struct {
	name    string
	do      func(w *world)
	verdict string
	info    []string
}{
	{"none", func(*world) {}, finding.Clean, nil},
	{"renewed", func(w *world) { w.renew(year(w)); w.ceremony(1) }, finding.Clean, []string{finding.OrderTaken, finding.Renewed}},
	{"renewed after it expired", func(w *world) {
		w.renew(w.now.Add(time.Hour))
		w.pass(2 * time.Hour)
		w.renew(time.Time{})
		w.ceremony(1)
	}, finding.Clean, []string{finding.OrderTaken, finding.Renewed}},
	{"denied", func(w *world) { w.asked(ledger.Denied); w.ceremony(1) }, finding.Clean, []string{finding.OrderTaken, finding.MaybeSigned}},
	{"unknown, then again", func(w *world) { w.asked(ledger.Unknown); w.boot(); w.renew(year(w)) }, finding.Clean,
		[]string{finding.OrderTaken, finding.MaybeSigned, finding.Renewed}},
	{"not taken", func(w *world) {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.record()
		c.outcome.Items = []ledger.ItemResult{{State: ledger.NotStarted, Reason: "tpm-error"}}
		w.add(c.outcome)
		w.ceremony(1)
	}, finding.Clean, []string{finding.OrderVoid}},
	{"waiting for its outcome", func(w *world) {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.commit()
		w.attest()
	}, finding.Clean, []string{finding.OrderTaken, finding.InFlight}},
	{"no outcome", func(w *world) {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.commit()
		w.attest()
		w.boot()
	}, finding.Warnings, []string{finding.OrderTaken}},
	{"retired", func(w *world) { w.renew(year(w)); w.revoke(certificate.Retired); w.boot() }, finding.Clean,
		[]string{finding.OrderTaken, finding.Renewed, finding.Revoked}},
	{"bound to a primary", func(w *world) { w.bind(); w.ceremony(1) }, finding.Clean, []string{finding.OrderTaken, finding.Bound}},
	{"bound, renewed, bound", func(w *world) { w.bind(); w.renew(year(w)); w.bind() }, finding.Clean,
		[]string{finding.OrderTaken, finding.Bound, finding.Renewed}},
	{"compromised", func(w *world) { w.revoke(certificate.Compromised) }, finding.Warnings, []string{finding.OrderTaken}},
}

// TestCertificates: the audit says that, and hands out the certificate.
func TestCertificates(t *testing.T) {
	for _, tt := range certHistories {
		t.Run(tt.name, func(t *testing.T) {
			w := started(t)
			old := w.checkpoint()
			tt.do(w)
			in := w.input()
			full := audited(t, in)
			got, want := codes(full, finding.Info), slices.Concat(tt.info, []string{finding.Freshness, finding.Wear})
			slices.Sort(got)
			slices.Sort(want)
			if full.Verdict != tt.verdict || !reflect.DeepEqual(got, want) {
				t.Errorf("%s %+v", full.Verdict, full.Findings)
			}
			if !reflect.DeepEqual(full.Certificates, []report.Certificate{report.CertificateOf("packages", w.cert)}) {
				t.Errorf("certificates %+v, want %+v", full.Certificates, w.cert)
			}
			for _, since := range [][]byte{old, w.checkpoint()} {
				in.Since = since
				if r := audited(t, in); len(codes(r, finding.Evidence)) > 0 || !reflect.DeepEqual(r.Certificates, full.Certificates) {
					t.Errorf("since: %+v %+v", r.Findings, r.Certificates)
				}
			}
		})
	}
}

// An audit that begins long after the certificate was renewed knows it.
func TestCertificateSinceLongAgo(t *testing.T) {
	w := newWorld(t, parts{genuine: true, rates: `"60/1h"`})
	w.days(3, 3)
	w.renew(w.now.Add(1000 * 24 * time.Hour))
	w.asked(ledger.TimedOut)
	w.days(20, 20)
	in := w.input()
	in.Since = w.checkpoint()
	read := 0
	r := audited(t, counting(in, &read))
	if r.Verdict != finding.Clean || !bytes.Equal(r.Certificates[0].OpenPGP, w.cert.Bytes()) || read >= len(w.entries) {
		t.Errorf("%d of %d entries read: %+v", read, len(w.entries), r)
	}
	w.pass(1000 * 24 * time.Hour)
	w.boot()
	w.ceremony(1)
	in.Checkpoint, in.Entries, in.Tile = w.input().Checkpoint, w.input().Entries, w.input().Tile
	if r := audited(t, in); !slices.Equal(codes(r, finding.Evidence), []string{finding.KeyExpired}) {
		t.Errorf("%+v", r.Findings)
	}
}

// certAttacks are lies about the key.
var certAttacks = []attack{
	{"agreed to another primary than ordered", finding.Cert, func(_ *testing.T, w *world) Input {
		p, err := subkey.ParsePrimary([]byte{4, 0x60, 1, 2, 3, 22, 5, 6, 7, 8})
		w.must(err)
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.x.Primary = p
		c.plan, err = w.cert.Plan(c.x)
		w.must(err)
		c.entry.Sign = message.Digest{Alg: c.plan.Alg, Sum: c.plan.Digest}
		c.run()
		return w.input()
	}, []string{finding.Signature}},
	{"renewal for longer than ordered", finding.Cert, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages", Expires: w.now.Add(time.Hour)})
		c.x.Expires = time.Time{}
		var err error
		c.plan, err = w.cert.Plan(c.x)
		w.must(err)
		c.entry.Sign = message.Digest{Alg: c.plan.Alg, Sum: c.plan.Digest}
		c.run()
		return w.input()
	}, []string{finding.Signature}},
	{"a revocation signed in the place of a renewal", finding.Signature, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.commit()
		x := c.x
		x.Revoke, x.Code = true, certificate.Compromised
		p, err := w.cert.Plan(x)
		w.must(err)
		sig, err := p.Finish(w.sign(p.Digest))
		w.must(err)
		c.outcome.Items = []ledger.ItemResult{{State: ledger.Signed, Signature: sig}}
		w.attest()
		w.add(c.outcome)
		return w.input()
	}, nil},
	{"a file signature in the place of a renewal", finding.Signature, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.commit()
		c.outcome.Items = []ledger.ItemResult{{State: ledger.Signed, Signature: w.ceremonyOf("evil", w.newJob(1))}}
		w.seq--
		w.attest()
		w.add(c.outcome)
		return w.input()
	}, nil},
	{"renewal by another name", finding.Cert, func(_ *testing.T, w *world) Input {
		w.orderedCert(&order.Cert{Key: "other"}).run()
		return w.input()
	}, nil},
	{"renewal that expires before it is made", finding.Cert, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages", Expires: w.now.Add(2 * time.Minute)})
		w.pass(time.Hour)
		c.run()
		return w.input()
	}, []string{finding.Signature}},
	{"renewal that nobody ordered", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		text, err := message.NoteText(c.entry.Note)
		w.must(err)
		c.entry.Note = append(text, '\n')
		c.run()
		return w.input()
	}, nil},
	{"renewal ordered once, signed twice", finding.OrderRepeated, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.run()
		again := *c
		w.pass(time.Minute)
		again.x.Created = w.now
		var err error
		again.plan, err = w.cert.Plan(again.x)
		w.must(err)
		again.entry = w.entry(ledger.KindCert, c.entry.Note)
		again.entry.Sign = message.Digest{Alg: again.plan.Alg, Sum: again.plan.Digest}
		again.outcome = &ledger.Outcome{Job: c.x.Order}
		again.run()
		return w.input()
	}, nil},
	{"renewal signed before HEAD took it", finding.Uncommitted, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.record()
		c.sign()
		w.add(c.outcome)
		w.ceremony(1)
		return w.input()
	}, nil},
	{"renewal's outcome names another order", finding.Outcome, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.outcome.Job[0] ^= 1
		c.run()
		return w.input()
	}, nil},
	{"renewal with two outcomes", finding.Outcome, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		c.run()
		w.add(c.outcome)
		return w.input()
	}, nil},
	{"renewal before the first boot", finding.NoBoot, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{})
		w.renew(w.now.Add(time.Hour))
		return w.input()
	}, nil},
	{"revoked key signs on", finding.KeyRevoked, func(_ *testing.T, w *world) Input {
		w.revoke(certificate.Superseded)
		w.ceremony(1)
		return w.input()
	}, nil},
	{"revoked key renewed", finding.Cert, func(_ *testing.T, w *world) Input {
		c := w.orderedCert(&order.Cert{Key: "packages"})
		w.revoke(certificate.Superseded)
		c.entry.Previous, c.x.Created = w.newest, w.now
		c.commit()
		c.sign()
		w.attest()
		w.add(c.outcome)
		return w.input()
	}, []string{finding.Signature}},
	{"expired key signs on", finding.KeyExpired, func(_ *testing.T, w *world) Input {
		w.renew(w.now.Add(time.Hour))
		w.pass(2 * time.Hour)
		w.boot()
		w.ceremony(1)
		return w.input()
	}, nil},
	{"other certificate than the pinned key's in the genesis", finding.Genesis, func(t *testing.T, _ *world) Input {
		other := newWorld(t, parts{})
		w := newWorld(t, parts{genesis: func(g *ledger.Genesis) { g.Keys[0].Cert = other.cert.Bytes() }})
		pinned := *w.trust
		pinned.Certs, pinned.Version = [][]byte{w.cert.Bytes()}, 2
		in := w.input()
		in.Trust = &pinned
		return in
	}, nil},
}
