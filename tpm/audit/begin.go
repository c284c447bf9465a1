package audit

import (
	"fmt"
	"slices"
	"time"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/fold"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/audit/incremental"
	"touchmark/tpm/audit/link"
	"touchmark/tpm/ledger"
)

// begin sets the state to that before the first entry to read: of an empty
// log, or of one that was audited before.
func (a *auditor) begin() error {
	start, audited, err := a.since()
	if err != nil {
		return err
	}
	a.log = history.New(start.Tree, a.in.Tile, a.watch())
	a.fold = fold.New(audited)
	a.fold.Builds = a.in.Golden
	c := link.Config{Trust: a.in.Trust, AK: a.ak, TokenRoots: a.in.TokenRoots, Tile: a.in.Tile, Limit: a.limit, Audited: audited}
	if start.Boot == nil {
		a.link = link.New(c, a.log)
		return nil
	}
	c.Attested = start.Newest
	a.link = link.New(c, a.log)
	a.log.GoOn(start.Boot.Committed, start.Root)
	a.fold.GoOn(start, a.link.Recall(start))
	a.from = start.From
	return nil
}

// further is where an audit begins that began too late the first time.
type further struct {
	whole bool      // with entry 0
	back  time.Time // so that all entries of this time or later are read
}

// tooShort reports whether the audit began too late for what it had to judge,
// and where to begin instead.
func (a *auditor) tooShort() (further, bool) {
	switch back := a.fold.LookedBack(); {
	case a.from.IsZero():
		return further{}, false
	case a.link.Behind():
		return further{whole: true}, true
	case !back.IsZero() && back.Before(a.from):
		return further{back: back}, true
	}
	return further{}, false
}

// since finds where to begin, and up to where the log was audited before.
// Whatever speaks against the checkpoint that the audit was done to makes it a
// full one.
func (a *auditor) since() (*incremental.Start, uint64, error) {
	full := &incremental.Start{Tree: new(ledger.Tree)}
	if a.in.Since == nil {
		return full, 0, nil
	}
	old, err := a.open(a.in.Since)
	if err != nil {
		return nil, 0, fmt.Errorf("the checkpoint audited before: %w", err)
	}
	a.in.Previous = append(slices.Clone(a.in.Previous), a.in.Since)
	if a.cp == nil || old.Size > a.cp.Size || a.in.Tile == nil || a.further.whole {
		return full, 0, nil
	}
	log := &incremental.Log{Size: a.cp.Size, Root: a.cp.Root, Entries: a.in.Entries, Tile: a.in.Tile}
	if same, err := log.Prove(old.Size, old.Root); err != nil || !same {
		return full, 0, nil // as evidence it needs all entries
	}
	start, err := log.Find(old.Size, a.further.back)
	if err != nil {
		return full, 0, nil // and so does this
	}
	for _, cp := range a.known() {
		if cp.Size > start.Tree.Size() {
			continue
		}
		if same, err := log.Prove(cp.Size, cp.Root); err != nil || !same {
			return full, 0, nil // and this
		}
	}
	return start, old.Size, nil
}

// watch lists the sizes that elsewhere will ask for.
func (a *auditor) watch() (sizes []uint64) {
	for _, cp := range a.known() {
		sizes = append(sizes, cp.Size)
	}
	return sizes
}

// known are the checkpoints that the log is compared with.
func (a *auditor) known() (list []*anchor.Checkpoint) {
	msgs := slices.Clone(a.in.Previous)
	for _, p := range a.in.Proofs {
		msgs = append(msgs, p.Checkpoint)
	}
	if d := a.in.Dialogue; d != nil {
		msgs = append(msgs, d.Answer.Checkpoint)
	}
	for _, msg := range msgs {
		if cp, err := a.open(msg); err == nil {
			list = append(list, cp)
		}
	}
	return list
}
