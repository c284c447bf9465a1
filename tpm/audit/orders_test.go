package audit

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// orderNote is what the administrators hand over.
func (w *world) orderNote(a order.Action, signers ...note.Signer) []byte {
	w.t.Helper()
	w.ordered++
	o := &order.Order{Origin: origin, After: order.State{Size: w.hostSize, Root: w.root[w.hostSize]}, Action: a, Reason: fmt.Sprintf("reason %d", w.ordered)}
	return w.signed(o, append(signers, w.admin)...)
}

func (w *world) signed(o *order.Order, signers ...note.Signer) []byte {
	w.t.Helper()
	text, err := o.Marshal()
	w.must(err)
	msg, err := message.SignNote(text, signers...)
	w.must(err)
	return msg
}

// entry is the administrative entry of a note.
func (w *world) entry(kind string, msg []byte) *ledger.Order {
	return &ledger.Order{Action: kind, Mirrored: true, Previous: w.newest, Note: msg}
}

// obey writes an administrative entry and commits it.
func (w *world) obey(e *ledger.Order) uint64 {
	w.t.Helper()
	w.pass(time.Minute)
	i := w.add(e)
	w.commit()
	w.newest = i
	w.attest()
	return i
}

func (w *world) do(a order.Action, signers ...note.Signer) uint64 {
	w.t.Helper()
	return w.obey(w.entry(a.Kind(), w.orderNote(a, signers...)))
}

// nextPolicy is the policy in force, changed, as its successor.
func (w *world) nextPolicy(old, with string, signers ...note.Signer) []byte {
	w.t.Helper()
	text := strings.Replace(w.toml, fmt.Sprintf("serial = %d", w.pol.Serial), fmt.Sprintf("serial = %d", w.pol.Serial+1), 1)
	before := fmt.Sprintf("previous = %q", prevText(w.pol))
	text = strings.Replace(text, before, fmt.Sprintf("previous = \"%x\"", w.pol.Hash), 1)
	text = strings.Replace(text, old, with, 1)
	msg, err := message.SignNote([]byte(text), append(signers, w.admin)...)
	w.must(err)
	return msg
}

func prevText(p *policy.Policy) string {
	if p.Serial == 1 {
		return ""
	}
	return fmt.Sprintf("%x", p.Previous)
}

// adopt commits a policy and lives by it.
func (w *world) adopt(msg []byte) uint64 {
	w.t.Helper()
	i := w.obey(w.entry(ledger.KindPolicy, msg))
	next, err := w.pol.Successor(msg)
	w.must(err)
	w.pol, w.toml = next, string(next.Text)
	return i
}

// rescue has recovery keys replace the administrator, and lives on by that.
func (w *world) rescue() {
	w.t.Helper()
	safe, safeKey := signer(w.t, "safe")
	w.adopt(w.nextPolicy("[[host]]", fmt.Sprintf("[recovery]\nquorum = 1\nkeys = [%q]\n[[host]]", safeKey), safe))
	lost := w.pol.Administrators.Texts[0]
	next, nextKey := signer(w.t, "admin2")
	w.admin = next
	w.adopt(w.nextPolicy(lost, nextKey, safe))
	w.do(&order.Note{})
	w.ceremony(1)
}

// setClock obeys a time order: the attest entry has the new time already.
func (w *world) setClock(to time.Time) {
	w.t.Helper()
	e := w.entry(ledger.KindTime, w.orderNote(&order.Time{To: to}))
	w.pass(time.Minute)
	i := w.add(e)
	w.commit()
	w.newest, w.now = i, to
	w.attest()
}

// halted is a board whose HEAD took something that nobody has; resume leads it
// out.
func (w *world) resume() {
	w.t.Helper()
	msg := w.orderNote(&order.Resume{Halt: "head-unknown", Head: w.tpm.Head, PCR: w.tpm.PCR})
	hash, err := order.Hash(msg)
	w.must(err)
	e := w.entry(ledger.KindResume, msg)
	e.PCR, e.Certify = w.tpm.PCR, w.tpm.CertifyHead(quote.ResumeTag(hash))
	w.obey(e)
	w.boot()
}

