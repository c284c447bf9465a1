package station

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/operator"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/appliance/update"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote/quotetest"
)

// set changes the software TPM.
func (b *board) set(f func(*fakeTPM)) {
	b.tpm.mu.Lock()
	defer b.tpm.mu.Unlock()
	f(b.tpm)
}

// unwritable is a log whose disk takes no more.
type unwritable struct{ *ledgerstore.Store }

func (unwritable) Append([][]byte, *anchor.Plan) error { return errors.New("no space left on device") }

// damage flips a bit of an entry that a start does not look at.
func (b *board) damage() {
	b.t.Helper()
	name := filepath.Join(b.dir, "log-0000000000000000")
	raw, err := os.ReadFile(name)
	must(b.t, err)
	raw[strings.Index(string(raw), "kind attest")] ^= 1
	must(b.t, os.WriteFile(name, raw, 0o600))
}

// lose has the disk forget the whole log but its genesis entry's copy.
func (b *board) lose() {
	b.t.Helper()
	b.cfg.Genesis = b.entries[0]
	b.putBack(nil)
	s, err := ledgerstore.Create(b.dir)
	must(b.t, err)
	must(b.t, s.Close())
}

// heals serves a board that asks for entries until it is ready; what HEAD did not
// take is given up.
func (b *board) heals() {
	b.t.Helper()
	b.up()
	b.send(b.hello())
	b.gives(message.MaxEntries, b.entries)
	b.event("ready")
	b.entries = b.entries[:len(b.entries)-2] // the newest outcome and its attest entry are pending
}

// haltCase is how a board comes into a halt state, and what leads out of it. Both
// are done to a board that is stopped, and that has signed before.
type haltCase struct {
	halt recovery.Halt
	why  string // more than one way leads there
	make func(*board)
	// out mends it before the next start; nil if that is not what leads out.
	out func(*board)
	// after leads the halted board out; nil if out does.
	after func(*board)
	mute  bool          // nobody is known who could say hello
	told  recovery.Halt // what a host hears whose mirror has more, if that is another
}

func resuming(b *board) {
	b.t.Helper()
	v := b.view("a halt", func(v operator.View) bool { return v.Halt != "" })
	b.connect()
	b.obeys(b.order(&order.Resume{Halt: v.Halt, Head: b.tpm.tpm.Head, PCR: b.tpm.tpm.PCR}))
}

func rollBack(b *board) { b.tpm.tpm.Head, b.tpm.tpm.PCR = b.before[0], b.before[1] }

func haltCases() []haltCase {
	gone := func(err error) func(*board) { return func(b *board) { b.set(func(f *fakeTPM) { f.gone = err }) } }
	right := gone(nil)
	var own *quotetest.TPM
	foreign := func(b *board) { b.tpm.tpm.ExtendHead([32]byte{1}) }
	usedPCR := func(b *board) { b.tpm.tpm.ExtendPCR([32]byte{1}) }
	closed := func(h recovery.Halt) func(*board) {
		return func(b *board) { b.cfg.Fault = fault.Halted(h, errors.New("for a reason")) }
	}
	open := func(b *board) { b.cfg.Fault, b.log = nil, nil }
	absent := func(b *board) {
		closed(recovery.LogUnreadable)(b)
		b.log = func(*ledgerstore.Store) past.Log { return past.Absent{Err: b.cfg.Fault} }
	}
	afresh := func(b *board) { open(b); b.lose() }
	wrongKey := func(b *board) { b.cfg.LogKeys = &testKeys{} }
	rightKey := func(b *board) { b.cfg.LogKeys = b.keys }
	early := func(b *board) { b.cfg.Clock = func() time.Time { return time.Now().Add(-time.Hour) } }
	late := func(b *board) { b.cfg.Clock = func() time.Time { return time.Now().Add(time.Hour) } }
	now := func(b *board) { b.cfg.Clock = time.Now }
	full := func(b *board) { b.log = func(s *ledgerstore.Store) past.Log { return unwritable{s} } }
	return []haltCase{
		{halt: recovery.HeadMissing, make: gone(device.ErrNoHead), out: right},
		{halt: recovery.HeadMissing, why: "another index", make: gone(&device.ForeignHeadError{}), out: right},
		{halt: recovery.AKMissing, why: "another key", make: func(b *board) {
			own = b.tpm.tpm
			b.tpm.tpm = quotetest.New()
			b.tpm.tpm.Head, b.tpm.tpm.PCR = own.Head, own.PCR
		}, out: func(b *board) { b.tpm.tpm = own }},
		{halt: recovery.HeadUnknown, make: foreign, after: resuming},
		{halt: recovery.HeadUnknown, why: "the log is lost", told: recovery.HeadAhead, make: (*board).lose, after: (*board).heals},
		{halt: recovery.HeadBehind, make: rollBack, after: resuming},
		{halt: recovery.PCRUnexplained, make: usedPCR, after: resuming},
		{halt: recovery.PCRUnexplained, why: "power", make: usedPCR, out: func(b *board) { b.tpm.tpm.PowerCycle() }},
		{halt: recovery.NotEnrolled, make: closed(recovery.NotEnrolled), out: open},
		{halt: recovery.LogUnreadable, make: absent, out: open, mute: true},
		{halt: recovery.LogUnreadable, why: "for ever", make: absent, out: afresh, after: (*board).heals, mute: true},
		{halt: recovery.LogDamaged, make: (*board).damage, out: (*board).lose, after: (*board).heals},
		{halt: recovery.LogUnwritable, make: full, out: open},
		{halt: recovery.LogKeyWrong, make: wrongKey, out: rightKey},
		{halt: recovery.ClockBehind, make: early, out: now},
		{halt: recovery.ClockAhead, make: late, out: now},
		{halt: recovery.ImageOld, make: func(b *board) {
			b.cfg.Updates = &Updates{Fault: update.ErrDamaged, Floor: &fakeFloor{at: 2}, Board: update.Board{Serial: 1}}
		}, out: func(b *board) { b.cfg.Updates.Board.Serial = 2 }},
	}
}

