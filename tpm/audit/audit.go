// Package audit gives the verdict on a log: it replays every entry against the
// TPM's attestations, the policy and the token's key, and reports typed
// findings with the entries that prove them. docs/spec/audit.md lists the
// checks and codes.
//
// What a clean verdict means: the entries are those that the TPM committed, in
// that order, none missing before the checkpoint's size; each job was asked for
// by an enrolled host, approved as the policy demands and admitted by it; every
// signature in the log is the one its intent announced before the commit. What
// it cannot mean: that a complete older copy of the log is not being shown
// (see Input.Proofs and Input.Previous), that an appliance taken over wrote
// true entries afterwards, or that a signature outside the log does not exist.
//
// The package is pure: entries come from an iterator, and whoever calls says
// how to run things in parallel. Memory does not grow with the log.
package audit

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"touchmark/appliance/piv/attest"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// Input is what an audit looks at. Nothing in it but Trust is trusted.
type Input struct {
	Trust      *anchor.Trust
	Checkpoint []byte // checkpoint note
	// Entries gives the published entries from an index on, in order; those
	// beyond the checkpoint are ignored.
	Entries func(from uint64) iter.Seq2[[]byte, error]
	Pending [][]byte // leaves beyond the checkpoint; those it covers are skipped

	// Tile gives the published hash tiles, to tell which entry was altered and
	// what the log was like far back; nil when there are none.
	Tile history.TileFunc

	// Proofs and Previous are proofs and checkpoint notes from elsewhere or
	// from earlier: each must be of this very log, and none newer than it.
	Proofs   []*ledger.Proof
	Previous [][]byte

	// Since is the checkpoint note up to which the log was audited before, nil
	// for none. Entries from there on are audited; before them only as many are
	// read as it takes to know what counts. Needs Tile.
	Since []byte
	// Dialogue, if not nil, proves freshness.
	Dialogue *Dialogue
	// TokenRoots are the roots of genuine tokens, nil meaning Yubico's.
	TokenRoots *attest.Roots

	// Progress, if not nil, is told how many of the checkpoint's entries are
	// through.
	Progress func(done, total uint64)
	// Each runs f(0) to f(n-1), in any order, perhaps at once; nil runs them
	// one after the other.
	Each func(n int, f func(i int))
}

// UnreadableError says that the audit could not look at the log, so there is
// no verdict.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string { return fmt.Sprintf("the log cannot be read: %v", e.Err) }
func (e *UnreadableError) Unwrap() error { return e.Err }

// Run audits a log. The error is an *UnreadableError, or one in Trust.
func Run(in Input) (*Report, error) {
	a, err := newAuditor(in)
	if err != nil {
		return nil, err
	}
	if err := a.run(); err != nil {
		return nil, &UnreadableError{Err: err}
	}
	return a.report(), nil
}

func newAuditor(in Input) (*auditor, error) {
	ak, err := quote.ParseAK(in.Trust.AK)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if in.Each == nil {
		in.Each = func(n int, f func(int)) {
			for i := range n {
				f(i)
			}
		}
	}
	return &auditor{in: in, ak: ak, fold: newFold(), open: map[uint64]*openIntent{}}, nil
}

func (a *auditor) run() error {
	a.checkpoint()
	if err := a.begin(); err != nil {
		return err
	}
	if err := a.published(); err != nil {
		return err
	}
	a.atCheckpoint()
	a.pending()
	a.elsewhere()
	return nil
}

// auditor drives tasks through their stages.
type auditor struct {
	in   Input
	ak   *quote.AK
	keys *keys

	cp    *anchor.Checkpoint // nil if it does not verify
	cpErr error              // why not
	old   uint64             // size audited before
	limit uint64             // entries to take from Entries
	hasCP bool               // limit comes from a checkpoint's body
	tail  uint64             // pending leaves folded

	attestFrom uint64 // from here on attestations are verified, below old too

	log     *history.Log
	leaves  leafTile
	altered []uint64 // entries whose published leaf hash is another
	open    map[uint64]*openIntent
	opened  []uint64 // keys of open, rising, and of some that are closed
	newest  *openIntent
	orders  orders
	tasks   []*task
	queued  int // bytes in tasks
	fold    *fold
}

func (a *auditor) evidence(code string, entries []uint64, format string, v ...any) {
	a.fold.say(finding.Of(finding.Evidence, code, fmt.Sprintf(format, v...), entries))
}

