package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrFormat says that bytes are no volume as this package makes them.
var ErrFormat = errors.New("fat: not a volume made by touchmark-image")

// Read reads a volume of so many sectors, whole. It takes only what [Volume.Bytes] makes, to the last bit: a file that is
// hidden, deleted, spread or cut, tables that differ, and anything in free space are refused with [ErrFormat].
func Read(r io.ReaderAt, sectors int) (Volume, error) {
	if _, err := shape(sectors); err != nil {
		return Volume{}, err
	}
	b := make([]byte, sectors*SectorSize)
	if _, err := r.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return Volume{}, fmt.Errorf("fat: reading the volume: %w", err)
	} else if err != nil {
		return Volume{}, fmt.Errorf("%w: it is shorter than its %d sectors", ErrFormat, sectors)
	}
	return Parse(b)
}

// Parse is [Read] for a volume in memory. The files' contents are parts of b.
func Parse(b []byte) (Volume, error) {
	g, err := shape(len(b) / SectorSize)
	if err != nil || len(b)%SectorSize != 0 {
		return Volume{}, fmt.Errorf("%w: %d bytes", ErrFormat, len(b))
	}
	v := Volume{Sectors: g.sectors, ID: binary.LittleEndian.Uint32(b[39:]), Label: trimmed(b[43:54])}
	root := b[g.rootStart*SectorSize : g.dataStart*SectorSize]
	v.Date = goTime(binary.LittleEndian.Uint32(root[22:]))
	for e := root[entrySize:]; len(e) >= entrySize && e[0] != 0; e = e[entrySize:] {
		f, err := g.file(b, e[:entrySize])
		if err != nil {
			return Volume{}, err
		}
		v.Files = append(v.Files, f)
	}
	again, err := v.Bytes()
	if err != nil {
		return Volume{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if at := differ(again, b); at >= 0 {
		return Volume{}, fmt.Errorf("%w: byte %d is not as it makes them", ErrFormat, at)
	}
	return v, nil
}

// file takes what a directory entry says of a file; whether it is all that the entry says, Parse finds out.
func (g geometry) file(b, e []byte) (File, error) {
	name := strings.ToLower(trimmed(e[:8]))
	if ext := trimmed(e[8:11]); ext != "" {
		name += "." + strings.ToLower(ext)
	}
	first, size := int(binary.LittleEndian.Uint16(e[26:])), int64(binary.LittleEndian.Uint32(e[28:]))
	if size == 0 {
		return File{Name: name}, nil
	}
	start := g.offset(first)
	if first < firstCluster || start+size > int64(len(b)) {
		return File{}, fmt.Errorf("%w: %q lies outside of it", ErrFormat, name)
	}
	return File{Name: name, Content: b[start : start+size]}, nil
}

// Offset is where a file's content begins, in bytes from the volume's beginning: it lies there in one piece. A file that is
// not there or empty has none: -1.
func (v Volume) Offset(name string) int64 {
	g, err := shape(v.Sectors)
	if err != nil {
		return -1
	}
	cluster := firstCluster
	for _, f := range v.Files {
		if f.Name == name && len(f.Content) > 0 {
			return g.offset(cluster)
		}
		cluster += (len(f.Content) + g.clusterBytes() - 1) / g.clusterBytes()
	}
	return -1
}

// File is a file's content.
func (v Volume) File(name string) ([]byte, bool) {
	for _, f := range v.Files {
		if f.Name == name {
			return f.Content, true
		}
	}
	return nil, false
}

func trimmed(b []byte) string { return strings.TrimRight(string(b), " ") }

func goTime(stamp uint32) time.Time {
	date, clock := int(stamp>>16), int(stamp&0xffff)
	return time.Date(1980+date>>9, time.Month(date>>5&15), date&31, clock>>11, clock>>5&63, clock&31*2, 0, time.UTC)
}

// differ is where two volumes of one length first differ, -1 for nowhere.
func differ(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
