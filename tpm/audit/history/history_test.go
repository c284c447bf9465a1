package history

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"touchmark/tpm/ledger"
)

func leaf(i uint64) [32]byte { return ledger.LeafHash(binary.BigEndian.AppendUint64(nil, i)) }

// log is a tree with its hash tiles and the root of each size.
type log struct {
	tree   ledger.Tree
	levels map[int][]byte
	roots  [][32]byte
}

func newLog(n uint64) *log {
	l := &log{levels: map[int][]byte{}, roots: [][32]byte{ledger.EmptyRoot()}}
	for i := range n {
		for level, h := range l.tree.Add(leaf(i)) {
			l.levels[level] = append(l.levels[level], h[:]...)
		}
		l.roots = append(l.roots, l.tree.Root())
	}
	return l
}

func (l *log) tile(level int, n uint64) []byte {
	all := l.levels[level*TileHeight]
	from := min(n*256*32, uint64(len(all)))
	return all[from:min(from+256*32, uint64(len(all)))]
}

const size = 2*Window + 700

var long = newLog(size)

// Every size has its root, near from memory and far from the tiles; a wrong
// root never passes, and wrong or missing tiles tell nothing.
func TestIs(t *testing.T) {
	l := New(new(ledger.Tree), long.tile, []uint64{100})
	for i := range uint64(size) {
		l.Add(leaf(i), leaf(i), i%3 == 0)
		if i == 50 {
			l.Commit(51)
		}
	}
	for n := uint64(0); n <= size; n += 97 {
		wrong := long.roots[n]
		wrong[7] ^= 1
		if is, known := l.Is(n, long.roots[n]); !is || !known {
			t.Fatalf("size %d: %v %v", n, is, known)
		}
		if is, known := l.Is(n, wrong); is || !known {
			t.Fatalf("size %d, wrong root: %v %v", n, is, known)
		}
	}
	if w := l.Watched(100); !w.Reached || w.Committed || !w.Is(long.roots[100]) {
		t.Errorf("%+v", w)
	}
	l.tile = func(level int, n uint64) []byte {
		b := append([]byte(nil), long.tile(level, n)...)
		if len(b) > 40 {
			b[40] ^= 1
		}
		return b
	}
	for _, tile := range []TileFunc{l.tile, func(int, uint64) []byte { return nil }, nil} {
		l.tile = tile
		if is, known := l.Is(1000, long.roots[1000]); is || known {
			t.Errorf("bad tiles: %v %v", is, known)
		}
	}
	if is, known := l.Is(51, long.roots[51]); !is || !known {
		t.Error("the newest commit is forgotten")
	}
}

// A log that somebody altered has two roots for each size from there on.
func TestDiverged(t *testing.T) {
	l := New(new(ledger.Tree), nil, nil)
	for i := range uint64(20) {
		own := leaf(i)
		if i == 9 {
			own = leaf(1000)
		}
		l.Add(own, leaf(i), true)
	}
	for n := uint64(1); n <= 20; n++ {
		p, ok := l.At(n)
		if !ok || p.Claimed != long.roots[n] || (p.Own == p.Claimed) != (n <= 9) {
			t.Errorf("size %d: %v", n, p)
		}
	}
}

// From tiles alone: the root of any smaller size and the path of any entry.
func TestPropertyTiles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.Uint64Range(1, size).Draw(rt, "size")
		m := rapid.Uint64Range(0, n).Draw(rt, "smaller")
		got, err := RootAt(n, long.roots[n], m, long.tile)
		if err != nil || got != long.roots[m] {
			rt.Fatalf("%x, want %x: %v", got, long.roots[m], err)
		}
		i := rapid.Uint64Range(0, n-1).Draw(rt, "index")
		path, err := Path(n, long.roots[n], i, long.tile)
		if err != nil || !ledger.CheckInclusion(path, i, n, leaf(i), long.roots[n]) {
			rt.Fatalf("entry %d of %d: %v", i, n, err)
		}
		if _, err := RootAt(n, long.roots[0], m, long.tile); err == nil && n > 1 && m > 0 {
			rt.Fatal("tiles that lead to another root are believed")
		}
	})
}