// Every halt state: its word and what to do are on the display, hosts hear it, and
// what is said to lead out of it does.
func TestHaltStates(t *testing.T) {
	covered := []recovery.Halt{
		recovery.HeadAhead, // TestAMirrorPromisesMore
		recovery.LogClosed, // TestClose: nothing leads out of it
		recovery.Internal,  // TestWhatHaltsHasAState
	}
	for _, c := range haltCases() {
		covered = append(covered, c.halt)
		t.Run(string(c.halt)+" "+c.why, func(t *testing.T) { c.run(t) })
	}
	for _, h := range recovery.Halts {
		if !slices.Contains(covered, h) {
			t.Errorf("%s: no test", h)
		}
	}
}

func (c haltCase) run(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	b.before = [2][32]byte{b.tpm.tpm.Head, b.tpm.tpm.PCR}
	b.signs("a.db", "content")
	b.kill()
	c.make(b)
	b.start()
	v := b.view("a halt", func(v operator.View) bool { return v.Halt != "" })
	if v.State != message.StateHalted || v.Halt != string(c.halt) || !strings.Contains(v.Halted, c.halt.Advice()) {
		t.Fatalf("%s %s: %s", v.State, v.Halt, v.Halted)
	}
	c.heard(b)
	b.kill()
	if c.out != nil {
		c.out(b)
	}
	b.start()
	if c.after != nil {
		c.after(b)
	}
	b.connect()
	b.signs("b.db", "content")
}

// heard: the host is told.
func (c haltCase) heard(b *board) {
	b.t.Helper()
	b.up()
	b.send(b.hello())
	if c.mute {
		b.until(func() bool { return b.refused[message.JobID{}] != nil })
		if r := b.refused[message.JobID{}]; r.Code != message.CodeHalted || !strings.Contains(r.Text, string(c.halt)) {
			b.t.Fatalf("%+v", r)
		}
		return
	}
	for {
		if w, ok := b.receive().(*message.Welcome); ok {
			if w.State != message.StateHalted || w.Halt != string(cmp.Or(c.told, c.halt)) {
				b.t.Fatalf("%s %s", w.State, w.Halt)
			}
			return
		}
	}
}

// A host that says that it has more makes another state of it, which it cannot
// hold the board in.
func TestAMirrorPromisesMore(t *testing.T) {
	b := behind(t)
	b.asked()
	v := b.view("hope", func(v operator.View) bool { return v.Halt == string(recovery.HeadAhead) })
	if !strings.Contains(v.Halted, recovery.HeadAhead.Advice()) {
		t.Fatal(v.Halted)
	}
	b.kill()
	b.entries = b.entries[:b.store.Size()] // there is nothing after all
	b.cfg.Orders, b.cfg.OrderPoll = t.TempDir(), time.Millisecond
	b.start()
	resuming(b)
	b.signs("d.db", "content")
}

