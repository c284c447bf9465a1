// Package mirror is the host's checked copy of the appliance's log: what a
// host has verified, and so what a signature is released on.
//
// # What it checks
//
// Entry 0 is the pinned genesis entry. Entries are appended only in order,
// after their form was checked, and are durable when Add returns. A checkpoint
// becomes the head only if the log key and the TPM signed it and its root is
// the mirror's. What contradicts an entry or checkpoint held here is an
// *Evidence, an error that no retry mends.
//
// # Files
//
// Below the state directory: mirror/ (package ledgerstore), checkpoint (the
// newest verified one), EVIDENCE and evidence-* (Evidence.Save). Publisher
// writes the copy for others.
package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"touchmark/appliance/policy"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
)

// Mirror belongs to one goroutine; its Store may be read by others.
type Mirror struct {
	Store  *ledgerstore.Store
	Policy *policy.Policy // from the genesis entry; nil before that is here

	trust *verify.Trust

	note   []byte             // newest verified checkpoint
	cp     *anchor.Checkpoint // what it says; nil before the first
	ahead  *anchor.Checkpoint // verified, but for entries not here yet
	anote  []byte
	traces map[message.JobID]*Trace // of the jobs under way
}

// Trace is what the log says about a job under way.
type Trace struct {
	Index   uint64 // of the intent
	Header  ledger.Header
	Entry   []byte
	Intent  *ledger.Intent  // nil before it came
	Outcome *ledger.Outcome // nil before it came
}

