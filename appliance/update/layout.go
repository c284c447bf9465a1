package update

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Extent is a range of bytes of a card.
type Extent struct{ Offset, Size int64 }

// Layout is where things are on a card.
type Layout struct{ Boot, A, B, Data Extent }

// Slot is where a slot is.
func (l Layout) Slot(s Slot) Extent {
	if s == B {
		return l.B
	}
	return l.A
}

// ReadLayout reads the partition table (MBR) of a card: partitions 1 to 3 are FAT,
// 4 is Linux, they follow each other without touching.
func ReadLayout(card io.ReaderAt) (l Layout, err error) {
	sector := make([]byte, SectorSize)
	if _, err := card.ReadAt(sector, 0); err != nil {
		return l, fmt.Errorf("reading the partition table: %w", err)
	}
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return l, fmt.Errorf("there is no partition table (MBR) on this card")
	}
	var end int64 = SectorSize
	for i, to := range []*Extent{&l.Boot, &l.A, &l.B, &l.Data} {
		entry := sector[446+16*i:]
		kinds := fatTypes
		if i == 3 {
			kinds = []byte{0x83}
		}
		if !slices.Contains(kinds, entry[4]) {
			return l, fmt.Errorf("partition %d has type %#02x, not one of %#02x: this is no card of ours", i+1, entry[4], kinds)
		}
		to.Offset = int64(binary.LittleEndian.Uint32(entry[8:])) * SectorSize
		to.Size = int64(binary.LittleEndian.Uint32(entry[12:])) * SectorSize
		if to.Offset < end || to.Size == 0 {
			return l, fmt.Errorf("partition %d overlaps the one before, or is empty", i+1)
		}
		end = to.Offset + to.Size
	}
	return l, nil
}

// fatTypes are the types of FAT12 and FAT16 partitions, by cylinders or sectors.
var fatTypes = []byte{0x01, 0x04, 0x06, 0x0e}
