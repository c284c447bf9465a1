// Package update says how a board takes another image of itself: which of its two
// slots is started, how one start of a new image is a trial that falls back by
// itself, and what an image must be for a board to take it.
//
// The card of a board has four partitions (MBR): 1 is a FAT file system with
// autoboot.txt, 2 and 3 are the slots A and B, each a FAT file system with
// boot.img and boot.sig as the build made them, 4 holds the log. The boot loader
// reads autoboot.txt, one sector, to know which slot to start; the board keeps in
// comments of the same sector how far an update came. So every step of an update
// is one write of one sector, and before and after it everything is whole
// (docs/image/update.md).
//
// Guarantees: State and its text are one to one, parse → marshal is identity;
// whatever a write that was torn leaves of two such texts, the loader reads a slot
// of one of them. The package is pure.
package update

import (
	"fmt"
	"slices"

	"touchmark/tpm/ledger/order"
)

// Slot is the partition that an image is started from.
type Slot byte

// The slots, by the numbers of their partitions.
const (
	A Slot = 2
	B Slot = 3
)

// Other is the slot beside this one.
func (s Slot) Other() Slot { return A + B - s }

// Slots are all there are.
var Slots = []Slot{A, B}

func (s Slot) String() string {
	if s != A && s != B {
		return fmt.Sprintf("partition %d", byte(s))
	}
	return string('A' + rune(s-A))
}

// SlotNamed is the slot of a name, A or B.
func SlotNamed(name string) (Slot, bool) {
	i := slices.IndexFunc(Slots, func(s Slot) bool { return s.String() == name })
	if i < 0 {
		return 0, false
	}
	return Slots[i], true
}

// Board is what a running board knows of itself.
type Board struct {
	Kind    string // of the hardware: an image is for one kind
	Version string // of the image that runs
	Serial  uint64 // of the image that runs
	Floor   uint64 // no image with a lower serial is taken any more: the TPM's counter
	Start   Start  // this start of the machine
	Booted  Slot   // where the boot loader says that it took the image from, 0 if it says nothing
}

// Start tells one start of a machine from another.
type Start [16]byte

// Admit says why a board does not take an image, nil if it does. Its slots are as
// State says; room is the size of one in bytes.
func Admit(im *order.Image, b Board, s State, room int64) error {
	switch {
	case im.Board != b.Kind:
		return fmt.Errorf("the image is for a board %s, this is a %s", im.Board, b.Kind)
	case im.Serial <= b.Serial:
		return fmt.Errorf("the image is older: it has serial %d, this board runs %d", im.Serial, b.Serial)
	case im.Serial <= b.Floor:
		return fmt.Errorf("the image is older: it has serial %d, this board's TPM demands more than %d", im.Serial, b.Floor)
	case im.Serial > max(b.Floor, b.Serial)+MaxStep:
		return fmt.Errorf("the image has serial %d, more than %d above the %d of the image that runs and the %d in this board's TPM: is it a mistake?", im.Serial, MaxStep, b.Serial, b.Floor)
	case im.Version == b.Version:
		return fmt.Errorf("this board runs version %s already", im.Version)
	case im.Size > uint64(room):
		return fmt.Errorf("the image has %d bytes, a slot of this card %d", im.Size, room)
	case s.Phase == Switched:
		return fmt.Errorf("another image waits to be tried: restart the board")
	case s.Phase == Trying:
		return fmt.Errorf("this image is on trial itself: wait until it is kept")
	case b.Booted != 0 && b.Booted != s.Boot:
		return fmt.Errorf("the boot loader started slot %s although autoboot.txt names %s: the other slot is damaged, have the card written anew", b.Booted, s.Boot)
	}
	return nil
}

// Raised is what the TPM's counter is raised to by a start that is good: the serial of the image
// that runs. One that was written to the card by hand may be far above the counter;
// then each start goes MaxStep further.
func (b Board) Raised() uint64 { return min(b.Serial, b.Floor+MaxStep) }

// FileName is what the file with an image's slot is called on the stick that
// brings it.
func FileName(im *order.Image) string { return fmt.Sprintf("slot-%x.img", im.Slot[:8]) }
