package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// histories is how many random honest histories are audited; each is the same
// in every run.
const histories = 2000

// allowed are the warnings that an honest history may have: each says for ever
// what administrators ordered.
var allowed = []string{finding.TimeCorrected, "resumed"}

// Honest boards crash, lose power and clocks, are updated, ordered about,
// halted and led out of it: no evidence, ever, neither of a full audit nor, of
// every other history, of one from any checkpoint on; and nothing in what the parts of an interrupted
// publication look like.
func TestHonestHistoriesGiveNoEvidence(t *testing.T) {
	const shards = 4
	for shard := range shards {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			base := newWorld(t, parts{genuine: true, rates: `"10000/1h"`})
			base.checkpoint()
			for seed := shard; seed < histories; seed += shards {
				honest(t, base.copy(t), uint64(seed))
			}
		})
	}
}

// copy is a world that goes its own way from here.
func (w *world) copy(t testing.TB) *world {
	c, tpm, trust, pol := *w, *w.tpm, *w.trust, *w.pol
	c.t, c.tpm, c.trust, c.pol = t, &tpm, &trust, &pol
	c.entries, c.tree = slices.Clone(w.entries), *w.tree.Clone()
	c.root = map[uint64][32]byte{}
	for size, root := range w.root {
		c.root[size] = root
	}
	return &c
}

func honest(t *testing.T, w *world, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	w.boot()
	steps := 2 + r.IntN(5)
	keep := r.IntN(steps)
	var did []string
	var kept []byte
	for i := range steps {
		did = append(did, w.step(r))
		if i == keep {
			kept = w.checkpoint()
		}
	}
	in := w.input()
	full := audited(t, in)
	reports := []*report.Report{full}
	if seed%2 == 0 {
		in.Since = kept
		reports = append(reports, audited(t, in))
	}
	for _, report := range reports {
		warnings := slices.DeleteFunc(codes(report, finding.Warning), func(c string) bool { return slices.Contains(allowed, c) })
		if len(codes(report, finding.Evidence)) > 0 || len(warnings) > 0 || report.Head != full.Head {
			t.Fatalf("seed %d, %v, since %d: %+v", seed, did, report.Since, report.Findings)
		}
	}
}

