// Package fat finds files in the root directory of a FAT file system, without
// mounting it: where autoboot.txt is on a card, what boot.img is in a slot
// (Microsoft's FAT specification 1.03; FAT12, FAT16 and FAT32).
//
// Only what the project's own builds write is read: sectors of 512 bytes, files
// by their short names in the root directory. The bytes may be anybody's: every
// number is checked, every chain ends, and nothing is allocated by what they say
// but a list of at most as many runs as the file has clusters. The package is pure.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrNotFound says that the root directory has no file of this name.
var ErrNotFound = errors.New("no such file")

// FS is a file system that Open has looked at.
type FS struct {
	r        io.ReaderAt
	bits     int   // of an entry of the table: 12, 16 or 32
	table    int64 // offset of the first table
	root     int64 // offset of the root directory (12, 16)
	rootSize int64
	rootAt   uint32 // its first cluster (32)
	data     int64  // offset of cluster 2
	cluster  int64  // bytes of one
	count    uint32 // of clusters
}

const sectorSize = 512

// Open reads the boot sector of a file system that has size bytes at most.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, sectorSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("fat: reading the boot sector: %w", err)
	}
	u16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(b[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	perCluster, reserved, tables := int64(b[13]), u16(14), int64(b[16])
	total, length := max(u16(19), 0), u16(22)
	if total == 0 {
		total = u32(32)
	}
	if length == 0 {
		length = u32(36)
	}
	f := &FS{r: r, rootSize: u16(17) * 32, rootAt: binary.LittleEndian.Uint32(b[44:]), cluster: perCluster * sectorSize}
	rootSectors := (f.rootSize + sectorSize - 1) / sectorSize
	first := reserved + tables*length + rootSectors
	switch {
	case b[510] != 0x55 || b[511] != 0xaa || u16(11) != sectorSize:
		return nil, errors.New("fat: no FAT file system with sectors of 512 bytes")
	case perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 || tables == 0 || tables > 2 || length == 0:
		return nil, errors.New("fat: the boot sector makes no sense")
	case total*sectorSize > size || first >= total:
		return nil, fmt.Errorf("fat: the file system is larger than the %d bytes there are", size)
	}
	f.table, f.root, f.data = reserved*sectorSize, (first-rootSectors)*sectorSize, first*sectorSize
	f.count = uint32((total - first) / perCluster)
	switch { // the specification tells them apart by the number of clusters alone
	case f.count < 4085:
		f.bits = 12
	case f.count < 65525:
		f.bits = 16
	default:
		f.bits = 32
	}
	if (f.bits == 32) != (f.rootSize == 0) || length*sectorSize*8 < (int64(f.count)+2)*int64(f.bits) {
		return nil, errors.New("fat: the boot sector makes no sense")
	}
	return f, nil
}

// Run is a range of bytes of the file system.
type Run struct{ Offset, Size int64 }

// Find answers where the file of this name (NAME.EXT, at most 8.3) is, in order,
// and how many bytes it has. The last run goes to the end of its cluster.
func (f *FS) Find(name string) (runs []Run, size int64, err error) {
	want, err := shortName(name)
	if err != nil {
		return nil, 0, err
	}
	dir := []Run{{f.root, f.rootSize}}
	if f.bits == 32 {
		if dir, err = f.chain(f.rootAt, maxRoot); err != nil {
			return nil, 0, err
		}
	}
	entry := make([]byte, 32)
	for _, run := range dir {
		for at := int64(0); at < run.Size; at += 32 {
			if _, err := f.r.ReadAt(entry, run.Offset+at); err != nil {
				return nil, 0, fmt.Errorf("fat: reading the root directory: %w", err)
			}
			if entry[0] == 0 {
				return nil, 0, fmt.Errorf("fat: %s: %w", name, ErrNotFound)
			}
			if string(entry[:11]) != want || entry[11]&0x18 != 0 { // a volume's name, part of a long name, a directory
				continue
			}
			return f.file(name, entry)
		}
	}
	return nil, 0, fmt.Errorf("fat: %s: %w", name, ErrNotFound)
}

// maxRoot bounds the root directory of FAT32 in bytes: ours has a dozen names.
const maxRoot = 1 << 20

func (f *FS) file(name string, entry []byte) ([]Run, int64, error) {
	size := int64(binary.LittleEndian.Uint32(entry[28:]))
	first := uint32(binary.LittleEndian.Uint16(entry[26:]))
	if f.bits == 32 {
		first |= uint32(binary.LittleEndian.Uint16(entry[20:])) << 16
	}
	if size == 0 {
		return nil, 0, nil
	}
	runs, err := f.chain(first, size)
	if err != nil {
		return nil, 0, fmt.Errorf("%w, of %s", err, name)
	}
	var have int64
	for _, r := range runs {
		have += r.Size
	}
	if have < size {
		return nil, 0, fmt.Errorf("fat: %s is cut short", name)
	}
	return runs, size, nil
}

// chain follows clusters until their end, or until they hold size bytes.
func (f *FS) chain(c uint32, size int64) (runs []Run, err error) {
	end := uint32(1)<<min(f.bits, 28) - 8
	for n := uint32(0); int64(n)*f.cluster < size; n++ {
		if c >= end && n > 0 {
			break
		}
		if c < 2 || c >= f.count+2 || n >= f.count { // or in a circle
			return nil, errors.New("fat: a chain of clusters leads nowhere")
		}
		at := f.data + int64(c-2)*f.cluster
		if n := len(runs); n > 0 && runs[n-1].Offset+runs[n-1].Size == at {
			runs[n-1].Size += f.cluster
		} else {
			runs = append(runs, Run{at, f.cluster})
		}
		if c, err = f.next(c); err != nil {
			return nil, err
		}
	}
	return runs, nil
}

// next is the table's entry for a cluster.
func (f *FS) next(c uint32) (uint32, error) {
	var b [4]byte
	width := map[int]int64{12: 2, 16: 2, 32: 4}[f.bits]
	at := f.table + int64(c)*int64(f.bits)/8
	if _, err := f.r.ReadAt(b[:width], at); err != nil {
		return 0, fmt.Errorf("fat: reading the table: %w", err)
	}
	v := binary.LittleEndian.Uint32(b[:])
	switch {
	case f.bits == 12 && c%2 == 1:
		return v >> 4 & 0xfff, nil
	case f.bits == 12:
		return v & 0xfff, nil
	case f.bits == 16:
		return v & 0xffff, nil
	}
	return v & 0x0fffffff, nil
}

// Reader reads a file that Find has found.
func (f *FS) Reader(runs []Run, size int64) io.Reader {
	parts := make([]io.Reader, len(runs))
	for i, r := range runs {
		parts[i] = io.NewSectionReader(f.r, r.Offset, r.Size)
	}
	return io.LimitReader(io.MultiReader(parts...), size)
}

// shortName is a name as a directory has it.
func shortName(name string) (string, error) {
	base, ext, _ := strings.Cut(strings.ToUpper(name), ".")
	if base == "" || len(base) > 8 || len(ext) > 3 {
		return "", fmt.Errorf("fat: %q is no short name", name)
	}
	return fmt.Sprintf("%-8s%-3s", base, ext), nil
}
