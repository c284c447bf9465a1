package audit

import (
	"bytes"
	"iter"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
)

// days lets an appliance work for some days, a start each.
func (w *world) days(n, jobs int) {
	for range n {
		w.pass(20 * time.Hour)
		w.boot()
		for range jobs {
			w.ceremony(1)
		}
	}
}

// counting counts the entries that an audit reads.
func counting(in Input, read *int) Input {
	entries := in.Entries
	in.Entries = func(n uint64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for e, err := range entries(n) {
				if *read++; !yield(e, err) {
					return
				}
			}
		}
	}
	return in
}

func TestSince(t *testing.T) {
	w := newWorld(t, parts{genuine: true, rates: `"60/1h"`})
	w.days(30, 20)
	old := w.checkpoint()
	since := w.hostSize
	w.days(1, 3)
	full := audited(t, w.input())
	in := w.input()
	in.Since = old
	read := 0
	r := audited(t, counting(in, &read))
	if r.Verdict != finding.Clean || r.Since != since || r.Intents != 3 || r.Items["signed"] != 4 || r.Boots != 1 {
		t.Errorf("%+v", r)
	}
	if r.Head != full.Head || r.Root != full.Root || !r.Last.Equal(full.Last) {
		t.Errorf("%+v\n%+v", r, full)
	}
	if read > len(w.entries)/2 {
		t.Errorf("%d of %d entries read", read, len(w.entries))
	}
	in.Since = w.checkpoint() // nothing new
	if r := audited(t, in); r.Verdict != finding.Clean || r.Intents != 0 || !slices.Contains(codes(r, finding.Info), finding.Freshness) {
		t.Errorf("%+v", r)
	}
}

// What an attack does after the checkpoint is found as by a full audit; what it
// does before is found too, though the reasons may differ.
func TestSinceFindsWhatIsNew(t *testing.T) {
	base := newWorld(t, parts{})
	base.days(3, 3)
	old, size := base.checkpoint(), base.hostSize
	base.days(1, 2)
	base.checkpoint()
	var same atomic.Int64
	t.Cleanup(func() { // all are done
		if same.Load() < 40 {
			t.Errorf("%d attacks were compared", same.Load())
		}
	})
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			w := base.copy(t)
			in := a.do(t, w)
			if _, err := in.Trust.OpenCheckpoint(old); err != nil {
				return // the attack made a log of its own
			}
			full := audited(t, in)
			in.Since = old
			r := audited(t, in)
			if r.Verdict != finding.Tampered {
				t.Errorf("%+v", r.Findings)
			}
			if !startsAlike(in, w.entries, size) {
				return
			}
			same.Add(1)
			want, got := codes(full, finding.Evidence), codes(r, finding.Evidence)
			slices.Sort(want)
			slices.Sort(got)
			if !reflect.DeepEqual(want, got) {
				t.Errorf("%v, a full audit finds %v", got, want)
			}
		})
	}
}

func startsAlike(in Input, entries [][]byte, size uint64) bool {
	n := uint64(0)
	for e, err := range in.Entries(0) {
		if n == size {
			return true
		}
		if err != nil || !bytes.Equal(e, entries[n]) {
			return false
		}
		n++
	}
	return n == size
}

// What was altered below the checkpoint is found all the same where it is read,
// and never taken for the log.
func TestSinceOfAnotherHistory(t *testing.T) {
	w := newWorld(t, parts{})
	w.days(2, 2)
	other := newWorld(t, parts{})
	in := w.input()
	in.Since = other.checkpoint()
	if _, err := Run(in); err == nil {
		t.Error("a checkpoint of another log is fine")
	}
	in.Since = w.checkpoint()
	w.days(1, 1)
	in.Since = w.checkpoint() // newer than the copy
	if r := audited(t, in); !slices.Contains(codes(r, finding.Evidence), finding.RolledBack) {
		t.Errorf("%+v", r.Findings)
	}
}

// Rates and jobs of before the checkpoint count.
func TestSinceRemembers(t *testing.T) {
	w := newWorld(t, parts{rates: `"4/1h"`})
	w.days(5, 2)
	first := w.ceremony(2)
	old := w.checkpoint()
	w.ceremony(2)
	in := w.input()
	in.Since = old
	if r := audited(t, in); !reflect.DeepEqual(codes(r, finding.Evidence), []string{finding.Breach}) {
		t.Errorf("%+v", r.Findings)
	}
	w.pass(30 * time.Minute)
	again := w.newJob(1)
	again.intent.Approval, again.intent.Submission, again.intent.Job = first.intent.Approval, first.intent.Submission, first.intent.Job
	again.intent.SignDigests = first.intent.SignDigests
	again.record()
	w.commit()
	again.end(ledger.Denied, "")
	again.outcome.Items = append(again.outcome.Items, again.outcome.Items[0])
	w.attest()
	w.add(again.outcome)
	in = w.input()
	in.Since = old
	if r := audited(t, in); !slices.Contains(codes(r, finding.Evidence), finding.Repeated) {
		t.Errorf("%+v", r.Findings)
	}
}

// From any checkpoint of an honest history on, the rest is clean and leads to
// the same HEAD.
func TestPropertySinceAnyCheckpoint(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, parts{genuine: true, rates: `"10000/1h"`})
		w.boot()
		var checkpoints [][]byte
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				w.crash(rapid.IntRange(0, 7).Draw(rt, "crash"), rapid.Bool().Draw(rt, "power"), true)
			case 1:
				w.ends(2, rapid.Bool().Draw(rt, "committed"), ledger.Denied)
			default:
				w.ceremony(rapid.IntRange(1, 3).Draw(rt, "items"))
			}
			checkpoints = append(checkpoints, w.checkpoint())
		}
		in := w.input()
		full := audited(t, in)
		in.Since = rapid.SampledFrom(checkpoints).Draw(rt, "since")
		if r := audited(t, in); r.Verdict != finding.Clean || r.Head != full.Head {
			rt.Fatalf("%s, %s\n%+v", r.Head, full.Head, r.Findings)
		}
	})
}
