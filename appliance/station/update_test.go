package station

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/appliance/update/cardtest"
	"touchmark/hostlink/message"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore/durable"
)

// fakeFloor is the counter of a software TPM.
type fakeFloor struct {
	raised chan struct{} // has room for one: that it has changed

	mu  sync.Mutex // guards what follows
	at  uint64
	err error
}

func (f *fakeFloor) Floor() (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at, f.err
}

func (f *fakeFloor) RaiseFloor(to uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if to > f.at+device.MaxRaise {
		return fmt.Errorf("from %d to %d at once", f.at, to)
	}
	f.at = max(f.at, to)
	select {
	case f.raised <- struct{}{}:
	default:
	}
	return f.err
}

// carded is a board that is started from a card.
type carded struct {
	*board
	path  string
	floor *fakeFloor
	start byte
}

func newCarded(t *testing.T) *carded {
	c := &carded{board: obedient(t), path: cardtest.Write(t, update.First()), floor: &fakeFloor{raised: make(chan struct{}, 1)}}
	c.stirred = c.floor.raised // nothing is said to the host when the counter is raised
	c.restart("1", 1)
	return c
}

// restart starts the machine; the loader starts the image of this version and serial.
func (c *carded) restart(version string, serial uint64) {
	c.t.Helper()
	c.kill()
	c.start++
	c.rerun(version, serial)
}

// rerun starts the program again, and not the machine.
func (c *carded) rerun(version string, serial uint64) {
	c.t.Helper()
	c.kill()
	u := &Updates{Floor: c.floor, Board: update.Board{Kind: "test", Version: version, Serial: serial, Start: update.Start{c.start}}}
	opened, err := card.Open(durable.OS, c.path)
	must(c.t, err)
	c.t.Cleanup(func() { _ = opened.Close() })
	u.Card = opened
	u.Event, err = opened.AtStart(serial, u.Board.Start)
	must(c.t, err)
	c.cfg.Updates, c.cfg.Firmware = u, version
	c.board.start()
}

// TestFarSerial: a card written by hand whose image has a serial far above the TPM's counter: each good start raises that
// as far as one may, and the board can be updated all the while.
func TestFarSerial(t *testing.T) {
	c := newCarded(t)
	for start := uint64(1); start <= 3; start++ {
		c.restart("300", 300)
		c.connect()
		c.until(func() bool {
			at, err := c.floor.Floor()
			return err == nil && at == start*update.MaxStep
		})
	}
	im, slot := cardtest.Image("301", 301)
	c.ordered(c.stick(im, slot))
}

// state is what autoboot.txt says.
func (c *carded) state() update.State {
	c.t.Helper()
	opened, err := card.Open(durable.OS, c.path)
	must(c.t, err)
	defer func() { must(c.t, opened.Close()) }()
	return opened.State()
}

// stick brings an image, with its order.
func (c *carded) stick(im *order.Image, slot []byte) (id string) {
	c.t.Helper()
	must(c.t, os.WriteFile(filepath.Join(c.cfg.Orders, update.FileName(im)), slot, 0o600))
	return c.bring(c.order(im))
}

// switches brings image 2 and arms it until the board asks for a restart.
func (c *carded) switches() {
	c.t.Helper()
	im, slot := cardtest.Image("2", 2)
	id := c.stick(im, slot)
	v := c.ordered(id)
	if text := strings.Join(v.Order.Lines, "\n"); !strings.Contains(text, "version 2, serial 2") || !strings.Contains(text, fmt.Sprintf("%x", im.Image)) {
		c.t.Fatal(text)
	}
	c.command(operator.Command{Verb: operator.Arm, Job: id})
	c.inForce()
	c.view("a restart asked for", func(v operator.View) bool { return strings.Contains(v.Warning, "RESTART") })
	if s := c.state(); s.Phase != update.Switched || s.Boot != update.B {
		c.t.Fatalf("%+v", s)
	}
}

