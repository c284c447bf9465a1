package card_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"

	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/appliance/update/cardtest"
	"touchmark/tpm/ledgerstore/durable"
)

// flash is a card in memory. It writes sectors, each whole or not at all; when the
// power goes, any of those that were not synced are there.
type flash struct {
	durable.Disk // nothing else of it is used

	stable []byte           // what a power cut leaves
	loose  map[int64][]byte // sectors written since the last sync, in no order
	left   int              // calls that still succeed
	fails  bool             // the call that does not fails once, and the power stays
}

var errPower = errors.New("the power is off")

// step counts a call; the power goes before it, or it alone fails.
func (f *flash) step() error {
	f.left--
	if f.left == -1 || f.left < 0 && !f.fails {
		return errPower
	}
	return nil
}

func (f *flash) Open(string, int, fs.FileMode) (durable.File, error) { return f, nil }
func (f *flash) Size() (int64, error)                                { return int64(len(f.stable)), nil }
func (f *flash) Truncate(int64) error                                { return errors.New("a card has one size") }
func (f *flash) Chmod(fs.FileMode) error                             { return nil }
func (f *flash) Close() error                                        { return nil }

func (f *flash) ReadAt(b []byte, at int64) (int, error) {
	if f.left < 0 && !f.fails {
		return 0, errPower
	}
	if at+int64(len(b)) > int64(len(f.stable)) {
		return 0, io.ErrUnexpectedEOF
	}
	copy(b, f.stable[at:])
	for s, data := range f.loose {
		if s+update.SectorSize > at && s < at+int64(len(b)) {
			copy(b[max(0, s-at):], data[max(0, at-s):])
		}
	}
	return len(b), nil
}

func (f *flash) WriteAt(b []byte, at int64) (int, error) {
	if at%update.SectorSize != 0 || len(b)%update.SectorSize != 0 {
		return 0, fmt.Errorf("%d bytes at %d are no whole sectors", len(b), at)
	}
	if err := f.step(); err != nil {
		return 0, err
	}
	for i := 0; i < len(b); i += update.SectorSize {
		f.loose[at+int64(i)] = bytes.Clone(b[i : i+update.SectorSize])
	}
	return len(b), nil
}

func (f *flash) Sync() error {
	if err := f.step(); err != nil {
		return err
	}
	for s, data := range f.loose {
		copy(f.stable[s:], data)
	}
	clear(f.loose)
	return nil
}

// cut is the card after a power cut: of the sectors that were not synced, some.
func (f *flash) cut(rnd *rand.Rand) {
	for s, data := range f.loose {
		if rnd.IntN(2) == 0 {
			copy(f.stable[s:], data)
		}
	}
	clear(f.loose)
}

// machine is a board as far as its card goes: what it was told to become, and
// whether it was.
type machine struct {
	t      *testing.T
	flash  *flash
	start  byte
	serial uint64 // of the image that runs
}

var images = map[uint64]string{1: "1", 2: "2"}

// boot is what the boot loader does: it starts the image in the slot that
// autoboot.txt names, which must be whole.
func (m *machine) boot() *card.Card {
	m.t.Helper()
	m.start++
	m.flash.left, m.flash.fails = 1<<30, false
	c, err := card.Open(m.flash, "card")
	if err != nil {
		m.t.Fatalf("after a power cut: %v", err)
	}
	l, err := update.ReadLayout(m.flash)
	must(m.t, err)
	slot := l.Slot(c.State().Boot)
	m.serial = 0
	for serial, version := range images {
		im, want := cardtest.Image(version, serial)
		got := make([]byte, im.Size)
		if _, err := m.flash.ReadAt(got, slot.Offset); err == nil && bytes.Equal(got, want) {
			m.serial = serial
		}
	}
	if m.serial == 0 {
		m.t.Fatalf("slot %s is to be started, and holds no whole image", c.State().Boot)
	}
	return c
}

