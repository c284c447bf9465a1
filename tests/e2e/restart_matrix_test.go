package e2e

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// accident is what happens when the line has stopped at a step.
type accident struct {
	name  string
	board bool // the board dies: a job in its token's hands ends unknown
	do    func(s *sim, r *request) *request
}

// accidents are all of those that issue "The link" names.
var accidents = []accident{
	{"cable pulled", false, func(s *sim, r *request) *request {
		s.line.cut()
		return r
	}},
	{"link process killed", false, func(s *sim, r *request) *request {
		s.line.dropBoard() // the core starts another
		return r
	}},
	{"hostd killed", false, func(s *sim, r *request) *request {
		s.killHost()
		s.startHost()
		return r
	}},
	{"core killed", true, func(s *sim, r *request) *request {
		s.killBoard()
		s.startBoard()
		return r
	}},
	{"power cut on the board", true, func(s *sim, r *request) *request {
		s.killBoard()
		s.tpm.tpm.PowerCycle()
		s.startBoard()
		return r
	}},
	{"both killed", true, func(s *sim, r *request) *request {
		s.killBoard()
		s.killHost()
		s.startBoard()
		s.startHost()
		return r
	}},
	{"client killed", false, func(s *sim, r *request) *request {
		r.kill()
		return s.ask()
	}},
	{"client and hostd killed", false, func(s *sim, r *request) *request {
		r.kill()
		s.killHost()
		s.startHost()
		return s.ask()
	}},
}

// recorded runs one good job from the first greeting on and gives the steps of its protocol, so that no message can be
// forgotten: a new one is a new step.
func recorded(t *testing.T) []said {
	t.Helper()
	s := newSim(t)
	s.line.forget(said{}, false)
	s.startBoard()
	s.startHost()
	if r := s.ask().end(); !r.OK {
		t.Fatalf("without any accident: %+v", r)
	}
	story := s.line.story()
	for _, kind := range []string{"up hello", "down welcome", "up fetch", "down entries", "up mirrored", "up submit", "down event shown",
		"down event touch", "down checkpoint", "down done"} {
		if !slices.ContainsFunc(story, func(st said) bool { return st.kind == kind }) {
			t.Fatalf("no %q passed: %v", kind, story)
		}
	}
	return story
}

// TestRestartAtEveryStep stops the line at every message of a job, when it has arrived and just before it does, lets
// each accident happen there, and wants the job to come to its one end.
func TestRestartAtEveryStep(t *testing.T) {
	steps, again := recorded(t), recorded(t)
	steps = slices.DeleteFunc(steps, func(st said) bool { return !slices.Contains(again, st) }) // what only a slow machine says
	t.Logf("%d steps: %v", len(steps), steps)
	for _, a := range accidents {
		for _, at := range steps {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s %d, lost %t", a.name, at.kind, at.n, lost), func(t *testing.T) {
					t.Parallel()
					survives(t, a, at, lost)
				})
			}
		}
	}
}

func survives(t *testing.T, a accident, at said, lost bool) {
	s := newSim(t)
	stopped := s.line.forget(at, lost)
	s.startBoard()
	s.startHost()
	r := s.ask()
	select {
	case <-stopped:
	case <-r.done:
		// The last messages may pass after the answer.
		<-stopped
	}
	r = a.do(s, r)
	close(s.free)
	s.line.mend()
	resp := r.end()
	switch {
	case resp.OK:
	case a.board && (resp.Code == api.MaySigned || resp.Code == api.DeviceFault):
	default:
		t.Fatalf("%+v; on the line passed %v", resp, s.line.story())
	}
	if next := s.ask().end(); !next.OK {
		t.Fatalf("the next job: %+v", next)
	}
	s.accounts(a.board)
}

// accounts reads the board's log and wants every signature that the token made to be in it, at most one for each item of
// a job, one intent for each job, and nothing that an auditor calls evidence.
func (s *sim) accounts(died bool) {
	s.t.Helper()
	published, err := client.Daemon{Socket: s.host.socket}.Ask(&api.Request{Op: api.OpPublish})
	if err != nil {
		s.t.Fatalf("%+v, %v", published, err)
	}
	s.line.cut()
	s.killHost()
	s.killBoard()
	store, err := ledgerstore.Open(s.board.dir)
	s.ok(err)
	defer func() { _ = store.Close() }()
	planned, jobs := map[string]message.JobID{}, map[message.JobID]int{}
	for i := range store.Size() {
		raw, err := store.Entry(i)
		s.ok(err)
		_, body, err := ledger.Parse(raw)
		s.ok(err)
		switch b := body.(type) {
		case *ledger.Intent:
			jobs[b.Job]++
			for _, d := range b.SignDigests {
				planned[string(d.Sum)] = b.Job
			}
		case *ledger.Outcome:
			for _, it := range b.Items {
				if !died && it.State != ledger.Signed {
					s.t.Errorf("entry %d: %s, though the board never died", i, it.State)
				}
			}
		}
	}
	signed := map[message.JobID]int{}
	for _, m := range s.made {
		job, ok := planned[m.digest]
		if !ok {
			s.t.Error("the token signed what no entry announces")
		}
		signed[job]++
	}
	for job, n := range jobs {
		if n > 1 || signed[job] > 1 {
			s.t.Errorf("job %s has %d intents and %d signatures", job, n, signed[job])
		}
	}
	s.audited(store)
}

// genesisOnly are the findings that the software token of this test causes in every log: it has no attestation.
var genesisOnly = []string{"token-attestation"}

func (s *sim) audited(store *ledgerstore.Store) {
	s.t.Helper()
	report, err := audit.Run(audit.Input{Trust: s.trust.Trust, Checkpoint: s.checkpoint(), Entries: func(from uint64) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			for i := from; i < store.Size(); i++ {
				if e, err := store.Entry(i); !yield(e, err) {
					return
				}
			}
		}
	}})
	s.ok(err)
	for _, f := range report.Findings {
		if f.Severity == finding.Evidence && !slices.Contains(genesisOnly, f.Code) {
			s.t.Errorf("the auditor: %+v", f)
		}
	}
}