// Open opens or creates the mirror below the state directory.
func Open(state string, tr *verify.Trust) (*Mirror, error) {
	dir := filepath.Join(state, "mirror")
	s, err := ledgerstore.Open(dir)
	if errors.Is(err, ledgerstore.ErrNoStore) {
		if err = durable.MkdirAll(state, 0o750); err == nil {
			s, err = ledgerstore.Create(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	m := &Mirror{trust: tr, Store: s, traces: map[message.JobID]*Trace{}}
	if err := m.load(state); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return m, nil
}

// load checks the first entry and the checkpoint kept beside the mirror.
func (m *Mirror) load(state string) error {
	if m.Store.Size() == 0 {
		return nil
	}
	first, err := m.Store.Entry(0)
	if err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	_, body, err := ledger.Parse(first)
	if err != nil {
		return fmt.Errorf("mirror: %w", err)
	}
	if ev := m.genesis(first, body); ev != nil {
		return fmt.Errorf("the mirror in %s is of another log than the trust file: use the right trust file or another state directory", state)
	}
	n, err := os.ReadFile(filepath.Join(state, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = m.Advance(n)
	}
	if err != nil {
		return fmt.Errorf("checkpoint of the mirror: %w", err)
	}
	return nil
}

// genesis checks entry 0 and takes the policy from it.
func (m *Mirror) genesis(entry []byte, body any) error {
	g, ok := body.(*ledger.Genesis)
	if !ok || ledger.LeafHash(entry) != m.trust.Genesis {
		return Contradiction("other-log", map[string][]byte{"entry-0": entry},
			"entry 0 is not the pinned genesis entry: this is another log, or the trust file is of another appliance")
	}
	p, err := policy.Open(g.Policy)
	if err != nil {
		return fmt.Errorf("policy in the genesis entry: %w", err)
	}
	m.Policy = p
	return nil
}

// ErrGap says that entries before these are missing.
var ErrGap = errors.New("entries are missing in between")

// Add checks entries from the board and makes the new ones durable.
func (m *Mirror) Add(e *message.Entries) error {
	size := m.Store.Size()
	if e.Start > size {
		return ErrGap
	}
	known := min(size-e.Start, uint64(len(e.Entries)))
	for i := range known {
		if err := m.same(e.Start+i, e.Entries[i]); err != nil {
			return err
		}
	}
	fresh := e.Entries[known:]
	if len(fresh) == 0 {
		return nil
	}
	bodies, headers, err := m.parse(size, fresh)
	if err != nil {
		return err
	}
	if err := m.Store.Append(fresh, nil); err != nil {
		return err
	}
	for i, b := range bodies {
		if err := m.follow(headers[i], fresh[i], b); err != nil {
			return err
		}
	}
	return m.catchUp()
}

// same compares an entry that the mirror holds already.
func (m *Mirror) same(i uint64, entry []byte) error {
	have, err := m.Store.Entry(i)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, entry) {
		return Contradiction("entry-differs", map[string][]byte{"mirror": have, "board": entry},
			"entry %d of the appliance's log is not the one this host mirrored", i)
	}
	return nil
}

// parse checks the form of new entries before any of them is stored.
func (m *Mirror) parse(from uint64, fresh [][]byte) ([]any, []ledger.Header, error) {
	bodies, headers := make([]any, len(fresh)), make([]ledger.Header, len(fresh))
	for i, e := range fresh {
		h, b, err := ledger.Parse(e)
		if err != nil {
			return nil, nil, fmt.Errorf("entry %d: %w", from+uint64(i), err)
		}
		if h.Index != from+uint64(i) {
			return nil, nil, fmt.Errorf("entry %d calls itself %d", from+uint64(i), h.Index)
		}
		if h.Index == 0 {
			if err := m.genesis(e, b); err != nil {
				return nil, nil, err
			}
		}
		bodies[i], headers[i] = b, h
	}
	return bodies, headers, nil
}

// follow notes what a new entry says about a job under way.
func (m *Mirror) follow(h ledger.Header, entry []byte, body any) error {
	switch b := body.(type) {
	case *ledger.Intent:
		t := m.traces[b.Job]
		if t == nil {
			return nil
		}
		if t.Intent != nil {
			return Contradiction("job-twice", map[string][]byte{"first": t.Entry, "second": entry},
				"entries %d and %d are two intents for one job", t.Index, h.Index)
		}
		t.Index, t.Header, t.Entry, t.Intent = h.Index, h, entry, b
	case *ledger.Outcome:
		if t := m.traces[b.Job]; t != nil && t.Outcome == nil {
			t.Outcome = b
		}
	}
	return nil
}

// Watch begins to follow a job, Forget ends it.
func (m *Mirror) Watch(id message.JobID) *Trace {
	t := m.traces[id]
	if t == nil {
		t = &Trace{}
		m.traces[id] = t
	}
	return t
}

// Forget ends what Watch began.
func (m *Mirror) Forget(id message.JobID) { delete(m.traces, id) }

// Trace is what the log says about a watched job, nil for another one.
func (m *Mirror) Trace(id message.JobID) *Trace { return m.traces[id] }

// Checkpoint is the newest verified checkpoint and its note; nil before the
// first.
func (m *Mirror) Checkpoint() (*anchor.Checkpoint, []byte) { return m.cp, m.note }

// Size is the number of entries held.
func (m *Mirror) Size() uint64 { return m.Store.Size() }

// Committed is the number of entries that the verified checkpoint covers.
func (m *Mirror) Committed() uint64 {
	if m.cp == nil {
		return 0
	}
	return m.cp.Size
}

// Advance takes a checkpoint note. A newer one becomes the head once its
// entries are here; an old one is ignored, because anybody can repeat it.
func (m *Mirror) Advance(n []byte) error {
	cp, err := m.trust.OpenCheckpoint(n)
	if err != nil {
		return err
	}
	if m.cp != nil && cp.Size < m.cp.Size || m.ahead != nil && cp.Size < m.ahead.Size {
		return nil
	}
	m.ahead, m.anote = cp, bytes.Clone(n)
	return m.catchUp()
}

// catchUp makes the checkpoint that waits for its entries the head.
func (m *Mirror) catchUp() error {
	if m.ahead == nil || m.ahead.Size > m.Store.Size() {
		return nil
	}
	root, err := m.Store.Root(m.ahead.Size)
	if err != nil {
		return err
	}
	if root != m.ahead.Root {
		raw := map[string][]byte{"checkpoint": m.anote}
		if m.note != nil {
			raw["previous-checkpoint"] = m.note
		}
		return Contradiction("checkpoint-differs", raw,
			"the appliance signed a log of %d entries that is not the one this host mirrored", m.ahead.Size)
	}
	m.cp, m.note, m.ahead, m.anote = m.ahead, m.anote, nil, nil
	return nil
}

// Head is what this host commits to: all entries it holds.
func (m *Mirror) Head() (uint64, [32]byte, error) {
	n := m.Store.Size()
	if n == 0 {
		return 0, ledger.EmptyRoot(), nil
	}
	root, err := m.Store.Root(n)
	return n, root, err
}

// maxPendingCommit bounds the sizes tried to explain HEAD: what can be pending
// between two commits.
const maxPendingCommit = 256

// Explains reports whether an attested HEAD is where the checkpoint left it,
// or one commit of the entries held here further: the one under way.
func (m *Mirror) Explains(head [32]byte) (bool, error) {
	if m.cp == nil {
		return false, nil
	}
	if m.cp.Head == head {
		return true, nil
	}
	last := min(m.Store.Size(), m.cp.Size+maxPendingCommit)
	for n := m.cp.Size + 1; n <= last; n++ {
		root, err := m.Store.Root(n)
		if err != nil {
			return false, err
		}
		x := ledger.X(ledger.CheckpointBody(m.trust.Origin, n, root))
		if anchor.Extend(m.cp.Head, x) == head {
			return true, nil
		}
	}
	return false, nil
}

// Prove makes the proof of an intent under the newest checkpoint.
func (m *Mirror) Prove(t *Trace) ([]byte, error) {
	path, err := m.Store.Inclusion(t.Index, m.cp.Size)
	if err != nil {
		return nil, err
	}
	p := ledger.Proof{Origin: m.trust.Origin, Index: t.Index, Size: m.cp.Size, Intent: t.Entry, Path: path, Checkpoint: m.note}
	return p.Marshal()
}