// checkpoint opens the checkpoint. Even one that does not verify says how many
// entries to look at.
func (a *auditor) checkpoint() {
	cp, err := a.in.Trust.OpenCheckpoint(a.in.Checkpoint)
	if err == nil {
		a.cp, a.limit, a.hasCP = cp, cp.Size, true
		return
	}
	a.cpErr = err
	a.limit = ledger.MaxSize
	if body, ok := noteBody(a.in.Checkpoint); ok {
		if _, size, _, err := ledger.ParseCheckpointBody(body); err == nil {
			a.limit, a.hasCP = size, true
		}
	}
}

// published takes the entries that the checkpoint covers.
func (a *auditor) published() error {
	n := a.log.Size()
	if a.limit > n {
		for raw, err := range a.in.Entries(n) {
			if err != nil {
				return fmt.Errorf("after %d entries: %w", n, err)
			}
			a.take(raw)
			if n++; n == a.limit {
				break
			}
		}
	}
	a.flush()
	if n < a.limit && a.hasCP {
		a.evidence(finding.Truncated, nil, "the checkpoint covers %d entries, the log has %d: %d are missing", a.limit, n, a.limit-n)
	}
	if n == 0 && !a.hasCP {
		return errors.New("there are no entries and no checkpoint")
	}
	return nil
}

// take queues an entry; raw may be reused by its owner afterwards.
func (a *auditor) take(raw []byte) {
	a.tasks = append(a.tasks, &task{index: a.log.Size() + uint64(len(a.tasks)), raw: raw})
	if a.queued += len(raw); len(a.tasks) == batch || a.queued >= batchBytes {
		a.flush()
	}
}

// flush drives the queued entries through all stages.
func (a *auditor) flush() {
	ts := a.tasks
	a.in.Each(len(ts), func(i int) { ts[i].read() })
	for _, t := range ts {
		a.link(t)
	}
	a.in.Each(len(ts), func(i int) { ts[i].verify() })
	for _, t := range ts {
		a.fold.add(t)
	}
	if a.in.Progress != nil && a.hasCP {
		a.in.Progress(a.log.Size(), a.limit)
	}
	clear(ts)
	a.tasks, a.queued = ts[:0], 0
}

// atCheckpoint compares the tree with the checkpoint, all entries it covers
// being folded.
func (a *auditor) atCheckpoint() {
	a.fold.index = a.log.Size() // what is said from here on is news
	a.openAgain()
	if a.cp == nil || a.log.Size() != a.cp.Size {
		return
	}
	p, _ := a.log.At(a.cp.Size)
	switch {
	case p.Own == a.cp.Root && len(a.altered) > 0:
		a.fold.say(finding.Of(finding.Warning, finding.Tiles, "the published hash tiles do not follow from the entries, which are right: publish the log again", a.altered))
	case p.Own == a.cp.Root:
	case p.Claimed == a.cp.Root:
		a.evidence(finding.Altered, a.altered, "entry %d is not the one that was committed: its hash is another", a.altered[0])
	default:
		a.evidence(finding.Root, nil, "the %d entries do not give the checkpoint's root: at least one was altered", a.cp.Size)
	}
	if a.log.Mid(a.cp.Size) {
		a.evidence(finding.Mid, []uint64{a.cp.Size - 1}, "the checkpoint is a commit of %d entries, the last of which ends none", a.cp.Size)
	}
	a.fold.problems(a.fold.replay.Checkpoint(a.cp), a.cp.Size-1)
	a.commit(a.cp.Size)
}

// openAgain judges by which log key the checkpoint is signed, now that the log
// has told of every key entry it covers.
func (a *auditor) openAgain() {
	expected, replaced := a.logKeyAt(a.limit)
	if a.cp == nil {
		cp, err := signedBy(a.in.Trust, expected).OpenCheckpoint(a.in.Checkpoint)
		if err != nil || !replaced {
			a.evidence(finding.Checkpoint, nil, "%v", a.cpErr)
			return
		}
		a.cp = cp
		a.fold.say(finding.Of(finding.Warning, finding.TrustOutdated, "administrators replaced the log key, and the trust file does not know the new one: get its next version", nil))
		return
	}
	if expected == "" {
		return
	}
	if _, err := signedBy(a.in.Trust, expected).OpenCheckpoint(a.in.Checkpoint); err != nil {
		a.evidence(finding.LogKey, nil, "the checkpoint is not signed by the log key that was in force at its size: whoever has the other one signed it")
	}
}

// logKeyAt is the log key that signs checkpoints of this size, the newest one
// that the log tells of, "" if entry 0 is none; replaced says that it is not
// the first.
func (a *auditor) logKeyAt(size uint64) (key string, replaced bool) {
	if w := a.orders.waiting; w != nil && w.index+1 == size && w.order != nil {
		if k, ok := w.order.Action.(*order.Key); ok {
			return k.LogKey, true
		}
	}
	switch {
	case a.orders.logKey != "":
		return a.orders.logKey, true
	case a.keys != nil:
		return a.keys.logKey, false
	}
	return "", false
}

