// Package verify reads a card back, or a file of a build, and says whether it is the published one.
//
// Everything on a card is looked at but the data partition's content and the text of autoboot.txt, which the board
// rewrites in its fixed form: the partition table, what lies between the partitions, and both slots to the last bit.
package verify

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/image/bootimg"
	"touchmark/image/bootsig"
	"touchmark/image/card"
	"touchmark/image/fat"
	"touchmark/image/manifest"
)

// Report is what was found on a card.
type Report struct {
	Started update.Slot  // which slot the boot loader takes
	Phase   update.Phase // whether an update is under way
	Slots   [2]Slot      // A and B
	Data    uint32       // sectors of the data partition
}

// Slot is what was found in a slot.
type Slot struct {
	Other error // nil: the published build; else why it is not
}

var (
	// ErrOther says that a card or file was read, and is not what the manifest describes.
	ErrOther = errors.New("not the published build")
	// ErrRead says that a card or file could not be read: nothing is known of it.
	ErrRead = errors.New("could not be read")
	// ErrNoSig says that a key was given for a file that has no boot.sig to be held against it.
	ErrNoSig = errors.New("it has no boot.sig that a key could have signed")
)

// Of is the slot of a name.
func (r Report) Of(s update.Slot) Slot {
	if s == update.B {
		return r.Slots[1]
	}
	return r.Slots[0]
}

// watched remembers that something could not be read, whatever becomes of the error on its way.
type watched struct {
	io.ReaderAt
	failed error
}

func (w *watched) ReadAt(p []byte, off int64) (n int, err error) {
	n, err = w.ReaderAt.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && w.failed == nil {
		w.failed = err
	}
	return n, err
}

// Card reads a card. [card.ErrTable] means that it is none of a Touchmark, [ErrRead] that it could not be read, [ErrOther]
// that something is on it which no build and no board puts there; whether its slots hold the published build, the report
// says. With a key, boot.sig must be signed by it.
func Card(r io.ReaderAt, m manifest.Manifest, key *rsa.PublicKey) (Report, error) {
	w := &watched{ReaderAt: r}
	report, err := readCard(w, m, key)
	switch {
	case w.failed != nil:
		return Report{}, fmt.Errorf("%w: %w", ErrRead, w.failed)
	case err != nil && !errors.Is(err, card.ErrTable):
		return report, fmt.Errorf("%w: %w", ErrOther, err)
	}
	return report, err
}

func readCard(r io.ReaderAt, m manifest.Manifest, key *rsa.PublicKey) (report Report, err error) {
	start := make([]byte, card.SelectStart*fat.SectorSize)
	if _, err := r.ReadAt(start, 0); errors.Is(err, io.EOF) {
		return report, fmt.Errorf("%w: it is too short", card.ErrTable)
	} else if err != nil {
		return report, fmt.Errorf("reading the card's beginning: %w", err)
	}
	if report.Data, err = card.ParseTable(start[:fat.SectorSize]); err != nil {
		return report, err
	}
	if !zero(start[fat.SectorSize:]) {
		return report, errors.New("there is something between the partition table and the first partition")
	}
	state, err := readSelect(r)
	if err != nil {
		return report, fmt.Errorf("partition 1: %w", err)
	}
	report.Started, report.Phase = state.Boot, state.Phase
	parts := card.Partitions(report.Data)
	for i, p := range parts[1:3] {
		report.Slots[i] = readSlot(section(r, p), m, key)
	}
	return report, readData(section(r, parts[3]))
}

// Err is nil when the slot that is started is the published build, else [ErrOther].
func (r Report) Err() error {
	if other := r.Of(r.Started).Other; other != nil {
		return fmt.Errorf("%w: slot %s, which is started: %w", ErrOther, r.Started, other)
	}
	return nil
}

func section(r io.ReaderAt, p card.Partition) *io.SectionReader {
	return io.NewSectionReader(r, int64(p.Start)*fat.SectorSize, int64(p.Sectors)*fat.SectorSize)
}

func readSelect(r io.ReaderAt) (update.State, error) {
	v, err := fat.Read(section(r, card.Partitions(0)[0]), card.SelectSectors)
	if err != nil {
		return update.State{}, err
	}
	if v.Label != card.SelectLabel || v.ID != card.Signature {
		return update.State{}, fmt.Errorf("it is volume %s with number %08x, not %s with %08x", v.Label, v.ID, card.SelectLabel, card.Signature)
	}
	if len(v.Files) != 1 || v.Files[0].Name != card.SelectFile {
		return update.State{}, fmt.Errorf("it holds more or other files than %s", card.SelectFile)
	}
	return update.Parse(v.Files[0].Content)
}

