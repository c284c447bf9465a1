package audit

import (
	"maps"
	"reflect"
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

// TestSinceAnywhere: wherever an audit begins, before, between or behind
// entries that change what is in force, it comes to what a full audit says.
func TestSinceAnywhere(t *testing.T) {
	for _, tt := range []struct {
		name     string
		do       func(w *world)
		evidence []string
	}{
		{"renewed twice", func(w *world) {
			w.renew(w.now.Add(10 * 24 * time.Hour))
			w.days(2, 2)
			w.renew(w.now.Add(400 * 24 * time.Hour))
		}, nil},
		{"expired", func(w *world) { w.renew(w.now.Add(24 * time.Hour)) }, []string{finding.KeyExpired}},
		{"revoked", func(w *world) { w.revoke(certificate.Retired) }, []string{finding.KeyRevoked}},
		{"renewal denied", func(w *world) { w.asked(ledger.Denied) }, nil},
		{"revocation that nobody ordered", func(w *world) { w.unordered(&order.Cert{Key: "packages", Revoke: true, Code: certificate.Retired}) },
			[]string{finding.OrderInvalid}},
		{"log key that nobody ordered", func(w *world) {
			_, vkey := signer(w.t, origin)
			w.obey(w.entry(ledger.KindKey, w.forge(w.orderNote(&order.Key{LogKey: vkey}))))
		}, []string{finding.OrderInvalid}},
		{"policy that nobody ordered", func(w *world) {
			w.obey(w.entry(ledger.KindPolicy, w.forge(w.nextPolicy(`max_validity = "24h"`, `max_validity = "2h"`))))
		}, []string{finding.OrderInvalid}},
		{"policy, then log key", func(w *world) {
			w.adopt(w.nextPolicy(`max_validity = "24h"`, `max_validity = "23h"`))
			w.rotate()
		}, nil},
		{"note that nobody ordered, then that they did", func(w *world) {
			msg := w.orderNote(&order.Note{})
			w.obey(w.entry(ledger.KindNote, w.forge(msg)))
			w.days(10, 2)
			w.obey(w.entry(ledger.KindNote, msg))
		}, []string{finding.OrderInvalid}},
		{"closed", func(w *world) { w.do(&order.Close{Successor: ledger.LogID{Origin: origin, Genesis: [32]byte{1}}}) },
			[]string{"closed-continued"}},
		{"closed by nobody", func(w *world) { w.obey(w.entry(ledger.KindClose, w.forge(w.orderNote(&order.Close{})))) },
			[]string{finding.OrderInvalid, "closed-continued"}},
		{"clock ahead", func(w *world) { w.setClock(w.now.Add(30 * 24 * time.Hour)) }, nil},
	} {
		for name, days := range map[string][2]int{"before the start": {15, 30}, "behind the start": {38, 12}} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, parts{genuine: true, rates: `"60/1h"`})
				w.days(days[0], 2)
				tt.do(w)
				var since []*shown
				n := 0
				w.published = func() {
					if n++; len(w.entries) > 275 && n%2 == 0 {
						since = append(since, w.shown)
					}
				}
				w.days(days[1], 2)
				full := audited(t, w.input())
				if got := codes(full, finding.Evidence); !sameCodes(got, tt.evidence) || len(since) < 4 {
					t.Errorf("%d audits, %+v", len(since), full.Findings)
				}
				for _, p := range since {
					compareSince(t, w, p, full)
				}
			})
		}
	}
}

func compareSince(t *testing.T, w *world, p *shown, full *report.Report) {
	t.Helper()
	newest := w.shown
	in := w.input()
	w.shown = p
	in.Since = w.checkpoint()
	w.shown = newest
	read := 0
	r := audited(t, counting(in, &read))
	if r.Since == 0 || read > 3*len(w.entries) {
		t.Fatalf("%d entries read, since %d", read, r.Since)
	}
	if !reflect.DeepEqual(r.Certificates, full.Certificates) || r.Head != full.Head || r.Closed != full.Closed || r.Successor != full.Successor {
		t.Errorf("since %d: %+v %s %v, a full audit says %+v %s %v", r.Since, r.Certificates, r.Head, r.Closed, full.Certificates, full.Head, full.Closed)
	}
	want, got := saidFrom(full, r.Since), saidFrom(r, r.Since)
	for _, f := range full.Findings {
		key := string(f.Severity) + " " + f.Code
		if len(f.Entries) == 100 && len(got[key]) > 0 { // the last ones are not listed
			delete(want, key)
			delete(got, key)
		}
	}
	if !maps.EqualFunc(want, got, slices.Equal[[]uint64]) {
		t.Errorf("since %d: %v, a full audit says %v", r.Since, got, want)
	}
}

// saidFrom are the entries from an index on that findings name.
func saidFrom(r *report.Report, from uint64) map[string][]uint64 {
	said := map[string][]uint64{}
	for _, f := range r.Findings {
		for _, e := range f.Entries {
			if e >= from {
				key := string(f.Severity) + " " + f.Code
				said[key] = append(said[key], e)
			}
		}
	}
	return said
}

func sameCodes(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// forge signs a note anew with a key that is nobody's.
func (w *world) forge(msg []byte) []byte {
	w.t.Helper()
	text, err := message.NoteText(msg)
	w.must(err)
	nobody, _ := signer(w.t, "admin")
	forged, err := message.SignNote(text, nobody)
	w.must(err)
	return forged
}

// unordered has the token sign for an order that is forged.
func (w *world) unordered(a *order.Cert) {
	w.t.Helper()
	c := w.orderedCert(a)
	c.entry.Note = w.forge(c.entry.Note)
	c.commit()
	c.sign()
	w.attest()
	w.add(c.outcome)
}