// signedBy is a trust in which one log key counts.
func signedBy(tr *anchor.Trust, logKey string) *anchor.Trust {
	only := *tr
	only.LogKey, only.OldLogKeys = logKey, nil
	return &only
}

func (a *auditor) commit(size uint64) {
	a.log.Commit(size)
	a.effect(nil, size)
	a.fold.committed(size)
}

// pending takes the leaves beyond the checkpoint.
func (a *auditor) pending() {
	size := a.log.Size()
	if a.hasCP && size < a.limit {
		return // truncated: nothing can follow
	}
	for _, raw := range a.in.Pending {
		h, _, err := ledger.Parse(raw)
		next := a.log.Size() + uint64(len(a.tasks))
		switch {
		case err == nil && h.Index < size:
			continue // published in the meantime
		case err == nil && h.Index > next:
			a.evidence(finding.PendingGap, []uint64{h.Index}, "a pending leaf is numbered %d where %d should follow: leaves are missing", h.Index, next)
			a.flush()
			return
		}
		a.tail++
		a.take(raw)
	}
	a.flush()
}

// elsewhere compares the log with proofs and checkpoints from elsewhere.
func (a *auditor) elsewhere() {
	for i, p := range a.in.Proofs {
		if _, _, err := a.in.Trust.VerifyProof(p); err != nil {
			a.fold.say(finding.Of(finding.Warning, finding.Proof, fmt.Sprintf("proof %d: %v", i+1, err), nil))
			continue
		}
		a.compare(p.Checkpoint, finding.Proof, fmt.Sprintf("a proof of intent %d", p.Index))
	}
	for i, msg := range a.in.Previous {
		a.compare(msg, finding.OldInvalid, fmt.Sprintf("earlier checkpoint %d", i+1))
	}
	a.answer()
}

func (a *auditor) compare(msg []byte, invalid, what string) {
	cp, err := a.in.Trust.OpenCheckpoint(msg)
	if err != nil {
		a.fold.say(finding.Of(finding.Warning, invalid, fmt.Sprintf("%s: %v", what, err), nil))
		return
	}
	w := a.log.Watched(cp.Size)
	switch {
	case !w.Reached:
		a.evidence(finding.RolledBack, nil, "%s was committed at size %d, this log ends at %d: it was rolled back", what, cp.Size, a.log.Size())
	case cp.Size <= a.log.Newest() && !w.Committed:
		a.evidence(finding.Forked, nil, "%s was committed at size %d, which this log passed without committing it", what, cp.Size)
	case !w.Is(cp.Root):
		a.evidence(finding.Forked, nil, "%s was committed at size %d with another history", what, cp.Size)
	}
}

func (a *auditor) report() *Report {
	a.fold.finish(a.log, a.hasCP, a.limit)
	if w := a.orders.waiting; w != nil {
		a.fold.note(finding.Info, finding.OrderOpen, w.index, "the log does not tell yet whether HEAD took the %s entry %d", w.kind, w.index)
	}
	a.wear()
	r := a.fold.report
	r.Genesis = canon.Hex(a.in.Trust.Genesis[:])
	r.Since = a.old
	r.Origin, r.Pending = a.in.Trust.Origin, a.tail
	if a.cp != nil {
		r.Size, r.Root = a.cp.Size, canon.Hex(a.cp.Root[:])
	}
	head := a.fold.replay.Head()
	r.Head, r.Commits = canon.Hex(head[:]), a.log.Commits()
	r.Findings = a.fold.found.Sorted()
	r.Verdict = finding.Verdict(r.Findings)
	return &r
}

// wear says how often HEAD was written, and for how long its memory may last.
func (a *auditor) wear() {
	writes := a.log.Commits()
	if a.fold.goOn {
		writes = a.fold.sequence // one an intent, and a few that do not matter
	}
	days := a.fold.last.Sub(a.fold.begun).Hours() / 24
	text := fmt.Sprintf("HEAD was written %d times", writes)
	if days >= 1 && writes > 0 {
		rate := float64(writes) / days
		text += fmt.Sprintf(", %.0f times a day", rate)
		for _, life := range []uint64{wearLeast, wearMost} {
			if writes < life {
				text += fmt.Sprintf("; %d writes are reached in %.0f days", life, float64(life-writes)/rate)
			}
		}
	}
	s := finding.Info
	if writes > wearLeast-wearLeast/5 {
		s, text = finding.Warning, text+": the TPM's memory is made for 100000 to 500000; prepare a successor log"
	}
	a.fold.say(finding.Of(s, finding.Wear, text, nil))
}

func clock(t time.Time) string { return canon.Time(t) }
