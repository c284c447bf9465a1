package update

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"touchmark/tpm/ledger/order"
)

func states(t *rapid.T) State {
	s := State{
		Boot: rapid.SampledFrom([]Slot{A, B}).Draw(t, "slot"), Phase: rapid.SampledFrom([]Phase{Settled, Switched, Trying}).Draw(t, "phase"), Outcome: None,
		Serial: rapid.Uint64Range(0, maxSerial).Draw(t, "serial"),
	}
	copy(s.Order[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "order"))
	copy(s.Start[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "start"))
	if s.Phase == Settled {
		s.Outcome = rapid.SampledFrom([]Outcome{None, Kept, Failed}).Draw(t, "outcome")
	}
	return s
}

func TestStateText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states(t)
		text := s.Marshal()
		if back, err := Parse(text); err != nil || back != s || len(text) != SectorSize {
			t.Fatalf("%+v from %d bytes\n%s%v", back, len(text), text, err)
		}
	})
}

// What a loader reads of a sector that is in part the old text and in part the new
// one is a slot of one of the two; the board says that the file is damaged.
func TestTornState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old, next := states(t), states(t)
		a, b := old.Marshal(), next.Marshal()
		mask := rapid.SliceOfN(rapid.Bool(), SectorSize, SectorSize).Draw(t, "torn")
		for i := range a {
			if mask[i] {
				a[i] = b[i]
			}
		}
		slot := loader(a)
		if slot != old.Boot && slot != next.Boot {
			t.Fatalf("the loader reads slot %d of\n%s", slot, a)
		}
		if s, err := Parse(a); err == nil && s != old && s != next {
			t.Fatalf("neither of two states was read: %+v", s)
		}
	})
}

// loader reads autoboot.txt as the boot loader is documented to: sections in
// brackets, KEY=VALUE, lines that begin with # are comments.
func loader(text []byte) (slot Slot) {
	all := true
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			all = line == "[all]"
		}
		if v, ok := strings.CutPrefix(line, "boot_partition="); ok && all && len(v) == 1 {
			slot = Slot(v[0] - '0')
		}
	}
	return slot
}

// The file was written on 2026-11-22: it is what a new card holds.
func TestFirst(t *testing.T) {
	want, err := os.ReadFile("testdata/autoboot.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got := First().Marshal(); !bytes.Equal(got, want) || loader(got) != A {
		t.Errorf("a new card's autoboot.txt is\n%s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	good := string(First().Marshal())
	for _, c := range [][2]string{
		{"v1", "v2"}, {"settled ", "settling"}, {"none  ", "nine  "}, {"# phase settled ", "# phase trying  "}, {"boot_partition=2", "boot_partition=3"}, {"boot_partition=2", "boot_partition=4"},
		{"# order 0", "# order g"}, {"# serial 0", "# serial 1"}, {"[all]", "[ALL]"}, {"# check ", "# chuck "}, {"....", ".. ."}, {"Do not", "Do nut"},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrDamaged) || bad == good {
			t.Errorf("%q for %q: %v", c[1], c[0], err)
		}
	}
	for _, bad := range []string{"", good[:511], good + "\n", strings.Repeat("\x00", SectorSize)} {
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(First().Marshal())
	f.Add(State{Boot: B, Phase: Trying, Outcome: None, Order: [32]byte{1}, Serial: 7, Start: Start{2}}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Parse(b); err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Errorf("%+v", s)
		}
	})
}

// model is a card, a loader and images, without anything between.
type model struct {
	state  State
	images map[Slot]uint64 // serial of what each slot holds
	serial uint64          // of what runs
	start  byte
}

// boot starts the machine; dead is the image that the loader or the kernel does not
// bring up, 0 for none. It reports whether one runs.
func (m *model) boot(dead uint64) bool {
	m.start++
	if m.images[m.state.Boot] == dead {
		return false
	}
	m.serial = m.images[m.state.Boot]
	return true
}

func (m *model) began() Event {
	var e Event
	m.state, e = m.state.AtStart(m.serial, Start{m.start})
	return e
}

