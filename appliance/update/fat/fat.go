// Package fat reads the root directory of a FAT12 or FAT16 file system and its files,
// without mounting it: where autoboot.txt is on a card, what boot.img is in a slot
// (Microsoft's FAT specification 1.03). It is the project's one reader: the board's, and
// of image/fat, which writes FAT16; FAT12 is what a card of a few kilobytes in a test
// has. FAT32, long names and directories are not read: nothing of ours has them, and
// sticks are the kernel's to read.
//
// Sectors have 512 bytes. The bytes may be anybody's: every number is checked, every chain
// ends, and nothing is allocated by what they say but a list of at most as many runs as
// the file has clusters. The package is pure.
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

// FS is a file system that Open has looked at. It is for one goroutine at a time.
type FS struct {
	r        io.ReaderAt
	bits     int   // of an entry of the table: 12 or 16
	table    int64 // offset of the first table
	tableEnd int64
	root     int64 // offset of the root directory
	rootSize int64
	data     int64  // offset of cluster 2
	cluster  int64  // bytes of one
	count    uint32 // of clusters

	seen   []byte // what was read of the table last
	seenAt int64  // offset of that
}

const (
	sectorSize = 512
	entrySize  = 32
)

// Open reads the boot sector of a file system that has size bytes at most.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, sectorSize)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("fat: reading the boot sector: %w", err)
	}
	u16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(b[at:])) }
	perCluster, reserved, tables := int64(b[13]), u16(14), int64(b[16])
	total, length := u16(19), u16(22)
	if total == 0 {
		total = int64(binary.LittleEndian.Uint32(b[32:]))
	}
	f := &FS{r: r, rootSize: u16(17) * entrySize, cluster: perCluster * sectorSize}
	rootSectors := (f.rootSize + sectorSize - 1) / sectorSize
	first := reserved + tables*length + rootSectors
	switch {
	case b[510] != 0x55 || b[511] != 0xaa || u16(11) != sectorSize:
		return nil, errors.New("fat: no FAT file system with sectors of 512 bytes")
	case perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 || tables == 0 || tables > 2:
		return nil, errors.New("fat: the boot sector makes no sense")
	case length == 0: // FAT32 has it elsewhere
		return nil, errors.New("fat: FAT32 or none, which this reader does not read")
	case total*sectorSize > size || first >= total:
		return nil, fmt.Errorf("fat: the file system is larger than the %d bytes there are", size)
	}
	f.table, f.tableEnd = reserved*sectorSize, (reserved+length)*sectorSize
	f.root, f.data = (first-rootSectors)*sectorSize, first*sectorSize
	f.count = uint32((total - first) / perCluster)
	switch { // the specification tells them apart by the number of clusters alone
	case f.count < 4085:
		f.bits = 12
	case f.count < 65525:
		f.bits = 16
	default:
		return nil, errors.New("fat: more clusters than FAT16 has")
	}
	if f.rootSize == 0 || length*sectorSize*8 < (int64(f.count)+2)*int64(f.bits) {
		return nil, errors.New("fat: the boot sector makes no sense")
	}
	return f, nil
}

// Run is a range of bytes of the file system.
type Run struct{ Offset, Size int64 }

// File is a file of the root directory.
type File struct {
	Name string // NAME.EXT, at most 8.3, in capitals
	Size int64
	fs   *FS
	runs []Run
}

// Offset is where a file begins, in bytes from the file system's beginning; -1 for an
// empty one, which is nowhere.
func (f File) Offset() int64 {
	if len(f.runs) == 0 {
		return -1
	}
	return f.runs[0].Offset
}

// Reader reads the file.
func (f File) Reader() io.Reader {
	parts := make([]io.Reader, len(f.runs))
	for i, r := range f.runs {
		parts[i] = io.NewSectionReader(f.fs.r, r.Offset, r.Size)
	}
	return io.LimitReader(io.MultiReader(parts...), f.Size)
}

