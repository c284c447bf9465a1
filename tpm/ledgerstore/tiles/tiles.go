// Package tiles publishes a log as a C2SP tlog-tiles directory and reads such
// a directory. docs/spec/ledger.md section 4 has the layout:
//
//	checkpoint               the note, written last
//	tile/<L>/<N>[.p/<W>]     hashes, tile height 8
//	tile/entries/<N>[.p/<W>] entries
//	pending                  leaves beyond the checkpoint, as an entry bundle
//
// Guarantees: a reader never sees a checkpoint without its tiles, nor a gap
// between checkpoint and pending, whenever a writer is interrupted or the
// power goes; a reader trusts nothing it reads and bounds all of it. What the
// files mean is not checked here: roots and signatures are the auditor's.
package tiles

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
)

// tilePath is the C2SP tlog-tiles path of tile n of a level ("0".."5" or
// "entries"): groups of three digits, all but the last with an x, and .p/W
// when only the first w of its 256 are there.
func tilePath(level string, n uint64, w int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	path = filepath.Join("tile", level, path)
	if w < tileWidth {
		path += fmt.Sprintf(".p/%d", w)
	}
	return path
}

// AppendBundle appends an entry in the encoding of an entry bundle: u16
// length, big-endian, and the bytes (C2SP tlog-tiles, "Log entries").
func AppendBundle(b, entry []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(entry)))
	return append(b, entry...)
}

// ParseBundle takes an entry bundle apart; the entries alias b.
func ParseBundle(b []byte) ([][]byte, error) {
	var entries [][]byte
	for at := 0; at < len(b); {
		if len(b)-at < 2 {
			return nil, fmt.Errorf("entry bundle: %d bytes left over", len(b)-at)
		}
		n := int(binary.BigEndian.Uint16(b[at:]))
		at += 2
		if n == 0 || n > ledger.MaxEntry || n > len(b)-at {
			return nil, fmt.Errorf("entry bundle: entry %d has %d bytes, %d are left", len(entries), n, len(b)-at)
		}
		entries = append(entries, b[at:at+n])
		at += n
	}
	return entries, nil
}

// Tiles reads a published log directory, trusting nothing in it.
type Tiles struct {
	disk durable.Disk
	dir  string
}

// Open opens a directory that Publish made.
func Open(dir string) (*Tiles, error) { return OpenOn(durable.OS, dir) }

// OpenOn is Open on another disk.
func OpenOn(d durable.Disk, dir string) (*Tiles, error) {
	if _, err := d.List(dir); err != nil {
		if errors.Is(err, unix.ENOTDIR) {
			return nil, fmt.Errorf("%s is not a directory with a published log", dir)
		}
		err = durable.Error("open", dir, err)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w (nothing is published there yet? `touchmark publish` on the host waits until it is)", err)
		}
		return nil, err
	}
	return &Tiles{disk: d, dir: dir}, nil
}

// Checkpoint returns the checkpoint note, unverified.
func (t *Tiles) Checkpoint() ([]byte, error) {
	return durable.ReadFile(t.disk, filepath.Join(t.dir, "checkpoint"), maxCheckpoint)
}

// Pending returns the leaves published beyond the checkpoint; some of them may
// stand before its size, the writer being ahead of the reader. Read it before
// the checkpoint. A missing file means none.
func (t *Tiles) Pending() ([][]byte, error) {
	path := filepath.Join(t.dir, "pending")
	b, err := durable.ReadFile(t.disk, path, maxPending)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := ParseBundle(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return entries, nil
}

// Entries yields all published entries from index from on, in order. It ends
// where the files end; an unreadable file ends it with an error. The number of
// entries is not checked against anything.
func (t *Tiles) Entries(from uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for n := from / tileWidth; ; n++ {
			entries, err := t.bundle(n)
			if err != nil {
				yield(nil, err)
				return
			}
			for i, e := range entries {
				if n*tileWidth+uint64(i) >= from && !yield(e, nil) {
					return
				}
			}
			if len(entries) < tileWidth {
				return
			}
		}
	}
}

// bundle reads entry bundle n: the full one or else the widest partial one;
// none gives no entries.
func (t *Tiles) bundle(n uint64) ([][]byte, error) {
	path, w, b, err := readTile(t.disk, filepath.Join(t.dir, tilePath("entries", n, tileWidth)), maxBundle)
	if err != nil || w == 0 {
		return nil, err
	}
	entries, err := ParseBundle(b)
	if err == nil && len(entries) != w {
		err = fmt.Errorf("%d entries where %d should be", len(entries), w)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return entries, nil
}

// HashTile reads a published hash tile: hashes 256·n and on of tree level
// 8·level, 32 bytes each, as many as there are; nil if there is none that can
// be read. What it says is for the caller to prove.
func (t *Tiles) HashTile(level int, n uint64) []byte {
	_, _, b, err := readTile(t.disk, filepath.Join(t.dir, tilePath(strconv.Itoa(level), n, tileWidth)), tileWidth*32)
	if err != nil {
		return nil
	}
	return b
}

// readTile reads the full tile at path or else the widest partial one, of
// width w, 0 if there is none. A writer makes the wider tile first and then
// removes the narrower one, perhaps after we looked for the former and before we
// looked for the latter: so look again.
func readTile(d durable.Disk, path string, limit int64) (at string, w int, b []byte, err error) {
	for range tileTries {
		if b, err = durable.ReadFile(d, path, limit); !errors.Is(err, fs.ErrNotExist) {
			return path, tileWidth, b, err
		}
		ws, err := widths(d, path+".p")
		if err != nil {
			return path, 0, nil, err
		}
		if w = 0; len(ws) == 0 {
			continue
		}
		w = slices.Max(ws)
		at = filepath.Join(path+".p", strconv.Itoa(w))
		if b, err = durable.ReadFile(d, at, limit); !errors.Is(err, fs.ErrNotExist) {
			return at, w, b, err
		}
	}
	if w == 0 {
		return path, 0, nil, nil
	}
	return at, w, nil, fmt.Errorf("%s changes faster than it can be read", path)
}

// widths lists the partial tiles in a .p directory; a missing one has none,
// and nil says so.
func widths(d durable.Disk, dir string) (ws []int, err error) {
	names, err := d.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, durable.Error("read", dir, err)
	}
	ws = []int{}
	for _, name := range names {
		w, err := strconv.Atoi(name)
		if err == nil && w > 0 && w < tileWidth && strconv.Itoa(w) == name {
			ws = append(ws, w)
		}
	}
	return ws, nil
}

func parseNoteBody(msg []byte) (origin string, size uint64, root [32]byte, err error) {
	text, _, ok := strings.Cut(string(msg), "\n\n")
	if !ok {
		return "", 0, root, errors.New("not a signed note")
	}
	return ledger.ParseCheckpointBody([]byte(text + "\n"))
}
