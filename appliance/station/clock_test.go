package station

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
	"touchmark/appliance/station/past"
	"touchmark/appliance/update"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore"
)

// far is how wrong a clock is that lost its time.
const far = 390 * 24 * time.Hour

// wrongBy is a board without power whose clock lost its time: after that the TPM
// cannot tell how much passed.
func (b *board) wrongBy(d time.Duration) {
	b.tpm.tpm.PowerCycle()
	b.cfg.Clock = func() time.Time { return time.Now().Add(d) }
}

// lastBoot is the newest boot entry of the mirror with its time.
func (b *board) lastBoot() (boot *ledger.Boot, at time.Time) {
	b.t.Helper()
	for _, raw := range b.entries {
		h, body, err := ledger.Parse(raw)
		must(b.t, err)
		if e, ok := body.(*ledger.Boot); ok {
			boot, at = e, h.Time
		}
	}
	return boot, at
}

// corrected is a board whose clock was far ahead or behind until administrators
// ordered the time.
func corrected(t *testing.T, by time.Duration) *board {
	t.Helper()
	b := obedient(t)
	if by > 0 {
		b.wrongBy(by)
	}
	b.start()
	b.connect()
	b.kill()
	b.wrongBy(by)
	b.start()
	b.connect()
	b.obeys(b.order(&order.Time{To: b.now()}))
	b.signs("corrected.db", "content")
	return b
}

// A correction outlives a restart of a machine whose clock is as wrong as it was,
// and ends with the first start of one whose clock was set.
func TestCorrectionIsKept(t *testing.T) {
	for name, by := range map[string]time.Duration{"ahead": far, "behind": -far} {
		t.Run(name, func(t *testing.T) {
			b := corrected(t, by)
			b.kill()
			b.start()
			if v := b.event("ready"); !strings.Contains(v.Warning, "Set it before the next start") {
				t.Errorf("warns %q", v.Warning)
			}
			b.connect()
			boot, at := b.lastBoot()
			if d, ok := ledger.Correction(boot.Clock); !ok || (d+by).Abs() > time.Minute || at.Sub(b.now()).Abs() > time.Hour {
				t.Errorf("clock %s at %s", boot.Clock, at)
			}
			b.signs("kept.db", "content")
			b.kill()
			b.cfg.Clock = nil
			b.start()
			if v := b.event("ready"); v.Warning != "" {
				t.Errorf("warns %q", v.Warning)
			}
			b.connect()
			if boot, _ := b.lastBoot(); boot.Clock != ledger.ClockSystem {
				t.Errorf("clock %s", boot.Clock)
			}
			b.signs("set.db", "content")
			b.replays()
		})
	}
}

// dying is a log whose disk takes so many appends more.
type dying struct {
	*ledgerstore.Store
	left *atomic.Int64
}

func (d dying) Append(entries [][]byte, plan *anchor.Plan) error {
	if d.left.Add(-1) < 0 {
		return errors.New("no space left on device")
	}
	return d.Store.Append(entries, plan)
}

// A board that dies behind a time order that HEAD took, before its boot entry says
// what the clock is corrected by, starts with the right time all the same.
func TestCorrectionOutlivesADeath(t *testing.T) {
	for name, appends := range map[string]int64{"behind the commit": 1, "behind the attestation": 2} {
		t.Run(name, func(t *testing.T) {
			b := obedient(t)
			disk := new(atomic.Int64)
			disk.Store(1 << 40)
			b.log = func(s *ledgerstore.Store) past.Log { return dying{s, disk} }
			b.wrongBy(far)
			b.start()
			b.connect()
			id := b.bring(b.order(&order.Time{To: b.now()}))
			b.ordered(id)
			disk.Store(appends)
			b.command(operator.Command{Verb: operator.Arm, Job: id})
			if v := b.serve("halted"); !strings.Contains(v.Halted, "log-unwritable") {
				t.Fatal(v.Halted)
			}
			b.kill()
			disk.Store(1 << 40)
			b.start()
			if v := b.event("ready"); !strings.Contains(v.Warning, "Set it before the next start") {
				t.Errorf("warns %q", v.Warning)
			}
			b.connect()
			boot, at := b.lastBoot()
			if d, ok := ledger.Correction(boot.Clock); !ok || (d+far).Abs() > time.Minute || at.Sub(b.now()).Abs() > time.Hour {
				t.Errorf("clock %s at %s", boot.Clock, at)
			}
			b.signs("a.db", "content")
			b.replays()
		})
	}
}