// run is one start of the board, which does what is owed: the order of image 2 is in
// the log. good is whether an image on trial gets so far as to be kept.
func (m *machine) run(c *card.Card, good bool) (update.Event, error) {
	here := update.Start{m.start}
	event, err := c.AtStart(m.serial, here)
	if err != nil {
		return update.Nothing, err
	}
	im, slot := cardtest.Image("2", 2)
	hash := [32]byte{7}
	if c.State().Owed(hash, im, m.serial) {
		if c.Holds(ctx, im) != nil {
			if err := c.Stage(ctx, im, bytes.NewReader(slot), quiet); err != nil {
				return event, err
			}
		}
		next, err := c.State().SwitchTo(hash, im, here)
		must(m.t, err)
		return event, c.Set(next)
	}
	if event == update.OnTrial && good {
		next, err := c.State().Keep(here)
		must(m.t, err)
		return event, c.Set(next)
	}
	return event, nil
}

func newMachine(t *testing.T) *machine {
	stable := cardtest.Card(update.First())
	l, err := update.ReadLayout(bytes.NewReader(stable))
	must(t, err)
	_, old := cardtest.Image("1", 1)
	copy(stable[l.A.Offset:], old)
	return &machine{t: t, flash: &flash{stable: stable, loose: map[int64][]byte{}}}
}

// calls counts the calls of one start that are left out of so many.
func (m *machine) calls(good bool) int {
	c := m.boot()
	m.flash.left = 1 << 30
	if _, err := m.run(c, good); err != nil {
		m.t.Fatal(err)
	}
	return 1<<30 - m.flash.left
}

// The power goes, or a call fails, before every write and every sync of an update,
// and of the start after it too. Whatever is left, the loader finds a whole image; the
// new one is kept only if a trial of it went well; and the board ends with one of
// the two, settled.
func TestPowerCutAtEveryWrite(t *testing.T) {
	most := []int{newMachine(t).calls(true), 4, 4}
	if most[0] < 4 {
		t.Fatalf("%d calls to stage and switch: nothing is cut", most[0])
	}
	kept, old := 0, 0
	for _, good := range []bool{true, false} {
		for _, fails := range []bool{true, false} {
			for first := range most[0] + 1 {
				for second := range most[1] + 1 {
					rnd := rand.New(rand.NewPCG(uint64(first), uint64(second)))
					if newMachine(t).survives([]int{first, second, rnd.IntN(most[2] + 1)}, good, fails, rnd) == 2 {
						kept++
					} else {
						old++
					}
				}
			}
		}
	}
	if kept == 0 || old == 0 {
		t.Errorf("%d ended with the new image, %d with the old one: one of them was never tried", kept, old)
	}
}

// survives runs starts that are cut after so many calls, then whole ones, and answers
// which image the board ends with.
func (m *machine) survives(cuts []int, good, fails bool, rnd *rand.Rand) uint64 {
	trials := 0
	for _, after := range cuts {
		c := m.boot()
		m.flash.left, m.flash.fails = after, fails
		event, err := m.run(c, good)
		if event == update.OnTrial {
			trials++
		}
		if err != nil && !errors.Is(err, errPower) {
			m.t.Fatalf("cut after %v: %v", cuts, err)
		}
		m.flash.cut(rnd)
	}
	for range 4 {
		if event, err := m.run(m.boot(), good); err != nil {
			m.t.Fatal(err)
		} else if event == update.OnTrial {
			trials++
		}
		m.flash.cut(rnd)
	}
	c := m.boot()
	s := c.State()
	switch {
	case s.Phase != update.Settled:
		m.t.Fatalf("cut after %v: the board does not come to rest: %+v", cuts, s)
	case trials > 1: // a start whose first write was cut off is none
		m.t.Fatalf("cut after %v: %d trials of an image that was not kept", cuts, trials)
	case m.serial == 2 && (!good || s.Outcome != update.Kept), m.serial == 1 && s.Outcome != update.Failed:
		m.t.Fatalf("cut after %v: serial %d runs, %+v", cuts, m.serial, s)
	}
	return m.serial
}
