package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/policy/replay"
	"touchmark/appliance/station/past"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// alike is how many random histories board, auditor and simulation are asked
// about; each is the same in every run.
const alike = 30

// Whatever a log holds, a board that starts with it, an auditor who reads it and
// a simulation of the policy decide alike about the next job.
func TestBoardAuditorAndSimulationDecideAlike(t *testing.T) {
	base := newWorld(t, parts{genuine: true, rates: `"6/1h", "9/3h"`})
	base.boot()
	admitted := 0
	for seed := range uint64(alike) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if decided(t, base.copy(t), rand.New(rand.NewPCG(seed, 11))) {
				admitted++
			}
		})
	}
	if admitted < alike/5 || admitted > alike*4/5 {
		t.Errorf("%d of %d were admitted: this asks too little", admitted, alike)
	}
}

// decided makes a history and asks all three about the job behind it; it reports
// whether that was admitted.
func decided(t *testing.T, w *world, r *rand.Rand) bool {
	earlier := false // somebody refused a job before
	for range 2 + r.IntN(4) {
		w.pass(time.Duration(r.IntN(25)) * time.Minute)
		switch r.IntN(6) {
		case 0:
			w.ends(1+r.IntN(3), true, ledger.Denied)
		case 1:
			w.ends(1+r.IntN(3), true, ledger.Withheld)
		case 2:
			w.ends(1+r.IntN(3), true, ledger.TimedOut)
		case 3:
			w.ends(1+r.IntN(3), true, ledger.Unknown) // what a start makes of an intent that lacks its outcome
		case 4:
			if w.pol.Serial == 1 {
				w.adopt(w.nextPolicy(`"6/1h"`, `"5/1h"`))
			}
		default:
			w.ceremony(1 + r.IntN(3))
		}
	}
	w.pass(time.Duration(r.IntN(30)) * time.Minute)
	j := w.newJob(1 + r.IntN(3))
	board := w.admits(t, j)
	j.run()
	report := audited(t, w.input())
	auditor := true
	for _, f := range report.Findings {
		if f.Code != finding.Breach {
			continue
		}
		if slices.Contains(f.Entries, j.index) {
			auditor = false
		} else {
			earlier = true
		}
	}
	if board != auditor {
		t.Errorf("the board admits it: %v, the auditor: %v: %+v", board, auditor, report.Findings)
	}
	if refused := w.simulated(t); !earlier && (len(refused) == 0 || refused[0] == j.index) && (len(refused) == 0) != board {
		t.Errorf("the board admits it: %v, the simulation refuses %v", board, refused)
	}
	return board
}

// admits asks a board that starts with the log as it is.
func (w *world) admits(t *testing.T, j *job) bool {
	t.Helper()
	store, err := ledgerstore.Options{Disk: disktest.New("/board")}.Create("/board/log")
	w.must(err)
	defer func() { w.must(store.Close()) }()
	w.must(store.Append(w.entries, nil))
	p := past.New(past.Config{Store: store, Log: zerolog.Nop()})
	w.must(p.Load(w.now))
	request, err := p.Policy.Authenticate(j.intent.Approval, j.intent.Submission)
	w.must(err)
	_, err = p.Policy.Admit(request, p.Rates, w.now)
	return err == nil
}

// simulated gives the intents that the policy in force at the end of the log
// would have refused. From the first on it goes another way than the log.
func (w *world) simulated(t *testing.T) (refused []uint64) {
	t.Helper()
	s := replay.New(w.pol)
	for _, e := range w.entries {
		w.must(s.Add(e))
	}
	for _, f := range s.Report().First {
		refused = append(refused, f.Entry)
	}
	return refused
}
