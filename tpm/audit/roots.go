package audit

import (
	"slices"

	"touchmark/tpm/ledger"
)

// pair is the root of one tree size: over the entries as they are and over the
// leaf hashes as published. They differ only in a log somebody altered.
type pair struct{ own, claimed [32]byte }

// roots computes the roots of all sizes of a growing log and keeps those of
// the newest sizes and of all commits.
type roots struct {
	own       ledger.Tree
	diverged  *ledger.Tree // over the published leaf hashes, from the first difference on
	recent    [window]pair // of size n at n % window
	ends      [window]bool // likewise: whether a commit may end there
	sizes     []uint64     // commits, rising
	committed []pair
}

// add appends a leaf; ends says whether it may be the last of a commit.
func (r *roots) add(own, claimed [32]byte, ends bool) {
	if r.diverged == nil && own != claimed {
		r.diverged = r.own.Clone()
	}
	r.own.Add(own)
	p := pair{own: r.own.Root()}
	p.claimed = p.own
	if r.diverged != nil {
		r.diverged.Add(claimed)
		p.claimed = r.diverged.Root()
	}
	at := r.size() % window
	r.recent[at], r.ends[at] = p, ends
}

func (r *roots) size() uint64 { return r.own.Size() }

// at gives the roots of size n; ok is false when they were not kept.
func (r *roots) at(n uint64) (p pair, ok bool) {
	switch {
	case n == 0:
		return pair{ledger.EmptyRoot(), ledger.EmptyRoot()}, true
	case n > r.size():
		return pair{}, false
	case r.size()-n < window:
		return r.recent[n%window], true
	}
	if i, found := slices.BinarySearch(r.sizes, n); found {
		return r.committed[i], true
	}
	return pair{}, false
}

// commit keeps the roots of size n for good. Sizes come rising.
func (r *roots) commit(n uint64, p pair) {
	if len(r.sizes) == 0 || n > r.sizes[len(r.sizes)-1] {
		r.sizes, r.committed = append(r.sizes, n), append(r.committed, p)
	}
}

// newest is the largest size known to be committed, 0 if there is none.
func (r *roots) newest() uint64 {
	if len(r.sizes) == 0 {
		return 0
	}
	return r.sizes[len(r.sizes)-1]
}

// mid reports whether a commit of size n, not known yet, ends with neither the
// genesis nor an intent.
func (r *roots) mid(n uint64) bool {
	return !r.isCommitted(n) && r.size()-n < window && !r.ends[n%window]
}

func (r *roots) isCommitted(n uint64) bool {
	_, found := slices.BinarySearch(r.sizes, n)
	return found
}
