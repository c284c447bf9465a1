// Package card says what lies where on a Touchmark's card: the partition table, the partition that says which slot is
// started, the two slots, the data. Like everything in the image it is a function of what goes in: no dates, no random
// numbers.
//
//	sector 0       partition table (MBR)
//	sector 2048    1: FAT16 "TM-SELECT" with autoboot.txt, 4 MiB
//	sector 10240   2: slot A, FAT16 "TM-SLOT" with config.txt, boot.img and boot.sig, 32 MiB
//	sector 75776   3: slot B, the same
//	sector 141312  4: ext4 "touchmark-data": the log
//
// A slot is written and read back as one piece (docs/image/build.md): the volume is the same for both slots and holds
// nothing but its files. autoboot.txt has one sector, so changing the slot is overwriting one sector.
package card

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"touchmark/image/fat"
)

// Names of the files on the card.
const (
	SelectFile = "autoboot.txt" // in partition 1
	ConfigFile = "config.txt"   // in a slot
	BootFile   = "boot.img"
	SigFile    = "boot.sig"
)

// Partition is one partition, in sectors of 512 bytes.
type Partition struct {
	Start, Sectors uint32
	Type           byte
}

// ErrTable says that a partition table is not the one of a Touchmark's card.
var ErrTable = errors.New("card: not the partition table of a Touchmark's card")

// Partitions are a card's four, with so many sectors for the data.
func Partitions(data uint32) [4]Partition {
	return [4]Partition{
		{SelectStart, SelectSectors, typeFAT},
		{SlotStart, SlotSectors, typeFAT},
		{SlotStart + SlotSectors, SlotSectors, typeFAT},
		{DataStart, data, typeLinux},
	}
}

// Table is the first sector of a card.
func Table(data uint32) []byte {
	b := make([]byte, fat.SectorSize)
	binary.LittleEndian.PutUint32(b[440:], Signature)
	for i, p := range Partitions(data) {
		e := b[446+16*i:]
		// Cylinders, heads and sectors say "use the numbers behind".
		copy(e, []byte{0, 0xfe, 0xff, 0xff, p.Type, 0xfe, 0xff, 0xff})
		binary.LittleEndian.PutUint32(e[8:], p.Start)
		binary.LittleEndian.PutUint32(e[12:], p.Sectors)
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// ParseTable returns the data's sectors of a card whose first sector is b. The data may have been made larger since the
// card was written, by a program that writes cylinders, heads and sectors of it, which nobody reads; everything else must
// be as [Table] makes it.
func ParseTable(b []byte) (data uint32, err error) {
	if len(b) != fat.SectorSize {
		return 0, fmt.Errorf("%w: %d bytes", ErrTable, len(b))
	}
	const entry = 446 + 16*3
	data = binary.LittleEndian.Uint32(b[entry+12:])
	want := Table(data)
	for _, geometry := range []int{entry + 1, entry + 5} {
		copy(want[geometry:geometry+3], b[geometry:])
	}
	if string(want) != string(b) {
		return 0, ErrTable
	}
	return data, nil
}

// Select is partition 1 with this autoboot.txt, which fills one sector: package appliance/update writes it.
func Select(autoboot []byte, date time.Time) ([]byte, error) {
	if len(autoboot) != fat.SectorSize {
		return nil, fmt.Errorf("card: %s of %d bytes: it has one sector, %d", SelectFile, len(autoboot), fat.SectorSize)
	}
	return fat.Volume{Label: SelectLabel, ID: Signature, Sectors: SelectSectors, Date: date,
		Files: []fat.File{{Name: SelectFile, Content: autoboot}}}.Bytes()
}

// Slot is what the boot loader finds in a slot.
type Slot struct {
	Config    []byte // config.txt: says that there is a boot.img
	Boot, Sig []byte
}

// Bytes is the slot as it stands in partition 2 or 3.
func (s Slot) Bytes(date time.Time) ([]byte, error) {
	return fat.Volume{Label: slotLabel, ID: Signature, Sectors: SlotSectors, Date: date, Files: []fat.File{
		{Name: ConfigFile, Content: s.Config}, {Name: BootFile, Content: s.Boot}, {Name: SigFile, Content: s.Sig},
	}}.Bytes()
}

// ReadSlot reads partition 2 or 3, given from its first byte on. A slot that has anything but its three files, in their
// order, or another name or number, is refused.
func ReadSlot(r io.ReaderAt) (Slot, error) {
	v, err := fat.Read(r, SlotSectors)
	if err != nil {
		return Slot{}, err
	}
	if v.Label != slotLabel || v.ID != Signature {
		return Slot{}, fmt.Errorf("card: a slot is volume %s with number %08x, this one %s with %08x", slotLabel, Signature, v.Label, v.ID)
	}
	if len(v.Files) != 3 || v.Files[0].Name != ConfigFile || v.Files[1].Name != BootFile || v.Files[2].Name != SigFile {
		return Slot{}, fmt.Errorf("card: a slot holds %s, %s and %s, this one %s", ConfigFile, BootFile, SigFile, names(v.Files))
	}
	return Slot{v.Files[0].Content, v.Files[1].Content, v.Files[2].Content}, nil
}

func names(files []fat.File) string {
	if len(files) == 0 {
		return "nothing"
	}
	s := files[0].Name
	for _, f := range files[1:] {
		s += ", " + f.Name
	}
	return s
}