// rotate replaces the log key.
func (w *world) rotate() {
	w.t.Helper()
	next, vkey := signer(w.t, origin)
	msg := w.orderNote(&order.Key{LogKey: vkey}, next)
	w.pass(time.Minute)
	w.newest = w.add(w.entry(ledger.KindKey, msg))
	w.commit()
	w.log = next
	w.trust.OldLogKeys = append([]string{w.trust.LogKey}, w.trust.OldLogKeys...)
	w.trust.LogKey = vkey
	w.trust.Version++
	w.attest()
}

func (w *world) update(to string) {
	w.add(&ledger.Update{From: w.version, To: to})
	w.version = to
	w.boot()
}

// started is a world with some work done.
func started(t testing.TB) *world {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	w.ceremony(2)
	return w
}

// honestOrders are what administrators order, and what an audit says of it.
var honestOrders = []struct {
	name    string
	do      func(w *world)
	warning []string
	info    []string
}{
	{"policy", func(w *world) { w.adopt(w.nextPolicy("4GiB", "5GiB")); w.ceremony(1) }, nil, []string{finding.OrderTaken}},
	{"policy twice", func(w *world) {
		w.adopt(w.nextPolicy("4GiB", "5GiB"))
		w.boot()
		w.adopt(w.nextPolicy("5GiB", "6GiB"))
		w.ceremony(1)
	}, nil, []string{finding.OrderTaken}},
	{"note", func(w *world) { w.do(&order.Note{}); w.ceremony(1); w.boot() }, nil, []string{finding.OrderTaken}},
	{"unmirrored", func(w *world) {
		e := w.entry(ledger.KindNote, w.orderNote(&order.Note{}))
		e.Mirrored = false
		w.obey(e)
	}, nil, []string{finding.OrderTaken, finding.Unmirrored}},
	{"clock back", func(w *world) {
		w.days(40, 1)
		w.setClock(w.now.Add(-30 * 24 * time.Hour))
		w.ceremony(1)
		w.boot()
		w.ceremony(1)
	},
		[]string{finding.TimeCorrected}, []string{finding.OrderTaken}},
	{"clock ahead", func(w *world) { w.setClock(w.now.Add(30 * 24 * time.Hour)); w.ceremony(1) }, []string{finding.TimeCorrected}, []string{finding.OrderTaken}},
	{"log key", func(w *world) { w.rotate(); w.ceremony(1) }, nil, []string{finding.OrderTaken}},
	{"resume", func(w *world) { w.tpm.ExtendHead([32]byte{1}); w.tpm.ExtendPCR([32]byte{1}); w.resume(); w.ceremony(1) },
		[]string{"resumed"}, []string{finding.OrderTaken}},
	{"resume after a reset", func(w *world) {
		w.tpm.ExtendHead([32]byte{1})
		w.tpm.PowerCycle()
		w.resume()
		w.ceremony(1)
	}, []string{"resumed"}, []string{finding.OrderTaken}},
	{"close", func(w *world) { w.do(&order.Close{}); w.boot(); w.update("new") }, nil, []string{finding.OrderTaken, finding.Closed, finding.Updated}},
	{"void", func(w *world) { w.add(w.entry(ledger.KindNote, w.orderNote(&order.Note{}))); w.ceremony(1) }, nil, []string{finding.OrderVoid}},
	{"void, then the same again", func(w *world) {
		msg := w.orderNote(&order.Note{})
		w.add(w.entry(ledger.KindNote, msg))
		w.ceremony(1)
		w.obey(w.entry(ledger.KindNote, msg))
	}, nil, []string{finding.OrderVoid, finding.OrderTaken}},
	{"open", func(w *world) { w.add(w.entry(ledger.KindNote, w.orderNote(&order.Note{}))) }, nil, []string{finding.OrderOpen}},
	{"image", func(w *world) {
		image := [32]byte{1}
		w.do(&order.Image{Board: "test", Version: "2", Serial: 2, Size: 512, Image: image})
		w.add(&ledger.Update{From: w.version, To: "2", Image: image[:]})
		w.version = "2"
		w.boot()
		w.ceremony(1)
		w.update("1") // it was on trial, and fell back
		w.boot()
		w.ceremony(1)
	}, nil, []string{finding.OrderTaken, finding.Updated}},
	{"update", func(w *world) { w.update("2"); w.boot(); w.update("3"); w.ceremony(1) }, nil, []string{finding.Updated}},
}

