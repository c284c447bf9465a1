package audit

import (
	"errors"
	"io"
	"iter"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

func TestHonest(t *testing.T) {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	first := w.ceremony(2)
	w.tpm.PowerCycle()
	w.boot()
	w.ceremony(3)
	r := audited(t, w.input())
	if r.Verdict != finding.Clean || !reflect.DeepEqual(codes(r, finding.Info), []string{finding.Freshness, finding.Wear}) || len(r.Findings) != 2 {
		t.Fatalf("%s %+v", r.Verdict, r.Findings)
	}
	if r.Size != w.hostSize || r.Pending != 2 || r.Boots != 2 || r.Intents != 2 || r.Items["signed"] != 5 || r.Commits != 3 {
		t.Errorf("%+v", r)
	}
	if !r.First.Equal(time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)) || !r.Last.Equal(w.now) {
		t.Errorf("from %v to %v", r.First, r.Last)
	}
	_ = first
}

func TestEmulatedIsSaid(t *testing.T) {
	w := newWorld(t, parts{})
	r := audited(t, w.input())
	if r.Verdict != finding.Clean || !slices.Contains(codes(r, finding.Info), finding.Emulated) {
		t.Errorf("%s %+v", r.Verdict, r.Findings)
	}
}

// ends is a ceremony that ends without a signature, before or after its commit.
func (w *world) ends(n int, committed bool, state ledger.State) *job {
	w.t.Helper()
	w.pass(time.Minute)
	j := w.newJob(n)
	j.record()
	reason := ""
	if state == ledger.Failed || state == ledger.NotStarted {
		reason = "token-error"
	}
	j.end(state, reason)
	if committed {
		w.commit()
		w.attest()
	}
	w.add(j.outcome)
	return j
}

// What HEAD took may have been signed, whatever the outcome says; what it did
// not take was not.
func TestMaybeSigned(t *testing.T) {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	var want []uint64
	for _, state := range []ledger.State{ledger.Denied, ledger.NotStarted, ledger.Failed, ledger.TimedOut, ledger.Withheld, ledger.Unknown} {
		want = append(want, w.ends(1, true, state).index)
	}
	w.ends(2, false, ledger.Denied)
	w.ends(2, false, ledger.NotStarted)
	w.ceremony(1)
	r := audited(t, w.input())
	if r.Verdict != finding.Clean || r.Findings[0].Code != finding.MaybeSigned || r.Findings[0].Count != 6 || !reflect.DeepEqual(r.Findings[0].Entries, want) {
		t.Errorf("%s %+v", r.Verdict, r.Findings)
	}
}

// A proof may be ahead of a copy of the log that is being published.
func TestProofOfTheCommitUnderWay(t *testing.T) {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	w.ceremony(1)
	in := w.input()
	before := len(w.entries)
	j := w.ceremony(1)
	in.Pending = append(in.Pending, w.entries[before:j.index+1]...)
	in.Proofs, in.Previous = []*ledger.Proof{w.proof(t, j)}, [][]byte{w.checkpoint()}
	if r := audited(t, in); r.Verdict != finding.Clean {
		t.Errorf("%+v", r.Findings)
	}
}

// A host commits to all entries it holds, pending ones too, or to none.
func TestHeadsOfHonestHosts(t *testing.T) {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	for _, size := range []uint64{0, 1, 2, 3, w.tree.Size()} {
		w.pass(time.Minute)
		w.newJob(1, func(_ *message.Approval, s *message.Submission) { s.HeadSize, s.HeadRoot = size, w.root[size] }).run()
	}
	if r := audited(t, w.input()); r.Verdict != finding.Clean {
		t.Errorf("%+v", r.Findings)
	}
}

// Between boots the TPM may be without power, and its clock then stands still; a clock
// that is not safe says nothing.
func TestClocksAreComparedWithinABoot(t *testing.T) {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	w.ceremony(1)
	w.now = w.now.Add(48 * time.Hour)
	w.tpm.PowerCycle()
	w.boot()
	w.pass(9 * time.Hour)
	w.tpm.Clock.Millis -= 90 * 60 * 1000 // an oscillator 17 % slow
	w.ceremony(1)
	w.tpm.Clock.Millis += 1 << 40
	w.boot()
	w.ceremony(1)
	w.tpm.Clock.Safe = false
	w.now = w.now.Add(time.Hour)
	w.ceremony(1)
	if r := audited(t, w.input()); r.Verdict != finding.Clean {
		t.Errorf("%+v", r.Findings)
	}
}

func TestInfos(t *testing.T) {
	w := newWorld(t, parts{genuine: true})
	w.boot()
	j := w.newJob(3)
	j.record()
	w.commit()
	j.end(ledger.TimedOut, "")
	j.outcome.Items[1] = ledger.ItemResult{State: ledger.Withheld}
	j.outcome.Items[2] = ledger.ItemResult{State: ledger.Unknown}
	w.attest()
	w.add(j.outcome)
	old := w.checkpoint()
	w.tpm.PowerCycle()
	w.tpm.PowerCycle()
	w.boot()
	open := w.newJob(1)
	open.intent.Refusals, open.intent.Refused = 4, []ledger.Refused{{Code: "cancelled", Count: 1}, {Code: "denied", Count: 3}}
	open.record()
	w.commit()
	w.attest()
	in := w.input()
	in.Checkpoint, in.Entries, in.Pending = old, from(w.entries), w.entries
	r := audited(t, in)
	want := []string{finding.Wear, finding.MaybeSigned, "resets-unseen", finding.Freshness, finding.InFlight, finding.Stale, finding.RefusedJobs}
	got := codes(r, finding.Info)
	slices.Sort(want)
	slices.Sort(got)
	if r.Verdict != finding.Clean || !reflect.DeepEqual(got, want) {
		t.Errorf("%s %v, want %v", r.Verdict, got, want)
	}
	for _, f := range r.Findings {
		if f.Code == finding.RefusedJobs && f.Explanation != "4 requests were refused, 1 cancelled, 3 denied" {
			t.Error(f.Explanation)
		}
		if f.Code == finding.MaybeSigned && (f.Count != 3 || !reflect.DeepEqual(f.Entries, []uint64{j.index})) {
			t.Errorf("%+v", f)
		}
	}
}

