// Package history knows what the root of a growing log was: of each of its
// newest sizes, of its newest commit, and of sizes asked for beforehand, from
// what it was given; of any other size from published hash tiles, which are
// believed only as far as they lead to the present root.
//
// Where published leaf hashes differ from the entries, every size has two
// roots, one over each: somebody altered the copy, and the commits are still
// to be recognised.
//
// Memory does not depend on the length of the log. The package is pure.
package history

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledger"
)

// Window is for how many of the newest sizes roots are kept: an attest entry
// names a commit a few entries back, and a host that lags by more than this is
// looked up in the tiles.
const Window = 4096

// TileHeight is that of the published tiles (C2SP tlog-tiles).
const TileHeight = 8

// TileFunc gives a published hash tile: hashes 256·n and on of tree level
// 8·level, 32 bytes each, as many as there are, at most 256; nil if there is
// none.
type TileFunc func(level int, n uint64) []byte

// Pair is the root of one tree size: over the entries as they are and over the
// leaf hashes as published. They differ only in a log somebody altered.
type Pair struct{ Own, Claimed [32]byte }

// Is reports whether root is one of the two.
func (p Pair) Is(root [32]byte) bool { return root == p.Own || root == p.Claimed }

// Watched is a size that was asked for beforehand.
type Watched struct {
	Pair
	Reached   bool // the log has as many entries
	Committed bool
}

// Log is the history of one log. Make one with New.
type Log struct {
	tile     TileFunc
	start    uint64
	own      ledger.Tree
	diverged *ledger.Tree // over the published leaf hashes, from the first difference on
	recent   [Window]step // of size n at n % Window
	newest   uint64       // the largest size known to be committed
	pair     Pair         // its roots
	commits  uint64
	watched  map[uint64]*Watched
}

type step struct {
	Pair
	ends  bool // a commit may end there
	known bool // one did
}

// New begins a history at a tree, the empty one or one that was audited
// before. tile may be nil. watch are the sizes that Watched will be asked for.
func New(start *ledger.Tree, tile TileFunc, watch []uint64) *Log {
	l := &Log{tile: tile, start: start.Size(), own: *start.Clone(), watched: map[uint64]*Watched{}}
	for _, n := range watch {
		l.watched[n] = &Watched{}
	}
	return l
}

// GoOn tells the newest commit of the tree that New began at.
func (l *Log) GoOn(committed uint64, root [32]byte) {
	l.newest, l.pair = committed, Pair{root, root}
}

// Size is the number of entries.
func (l *Log) Size() uint64 { return l.own.Size() }

// Start is the number of entries that were there when the history began.
func (l *Log) Start() uint64 { return l.start }

// Commits is how many sizes are known to be committed.
func (l *Log) Commits() uint64 { return l.commits }

// Newest is the largest size known to be committed, 0 if there is none.
func (l *Log) Newest() uint64 { return l.newest }

// Add appends a leaf; ends says whether it may be the last of a commit.
func (l *Log) Add(own, claimed [32]byte, ends bool) {
	if l.diverged == nil && own != claimed {
		l.diverged = l.own.Clone()
	}
	l.own.Add(own)
	p := Pair{Own: l.own.Root()}
	p.Claimed = p.Own
	if l.diverged != nil {
		l.diverged.Add(claimed)
		p.Claimed = l.diverged.Root()
	}
	l.recent[l.Size()%Window] = step{Pair: p, ends: ends}
	if w := l.watched[l.Size()]; w != nil {
		w.Pair, w.Reached = p, true
	}
}

// At gives the roots of a recent size, of the newest commit or of no entries;
// ok is false for any other.
func (l *Log) At(n uint64) (p Pair, ok bool) {
	switch {
	case n == 0:
		return Pair{ledger.EmptyRoot(), ledger.EmptyRoot()}, true
	case l.kept(n):
		return l.recent[n%Window].Pair, true
	case n == l.newest:
		return l.pair, true
	}
	return Pair{}, false
}

func (l *Log) kept(n uint64) bool { return n > l.start && n <= l.Size() && l.Size()-n < Window }

// Commit notes that size n, recent or the newest before, was committed. Sizes
// come rising.
func (l *Log) Commit(n uint64) {
	p, ok := l.At(n)
	if !ok || n <= l.newest {
		return
	}
	l.newest, l.pair = n, p
	l.commits++
	if l.kept(n) {
		l.recent[n%Window].known = true
	}
	if w := l.watched[n]; w != nil {
		w.Committed = true
	}
}

// Mid reports whether a commit of size n, not known yet, ends with an entry
// that no commit ends with.
func (l *Log) Mid(n uint64) bool {
	return l.kept(n) && !l.recent[n%Window].known && !l.recent[n%Window].ends
}

// Watched tells of a size that New was told of.
func (l *Log) Watched(n uint64) Watched { return *l.watched[n] }

// Is reports whether the log had this root at a size of at most Size; known is
// false when it is too far back and the published tiles do not tell.
func (l *Log) Is(n uint64, root [32]byte) (is, known bool) {
	if p, ok := l.At(n); ok {
		return p.Is(root), true
	}
	for _, t := range []*ledger.Tree{&l.own, l.diverged} {
		if t == nil || l.tile == nil {
			continue
		}
		had, err := RootAt(t.Size(), t.Root(), n, l.tile)
		if err != nil {
			continue
		}
		if known = true; had == root {
			return true, true
		}
	}
	return false, known
}

// Own reports whether a root that Is takes may be one over the entries: false says
// that it is one over published leaf hashes that are others.
func (l *Log) Own(n uint64, root [32]byte) bool {
	if l.diverged == nil {
		return true
	}
	if p, ok := l.At(n); ok {
		return p.Own == root
	}
	had, err := RootAt(l.own.Size(), l.own.Root(), n, l.tile)
	return err != nil || had == root
}

// RootAt is the root of the first n entries of the log that has this root at
// this size, proven by published tiles; an error if they do not.
func RootAt(size uint64, root [32]byte, n uint64, tile TileFunc) ([32]byte, error) {
	if n > size || size > ledger.MaxSize {
		return [32]byte{}, errors.New("the log is shorter")
	}
	h, err := tlog.TreeHash(int64(n), Hashes(size, root, tile))
	return h, err
}

// Hashes reads the stored hashes of the log with this size and root out of
// published tiles, proving each.
func Hashes(size uint64, root [32]byte, tile TileFunc) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: int64(size), Hash: root}, tiles{tile})
}

// tiles is a TileFunc as package tlog wants it.
type tiles struct{ read TileFunc }

func (tiles) Height() int                     { return TileHeight }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(list))
	for i, want := range list {
		b := t.read(want.L, uint64(want.N))
		if len(b) < want.W*tlog.HashSize {
			return nil, errors.New("a hash tile is missing or too short: tile/" + strings.TrimPrefix(want.Path(), fmt.Sprintf("tile/%d/", TileHeight))) // C2SP's paths have no height
		}
		out[i] = b[:want.W*tlog.HashSize]
	}
	return out, nil
}

// Path is the audit path (RFC 6962 section 2.1.1) of an entry in the log with
// this size and root, proven by published tiles.
func Path(size uint64, root [32]byte, index uint64, tile TileFunc) ([][32]byte, error) {
	if index >= size || size > ledger.MaxSize {
		return nil, errors.New("the log is shorter")
	}
	proof, err := tlog.ProveRecord(int64(size), int64(index), Hashes(size, root, tile))
	if err != nil {
		return nil, err
	}
	out := make([][32]byte, len(proof))
	for i, h := range proof {
		out[i] = h
	}
	return out, nil
}
