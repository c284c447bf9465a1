// Package cardtest makes small cards for tests: a partition table, autoboot.txt, two
// slots, and file systems that slots hold.
package cardtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"touchmark/appliance/update"
	"touchmark/tpm/ledger/order"
)

// SlotSize is how many bytes a slot of these cards has.
const SlotSize = 64 << 10

const sector = update.SectorSize

// FAT is a FAT12 file system of size bytes, at most 1 MiB, with one file in its root
// directory, whose name is in the form of a directory (8 and 3 characters).
func FAT(size int, name string, content []byte) []byte {
	b := make([]byte, size)
	copy(b, "\xeb\x3c\x90TOUCHMRK")
	u16 := func(at, v int) { binary.LittleEndian.PutUint16(b[at:], uint16(v)) }
	const tables, length, rootEntries = 1, 6, 16
	u16(11, sector)
	b[13] = 1 // sectors per cluster
	u16(14, 1)
	b[16] = tables
	u16(17, rootEntries)
	u16(19, size/sector)
	b[21] = 0xf8
	u16(22, length)
	b[510], b[511] = 0x55, 0xaa
	table := b[sector : sector*(1+length)]
	entry := func(c, v int) {
		at := c * 3 / 2
		if c%2 == 1 {
			v = v<<4 | int(table[at]&0xf)
		} else {
			v |= int(table[at+1]&0xf0) << 8
		}
		table[at], table[at+1] = byte(v), byte(v>>8)
	}
	entry(0, 0xff8)
	entry(1, 0xfff)
	n := (len(content) + sector - 1) / sector
	for i := range n {
		next := 3 + i
		if i == n-1 {
			next = 0xfff
		}
		entry(2+i, next)
	}
	root := b[sector*(1+length):]
	copy(root, "TOUCHMARK  \x08") // the volume's name, which is no file
	copy(root[32:], name)
	if n > 0 {
		binary.LittleEndian.PutUint16(root[32+26:], 2)
	}
	binary.LittleEndian.PutUint32(root[32+28:], uint32(len(content)))
	copy(root[sector:], content)
	return b
}

// Image is an image of this version and serial, with what its slot is to hold.
func Image(version string, serial uint64) (*order.Image, []byte) {
	boot := bytes.Repeat([]byte("boot.img of "+version+"\n"), 1000)
	slot := FAT(32<<10, "BOOT    IMG", boot)
	return &order.Image{Board: "test", Version: version, Serial: serial, Size: uint64(len(slot)), Slot: sha256.Sum256(slot), Image: sha256.Sum256(boot)}, slot
}

// Card is a whole card, with this state.
func Card(s update.State) []byte {
	boot := FAT(16<<10, "AUTOBOOTTXT", s.Marshal())
	b := make([]byte, sector)
	for i, p := range []struct {
		kind byte
		size int
	}{{0x0e, len(boot)}, {0x0e, SlotSize}, {0x0e, SlotSize}, {0x83, SlotSize}} {
		entry := b[446+16*i:]
		entry[4] = p.kind
		binary.LittleEndian.PutUint32(entry[8:], uint32(len(b)/sector))
		binary.LittleEndian.PutUint32(entry[12:], uint32(p.size/sector))
		b = append(b, make([]byte, p.size)...)
	}
	b[510], b[511] = 0x55, 0xaa
	copy(b[sector:], boot)
	return b
}

// Write writes a card to a file.
func Write(t testing.TB, s update.State) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "card.img")
	if err := os.WriteFile(path, Card(s), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
