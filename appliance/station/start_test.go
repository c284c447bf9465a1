package station

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// Each TPM command of a start that fails once costs a second try, not the
// start. A host that says hello meanwhile is answered, but its jobs are refused
// until the start is done.
func TestStartTriesAgain(t *testing.T) {
	for _, c := range []string{"NV_Read", "PCR_Read", "NV_Certify", "Quote"} {
		for _, kind := range []string{"before", "after"} {
			t.Run(c+" "+kind, func(t *testing.T) {
				b := newBoard(t)
				b.tpm.fail(c, kind)
				b.start()
				b.event("tpm-error")
				b.connect()
				b.event("ready")
				b.signs("a.db", "content")
				b.replays()
			})
		}
	}
}

// A PCR that a failed command left behind is caught up by a start that failed
// to do so at first.
func TestStartTriesAgainToCatchUp(t *testing.T) {
	for _, kind := range []string{"before", "after"} {
		b := newBoard(t)
		b.start()
		b.connect()
		b.tpm.fail("PCR_Extend", "before")
		id, m := b.job([]string{"a.db"}, "content")
		b.submit(m)
		b.arm(id)
		b.end(id)
		b.kill()
		b.tpm.fail("PCR_Extend", kind)
		b.start()
		b.event("tpm-error")
		b.connect()
		b.event("ready")
		b.signs("b.db", "content")
		b.replays()
		b.kill()
	}
}

// An idle TPM that was reset is explained by another boot entry.
func TestIdleReset(t *testing.T) {
	b := newBoard(t)
	b.cfg.TPMPoll = time.Millisecond
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.tpm.mu.Lock()
	b.tpm.tpm.PowerCycle()
	b.tpm.mu.Unlock()
	b.event("ready")
	b.signs("b.db", "content")
	b.replays()
	if n := b.kinds()[ledger.KindBoot]; n != 2 {
		t.Fatalf("%d boot entries, want 2", n)
	}
}

// kinds counts the entries of the host's mirror.
func (b *board) kinds() map[string]int {
	b.t.Helper()
	n := map[string]int{}
	for _, e := range b.entries {
		_, body, err := ledger.Parse(e)
		must(b.t, err)
		n[ledger.KindOf(body)]++
	}
	return n
}

// opened is a station on the board's log that does not run.
func (b *board) opened(store *ledgerstore.Store, clock func() time.Time) *Station {
	b.t.Helper()
	cfg := b.cfg
	cfg.Store, cfg.Clock = store, clock
	s := New(cfg)
	must(b.t, s.fault)
	return s
}

// What a start knows from the end of the log is what it would know from all of
// it, whatever the time since is.
func TestShortStartKnowsTheSame(t *testing.T) {
	b := newBoard(t)
	for range 3 {
		b.start()
		b.connect()
		b.signs("a.db", "content")
		b.kill()
	}
	store, err := ledgerstore.Open(b.dir)
	must(t, err)
	defer func() { must(t, store.Close()) }()
	short := 0
	for _, later := range []time.Duration{0, 23 * time.Hour, 25 * time.Hour, 1000 * time.Hour} {
		clock := func() time.Time { return time.Now().Add(later) }
		s := b.opened(store, clock)
		quick := s.past.History
		must(t, s.past.LoadAll(s.clock.Now()))
		if quick.From > 0 {
			short++
		}
		for id, p := range s.past.Jobs {
			if p.Intent < quick.From {
				t.Errorf("after %s: job %s is forgotten", later, id)
			}
		}
		quick.From, quick.Whole = 0, true
		if !reflect.DeepEqual(quick, s.past.History) {
			t.Errorf("after %s: %+v\n%+v", later, quick, s.past.History)
		}
	}
	if short == 0 {
		t.Error("every start read everything")
	}
}

// A log that was damaged where a start does not look halts the board as soon
// as that is found.
func TestScrubFindsDamage(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.view("a whole log", func(v operator.View) bool { return strings.HasPrefix(v.Scrub, "whole") })
	b.connect()
	for range 3 {
		b.signs("a.db", "content")
	}
	b.kill()
	segments, err := filepath.Glob(filepath.Join(b.dir, "log-*"))
	must(t, err)
	raw, err := os.ReadFile(segments[0])
	must(t, err)
	at := strings.Index(string(raw), "kind attest")
	raw[at] ^= 1
	must(t, os.WriteFile(segments[0], raw, 0o600))
	b.wrongBy(48 * time.Hour)
	b.start()
	v := b.view("a halt", func(v operator.View) bool { return v.Halted != "" })
	if v.Scrub != "damaged" || v.Halt != "log-damaged" || !strings.Contains(v.Halted, "start again") {
		t.Fatalf("%q: %s", v.Scrub, v.Halted)
	}
}
