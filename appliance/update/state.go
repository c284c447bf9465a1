package update

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Phase is how far an update came.
type Phase string

// The phases. Settled → Switched → Trying → Settled.
const (
	Settled  Phase = "settled"  // nothing is under way
	Switched Phase = "switched" // the next start is to try the new image
	Trying   Phase = "trying"   // the new image runs; the next start is of the old one again
)

// Outcome is how the newest trial ended.
type Outcome string

// The outcomes.
const (
	None   Outcome = "none"   // there was none, or it has not ended
	Kept   Outcome = "kept"   // the new image came up whole
	Failed Outcome = "failed" // it did not, and the old one runs
)

// State is what autoboot.txt says.
type State struct {
	Boot    Slot // what the loader starts
	Phase   Phase
	Outcome Outcome
	Order   [32]byte // the order of the newest image that was switched to, by order.Hash; zero: there was none
	Serial  uint64   // of that image
	Start   Start    // the start of the machine in which the phase began
}

// First is the state of a card that was just written.
func First() State { return State{Boot: A, Phase: Settled, Outcome: None} }

const domain = "# touchmark/autoboot/v1"

// Marshal is autoboot.txt, exactly SectorSize bytes. What the board reads stands
// in comments, each value with a fixed width, and boot_partition last: between two
// texts nothing that the loader heeds differs but one digit.
func (s State) Marshal() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n# Written by the board. Do not edit: docs/image/update.md\n", domain)
	fmt.Fprintf(&b, "# phase %-8s\n# outcome %-6s\n# order %x\n# serial %013d\n# start %x\n", s.Phase, s.Outcome, s.Order, s.Serial, s.Start)
	fmt.Fprintf(&b, "# check %08x\n", s.check())
	fmt.Fprintf(&b, "[all]\nboot_partition=%d\n", s.Boot)
	b.WriteString("#" + strings.Repeat(".", SectorSize-2-b.Len()) + "\n")
	return b.Bytes()
}

// check guards against a sector that is half one state and half another.
func (s State) check() uint32 {
	text := fmt.Sprintf("%s %s %x %d %x %d", s.Phase, s.Outcome, s.Order, s.Serial, s.Start, s.Boot)
	return crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
}

// ErrDamaged says that autoboot.txt is not as a board or the build wrote it.
var ErrDamaged = errors.New("autoboot.txt is not as this board writes it: have the card written anew")

// Parse reads autoboot.txt. Everything that Marshal does not write is ErrDamaged.
func Parse(b []byte) (State, error) {
	if len(b) != SectorSize {
		return State{}, fmt.Errorf("%w: it has %d bytes, not %d", ErrDamaged, len(b), SectorSize)
	}
	r := reader{lines: strings.Split(string(b), "\n")}
	r.expect(domain)
	r.next()
	s := State{Phase: Phase(r.value("# phase ")), Outcome: Outcome(r.value("# outcome "))}
	r.hex("# order ", s.Order[:])
	s.Serial = r.number("# serial ")
	r.hex("# start ", s.Start[:])
	r.next()
	r.expect("[all]")
	s.Boot = Slot(r.number("boot_partition="))
	if r.bad || !s.sound() || !bytes.Equal(s.Marshal(), b) {
		return State{}, ErrDamaged
	}
	return s, nil
}

// sound tells whether the words and numbers are among those that there are.
func (s State) sound() bool {
	phase := s.Phase == Settled || s.Phase == Switched || s.Phase == Trying
	outcome := s.Outcome == None || s.Phase == Settled && (s.Outcome == Kept || s.Outcome == Failed)
	return phase && outcome && s.Serial <= maxSerial && (s.Boot == A || s.Boot == B)
}

// maxSerial is what the width of its field holds; orders have less.
const maxSerial = 9_999_999_999_999

// reader takes lines of a text one by one.
type reader struct {
	lines []string
	bad   bool
}

func (r *reader) next() string {
	if len(r.lines) == 0 {
		r.bad = true
		return ""
	}
	l := r.lines[0]
	r.lines = r.lines[1:]
	return l
}

func (r *reader) expect(line string) { r.bad = r.next() != line || r.bad }

func (r *reader) value(key string) string {
	v, ok := strings.CutPrefix(r.next(), key)
	r.bad = r.bad || !ok
	return strings.TrimRight(v, " ")
}

func (r *reader) hex(key string, to []byte) {
	b, err := hex.DecodeString(r.value(key))
	r.bad = r.bad || err != nil || len(b) != len(to)
	copy(to, b)
}

func (r *reader) number(key string) uint64 {
	n, err := strconv.ParseUint(r.value(key), 10, 64)
	r.bad = r.bad || err != nil || n > maxSerial
	return n
}
