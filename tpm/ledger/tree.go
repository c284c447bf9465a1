package ledger

import (
	"crypto/sha256"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree computes the roots of a growing log from its leaf hashes, keeping only
// the roots of complete subtrees (at most 40 hashes). The zero value is the
// empty tree.
type Tree struct {
	size uint64
	peak []tlog.Hash // roots of the complete subtrees, largest first
}

// NewTree is the tree of size leaves whose complete subtrees have these roots,
// largest first: one for each bit set in size.
func NewTree(size uint64, peaks []tlog.Hash) *Tree { return &Tree{size: size, peak: peaks} }

// TreeOf is the tree of size leaves whose complete subtrees have these roots,
// largest first: one for each bit of size that is set.
func TreeOf(size uint64, roots []tlog.Hash) *Tree {
	return &Tree{size: size, peak: append([]tlog.Hash(nil), roots...)}
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Clone is an independent copy.
func (t *Tree) Clone() *Tree { return &Tree{size: t.size, peak: append([]tlog.Hash(nil), t.peak...)} }

// Add appends a leaf hash and returns the roots of the subtrees it completes,
// the leaf itself first: what tlog.StoredHashes calls the stored hashes.
func (t *Tree) Add(leaf [32]byte) [][32]byte {
	done := make([][32]byte, 1, 1+bits.TrailingZeros64(^t.size))
	done[0] = leaf
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.peak) - 1
		done = append(done, tlog.NodeHash(t.peak[last], done[len(done)-1]))
		t.peak = t.peak[:last]
	}
	t.peak = append(t.peak, done[len(done)-1])
	t.size++
	return done
}

// Root is the Merkle tree hash of all leaves (RFC 6962 section 2.1); of none,
// EmptyRoot.
func (t *Tree) Root() [32]byte {
	if t.size == 0 {
		return EmptyRoot()
	}
	h := t.peak[len(t.peak)-1]
	for i := len(t.peak) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.peak[i], h)
	}
	return h
}

// EmptyRoot is the root of the empty log: SHA-256 of nothing.
func EmptyRoot() [32]byte { return sha256.Sum256(nil) }

// CheckInclusion reports whether path proves that leaf is entry index of the
// log with this size and root (RFC 6962 section 2.1.1).
func CheckInclusion(path [][32]byte, index, size uint64, leaf, root [32]byte) bool {
	if index >= size || size > MaxSize || len(path) > MaxPath {
		return false
	}
	proof := make(tlog.RecordProof, len(path))
	for i, h := range path {
		proof[i] = h
	}
	return tlog.CheckRecord(proof, int64(size), root, int64(index), leaf) == nil
}