// The whole of it: written, ordered, logged, tried, kept; and from then on nothing
// older is taken.
func TestImage(t *testing.T) {
	c := newCarded(t)
	c.connect()
	c.signs("a.db", "content")
	c.switches()
	if e := c.newestOrder(); e.Action != ledger.KindImage || !e.Mirrored {
		t.Fatalf("%+v", e)
	}
	c.rerun("1", 1)
	c.connect()
	c.view("a restart asked for", func(v operator.View) bool { return strings.Contains(v.Warning, "RESTART") })

	c.restart("2", 2)
	c.view("the trial", func(v operator.View) bool {
		return strings.Contains(v.Warning, "ON TRIAL: version 2") && strings.Contains(v.Warning, "a host")
	})
	if s := c.state(); s.Phase != update.Trying || s.Boot != update.A {
		t.Fatalf("%+v", s)
	}
	c.connect()
	c.view("the end of the trial", func(v operator.View) bool { return !strings.Contains(v.Warning, "ON TRIAL") })
	c.signs("b.db", "more")
	c.kill()
	if s := c.state(); s.Phase != update.Settled || s.Boot != update.B || s.Outcome != update.Kept || c.floor.at != 2 {
		t.Fatalf("%+v, floor %d", s, c.floor.at)
	}
	c.saysUpdate("2")

	c.restart("2", 2)
	c.connect()
	older, slot := cardtest.Image("1.9", 2)
	c.stick(older, slot)
	c.view("a refusal", func(v operator.View) bool { return v.Event == "order-dropped" && strings.Contains(v.Message, "older") })
	c.restart("1", 1) // somebody put the old card in
	v := c.view("a halt", func(v operator.View) bool { return v.Halt != "" })
	if v.Halt != "image-old" || !strings.Contains(v.Halted, "serial 1") {
		t.Errorf("%s: %s", v.Halt, v.Halted)
	}
}

// saysUpdate looks for the entry about an update, which names the image.
func (c *carded) saysUpdate(to string) {
	c.t.Helper()
	im, _ := cardtest.Image(to, 2)
	for _, raw := range c.entries {
		_, body, err := ledger.Parse(raw)
		must(c.t, err)
		if u, ok := body.(*ledger.Update); ok && u.To == to && string(u.Image) == string(im.Image[:]) {
			return
		}
	}
	c.t.Error("no entry says that version " + to + " was started")
}

// A trial that is cut off before token and host were there goes back.
func TestImageFallsBack(t *testing.T) {
	c := newCarded(t)
	c.connect()
	c.switches()
	c.token.set(false, true)
	c.restart("2", 2)
	c.connect()
	c.view("the trial", func(v operator.View) bool { return strings.Contains(v.Warning, "kept once it has the token;") })
	c.restart("1", 1)
	c.token.set(false, false)
	c.connect()
	c.view("the fall", func(v operator.View) bool { return strings.Contains(v.Warning, "did not come up: this is version 1") })
	c.rerun("1", 1)
	c.view("the fall", func(v operator.View) bool { return strings.Contains(v.Warning, "did not come up: this is version 1") })
	c.kill()
	if s := c.state(); s.Phase != update.Settled || s.Boot != update.A || s.Outcome != update.Failed || c.floor.at > 1 {
		t.Fatalf("%+v, floor %d", s, c.floor.at)
	}
}

// The power goes between the log and the card: the next start switches.
func TestImageIsFollowedLater(t *testing.T) {
	c := newCarded(t)
	c.connect()
	before, err := os.ReadFile(c.path)
	must(t, err)
	c.switches()
	c.kill()
	after, err := os.ReadFile(c.path)
	must(t, err)
	at := strings.Index(string(before), "# touchmark/autoboot")
	copy(after[at:], before[at:at+update.SectorSize]) // the slot is written, autoboot.txt is not
	must(t, os.WriteFile(c.path, after, 0o600))
	c.restart("1", 1)
	c.view("a restart asked for", func(v operator.View) bool { return strings.Contains(v.Warning, "RESTART") })
	c.kill()
	if s := c.state(); s.Phase != update.Switched {
		t.Fatalf("%+v", s)
	}

	must(t, os.WriteFile(c.path, before, 0o600)) // nor is the slot: the card was put back from a copy
	c.restart("1", 1)
	c.view("why not", func(v operator.View) bool { return strings.Contains(v.Message, "could not be switched to") })
	c.connect()
	c.signs("a.db", "content")
}

