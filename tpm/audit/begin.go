package audit

import (
	"fmt"
	"slices"

	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/audit/incremental"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// begin sets the state to that before the first entry to read: of an empty
// log, or of one that was audited before.
func (a *auditor) begin() error {
	start, err := a.since()
	if err != nil {
		return err
	}
	a.log = history.New(start.Tree, a.in.Tile, a.watch())
	if start.Boot == nil {
		return nil
	}
	a.log.GoOn(start.Boot.Committed, start.Root)
	a.fold.replay = anchor.ReplayAt(start.Boot)
	a.fold.goOn = true
	a.attestFrom = start.Newest
	return a.inForce(start)
}

// since finds where to begin. Whatever speaks against the checkpoint that the
// audit was done to makes it a full one.
func (a *auditor) since() (*incremental.Start, error) {
	full := &incremental.Start{Tree: new(ledger.Tree)}
	if a.in.Since == nil {
		return full, nil
	}
	old, err := a.in.Trust.OpenCheckpoint(a.in.Since)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint audited before: %w", err)
	}
	a.in.Previous = append(slices.Clone(a.in.Previous), a.in.Since)
	if a.cp == nil || old.Size > a.cp.Size || a.in.Tile == nil {
		return full, nil
	}
	log := &incremental.Log{Size: a.cp.Size, Root: a.cp.Root, Entries: a.in.Entries, Tile: a.in.Tile}
	if same, err := log.Prove(old.Size, old.Root); err != nil || !same {
		return full, nil // as evidence it needs all entries
	}
	start, err := log.Find(old.Size)
	if err != nil {
		return full, nil // and so does this
	}
	a.old, a.fold.quiet = old.Size, old.Size
	return start, nil
}

// watch lists the sizes that elsewhere will ask for.
func (a *auditor) watch() (sizes []uint64) {
	msgs := slices.Clone(a.in.Previous)
	for _, p := range a.in.Proofs {
		msgs = append(msgs, p.Checkpoint)
	}
	if d := a.in.Dialogue; d != nil {
		msgs = append(msgs, d.Answer.Checkpoint)
	}
	for _, msg := range msgs {
		if cp, err := a.in.Trust.OpenCheckpoint(msg); err == nil {
			sizes = append(sizes, cp.Size)
		}
	}
	return sizes
}

// inForce takes the keys from the genesis entry and what administrators ordered
// before the start; all of it was audited before.
func (a *auditor) inForce(start *incremental.Start) error {
	t := &task{raw: start.Genesis}
	t.read()
	a.keys = t.genesis(a.in.Trust, a.ak, a.in.TokenRoots)
	a.fold.begun = t.header.Time
	p, err := start.Policy()
	if err != nil {
		return err
	}
	a.keys = a.keys.with(p)
	a.orders = orders{newest: start.Boot.Admin, taken: map[[32]byte]uint64{}}
	for _, o := range slices.Backward(start.Orders) {
		if err := a.orders.recall(o); err != nil {
			return err
		}
	}
	return nil
}

// recall takes up an order that took effect.
func (s *orders) recall(o incremental.Order) error {
	hash, err := order.Hash(o.Note)
	if err != nil {
		return err
	}
	s.taken[hash] = o.Index
	if o.Action != ledger.KindKey {
		return nil
	}
	text, err := message.NoteText(o.Note)
	if err != nil {
		return err
	}
	parsed, err := order.Parse(text)
	if err != nil {
		return err
	}
	if k, ok := parsed.Action.(*order.Key); ok {
		s.logKey = k.LogKey
	}
	return nil
}