// Honest histories of any shape, with crashes at every step and power cycles,
// give nothing above info; and what was published at any moment on the way
// does neither.
func TestPropertyHonestHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, parts{genuine: true, rates: `"10000/1h"`})
		for range rapid.IntRange(1, 6).Draw(rt, "lives") {
			w.boot()
			for range rapid.IntRange(0, 3).Draw(rt, "jobs") {
				n := rapid.IntRange(1, 3).Draw(rt, "items")
				switch state := rapid.SampledFrom([]ledger.State{ledger.Signed, ledger.Denied, ledger.NotStarted, ledger.TimedOut, ledger.Failed, ledger.Withheld}).Draw(rt, "end"); {
				case state == ledger.Signed:
					w.ceremony(n)
				case state.Asked():
					w.ends(n, true, state)
				default:
					w.ends(n, rapid.Bool().Draw(rt, "committed"), state)
				}
			}
			w.crash(rapid.IntRange(0, 7).Draw(rt, "crash"), rapid.Bool().Draw(rt, "power"), rapid.Bool().Draw(rt, "mend first"))
			in := w.input()
			r := audited(t, in)
			if r.Verdict != finding.Clean {
				rt.Fatalf("%+v", r.Findings)
			}
		}
	})
}

// crash runs a ceremony up to a step, loses power or not, and recovers as the
// station does.
func (w *world) crash(step int, power, mendFirst bool) {
	w.pass(time.Minute)
	j := w.newJob(2)
	pcrOwed := false
	applied := step >= 2
	if step >= 1 {
		j.record()
	}
	switch {
	case step == 2:
		w.commitHead()
		pcrOwed = true
	case step >= 3:
		w.commit()
	}
	if step >= 4 {
		j.sign()
	}
	attested := step >= 5
	if attested {
		w.attest()
	}
	if step >= 6 {
		w.add(j.outcome)
	}
	if power {
		w.tpm.PowerCycle()
	} else if pcrOwed {
		w.tpm.ExtendPCR(w.x)
	}
	if step == 0 {
		w.seq--
	}
	mend := func() {
		if applied && !attested {
			a := &ledger.Attest{Size: w.committed, Certify: w.tpm.CertifyHead(quote.CertifyTag(w.x))}
			w.add(a)
			w.publish(a.Certify)
		}
		if step >= 1 && step < 6 {
			if applied {
				j.end(ledger.Unknown, "")
			} else {
				j.end(ledger.NotStarted, "restarted")
			}
			w.add(j.outcome)
		}
	}
	if mendFirst {
		mend()
		w.boot()
	} else {
		w.boot()
		mend()
	}
}

func TestUnreadable(t *testing.T) {
	w := newWorld(t, parts{})
	in := w.input()
	in.Entries = func(uint64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) { yield(nil, io.ErrUnexpectedEOF) }
	}
	var un *UnreadableError
	if _, err := Run(in); !errors.As(err, &un) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	in.Entries, in.Checkpoint = from(nil), nil
	if _, err := Run(in); !errors.As(err, &un) {
		t.Errorf("%v", err)
	}
	trust := *w.trust
	trust.AK = nil
	in.Trust = &trust
	if _, err := Run(in); err == nil {
		t.Error("no attestation key is fine")
	}
}

// The same history is judged the same however work is spread.
func TestSerialAndParallelAgree(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	for range 200 {
		w.pass(10 * time.Minute)
		w.ceremony(2)
	}
	w.entries[77] = replaceOnce(t, w.entries[77], "T", "t")
	one, err := Run(w.input())
	if err != nil {
		t.Fatal(err)
	}
	if two := audited(t, w.input()); !reflect.DeepEqual(one, two) {
		t.Errorf("%+v\n%+v", one, two)
	}
	if one.Verdict != finding.Tampered {
		t.Errorf("%+v", one)
	}
}

func TestRatesAreReplayedAcrossOutcomes(t *testing.T) {
	w := newWorld(t, parts{rates: `"3/1h"`})
	w.boot()
	w.ceremony(3)
	w.pass(time.Hour)
	w.ceremony(3) // the window has passed: fine
	if r := audited(t, w.input()); r.Verdict != finding.Clean {
		t.Errorf("%+v", r.Findings)
	}
	denied := w.newJob(3, func(a *message.Approval, _ *message.Submission) { a.Nonce[9] = 1 })
	denied.run()
	if r := audited(t, w.input()); !reflect.DeepEqual(codes(r, finding.Evidence), []string{finding.Breach}) {
		t.Errorf("%+v", r.Findings)
	}
}

func BenchmarkRun(b *testing.B) {
	w := newWorld(b, parts{rates: `"100000/1h"`})
	w.boot()
	for range 500 {
		w.ceremony(1)
	}
	in := w.input()
	for b.Loop() {
		if r := audited(b, in); r.Verdict != finding.Clean {
			b.Fatal(r.Findings)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(w.entries)), "ns/entry")
}
