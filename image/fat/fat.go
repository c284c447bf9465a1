// Package fat makes and reads the FAT16 volumes that a Raspberry Pi's boot loader takes files from: the partition that
// says which slot is started, the slots, and boot.img.
//
// A volume is a function of its files, its label, its number and one date: the same bytes each time. All files are in
// the root directory under short names (8.3, lower case), each in clusters that follow one another in the order given;
// what no file uses is zero. So a volume read from a card is held against the published one by making it again
// ([Volume.Bytes]) from its files ([Read]).
//
// The format is Microsoft's "FAT: General Overview of On-Disk Format" 1.03 with the lower-case marks of Windows NT.
// fsck.vfat, mtools and Linux judge it in this package's tests. FAT12, FAT32, folders and long names are not needed and
// refused.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// File is one file of a volume.
type File struct {
	Name    string // 8.3, of a-z 0-9 - _ in both parts
	Content []byte
}

// Volume is a FAT16 volume.
type Volume struct {
	Label   string // at most 11 of A-Z 0-9 - _
	ID      uint32 // its serial number
	Sectors int    // of 512 bytes; see [MinSectors], [MaxSectors]
	Date    time.Time
	Files   []File
}

// ErrFull says that the files need more than the volume has.
var ErrFull = errors.New("fat: files do not fit into the volume")

// geometry is where the parts of a volume lie, in sectors.
type geometry struct {
	sectors   int
	cluster   int // sectors in one
	table     int // sectors of one of the two tables
	clusters  int
	rootStart int
	dataStart int
}

// shape chooses the largest clusters that leave a volume FAT16 to every reader.
func shape(sectors int) (geometry, error) {
	if sectors < MinSectors || sectors > MaxSectors {
		return geometry{}, fmt.Errorf("fat: a volume of %d sectors: must be %d to %d", sectors, MinSectors, MaxSectors)
	}
	for cluster := maxCluster; ; cluster /= 2 {
		if g := layout(sectors, cluster); g.clusters >= minClusters {
			return g, nil
		}
	}
}

func layout(sectors, cluster int) geometry {
	// Each cluster takes its sectors and two bytes in the table; the table is as long as the whole would need.
	table := (sectors/cluster*2 + SectorSize - 1) / SectorSize
	g := geometry{sectors: sectors, cluster: cluster, table: table, rootStart: reserved + tables*table}
	g.dataStart = g.rootStart + rootEntries*entrySize/SectorSize
	g.clusters = (sectors - g.dataStart) / cluster
	return g
}

// offset is where a cluster's bytes begin in the volume.
func (g geometry) offset(cluster int) int64 {
	return int64(g.dataStart+(cluster-firstCluster)*g.cluster) * SectorSize
}

func (g geometry) clusterBytes() int { return g.cluster * SectorSize }

// Bytes makes the volume.
func (v Volume) Bytes() ([]byte, error) {
	g, err := shape(v.Sectors)
	if err != nil {
		return nil, err
	}
	label, err := v.label()
	if err != nil {
		return nil, err
	}
	b := make([]byte, v.Sectors*SectorSize)
	g.bootSector(b, label, v.ID)
	table := newTable()
	root := b[g.rootStart*SectorSize : g.dataStart*SectorSize]
	stamp := dosTime(v.Date)
	copy(root, directoryEntry(label, attrVolume, 0, stamp, 0, 0))
	if len(v.Files) >= rootEntries {
		return nil, fmt.Errorf("fat: %d files: a root directory has %d entries", len(v.Files), rootEntries-1)
	}
	seen := map[string]bool{}
	for i, f := range v.Files {
		short, marks, err := shortName(f.Name)
		if err != nil {
			return nil, err
		}
		if seen[f.Name] {
			return nil, fmt.Errorf("fat: two files named %s", f.Name)
		}
		seen[f.Name] = true
		first := table.take((len(f.Content) + g.clusterBytes() - 1) / g.clusterBytes())
		if len(table)-firstCluster > g.clusters {
			return nil, fmt.Errorf("%w: %s", ErrFull, f.Name)
		}
		if first != 0 {
			copy(b[g.offset(first):], f.Content)
		}
		copy(root[(i+1)*entrySize:], directoryEntry(short, attrArchive, marks, stamp, first, len(f.Content)))
	}
	for i := range tables {
		table.write(b[(reserved+i*g.table)*SectorSize:])
	}
	return b, nil
}