// diedBehindOrder is a board whose clock is 100 h ahead, some time after it signed last. It
// halted over that, and died with so many appends left to its disk behind the order, given
// too, that corrects it; the disk is whole again.
func diedBehindOrder(t *testing.T, appends int64, passed time.Duration) (b *board, note []byte) {
	t.Helper()
	b = obedient(t)
	disk := new(atomic.Int64)
	disk.Store(1 << 40)
	b.log = func(s *ledgerstore.Store) past.Log { return dying{s, disk} }
	b.start()
	b.connect()
	b.signs("before.db", "content")
	b.kill()
	b.away = passed
	b.cfg.Clock = func() time.Time { return time.Now().Add(passed + 100*time.Hour) }
	b.haltsAhead()
	note = b.order(&order.Time{To: b.now()})
	id := b.bring(note)
	b.ordered(id)
	disk.Store(appends) // a boot entry comes first
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	if v := b.serve("halted"); !strings.Contains(v.Halted, "log-unwritable") {
		t.Fatal(v.Halted)
	}
	b.kill()
	disk.Store(1 << 40)
	return b, note
}

// haltsAhead starts a board, which finds its clock ahead.
func (b *board) haltsAhead() {
	b.t.Helper()
	b.start()
	b.view("a halt", func(v operator.View) bool { return v.Halt == string(recovery.ClockAhead) })
	b.connect()
}

// isRight starts a board whose clock was set right: it serves, and the log replays.
func (b *board) isRight(passed time.Duration) {
	b.t.Helper()
	b.kill()
	b.cfg.Clock = func() time.Time { return time.Now().Add(passed) }
	b.start()
	b.event("ready")
	b.connect()
	b.signs("right.db", "content")
	b.replays()
}

// A board that halted over its clock and died behind the order that corrects it halts again
// as long as its clock is as wrong as it was: administrators vouched for the time that they
// ordered, and for no other.
func TestWrongClockOutlivesNoOrder(t *testing.T) {
	for name, c := range map[string]struct {
		appends int64
		passed  time.Duration
	}{
		"behind the commit":             {2, 0},
		"behind the attestation":        {3, 0},
		"behind the commit, after long": {2, 500 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			b, note := diedBehindOrder(t, c.appends, c.passed)
			b.haltsAhead()
			if id := b.bring(note); c.appends == 2 { // else it is refused before it is shown
				b.ordered(id)
				b.command(operator.Command{Verb: operator.Arm, Job: id})
				if v := b.serve("order-dropped"); !strings.Contains(v.Message, "took effect already") {
					t.Errorf("the same order again: %q", v.Message)
				}
			}
			b.isRight(c.passed)
		})
	}
}

// A board that died behind the order that corrects a clock which is ahead, and whose clock
// is as wrong as it was, is led out by another order: the one before is in force already.
func TestAnotherTimeOrderLeadsOut(t *testing.T) {
	for name, c := range map[string]struct {
		appends int64
		passed  time.Duration
	}{
		"behind the commit":                  {2, 0},
		"behind the attestation":             {3, 0},
		"behind the commit, after long":      {2, 500 * 24 * time.Hour},
		"behind the attestation, after long": {3, 500 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := diedBehindOrder(t, c.appends, c.passed)
			old, err := filepath.Glob(filepath.Join(b.cfg.Orders, "*.note"))
			must(t, err)
			for _, name := range old { // whoever brought it takes it away
				must(t, os.Remove(name))
			}
			b.haltsAhead()
			b.obeys(b.order(&order.Time{To: b.now()}))
			b.signs("after.db", "content")
			b.isRight(c.passed)
		})
	}
}

// ahead is a board whose clock was set ahead before a start.
func ahead(t *testing.T, by time.Duration, power bool) *board {
	t.Helper()
	b := obedient(t)
	b.start()
	b.connect()
	b.signs("before.db", "content")
	b.kill()
	b.cfg.Clock, b.away = func() time.Time { return time.Now().Add(by) }, by
	if !power {
		b.tpm.tpm.PowerCycle()
	}
	b.start()
	return b
}

// For a clock that is further ahead than the TPM's clock or a year in a drawer explain,
// administrators vouch: without them nothing is written, with them the board goes on.
func TestClockAheadNeedsAdministrators(t *testing.T) {
	for name, c := range map[string]struct {
		by    time.Duration
		power bool
	}{
		"the TPM ran on":         {11 * time.Minute, true},
		"somebody typed 2062":    {36 * 365 * 24 * time.Hour, true},
		"longer than any drawer": {401 * 24 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := ahead(t, c.by, c.power)
			size := b.store.Size()
			v := b.view("a halt", func(v operator.View) bool { return v.Halt == string(recovery.ClockAhead) })
			if !strings.Contains(v.Halted, "too far ahead of the last log entry") || b.store.Size() != size {
				t.Fatalf("%s: %d entries, %d before", v.Halted, b.store.Size(), size)
			}
			b.connect()
			note := b.order(&order.Time{To: b.now()})
			id := b.bring(note)
			b.ordered(id)
			b.command(operator.Command{Verb: operator.Deny, Job: id})
			if v := b.serve("order-dropped"); v.Halt != string(recovery.ClockAhead) || b.store.Size() != size {
				t.Fatalf("the operator alone: %q, %d entries", v.Halt, b.store.Size())
			}
			b.obeys(note)
			b.signs("after.db", "content")
			b.kill()
			b.start()
			b.event("ready")
			b.connect()
			if boot, at := b.lastBoot(); boot.Clock != ledger.ClockSystem || b.now().Sub(at) > time.Minute {
				t.Errorf("clock %s at %s", boot.Clock, at)
			}
			b.replays()
		})
	}
}

