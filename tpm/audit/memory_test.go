package audit

import (
	"iter"
	"slices"
	"testing"
	"time"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
)

// A log of intents that are never committed and never get an outcome costs
// no more memory, however long it is.
func TestMemoryIsBounded(t *testing.T) {
	w := started(t)
	in := w.input()
	job := w.newJob(1)
	job.intent.Approval = []byte("nobody signed this\n") // so that none costs a signature
	base := uint64(len(w.entries))
	const more = history.Window + 500
	in.Checkpoint = []byte("garbage") // so that all entries are read
	in.Pending = nil
	entries := in.Entries
	in.Entries = func(n uint64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for e, err := range entries(n) {
				if !yield(e, err) {
					return
				}
			}
			for i := base; i < base+more; i++ {
				job.intent.Sequence++
				e, err := ledger.Marshal(ledger.Header{Index: i, Time: w.now.Add(time.Duration(i) * time.Second)}, job.intent)
				if !yield(e, err) {
					return
				}
			}
		}
	}
	in.Start = parallel
	a, err := newAuditor(in)
	w.must(err)
	w.must(a.run())
	if n := max(a.link.Held(), a.fold.Held()); n > history.Window {
		t.Errorf("%d intents are remembered", n)
	}
	r := a.report()
	if r.Intents < more || r.Verdict != finding.Tampered {
		t.Errorf("%d intents, %s", r.Intents, r.Verdict)
	}
	for _, f := range r.Findings {
		if len(f.Entries) > 100 {
			t.Errorf("%s lists %d entries", f.Code, len(f.Entries))
		}
	}
}

// A job that comes again when its approval is over is not repeated, whether the
// auditor still remembers it or not: policy does not admit it.
func TestRepeatedOnlyWhileGood(t *testing.T) {
	for after, want := range map[time.Duration][]string{
		50 * time.Minute: {finding.Repeated},
		2 * time.Hour:    {finding.Breach},
	} {
		w := started(t)
		first := w.ceremony(1)
		w.pass(after)
		again := w.newJob(1)
		again.intent.Approval, again.intent.Submission, again.intent.Job = first.intent.Approval, first.intent.Submission, first.intent.Job
		again.intent.SignDigests = first.intent.SignDigests
		again.record()
		w.commit()
		again.end(ledger.Denied, "")
		w.attest()
		w.add(again.outcome)
		r := audited(t, w.input())
		if got := codes(r, finding.Evidence); !slices.Equal(got, want) {
			t.Errorf("after %s: %+v", after, r.Findings)
		}
	}
}