// bootSector writes the first sector. It has no program: a PC that is started from the card stops there.
func (g geometry) bootSector(b []byte, label [11]byte, id uint32) {
	le := binary.LittleEndian
	copy(b, "\xeb\xfe\x90touchmk ") // a jump to itself
	le.PutUint16(b[11:], SectorSize)
	b[13] = byte(g.cluster)
	le.PutUint16(b[14:], reserved)
	b[16] = tables
	le.PutUint16(b[17:], rootEntries)
	if g.sectors < 1<<16 {
		le.PutUint16(b[19:], uint16(g.sectors))
	} else {
		le.PutUint32(b[32:], uint32(g.sectors))
	}
	b[21] = mediaFixed
	le.PutUint16(b[22:], uint16(g.table))
	le.PutUint16(b[24:], 32) // sectors of a track and heads: nobody counts in them
	le.PutUint16(b[26:], 64)
	b[36], b[38] = 0x80, 0x29 // a fixed disk; the next three fields are there
	le.PutUint32(b[39:], id)
	copy(b[43:], label[:])
	copy(b[54:], "FAT16   ")
	b[510], b[511] = 0x55, 0xaa
}

// table is the allocation table: for each cluster the next of its file.
type table []uint16

func newTable() table { return table{0xff00 | mediaFixed, endOfFile} }

// take adds a file of n clusters and returns its first, 0 for none.
func (t *table) take(n int) int {
	if n == 0 {
		return 0
	}
	first := len(*t)
	for i := 1; i < n; i++ {
		*t = append(*t, uint16(first+i))
	}
	*t = append(*t, endOfFile)
	return first
}

func (t table) write(b []byte) {
	for i, next := range t {
		binary.LittleEndian.PutUint16(b[2*i:], next)
	}
}

func directoryEntry(name [11]byte, attr, marks byte, stamp uint32, first, size int) []byte {
	e := make([]byte, entrySize)
	le := binary.LittleEndian
	copy(e, name[:])
	e[11], e[12] = attr, marks
	le.PutUint32(e[14:], stamp)             // created
	le.PutUint16(e[18:], uint16(stamp>>16)) // read
	le.PutUint32(e[22:], stamp)             // written
	le.PutUint16(e[26:], uint16(first))
	le.PutUint32(e[28:], uint32(size))
	return e
}

// dosTime is a date as FAT has it: two-second steps from 1980 on, here in UTC.
func dosTime(t time.Time) uint32 {
	t = t.UTC()
	date := uint32(max(t.Year()-1980, 0))<<9 | uint32(t.Month())<<5 | uint32(t.Day())
	return date<<16 | uint32(t.Hour())<<11 | uint32(t.Minute())<<5 | uint32(t.Second())/2
}

func (v Volume) label() (l [11]byte, err error) {
	if len(v.Label) == 0 || len(v.Label) > len(l) || !consists(v.Label, upper) {
		return l, fmt.Errorf("fat: label %q: must be 1 to 11 of A-Z 0-9 - _", v.Label)
	}
	copy(l[:], fmt.Sprintf("%-11s", v.Label))
	return l, nil
}

const (
	upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	lower = "abcdefghijklmnopqrstuvwxyz0123456789-_"
)

func consists(s, of string) bool { return strings.Trim(s, of) == "" }

// shortName is a name in a directory, with the marks that say that its parts are shown in lower case.
func shortName(name string) (short [11]byte, marks byte, err error) {
	base, ext, dotted := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dotted && ext == "" || !consists(base+ext, lower) {
		return short, 0, fmt.Errorf("fat: name %q: must be 8.3 of a-z 0-9 - _", name)
	}
	copy(short[:], fmt.Sprintf("%-8s%-3s", strings.ToUpper(base), strings.ToUpper(ext)))
	return short, lowerBase | lowerExt, nil
}