func readSlot(r io.ReaderAt, m manifest.Manifest, key *rsa.PublicKey) (s Slot) {
	slot, err := card.ReadSlot(r)
	if err != nil {
		s.Other = err
		return s
	}
	s.Other = slotMatches(slot, m, key)
	return s
}

// slotMatches is nil for the published build's slot, whoever signed it if there is no key.
func slotMatches(slot card.Slot, m manifest.Manifest, key *rsa.PublicKey) error {
	if string(slot.Config) != board.SlotConfig {
		return fmt.Errorf("its %s is another", card.ConfigFile)
	}
	sig, err := bootsig.Parse(slot.Sig)
	if err != nil {
		return err
	}
	if err := sig.Check(slot.Boot, key); err != nil {
		return err
	}
	published, _ := m.File(card.BootFile)
	if got := fmt.Sprintf("%x", sha256.Sum256(slot.Boot)); got != published.SHA256 {
		return fmt.Errorf("its %s has SHA-256 %s, published is %s", card.BootFile, got, published.SHA256)
	}
	return bootMatches(slot.Boot, m)
}

// bootMatches holds what a boot.img says against what the manifest says of it: one of another board's name would be taken
// for that board's.
func bootMatches(boot []byte, m manifest.Manifest) error {
	image, err := bootimg.Parse(boot)
	if err != nil {
		return err
	}
	if image.Board != m.Board {
		return fmt.Errorf("its %s is for a board %q, the manifest is of board %q", card.BootFile, image.Board, m.Board)
	}
	return nil
}

// readData looks at the data partition's superblock only (Documentation/filesystems/ext4: at 1024, magic at 0x38, label at 0x78).
func readData(r io.ReaderAt) error {
	super := make([]byte, 1024)
	if _, err := r.ReadAt(super, 1024); errors.Is(err, io.EOF) {
		return errors.New("it ends before partition 4 has begun")
	} else if err != nil {
		return fmt.Errorf("partition 4: %w", err)
	}
	if super[0x38] != 0x53 || super[0x39] != 0xef || !bytes.HasPrefix(super[0x78:], []byte("touchmark-data\x00")) {
		return errors.New("partition 4 is no ext4 file system named touchmark-data")
	}
	return nil
}

// slotBytes is the size of a slot.
const slotBytes = card.SlotSectors * fat.SectorSize

// File finds a file among those of a build and says which it is. A slot and a boot.sig that were signed by somebody count
// as the build's if everything else in them is; with a key they must be signed by it, and other files are refused with
// [ErrNoSig]. Else an error is [ErrOther] or [ErrRead].
func File(r io.Reader, m manifest.Manifest, key *rsa.PublicKey) (name string, err error) {
	h := sha256.New()
	head, err := io.ReadAll(io.LimitReader(r, slotBytes+1))
	if err == nil {
		h.Write(head)
		_, err = io.Copy(h, r)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRead, err)
	}
	if name, err = signedFile(head, m, key); name == "" && err == nil {
		name, err = plainFile(head, fmt.Sprintf("%x", h.Sum(nil)), m, key)
	}
	if err != nil && !errors.Is(err, ErrNoSig) {
		err = fmt.Errorf("%w: %w", ErrOther, err)
	}
	return name, err
}

// signedFile takes a slot or a boot.sig; the name is empty if it is neither.
func signedFile(b []byte, m manifest.Manifest, key *rsa.PublicKey) (name string, err error) {
	if len(b) == slotBytes {
		if slot, err := card.ReadSlot(bytes.NewReader(b)); err == nil {
			return "slot", slotMatches(slot, m, key)
		}
	}
	sig, err := bootsig.Parse(b)
	if err != nil {
		return "", nil
	}
	published, _ := m.File(card.BootFile)
	digest, err := hex.DecodeString(published.SHA256)
	if err != nil || len(digest) != sha256.Size {
		return "", fmt.Errorf("the manifest has no SHA-256 of a %s", card.BootFile)
	}
	return card.SigFile, sig.CheckDigest([sha256.Size]byte(digest), key)
}

// plainFile takes what has no signature in it, by its hash.
func plainFile(b []byte, sum string, m manifest.Manifest, key *rsa.PublicKey) (name string, err error) {
	if key != nil {
		return "", ErrNoSig
	}
	var names []string // licences' texts are the same more than once
	for _, f := range m.Files {
		if f.SHA256 == sum {
			names = append(names, f.Name)
		}
	}
	switch {
	case names == nil:
		return "", fmt.Errorf("no file of it has SHA-256 %s", sum)
	case slices.Contains(names, card.BootFile):
		err = bootMatches(b, m)
	}
	return strings.Join(names, ", "), err
}

func zero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