// A ceremony takes as long as people do: its entries have the time at which it began.
func TestFirstStartAfterALongCeremony(t *testing.T) {
	b := obedient(t)
	b.cfg.Clock, b.away = func() time.Time { return time.Now().Add(time.Hour) }, time.Hour
	b.start()
	b.event("ready")
	b.connect()
	b.signs("a.db", "content")
}

// A board that comes out of a drawer after a year goes on by its operator's word.
func TestAYearInADrawer(t *testing.T) {
	b := ahead(t, 366*24*time.Hour, false)
	if v := b.event("ready"); v.Warning != "" {
		t.Errorf("warns %q", v.Warning)
	}
	b.connect()
	b.signs("a.db", "content")
	b.replays()
}

// A small correction is not taken over: nobody can tell whether the clock was set.
func TestSmallCorrectionIsNotKept(t *testing.T) {
	b := corrected(t, time.Hour)
	b.kill()
	b.start()
	b.view("the TPM, which ran on, knows better", func(v operator.View) bool { return v.Halt == string(recovery.ClockAhead) })
	b.kill()
	b.wrongBy(time.Hour)
	b.start()
	b.event("ready")
	b.connect()
	if boot, _ := b.lastBoot(); boot.Clock != ledger.ClockSystem {
		t.Errorf("clock %s", boot.Clock)
	}
}

// A job that was signed before the clock ran ahead, and was forgotten then because
// its approval had expired, is known again when the clock is set back: it is
// answered from the log and never signed twice, also by the next start.
func TestForgottenJobsComeBackWithTheTime(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	b.end(id)
	b.kill()
	b.wrongBy(far)
	b.start()
	b.connect()
	again := func() {
		t.Helper()
		delete(b.ended, id)
		b.submit(m)
		b.until(func() bool { return b.ended[id] != nil || b.refused[id] != nil })
		if b.ended[id] == nil {
			t.Fatalf("%+v", b.refused[id])
		}
	}
	b.obeys(b.order(&order.Time{To: b.now()}))
	again()
	b.kill()
	b.start()
	b.connect()
	again()
	b.signs("b.db", "content")
	b.replays()
}

// Another firmware is in the log before its first boot entry, once.
func TestUpdateEntry(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.kill()
	for range 2 {
		b.cfg.Firmware = "9.9.9"
		b.start()
		if w := b.connect(); w.Firmware != "9.9.9" {
			t.Fatal(w.Firmware)
		}
		b.signs("b.db", "content")
		b.kill()
	}
	var kinds []string
	for _, raw := range b.entries {
		_, body, err := ledger.Parse(raw)
		must(t, err)
		switch e := body.(type) {
		case *ledger.Boot:
			kinds = append(kinds, e.Firmware)
		case *ledger.Update:
			kinds = append(kinds, e.From+">"+e.To)
		}
	}
	want := update.Version + " " + update.Version + ">9.9.9 9.9.9 9.9.9"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	b.replays()
}

// A start that died behind its update entry does not write another.
func TestUpdateEntryOnce(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.kill()
	s := b.opened(b.reopened(), time.Now)
	must(t, s.chain.AppendNow(s.clock.Now(), s.past.Update("9.9.9")))
	if u := s.past.Update("9.9.9"); u != nil {
		t.Errorf("another one: %+v", u)
	}
	if u := s.past.Update("10.0.0"); u == nil || u.From != update.Version {
		t.Errorf("%+v", u)
	}
}

// Each commit is counted, and told on the display and to the host.
func TestWearIsTold(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.signs("b.db", "content")
	v := b.view("three writes", func(v operator.View) bool { return v.Writes == 3 })
	if lines := screen.Text(v, 80); !strings.Contains(strings.Join(lines, "\n"), "3 writes of its memory") {
		t.Error(lines)
	}
	b.up()
	b.send(b.hello())
	for {
		if w, ok := b.receive().(*message.Welcome); ok {
			if w.Writes != 3 || w.Days < 0 {
				t.Errorf("%d writes, %d days", w.Writes, w.Days)
			}
			return
		}
	}
}

// reopened is the log of a board that is stopped.
func (b *board) reopened() *ledgerstore.Store {
	b.t.Helper()
	store, err := ledgerstore.Open(b.dir)
	must(b.t, err)
	b.t.Cleanup(func() { must(b.t, store.Close()) })
	return store
}
