package biglog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// tileWidth and tileHeight are C2SP tlog-tiles' of the published log.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// Published describes a log in a directory.
type Published struct {
	Log        string `json:"-"`          // published directory
	Trust      string `json:"-"`          // trust directory
	Earlier    string `json:"-"`          // checkpoint from a good 100 entries before
	Signatures int    `json:"signatures"` // of files
	Commits    int    `json:"commits"`
	Boots      int    `json:"boots"`
	Size       uint64 `json:"size"`    // of the checkpoint
	Entries    uint64 `json:"entries"` // pending ones included
}

// Cached makes a log of this many signatures below dir, or finds the one that
// an earlier call left there: 10^6 signatures are 800 MB and some minutes.
// Logs of another edition of the generator are told apart by Edition.
func Cached(dir string, signatures int) (*Published, error) {
	dir = filepath.Join(dir, fmt.Sprintf("%s-%d", Edition, signatures))
	p := &Published{Log: filepath.Join(dir, "log"), Trust: filepath.Join(dir, "trust"), Earlier: filepath.Join(dir, "earlier")}
	about := filepath.Join(dir, "about.json") // written last
	b, err := os.ReadFile(about)
	if err == nil {
		return p, json.Unmarshal(b, p)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := p.write(signatures); err != nil {
		return nil, err
	}
	if b, err = json.Marshal(p); err != nil {
		return nil, err
	}
	return p, os.WriteFile(about, b, 0o644)
}

func (p *Published) write(signatures int) error {
	t := &tileWriter{dir: p.Log}
	f, err := Generate(signatures, t.append)
	if err != nil {
		return err
	}
	p.Signatures, p.Commits, p.Boots, p.Size, p.Entries = f.Signatures, f.Commits, f.Boots, f.Size, f.Entries
	if err := t.finish(); err != nil {
		return err
	}
	return errors.Join(put(filepath.Join(p.Log, "checkpoint"), f.Checkpoint), put(p.Earlier, f.Earlier), put(filepath.Join(p.Trust, "trust"), f.Trust))
}

// tileWriter writes a published log in one go, without the care that a live
// one needs (package ledgerstore/tiles).
type tileWriter struct {
	dir     string
	tree    ledger.Tree
	pending [][]byte   // entries that no commit covers yet
	recent  [][]byte   // covered entries from the start of the last entry tile
	hashes  []hashTile // by level / 8
}

// hashTile is the tile that grows at one level.
type hashTile struct {
	n    uint64
	data []byte
}

func (t *tileWriter) append(a Append) error {
	t.pending = append(t.pending, a.Entries...)
	if a.Plan == nil {
		return nil
	}
	for _, e := range t.pending {
		if err := t.cover(e); err != nil {
			return err
		}
	}
	t.pending = nil
	return nil
}

func (t *tileWriter) cover(e []byte) error {
	for level, h := range t.tree.Add(ledger.LeafHash(e)) {
		if level%tileHeight != 0 {
			continue
		}
		if err := t.hash(level/tileHeight, h); err != nil {
			return err
		}
	}
	if t.recent = append(t.recent, e); len(t.recent) < tileWidth {
		return nil
	}
	return t.bundle()
}

func (t *tileWriter) hash(level int, h tlog.Hash) error {
	if level == len(t.hashes) {
		t.hashes = append(t.hashes, hashTile{})
	}
	tile := &t.hashes[level]
	tile.data = append(tile.data, h[:]...)
	if len(tile.data) < tileWidth*tlog.HashSize {
		return nil
	}
	err := put(t.path(strconv.Itoa(level), tile.n, tileWidth), tile.data)
	tile.n, tile.data = tile.n+1, nil
	return err
}

// finish writes what is not whole.
func (t *tileWriter) finish() error {
	if len(t.recent) > 0 {
		if err := t.bundle(); err != nil {
			return err
		}
	}
	for level, tile := range t.hashes {
		if len(tile.data) > 0 {
			if err := put(t.path(strconv.Itoa(level), tile.n, len(tile.data)/tlog.HashSize), tile.data); err != nil {
				return err
			}
		}
	}
	return put(filepath.Join(t.dir, "pending"), bundle(t.pending))
}

// bundle writes the last entry tile, whole or partial.
func (t *tileWriter) bundle() error {
	n := (t.tree.Size() - 1) / tileWidth
	err := put(t.path("entries", n, len(t.recent)), bundle(t.recent))
	t.recent = nil
	return err
}

func bundle(entries [][]byte) (b []byte) {
	for _, e := range entries {
		b = tiles.AppendBundle(b, e)
	}
	return b
}

// path is C2SP tlog-tiles' of a tile.
func (t *tileWriter) path(level string, n uint64, w int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if w < tileWidth {
		path += fmt.Sprintf(".p/%d", w)
	}
	return filepath.Join(t.dir, "tile", level, path)
}

func put(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
