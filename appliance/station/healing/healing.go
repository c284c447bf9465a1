// Package healing fills up a log that lost its end from a mirror
// (docs/spec/anchor.md section 4.3): what HEAD took says which entries are the true
// ones.
package healing

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
)

const (
	// markEvery is how much of a mirror's entries lies between two marks: it is
	// held in memory before it is appended, and the display stands still while it
	// is.
	markEvery = 256 << 10
	// maxUnmarked bounds what comes without a commit that could be a mark: a board
	// that was started a thousand times and signed nothing in between.
	maxUnmarked = 4 << 20
	// maxHealAppend keeps what is appended at once well below what the store
	// takes.
	maxHealAppend = 1 << 20
)

// Healing takes the entries that HEAD took and this disk does not have from a
// mirror, however many, in memory that does not grow with them but for 48 bytes
// in 256 KiB. It goes through them twice. The survey keeps nothing but marks,
// commits on the way, and ends where HEAD stands: then the mirror has the true
// log. The second time, what leads to the next mark is appended: the mark's HEAD
// binds every entry before it, so that nothing else can be slipped in.
//
// Nothing is written before the survey has ended, and nothing that it did not see.
type Healing struct {
	Next uint64 // index of the entry that is missing next
	Disk uint64 // entries appended so far, and those before

	store    past.Log
	trust    *anchor.Trust
	halt     *fault.HaltError
	missing  *recovery.Missing
	marks    []mark // those ahead; the last one is HEAD's
	filling  bool
	filled   bool     // something was appended
	held     [][]byte // entries from Disk on, while filling
	unmarked int      // bytes since the last mark, while surveying; in held, while filling
}

// mark is a commit on the way to HEAD.
type mark struct {
	size uint64
	head [32]byte // after it
}

// Begin begins to collect what a board that halted lacks in its log; trust is what is
// pinned of that.
func Begin(store past.Log, trust *anchor.Trust, h *fault.HaltError) (*Healing, error) {
	g := &Healing{store: store, trust: trust, halt: h}
	return g, g.follow()
}

// follow begins behind the end of the disk.
func (g *Healing) follow() error {
	tree, err := g.tree()
	if err != nil {
		return fault.Unreadable(err)
	}
	g.Next, g.Disk, g.unmarked = tree.Size(), tree.Size(), 0
	g.missing, err = recovery.NewMissing(g.trust, g.halt.Observed, tree)
	return err
}

// tree is that of all entries on this disk.
func (g *Healing) tree() (*ledger.Tree, error) {
	size := g.store.Size()
	var roots []tlog.Hash
	for rest := size; rest > 0; {
		level := bits.Len64(rest) - 1
		at := (size - rest) >> level
		h, err := g.store.Hashes(level, at, 1)
		if err != nil {
			return nil, err
		}
		roots = append(roots, h[0])
		rest -= 1 << level
	}
	return ledger.TreeOf(size, roots), nil
}

// For reports whether it is this halt that is being healed.
func (g *Healing) For(h *fault.HaltError) bool { return g.halt == h }

// Filling reports whether the survey is over: HEAD vouches for the entries that
// are being fetched now.
func (g *Healing) Filling() bool { return g.filling }

// Filled reports whether anything was appended. Then what the board knows of its
// log is outdated: it is to be loaded again, whatever becomes of the rest.
func (g *Healing) Filled() bool { return g.filled }

// errOther is a mirror that gives something else the second time.
var errOther = errors.New("these are not the entries that it gave before")

// Take follows a mirror's next entries. It reports whether the log is whole; then
// the log is to be loaded again. After an error the mirror is of no use, or the log
// cannot be written: then the error is a *fault.HaltError.
func (g *Healing) Take(entries [][]byte) (whole bool, err error) {
	for _, e := range entries {
		if err := g.missing.Add(e); err != nil {
			return false, err
		}
		g.Next++
		if g.unmarked += len(e); g.unmarked > g.most() {
			return false, fmt.Errorf("%d bytes without a commit on the way to HEAD", g.unmarked)
		}
		if !g.filling {
			if g.survey() {
				g.filling = true
				return false, g.follow()
			}
			continue
		}
		g.held = append(g.held, e)
		if whole, err = g.fillUp(); whole || err != nil {
			return whole, err
		}
	}
	return false, nil
}

// most bounds unmarked. While filling there is what stood behind a mark besides.
func (g *Healing) most() int {
	if g.filling {
		return 2 * maxUnmarked
	}
	return maxUnmarked
}

// survey notes a mark where it is time for one; it reports whether HEAD is reached.
func (g *Healing) survey() (reached bool) {
	head := g.halt.Observed.Head
	if size, _, err := g.missing.Found(head); err == nil {
		g.marks = append(g.marks, mark{size, head})
		return true
	}
	last := g.Disk
	if n := len(g.marks); n > 0 {
		last = g.marks[n-1].size
	}
	if size, head := g.missing.Newest(); size > last && g.unmarked >= markEvery {
		g.marks, g.unmarked = append(g.marks, mark{size, head}), 0
	}
	g.missing.Named() // the survey has no use for them
	return false
}

// fillUp appends what is held, if it leads to the next mark.
func (g *Healing) fillUp() (whole bool, err error) {
	next := g.marks[0]
	var plans []anchor.Plan
	if len(g.marks) == 1 {
		size, found, err := g.missing.Found(next.head)
		if err != nil {
			return false, g.passed(g.Next, next.size)
		}
		if size != next.size {
			return false, errOther
		}
		plans = found
	} else {
		size, head := g.missing.Newest()
		if size != next.size {
			return false, g.passed(size, next.size)
		}
		if head != next.head {
			return false, errOther
		}
		plans = g.missing.Named()
	}
	g.filled = true
	if err := g.fill(plans); err != nil {
		return false, fault.Halted(recovery.LogUnwritable, err)
	}
	g.marks = g.marks[1:]
	return len(g.marks) == 0, nil
}

// passed says that a mark lies behind already: another log has none there.
func (g *Healing) passed(size, mark uint64) error {
	if size > mark {
		return errOther
	}
	return nil
}

// fill appends the entries up to the last of some commits.
func (g *Healing) fill(plans []anchor.Plan) error {
	for _, p := range plans {
		n := p.Size - g.Disk
		if err := g.fillCommit(g.held[:n], p); err != nil {
			return err
		}
		g.held, g.Disk = g.held[n:], p.Size
	}
	g.held, g.unmarked = append([][]byte(nil), g.held...), 0
	for _, e := range g.held {
		g.unmarked += len(e)
	}
	return nil
}

// fillCommit appends the entries of one commit, the last of them with its plan.
func (g *Healing) fillCommit(part [][]byte, p anchor.Plan) error {
	for {
		size, i := 0, 0
		for i < len(part) && size+len(part[i]) <= maxHealAppend {
			size += len(part[i])
			i++
		}
		if i == len(part) {
			return g.store.Append(part, &p)
		}
		if err := g.store.Append(part[:i], nil); err != nil {
			return err
		}
		part = part[i:]
	}
}
