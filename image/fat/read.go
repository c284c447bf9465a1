package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"touchmark/appliance/update/fat"
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
	v := Volume{Sectors: g.sectors, ID: binary.LittleEndian.Uint32(b[39:]), Label: strings.TrimRight(string(b[43:54]), " ")}
	v.Date = goTime(binary.LittleEndian.Uint32(b[g.rootStart*SectorSize+22:])) // the first entry is the volume's name
	if v.Files, err = contents(b); err != nil {
		return Volume{}, fmt.Errorf("%w: %w", ErrFormat, err)
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

// contents are the files of the root directory; that the volume has nothing else, Parse finds out.
func contents(b []byte) (files []File, err error) {
	volume, err := fat.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	list, err := volume.Files()
	for _, f := range list {
		file := File{Name: strings.ToLower(f.Name)}
		if at := f.Offset(); at >= 0 && at+f.Size <= int64(len(b)) {
			file.Content = b[at : at+f.Size] // one that lies in several pieces is made again as another
		}
		files = append(files, file)
	}
	return files, err
}

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
