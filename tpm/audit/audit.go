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
// It drives entries through their stages, a batch at a time: read and verified
// (package task), linked to what stands before (package link), judged (package
// fold); and it compares the log as a whole with its checkpoint and with what
// is known of it elsewhere.
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
	"touchmark/tpm/audit/fold"
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/audit/link"
	"touchmark/tpm/audit/report"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// Input is what an audit looks at. Nothing in it but Trust is trusted.
type Input struct {
	Trust      *anchor.Trust
	Checkpoint []byte // checkpoint note
	// Entries gives the published entries from an index on, in order; those
	// beyond the checkpoint are ignored. Nobody may change one that was given.
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
	// Golden are builds of the image, one of which each start should have booted; nil
	// compares none.
	Golden []golden.Image

	// Progress, if not nil, is told how many of the checkpoint's entries are
	// through.
	Progress func(done, total uint64)
	// Start begins to run f(0) to f(n-1), in any order, perhaps at once; what it
	// returns waits for the end of them. nil runs them one after the other.
	Start func(n int, f func(i int)) (wait func())
}

// UnreadableError says that the audit could not look at the log, so there is
// no verdict.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string { return fmt.Sprintf("the log cannot be read: %v", e.Err) }
func (e *UnreadableError) Unwrap() error { return e.Err }

// Run audits a log. The error is an *UnreadableError, or one in Trust.
func Run(in Input) (*report.Report, error) {
	for from := (further{}); ; {
		a, err := newAuditor(in)
		if err != nil {
			return nil, err
		}
		a.further = from
		if err := a.run(); err != nil {
			return nil, &UnreadableError{Err: err}
		}
		more := false
		if from, more = a.tooShort(); !more {
			return a.report(), nil
		}
	}
}

func newAuditor(in Input) (*auditor, error) {
	ak, err := quote.ParseAK(in.Trust.AK)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if in.Start == nil {
		in.Start = inOrder
	}
	return &auditor{in: in, ak: ak, opened: map[string]opened{}}, nil
}

// inOrder is the Start of whoever gives none.
func inOrder(n int, f func(int)) func() {
	for i := range n {
		f(i)
	}
	return func() {}
}

func (a *auditor) run() error {
	a.checkpoint()
	if err := a.begin(); err != nil {
		return err
	}
	a.asked()
	if err := a.published(); err != nil {
		return err
	}
	a.atCheckpoint()
	a.pending()
	if a.overEntries {
		a.fold.OverEntries()
	}
	a.elsewhere()
	return nil
}

// auditor drives tasks through their stages.
type auditor struct {
	in   Input
	ak   *quote.AK
	log  *history.Log
	link *link.Linker
	fold *fold.Fold

	cp          *anchor.Checkpoint // nil if it does not verify
	cpErr       error              // why not
	opened      map[string]opened  // notes looked at: as many as the input has
	limit       uint64             // entries to take from Entries
	hasCP       bool               // limit comes from a checkpoint's body
	overEntries bool               // the checkpoint opens, and its root is that of the entries
	unmet       error              // why the answer to a challenge is none
	tail        uint64             // pending leaves folded

	further further   // what an attempt before came to, about where to begin
	from    time.Time // all entries of this time or later are read; zero for all

	tasks   []*task.Task // read next
	queued  int          // bytes in tasks
	begun   []*task.Task // linked, being verified
	settled func()       // waits until they are; nil if there are none
}

func (a *auditor) evidence(code string, entries []uint64, format string, v ...any) {
	a.say(finding.Evidence, code, entries, format, v...)
}

func (a *auditor) say(s finding.Severity, code string, entries []uint64, format string, v ...any) {
	a.fold.Say(finding.Of(s, code, fmt.Sprintf(format, v...), entries))
}

// published takes the entries that the checkpoint covers.
func (a *auditor) published() error {
	n := a.log.Size()
	if a.limit > n {
		for raw, err := range a.in.Entries(n) {
			if err != nil {
				a.settle()
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

// take queues an entry; raw is not to be changed from here on.
func (a *auditor) take(raw []byte) {
	index := a.log.Size() + uint64(len(a.tasks))
	a.tasks = append(a.tasks, &task.Task{Index: index, Raw: raw, Depth: a.link.Depth(index)})
	if a.queued += len(raw); len(a.tasks) == batch || a.queued >= batchBytes {
		a.next()
	}
}

// next reads and links the queued entries and has them verified; those before
// are judged meanwhile, so that no processor waits for what goes in order.
func (a *auditor) next() {
	ts := a.tasks
	a.in.Start(len(ts), func(i int) { ts[i].Read() })()
	for _, t := range ts {
		a.link.Link(t)
	}
	wait := a.in.Start(len(ts), func(i int) { ts[i].Verify() })
	a.settle()
	a.begun, a.settled = ts, wait
	a.tasks, a.queued = make([]*task.Task, 0, batch), 0
}

// settle judges the entries that are being verified, once they are.
func (a *auditor) settle() {
	if a.settled == nil {
		return
	}
	a.settled()
	for _, t := range a.begun {
		a.fold.Add(t)
	}
	if a.in.Progress != nil && a.hasCP && len(a.begun) > 0 {
		a.in.Progress(a.begun[len(a.begun)-1].Index+1, a.limit)
	}
	a.begun, a.settled = nil, nil
}

// flush drives all entries so far through all stages.
func (a *auditor) flush() {
	a.next()
	a.settle()
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

func (a *auditor) report() *report.Report {
	if w := a.link.Waiting(); w != nil {
		a.say(finding.Info, finding.OrderOpen, []uint64{w.Index}, "the log does not tell yet whether HEAD took the %s entry %d", w.Kind, w.Index)
	}
	limit := a.limit
	if !a.hasCP {
		limit = 0
	}
	r := a.fold.Report(a.log.Newest(), a.log.Commits(), limit)
	r.Genesis = canon.Hex(a.in.Trust.Genesis[:])
	r.Certificates = []report.Certificate{}
	for _, k := range a.link.Own() {
		r.Certificates = append(r.Certificates, report.CertificateOf(k.Name, k.Cert))
	}
	r.Origin, r.Pending = a.in.Trust.Origin, a.tail
	if a.cp != nil {
		r.Size, r.Root = a.cp.Size, canon.Hex(a.cp.Root[:])
	}
	return r
}