// What is on the stick is not what the order names, or the card fails: nothing is in
// the log, and the board goes on.
func TestImageRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(c *carded, im *order.Image, slot []byte) []byte
		want  string
		shown bool // the operator decides first
	}{
		"no file":       {func(*carded, *order.Image, []byte) []byte { return nil }, "the stick has no slot-", true},
		"short":         {func(_ *carded, _ *order.Image, s []byte) []byte { return s[512:] }, "bytes, the order says", true},
		"damaged":       {func(_ *carded, _ *order.Image, s []byte) []byte { s[20000] ^= 1; return s }, "was damaged on the way", true},
		"another board": {func(_ *carded, im *order.Image, s []byte) []byte { im.Board = "rpi4"; return s }, "is for a board rpi4", false},
		"far ahead":     {func(_ *carded, im *order.Image, s []byte) []byte { im.Serial = 100; return s }, "is it a mistake", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCarded(t)
			c.connect()
			im, slot := cardtest.Image("2", 2)
			content := test.spoil(c, im, slot)
			var id string
			if content != nil {
				id = c.stick(im, content)
			} else {
				id = c.bring(c.order(im))
			}
			if test.shown {
				c.ordered(id)
				c.command(operator.Command{Verb: operator.Arm, Job: id})
			}
			if v := c.serve("order-dropped"); !strings.Contains(v.Message, test.want) {
				t.Fatal(v.Message)
			}
			c.signs("a.db", "content")
			if n := c.kinds()[ledger.KindImage]; n != 0 {
				t.Errorf("%d entries about images", n)
			}
			c.kill()
			if s := c.state(); s != update.First() {
				t.Errorf("%+v", s)
			}
		})
	}
}

// An order for an image reaches a board that has no card, or one that cannot be used.
func TestImageWithoutCard(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	im, _ := cardtest.Image("2", 2)
	b.bring(b.order(im))
	if v := b.event("order-dropped"); !strings.Contains(v.Message, "not replaced by order") {
		t.Error(v.Message)
	}
	b.kill()
	b.cfg.Updates = &Updates{Fault: update.ErrDamaged, Floor: &fakeFloor{at: 1}, Board: update.Board{Serial: 1}}
	b.start()
	b.view("why", func(v operator.View) bool { return strings.Contains(v.Warning, update.ErrDamaged.Error()) })
	b.connect()
	b.bring(b.order(im))
	if v := b.event("order-dropped"); !strings.Contains(v.Message, "cannot be written") {
		t.Error(v.Message)
	}
	b.signs("a.db", "content")
}

// A TPM whose counter is missing is that of a board that was not enrolled to its end.
func TestImageCounter(t *testing.T) {
	for want, err := range map[string]error{
		"not-enrolled": device.ErrNoFloor,
		"image-old":    &device.ForeignFloorError{},
	} {
		b := obedient(t)
		b.cfg.Updates = &Updates{Fault: update.ErrDamaged, Floor: &fakeFloor{err: err}, Board: update.Board{Serial: 1}}
		b.start()
		if v := b.view("a halt", func(v operator.View) bool { return v.Halt != "" }); v.Halt != want {
			t.Errorf("%v: %s", err, v.Halt)
		}
	}
	b := obedient(t)
	floor := &fakeFloor{err: errors.New("silent")}
	b.cfg.Updates = &Updates{Fault: update.ErrDamaged, Floor: floor, Board: update.Board{Serial: 1}}
	b.start()
	b.event("tpm-error")
	floor.mu.Lock()
	floor.err = nil
	floor.mu.Unlock()
	b.view("ready", func(v operator.View) bool { return v.State == message.StateReady })
}