// Whatever stops the board has one of the states.
func TestWhatHaltsHasAState(t *testing.T) {
	for _, c := range []struct {
		err  error
		want recovery.Halt
	}{
		{errors.New("never seen before"), recovery.Internal},
		{past.ErrNoLog, recovery.NotEnrolled},
		{past.Damaged(7, errors.New("nonsense")), recovery.LogDamaged},
		{&ledgerstore.CorruptError{}, recovery.LogDamaged},
		{fault.Unreadable(errors.New("I/O error")), recovery.LogUnreadable},
		{fault.ErrClosed, recovery.LogClosed},
	} {
		if h := fault.HaltOf(c.err); h.Halt != c.want || !strings.HasPrefix(h.Error(), string(c.want)+": "+c.want.Advice()) {
			t.Errorf("%v: %v", c.err, h)
		}
	}
}

// A host that is connected hears at once that the board halted.
func TestHaltIsTold(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.set(func(f *fakeTPM) { f.tpm.ExtendPCR([32]byte{1}) })
	b.kill()
	b.cfg.TPMPoll = time.Millisecond
	b.start()
	b.view("a halt", func(v operator.View) bool { return v.Halt == "pcr-unexplained" })
	b.kill()
	b.tpm.tpm.PowerCycle()
	b.start()
	b.connect()
	b.set(func(f *fakeTPM) { f.tpm.ExtendPCR([32]byte{1}) })
	b.until(func() bool { return b.refused[message.JobID{}] != nil })
	if r := b.refused[message.JobID{}]; r.Code != message.CodeHalted || !strings.Contains(r.Text, "pcr-unexplained") {
		t.Fatalf("%+v", r)
	}
}

// A board that halts while it answers a hello says so in the answer.
func TestHaltInsideAHello(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.kill()
	b.damage()
	b.wrongBy(48 * time.Hour) // so far on that a start does not read the damage
	b.start()
	b.view("a halt", func(v operator.View) bool { return v.Halt == "log-damaged" && v.Scrub == "damaged" })
	if w := b.connect0(); w.Halt != "log-damaged" {
		t.Fatal(w.Halt)
	}
}

// connect0 says hello and fetches nothing.
func (b *board) connect0() *message.Welcome {
	b.t.Helper()
	b.up()
	b.send(b.hello())
	for {
		if w, ok := b.receive().(*message.Welcome); ok {
			return w
		}
	}
}

// A TPM that falls silent under an idle board is noticed, told, and asked until
// it answers.
func TestSilentTPMIsNoticed(t *testing.T) {
	b := newBoard(t)
	b.cfg.TPMPoll = time.Millisecond
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.set(func(f *fakeTPM) { f.gone = errTPM })
	b.view("that the TPM is silent", func(v operator.View) bool { return v.State == "tpm-silent" && v.Event == "tpm-error" })
	if w := b.connect0(); w.State != "tpm-silent" {
		t.Fatal(w.State)
	}
	b.set(func(f *fakeTPM) { f.gone = nil })
	b.event("ready")
	b.connect()
	b.signs("b.db", "content")
	b.replays()
}

// A log that can be read only is fetched by a host that has nothing of it, and nothing is signed.
func TestReadOnlyLog(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.kill()
	b.cfg.Fault = fault.Halted(recovery.LogUnwritable, unix.EROFS)
	b.log = func(s *ledgerstore.Store) past.Log {
		must(t, s.Close())
		r, err := ledgerstore.Options{ReadOnly: true}.Open(b.dir)
		must(t, err)
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	had := b.entries
	b.entries = nil
	b.start()
	w := b.connect()
	if w.Halt != string(recovery.LogUnwritable) || len(w.Checkpoint) == 0 || len(w.Attest) == 0 || !slices.EqualFunc(b.entries, had, bytes.Equal) {
		t.Fatalf("%s, %d bytes of a checkpoint, %d entries of %d", w.Halt, len(w.Checkpoint), len(b.entries), len(had))
	}
	id, m := b.job([]string{"b.db"}, "content")
	b.submit(m)
	b.until(func() bool { return b.refused[id] != nil })
	if r := b.refused[id]; r.Code != message.CodeHalted {
		t.Fatalf("%+v", r)
	}
}
