package tiles

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

func entriesFrom(from uint64, n int) (out [][]byte) {
	for i := from; i < from+uint64(n); i++ {
		out = append(out, append(fmt.Appendf(nil, "entry %d ", i), bytes.Repeat([]byte{'x'}, int(i)%97)...))
	}
	return out
}

func mustCreate(t testing.TB, dir string) *ledgerstore.Store {
	t.Helper()
	s, err := ledgerstore.Options{Disk: disktest.New(dir)}.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // the directory goes away
	return s
}

func mustAppend(t testing.TB, s *ledgerstore.Store, n int) {
	t.Helper()
	if err := s.Append(entriesFrom(s.Size(), n), nil); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fakeNote is a checkpoint whose signatures nobody here looks at.
func fakeNote(t testing.TB, s *ledgerstore.Store, size uint64) []byte {
	t.Helper()
	root, err := s.Root(size)
	if err != nil {
		t.Fatal(err)
	}
	return append(ledger.CheckpointBody("a.example", size, root), "\n\u2014 a.example AAAAAAAA\n"...)
}

// verify reads a published directory as an auditor does: whatever the
// checkpoint says must be in the tiles, and every hash tile must agree.
func verify(t testing.TB, dir string) (size uint64, pending int) {
	t.Helper()
	tiles, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return verifyTiles(t, tiles)
}

func verifyTiles(t testing.TB, tiles *Tiles) (size uint64, pending int) {
	t.Helper()
	tail, err := tiles.Pending()
	if err != nil {
		t.Fatal(err)
	}
	note, err := tiles.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	_, size, root, err := parseNoteBody(note)
	if err != nil {
		t.Fatal(err)
	}
	var tree ledger.Tree
	n := uint64(0)
	hashes := map[[2]uint64][]byte{}
	for e, err := range tiles.Entries(0) {
		if err != nil {
			t.Fatal(err)
		}
		if n == size {
			break
		}
		if !bytes.Equal(e, entriesFrom(n, 1)[0]) {
			t.Fatalf("entry %d is %q", n, e)
		}
		for i, h := range tree.Add(ledger.LeafHash(e)) {
			if i%tileHeight != 0 {
				continue
			}
			key := [2]uint64{uint64(i / tileHeight), n >> i / tileWidth}
			if hashes[key] == nil {
				hashes[key] = tiles.HashTile(i/tileHeight, n>>i/tileWidth)
			}
			tile, at := hashes[key], int(n>>i%tileWidth)*32
			if len(tile) < at+32 || [32]byte(tile[at:]) != h {
				t.Fatalf("hash tile level %d, %d: %d bytes without %x", i, n>>i, len(tile), h)
			}
		}
		n++
	}
	if n != size || tree.Root() != root {
		t.Fatalf("%d entries of %d, root %x, want %x", n, size, tree.Root(), root)
	}
	wantNoGap(t, tail, size)
	return size, len(tail)
}

// wantNoGap wants pending entries that begin at or below the checkpoint's size.
func wantNoGap(t testing.TB, tail [][]byte, size uint64) {
	t.Helper()
	for i, e := range tail {
		var index uint64
		if _, err := fmt.Sscanf(string(e), "entry %d ", &index); err != nil || index > size+uint64(i) {
			t.Fatalf("pending entry %d is %q behind a checkpoint of size %d", i, e, size)
		}
	}
}

func TestPublishSteps(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	dir := filepath.Join(t.TempDir(), "pub")
	for _, step := range []struct{ add, pending int }{{1, 0}, {1, 1}, {3, 2}, {250, 0}, {1, 3}, {5, 0}, {252, 1}, {1, 0}, {700, 9}, {1, 0}} {
		mustAppend(t, s, step.add)
		size := s.Size()
		if step.pending > 0 {
			mustAppend(t, s, step.pending)
		}
		for range 2 { // the second time changes nothing
			if err := Publish(dir, s, fakeNote(t, s, size), size); err != nil {
				t.Fatal(err)
			}
			if got, n := verify(t, dir); got != size || n != step.pending {
				t.Fatalf("size %d with %d pending, want %d with %d", got, n, size, step.pending)
			}
		}
	}
	noRubbish(t, dir)
}

// noRubbish: no temporary files, at most two partial tiles of a kind, none
// beside a full one.
func noRubbish(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".new"):
			t.Errorf("temporary file %s", path)
		case strings.HasSuffix(path, ".p"):
			if _, err := os.Stat(strings.TrimSuffix(path, ".p")); err == nil {
				t.Errorf("partial tiles beside a full one: %s", path)
			}
			if ws, err := widths(durable.OS, path); err != nil || len(ws) > 2 || len(ws) == 0 {
				t.Errorf("%s has %v", path, ws)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The paths are those of the specification's own examples, and tlog's tile
// code, which knows nothing of ours, reads the same hashes.
func TestTilePaths(t *testing.T) {
	for want, got := range map[string]string{
		"tile/0/x001/x234/067":       tilePath("0", 1234067, 256),
		"tile/0/x001/x234/067.p/8":   tilePath("0", 1234067, 8),
		"tile/entries/000":           tilePath("entries", 0, 256),
		"tile/1/x001/000":            tilePath("1", 1000, 256),
		"tile/entries/x012/x345/678": tilePath("entries", 12345678, 256),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	s := mustCreate(t, t.TempDir())
	dir := t.TempDir()
	mustAppend(t, s, 600)
	if err := Publish(dir, s, fakeNote(t, s, 600), 600); err != nil {
		t.Fatal(err)
	}
	root, _ := s.Root(600)
	tree := tlog.TileHashReader(tlog.Tree{N: 600, Hash: root}, diskTiles(dir))
	for _, i := range []int64{0, 255, 256, 511, 512, 599} {
		p, err := tlog.ProveRecord(600, i, tree)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := s.Entry(uint64(i))
		if err := tlog.CheckRecord(p, 600, root, i, tlog.RecordHash(e)); err != nil {
			t.Error(err)
		}
	}
}

type diskTiles string

func (d diskTiles) Height() int                     { return tileHeight }
func (d diskTiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (d diskTiles) ReadTiles(ts []tlog.Tile) (bs [][]byte, err error) {
	for _, t := range ts {
		b, err := os.ReadFile(filepath.Join(string(d), tilePath(fmt.Sprint(t.L), uint64(t.N), t.W)))
		if err != nil {
			return nil, err
		}
		bs = append(bs, b)
	}
	return bs, nil
}

func TestPublishRefuses(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	mustAppend(t, s, 5)
	dir := t.TempDir()
	other := mustCreate(t, t.TempDir())
	mustAppend(t, other, 1)
	if err := other.Append([][]byte{[]byte("something else")}, nil); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"a foreign checkpoint": func() error { return Publish(dir, s, fakeNote(t, other, 2), 2) },
		"another size":         func() error { return Publish(dir, s, fakeNote(t, s, 4), 5) },
		"size beyond":          func() error { return Publish(dir, s, fakeNote(t, s, 5), 6) },
		"no note":              func() error { return Publish(dir, s, []byte("x"), 5) },
	} {
		if f() == nil {
			t.Errorf("%s was published", name)
		}
	}
	if err := Publish(dir, s, fakeNote(t, s, 5), 5); err != nil {
		t.Fatal(err)
	}
	if err := Publish(dir, s, fakeNote(t, s, 4), 4); err == nil {
		t.Error("went back to an older size")
	}
}

// orderDisk is the real disk, which after a power cut may have lost any name
// changed since the last sync of its directory, whatever the order.
type orderDisk struct {
	durable.Disk
	loose map[string]bool // names not synced yet
	t     *testing.T
}

func (d *orderDisk) Rename(from, to string) error {
	for name := range d.loose {
		if base := filepath.Base(to); base == "checkpoint" || base == "pending" {
			d.t.Errorf("%s is written while %s may still be lost", to, name)
		}
	}
	d.loose[to] = true
	return d.Disk.Rename(from, to)
}

func (d *orderDisk) SyncDir(dir string) error {
	maps.DeleteFunc(d.loose, func(name string, _ bool) bool { return filepath.Dir(name) == dir })
	return d.Disk.SyncDir(dir)
}

// Whatever a power cut loses, pending begins where a checkpoint ends, and a
// checkpoint has its tiles.
func TestPublishOrder(t *testing.T) {
	s, dir := mustCreate(t, t.TempDir()), t.TempDir()
	for _, size := range []uint64{5, 5, 255, 256, 700} {
		mustAppend(t, s, int(size-min(size, s.Size()))+3)
		d := &orderDisk{Disk: durable.OS, loose: map[string]bool{}, t: t}
		if err := PublishOn(d, dir, s, fakeNote(t, s, size), size); err != nil {
			t.Fatal(err)
		}
		if len(d.loose) > 0 {
			t.Errorf("size %d: %v may be lost", size, d.loose)
		}
	}
}

// A directory that cannot be listed is not an empty one: no verdict rather
// than a truncated log.
func TestUnreadableTileIsNoMissingTile(t *testing.T) {
	s, dir := mustCreate(t, t.TempDir()), t.TempDir()
	mustAppend(t, s, 5)
	if err := Publish(dir, s, fakeNote(t, s, 5), 5); err != nil {
		t.Fatal(err)
	}
	tiles, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	partial := filepath.Join(dir, tilePath("entries", 0, 256)) + ".p"
	if err := os.RemoveAll(partial); err != nil {
		t.Fatal(err)
	}
	for _, err := range tiles.Entries(0) {
		t.Errorf("an entry, or %v", err)
	}
	writeFile(t, partial, nil)
	n := 0
	for _, err := range tiles.Entries(0) {
		if n++; err == nil {
			t.Error("no error")
		}
	}
	if n != 1 {
		t.Errorf("%d results", n)
	}
}

func TestReaderIsNotFooled(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	mustAppend(t, s, 300)
	publishTo := func(t *testing.T) (string, *Tiles) {
		dir := t.TempDir()
		if err := Publish(dir, s, fakeNote(t, s, 300), 300); err != nil {
			t.Fatal(err)
		}
		tiles, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return dir, tiles
	}
	count := func(tiles *Tiles) (n int, err error) {
		for _, err = range tiles.Entries(0) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	t.Run("short bundle", func(t *testing.T) {
		dir, tiles := publishTo(t)
		path := filepath.Join(dir, tilePath("entries", 0, 256))
		writeFile(t, path, readFile(t, path)[:100])
		if n, err := count(tiles); err == nil {
			t.Errorf("%d entries", n)
		}
	})
	t.Run("missing bundle", func(t *testing.T) {
		dir, tiles := publishTo(t)
		if err := os.RemoveAll(filepath.Join(dir, tilePath("entries", 1, 256)) + ".p"); err != nil {
			t.Fatal(err)
		}
		if n, err := count(tiles); n != 256 || err != nil {
			t.Errorf("%d entries, %v", n, err)
		}
	})
	t.Run("bundle too long", func(t *testing.T) {
		dir, tiles := publishTo(t)
		path := filepath.Join(dir, tilePath("entries", 1, 44))
		writeFile(t, path, append(readFile(t, path), 0, 1, 'x'))
		if n, err := count(tiles); err == nil {
			t.Errorf("%d entries", n)
		}
	})
	t.Run("garbage pending", func(t *testing.T) {
		dir, tiles := publishTo(t)
		writeFile(t, filepath.Join(dir, "pending"), []byte{0, 9, 1})
		if _, err := tiles.Pending(); err == nil {
			t.Error("garbage was read")
		}
	})
	t.Run("huge checkpoint", func(t *testing.T) {
		dir, tiles := publishTo(t)
		writeFile(t, filepath.Join(dir, "checkpoint"), make([]byte, maxCheckpoint+1))
		if _, err := tiles.Checkpoint(); err == nil {
			t.Error("it was read")
		}
	})
	t.Run("from the middle", func(t *testing.T) {
		_, tiles := publishTo(t)
		for e, err := range tiles.Entries(299) {
			if err != nil || !bytes.Equal(e, entriesFrom(299, 1)[0]) {
				t.Errorf("%q, %v", e, err)
			}
		}
	})
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing directory was opened")
	}
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte{0, 1, 'x', 0, 2, 'y', 'z'})
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ParseBundle(b)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			again = AppendBundle(again, e)
		}
		if !bytes.Equal(again, b) {
			t.Error("second encoding")
		}
	})
}