// Find answers the file of this name, in capitals or not.
func (f *FS) Find(name string) (File, error) {
	want, err := shortName(name)
	if err != nil {
		return File{}, err
	}
	var found *File
	err = f.entries(func(entry []byte) error {
		if string(entry[:11]) != want || found != nil {
			return nil
		}
		file, err := f.file(entry)
		found = &file
		return err
	})
	switch {
	case err != nil:
		return File{}, err
	case found == nil:
		return File{}, fmt.Errorf("fat: %s: %w", name, ErrNotFound)
	}
	return *found, nil
}

// Files are all files of the root directory, in its order.
func (f *FS) Files() (list []File, err error) {
	err = f.entries(func(entry []byte) error {
		file, err := f.file(entry)
		list = append(list, file)
		return err
	})
	return list, err
}

// entries goes over the directory's entries that are files.
func (f *FS) entries(do func(entry []byte) error) error {
	entry := make([]byte, entrySize)
	for at := int64(0); at < f.rootSize; at += entrySize {
		if _, err := f.r.ReadAt(entry, f.root+at); err != nil {
			return fmt.Errorf("fat: reading the root directory: %w", err)
		}
		if entry[0] == 0 {
			return nil
		}
		if entry[0] == deleted || entry[11]&0x18 != 0 { // a volume's name, part of a long name, a directory
			continue
		}
		if err := do(entry); err != nil {
			return err
		}
	}
	return nil
}

// deleted is the first byte of the entry of a file that was removed.
const deleted = 0xe5

// file takes what an entry says of a file, and follows its clusters: the last run goes to
// the end of its cluster.
func (f *FS) file(entry []byte) (File, error) {
	file := File{Name: strings.TrimRight(string(entry[:8]), " "), Size: int64(binary.LittleEndian.Uint32(entry[28:])), fs: f}
	if ext := strings.TrimRight(string(entry[8:11]), " "); ext != "" {
		file.Name += "." + ext
	}
	if file.Size == 0 {
		return file, nil
	}
	runs, err := f.chain(uint32(binary.LittleEndian.Uint16(entry[26:])), file.Size)
	if err != nil {
		return file, fmt.Errorf("%w, of %s", err, file.Name)
	}
	var have int64
	for _, r := range runs {
		have += r.Size
	}
	if have < file.Size {
		return file, fmt.Errorf("fat: %s is cut short", file.Name)
	}
	file.runs = runs
	return file, nil
}

// chain follows clusters until their end, or until they hold size bytes.
func (f *FS) chain(c uint32, size int64) (runs []Run, err error) {
	end := uint32(1)<<f.bits - 8
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
	at := f.table + int64(c)*int64(f.bits)/8
	if at < f.seenAt || at+2 > f.seenAt+int64(len(f.seen)) {
		if err := f.look(at); err != nil {
			return 0, err
		}
	}
	v := uint32(binary.LittleEndian.Uint16(f.seen[at-f.seenAt:]))
	switch {
	case f.bits == 16:
		return v, nil
	case c%2 == 1:
		return v >> 4, nil
	}
	return v & 0xfff, nil
}

// look reads the table from an offset on, more than is asked: a chain mostly goes on beside
// where it was, and boot.img has ten thousand clusters.
func (f *FS) look(at int64) error {
	b := make([]byte, min(lookAhead, f.tableEnd-at))
	if _, err := f.r.ReadAt(b, at); err != nil {
		f.seen = nil
		return fmt.Errorf("fat: reading the table: %w", err)
	}
	f.seen, f.seenAt = b, at
	return nil
}

const lookAhead = 4096

// shortName is a name as a directory has it.
func shortName(name string) (string, error) {
	base, ext, _ := strings.Cut(strings.ToUpper(name), ".")
	if base == "" || len(base) > 8 || len(ext) > 3 {
		return "", fmt.Errorf("fat: %q is no short name", name)
	}
	return fmt.Sprintf("%-8s%-3s", base, ext), nil
}