func TestOrders(t *testing.T) {
	for _, tt := range honestOrders {
		t.Run(tt.name, func(t *testing.T) {
			w := started(t)
			old := w.checkpoint()
			tt.do(w)
			in := w.input()
			r := audited(t, in)
			want := slices.Concat(tt.info, []string{finding.Freshness, finding.Wear})
			got := codes(r, finding.Info)
			slices.Sort(want)
			slices.Sort(got)
			if len(codes(r, finding.Evidence)) > 0 || !reflect.DeepEqual(codes(r, finding.Warning), tt.warning) || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v", r.Findings)
			}
			in.Since = old
			again := audited(t, in)
			if len(codes(again, finding.Evidence)) > 0 || again.Head != r.Head {
				t.Errorf("since: %+v", again.Findings)
			}
			in.Since = w.checkpoint()
			again = audited(t, in)
			if len(codes(again, finding.Evidence)) > 0 || again.Head != r.Head {
				t.Errorf("since the end: %+v", again.Findings)
			}
		})
	}
}

// A trust file from before the log key was replaced still tells a good log.
func TestTrustOutdated(t *testing.T) {
	w := started(t)
	old := *w.trust
	w.rotate()
	w.ceremony(1)
	in := w.input()
	in.Trust = &old
	r := audited(t, in)
	if r.Verdict != finding.Warnings || !reflect.DeepEqual(codes(r, finding.Warning), []string{finding.TrustOutdated}) || r.Size == 0 {
		t.Errorf("%+v", r)
	}
}

func TestWear(t *testing.T) {
	w := started(t)
	w.seq = 80_000
	w.days(60, 2)
	old := w.checkpoint()
	w.ceremony(1)
	in := w.input()
	in.Since = old
	if r := audited(t, in); !reflect.DeepEqual(codes(r, finding.Warning), []string{finding.Wear}) {
		t.Errorf("%+v", r.Findings)
	}
}

func TestContinuity(t *testing.T) {
	w := started(t)
	next := newWorld(t, parts{genuine: true, genesis: func(g *ledger.Genesis) { g.Predecessor = ledger.LogID{Origin: origin, Genesis: w.trust.Genesis} }})
	next.boot()
	open := audited(t, w.input())
	w.do(&order.Close{Successor: ledger.LogID{Origin: origin, Genesis: next.trust.Genesis}})
	closed := audited(t, w.input())
	other := started(t)
	other.do(&order.Close{Successor: ledger.LogID{Origin: origin, Genesis: [32]byte{1}}})
	for _, tt := range []struct {
		earlier *report.Report
		change  func(*report.Report)
		code    string
		verdict string
	}{
		{closed, func(*report.Report) {}, finding.Continued, finding.Clean},
		{closed, func(r *report.Report) { r.Base = closed.Head }, finding.Continued, finding.Clean},
		{closed, func(r *report.Report) { r.Base = strings.Repeat("1", 64) }, finding.Continuity, finding.Tampered},
		{open, func(*report.Report) {}, finding.Unconfirmed, finding.Warnings},
		{audited(t, other.input()), func(*report.Report) {}, finding.Continuity, finding.Tampered},
	} {
		r := audited(t, next.input())
		tt.change(r)
		report.Continuity(tt.earlier, r, r)
		if r.Verdict != tt.verdict || !slices.ContainsFunc(r.Findings, func(f finding.Finding) bool { return f.Code == tt.code }) {
			t.Errorf("%s: %s %+v", tt.code, r.Verdict, r.Findings)
		}
	}
}