func TestTrial(t *testing.T) {
	im := &order.Image{Serial: 2}
	fresh := func() *model {
		m := &model{state: First(), images: map[Slot]uint64{A: 1, B: 2}}
		m.boot(0)
		if e := m.began(); e != Nothing {
			t.Fatal(e)
		}
		next, err := m.state.SwitchTo([32]byte{9}, im, Start{m.start})
		if err != nil || next.Boot != B {
			t.Fatal(next, err)
		}
		m.state = next
		return m
	}
	expect := func(m *model, serial uint64, e Event) {
		t.Helper()
		if !m.boot(0) || m.serial != serial {
			t.Fatalf("serial %d runs, want %d", m.serial, serial)
		}
		if got := m.began(); got != e {
			t.Fatalf("%s, want %s", got, e)
		}
		if got := m.began(); got != e {
			t.Fatalf("again: %s, want %s", got, e)
		}
	}

	m := fresh()
	if e := m.began(); e != Waiting { // the program, not the machine, started again
		t.Fatal(e)
	}
	expect(m, 2, OnTrial)
	if m.state.Boot != A {
		t.Error("on trial, and the next start is not of the old image")
	}
	kept, err := m.state.Keep(Start{m.start})
	if err != nil || kept.Boot != B || kept.Outcome != Kept || kept.Owed([32]byte{9}, im, 2) {
		t.Errorf("%+v, %v", kept, err)
	}
	if _, err := kept.Keep(Start{}); err == nil {
		t.Error("kept twice")
	}
	if _, err := m.state.SwitchTo([32]byte{8}, im, Start{}); err == nil {
		t.Error("switched during a trial")
	}

	expect(m, 1, FellBack) // cut off before it was kept
	expect(m, 1, Nothing)
	if m.state.Outcome != Failed || m.state.Owed([32]byte{9}, im, 1) || !m.state.Owed([32]byte{8}, im, 1) {
		t.Errorf("%+v", m.state)
	}

	m = fresh() // the loader cannot start it and starts the other one
	m.boot(2)
	m.serial = 1
	if e := m.began(); e != FellBack || m.state.Boot != A || m.state.Outcome != Failed {
		t.Errorf("%s %+v", e, m.state)
	}
}

func TestAdmit(t *testing.T) {
	good := order.Image{Board: "rpi4", Version: "2", Serial: 5, Size: 1024}
	board := Board{Kind: "rpi4", Version: "1", Serial: 4, Floor: 4, Booted: A}
	if err := Admit(&good, board, First(), 1024); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*order.Image, *Board, *State){
		"is for a board cm4":     func(im *order.Image, _ *Board, _ *State) { im.Board = "cm4" },
		"this board runs 4":      func(im *order.Image, _ *Board, _ *State) { im.Serial = 4 },
		"serial 5, this board's": func(_ *order.Image, b *Board, _ *State) { b.Floor = 5 },
		"is it a mistake":        func(im *order.Image, b *Board, _ *State) { im.Serial = 5 + MaxStep },
		"runs version 2 already": func(_ *order.Image, b *Board, _ *State) { b.Version = "2" },
		"a slot of this card":    func(im *order.Image, _ *Board, _ *State) { im.Size = 1536 },
		"restart the board":      func(_ *order.Image, _ *Board, s *State) { s.Phase = Switched },
		"is on trial itself":     func(_ *order.Image, _ *Board, s *State) { s.Phase = Trying },
		"the other slot is":      func(_ *order.Image, b *Board, _ *State) { b.Booted = B },
	} {
		im, b, s := good, board, First()
		change(&im, &b, &s)
		if err := Admit(&im, b, s, 1024); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// TestFarSerial: an image whose serial is far above the TPM's counter (a new board, a card written by hand) is caught up
// with, start by start, and takes the next image meanwhile.
func TestFarSerial(t *testing.T) {
	board := Board{Kind: "rpi4", Version: "1", Serial: 300, Booted: A}
	starts := 0
	for ; board.Floor < board.Serial; starts++ {
		to := board.Raised()
		if to <= board.Floor || to > board.Floor+MaxStep || to > board.Serial {
			t.Fatalf("from %d to %d", board.Floor, to)
		}
		next := order.Image{Board: "rpi4", Version: "2", Serial: 301, Size: 1024}
		if err := Admit(&next, board, First(), 1024); err != nil {
			t.Error(err)
		}
		board.Floor = to
	}
	if starts != 5 {
		t.Errorf("%d starts", starts)
	}
}