// step lets something happen that happens to honest boards.
func (w *world) step(r *rand.Rand) string {
	steps := []struct {
		name string
		do   func()
	}{
		{"sign", func() { w.ceremony(1 + r.IntN(3)) }},
		{"deny", func() { w.ends(1, r.IntN(2) == 0, ledger.Denied) }},
		{"time out", func() { w.ends(2, true, ledger.TimedOut) }},
		{"crash", func() { w.crash(r.IntN(8), r.IntN(2) == 0, true) }},
		{"power cut", func() { w.tpm.PowerCycle(); w.boot() }},
		{"resets", func() { w.tpm.PowerCycle(); w.tpm.PowerCycle(); w.boot() }},
		{"unorderly reset", func() {
			w.tpm.PowerCycle()
			w.tpm.Clock.Millis -= min(w.tpm.Clock.Millis, 30_000)
			w.tpm.Clock.Safe = false
			w.boot()
			w.pass(time.Minute)
			w.tpm.Clock.Safe = true
		}},
		{"reset in a ceremony", w.resetInside},
		{"warm start", func() { w.boot() }},
		{"warm start, the clock set ahead by minutes", func() {
			w.now = w.now.Add(time.Duration(r.IntN(601)) * time.Second)
			w.boot()
		}},
		{"a slow TPM", func() {
			d := time.Duration(r.IntN(60*24)) * time.Hour
			w.pass(d)
			w.tpm.Clock.Millis -= uint64(d.Milliseconds() * 15 / 100)
			w.boot()
		}},
		{"an order for a halted clock that came to nothing", func() {
			d := time.Duration(r.IntN(60*24)) * time.Hour
			w.tpm.Clock.Millis += uint64(d.Milliseconds())
			w.boot(func(b *ledger.Boot) { b.Clock = ledger.ClockHostUnset })
			w.now = w.now.Add(d)
			w.boot()
		}},
		{"in a drawer", func() {
			w.tpm.PowerCycle()
			w.now = w.now.Add(time.Duration(r.IntN(400*24)) * time.Hour)
			w.boot()
		}},
		{"suspend", func() { w.tpm.Clock.RestartCount++; w.boot() }},
		{"time passes", func() { w.pass(time.Duration(r.IntN(60*24)) * time.Hour); w.boot() }},
		{"policy", func() { w.adopt(w.nextPolicy("max_skew", "max_skew")) }},
		{"note", func() { w.do(&order.Note{}) }},
		{"void", func() { w.add(w.entry(ledger.KindNote, w.orderNote(&order.Note{}))); w.ceremony(1) }},
		{"crash in an order", func() { w.crashOrder(r.IntN(4)) }},
		{"clock ahead", func() { w.setClock(w.now.Add(time.Duration(1+r.IntN(1000)) * time.Hour)) }},
		{"clock back", func() {
			w.pass(100 * time.Hour)
			w.boot()
			w.setClock(w.now.Add(-time.Duration(r.IntN(90)) * time.Hour))
		}},
		{"log key", func() { w.rotate() }},
		{"renewal", func() { w.renew(w.now.AddDate(20, 0, 0)) }},
		{"renewal denied", func() { w.asked(ledger.Denied) }},
		{"crash in a renewal", func() { w.crashCert(r.IntN(4)) }},
		{"update", func() { w.update(fmt.Sprint(w.version, "+")) }},
		{"halted and resumed", func() { w.tpm.ExtendHead([32]byte{byte(r.IntN(256))}); w.resume() }},
		{"close", func() {
			w.do(&order.Close{})
			w.boot()
		}},
	}
	s := steps[r.IntN(len(steps))]
	if w.over {
		s = steps[slices.IndexFunc(steps, func(s struct {
			name string
			do   func()
		}) bool {
			return s.name == "warm start"
		})]
	}
	s.do()
	w.over = w.over || s.name == "close"
	return s.name
}

// crashOrder stops an order before its commit, behind HEAD's extension, behind
// the PCR's, or before its attest entry, and starts again.
func (w *world) crashOrder(step int) {
	w.pass(time.Minute)
	i := w.add(w.entry(ledger.KindNote, w.orderNote(&order.Note{})))
	switch step {
	case 1:
		w.commitHead()
		w.tpm.PowerCycle()
	case 2:
		w.commit()
	case 3:
		w.commit()
		w.newest = i
		w.attest()
	}
	if step == 1 || step == 2 {
		w.newest = i
		a := &ledger.Attest{Size: w.committed, Certify: w.goodCertify()}
		w.add(a)
		w.publish(a.Certify)
	}
	w.boot()
}

// crashCert stops a renewal before its commit, behind HEAD's extension, before
// its attest entry, or before its outcome, and starts again.
func (w *world) crashCert(step int) {
	c := w.orderedCert(&order.Cert{Key: "packages"})
	c.end(ledger.Unknown)
	switch step {
	case 0:
		c.record()
		c.outcome.Items = []ledger.ItemResult{{State: ledger.NotStarted, Reason: "interrupted"}}
	case 1:
		c.record()
		w.commitHead()
		w.newest = c.index
		w.tpm.PowerCycle()
	case 2, 3:
		c.commit()
	}
	if step == 3 {
		w.attest()
	} else if step > 0 {
		a := &ledger.Attest{Size: w.committed, Certify: w.goodCertify()}
		w.add(a)
		w.publish(a.Certify)
	}
	w.add(c.outcome)
	w.boot()
}

// resetInside resets the TPM between the two extensions of a commit: the PCR
// then has this commit alone.
func (w *world) resetInside() {
	w.pass(time.Minute)
	j := w.newJob(1)
	j.record()
	w.commitHead()
	w.tpm.PowerCycle()
	w.tpm.ExtendPCR(w.x)
	a := &ledger.Attest{Size: w.committed, Certify: w.goodCertify()}
	w.add(a)
	w.publish(a.Certify)
	j.end(ledger.Unknown, "")
	w.add(j.outcome)
	w.boot()
}
