// Package mirror is the host's checked copy of the appliance's log: what a
// host has verified, and so what a signature is released on.
//
// # What it believes
//
// Entry 0 is the pinned genesis entry. A checkpoint counts only if the log key
// and the TPM signed it. Entries below the newest such checkpoint are proven:
// they lead to its root, and they never change again. Entries above it are
// hearsay: whoever sits on the cable can have made them. They are kept, because
// the appliance commits only what its host says it keeps, and they give way: to
// newer ones in the same place, and altogether when a checkpoint comes that
// they do not lead to. So a forger costs time and never the mirror.
//
// Two checkpoints that contradict each other, or an intent that the proven log
// has twice for one job, are an *Evidence: an error that no retry mends. What
// only hearsay says against the log is one too, but marked as such.
//
// # Files
//
// Below the state directory: mirror/ (package ledgerstore), checkpoint (the
// newest verified one), EVIDENCE, evidence-* and hearsay-* (Evidence.Save).
// Entries are durable when Add returns. Publisher writes the copy for others.
package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
)

// Mirror belongs to one goroutine; its Store may be read by others.
type Mirror struct {
	Store *ledgerstore.Store

	dir   string // the state directory
	trust *verify.Trust

	note    []byte             // newest verified checkpoint
	cp      *anchor.Checkpoint // what it says; nil before the first
	cpBy    *verify.Trust      // the trust file that it was verified by
	ahead   *anchor.Checkpoint // verified, but for entries not here yet
	anote   []byte
	law     law                // as far as the log is proven
	strange *anchor.Checkpoint // attested, by a log key that entries not here yet may name
	snote   []byte
	traces  map[message.JobID]*Trace // of the jobs under way
}

// Trace is what the log says about a job under way.
type Trace struct {
	Index        uint64 // of the intent
	Header       ledger.Header
	Entry        []byte
	Intent       *ledger.Intent  // nil before it came
	Outcome      *ledger.Outcome // nil before it came
	OutcomeIndex uint64

	again      uint64 // index of a second intent for the job, 0 if there is none
	againEntry []byte
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
	m := &Mirror{dir: state, trust: tr, Store: s, traces: map[message.JobID]*Trace{}}
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
	if err := m.genesis(first, body); err != nil {
		return fmt.Errorf("the mirror in %s is of another log than the trust file: use the right trust file or another state directory", state)
	}
	n, err := os.ReadFile(filepath.Join(state, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = m.reload(n)
	}
	if err != nil {
		return fmt.Errorf("checkpoint of the mirror: %w", err)
	}
	return nil
}

// reload takes the checkpoint that was verified in an earlier life. If the
// entries do not lead to it, they were damaged here.
func (m *Mirror) reload(n []byte) error {
	text, err := message.NoteText(n)
	if err != nil {
		return err
	}
	_, size, root, err := ledger.ParseCheckpointBody(text)
	if err != nil {
		return err
	}
	if size <= m.Store.Size() {
		kept, err := m.Store.Root(size)
		if err != nil {
			return err
		}
		if kept != root {
			return fmt.Errorf("it is not that of the %d entries kept here: move the state directory away; a new mirror is fetched from the appliance", size)
		}
	}
	return m.Advance(n)
}

// genesis checks entry 0 and takes policy and log key from it.
func (m *Mirror) genesis(entry []byte, body any) error {
	g, ok := body.(*ledger.Genesis)
	if !ok || ledger.LeafHash(entry) != m.trust.Genesis {
		return Hearsay("other-log", map[string][]byte{"entry-0": entry},
			"entry 0 is not the pinned genesis entry: this is another log, or the trust file is of another appliance")
	}
	l, err := firstLaw(g)
	if err == nil {
		m.law = l
	}
	return err
}

// ErrGap says that entries before these are missing.
var ErrGap = errors.New("entries are missing in between")

// ErrTooMany says that more came without a checkpoint than any commit has; all
// of it was dropped.
var ErrTooMany = fmt.Errorf("more than %d entries came that no checkpoint covers", maxPending)

// Add checks entries from the board and makes the new ones durable. Entries
// that no checkpoint covers give way to newer ones in the same place. changed
// says that the mirror is not what it was.
func (m *Mirror) Add(e *message.Entries) (changed bool, err error) {
	size := m.Store.Size()
	if e.Start > size {
		return false, ErrGap
	}
	known, err := m.known(e, size)
	if err != nil || known == len(e.Entries) {
		return false, err
	}
	from, fresh := e.Start+uint64(known), e.Entries[known:]
	bodies, headers, err := m.parse(from, fresh)
	if err != nil {
		return false, err
	}
	if err := m.forget(from); err != nil {
		return true, err
	}
	if from+uint64(len(fresh)) > m.certain()+maxPending {
		return true, errors.Join(m.Drop(), ErrTooMany)
	}
	if err := m.Store.Append(fresh, nil); err != nil {
		return true, err
	}
	for i, b := range bodies {
		m.follow(headers[i], fresh[i], b)
	}
	return true, m.catchUp()
}

// certain is how long the log is at least: a checkpoint says so, though its
// entries may be missing.
func (m *Mirror) certain() uint64 {
	n := m.Committed()
	for _, cp := range []*anchor.Checkpoint{m.ahead, m.strange} {
		if cp != nil {
			n = max(n, cp.Size)
		}
	}
	return n
}

// known counts the entries at the beginning that the mirror holds already. One
// that differs from a proven entry contradicts it.
func (m *Mirror) known(e *message.Entries, size uint64) (int, error) {
	for i, entry := range e.Entries {
		at := e.Start + uint64(i)
		if at == size {
			return i, nil
		}
		have, err := m.Store.Entry(at)
		switch {
		case err != nil:
			return 0, err
		case bytes.Equal(have, entry):
		case at >= m.Committed():
			return i, nil
		default:
			return 0, Hearsay("entry-differs", map[string][]byte{"mirror": have, "board": entry},
				"entry %d of what comes over the link is not the one this host verified: somebody on the cable lies, or the appliance", at)
		}
	}
	return len(e.Entries), nil
}

// Drop forgets all entries that no checkpoint covers.
func (m *Mirror) Drop() error { return m.forget(m.Committed()) }

// forget drops the entries from an index on, and what they said about jobs.
func (m *Mirror) forget(from uint64) error {
	for _, t := range m.traces {
		switch {
		case t.Intent != nil && t.Index >= from:
			*t = Trace{}
		case t.Outcome != nil && t.OutcomeIndex >= from:
			t.Outcome, t.OutcomeIndex = nil, 0
		}
		if t.again >= from {
			t.again, t.againEntry = 0, nil
		}
	}
	return m.Store.Rewind(from)
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
func (m *Mirror) follow(h ledger.Header, entry []byte, body any) {
	switch b := body.(type) {
	case *ledger.Intent:
		t := m.traces[b.Job]
		switch {
		case t == nil:
		case t.Intent != nil:
			t.again, t.againEntry = h.Index, entry
		default:
			t.Index, t.Header, t.Entry, t.Intent = h.Index, h, entry, b
		}
	case *ledger.Outcome:
		if t := m.traces[b.Job]; t != nil && t.Outcome == nil {
			t.Outcome, t.OutcomeIndex = b, h.Index
		}
	}
}

// Watch begins to follow jobs whose entries, if there are any, stand at an
// index of at least from. Forget ends it.
func (m *Mirror) Watch(from uint64, jobs ...message.JobID) error {
	for _, id := range jobs {
		if m.traces[id] == nil {
			m.traces[id] = &Trace{}
		}
	}
	for i := from; i < m.Store.Size(); i++ {
		entry, err := m.Store.Entry(i)
		if err != nil {
			return err
		}
		h, body, err := ledger.Parse(entry)
		if err != nil {
			return fmt.Errorf("mirror: entry %d: %w", i, err)
		}
		if of, ok := jobOf(body); ok && slices.Contains(jobs, of) {
			m.follow(h, entry, body)
		}
	}
	return nil
}

func jobOf(body any) (message.JobID, bool) {
	switch b := body.(type) {
	case *ledger.Intent:
		return b.Job, true
	case *ledger.Outcome:
		return b.Job, true
	}
	return message.JobID{}, false
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
// entries are here. An old one is ignored, because anybody can repeat it, unless
// it contradicts what is proven.
func (m *Mirror) Advance(n []byte) error {
	cp, err := m.open(n)
	switch {
	case err != nil:
		return err
	case cp == nil:
		return m.catchUp()
	case m.cp != nil && cp.Size <= m.cp.Size:
		root, err := m.Store.Root(cp.Size)
		if err == nil && root != cp.Root {
			err = m.twoLogs(n, m.note, cp.Size)
		}
		return err
	case m.ahead != nil && cp.Size == m.ahead.Size && cp.Root != m.ahead.Root:
		return m.twoLogs(n, m.anote, cp.Size)
	case m.ahead != nil && cp.Size < m.ahead.Size:
		return nil
	}
	m.ahead, m.anote = cp, bytes.Clone(n)
	return m.catchUp()
}

func (m *Mirror) twoLogs(one, other []byte, size uint64) *Evidence {
	return Contradiction("checkpoint-differs", map[string][]byte{"checkpoint": one, "previous-checkpoint": other},
		"the appliance signed two logs: one of %d entries is not the beginning of the other", size)
}

// catchUp makes the checkpoint that waits for its entries the head. If they are
// here and lead elsewhere, those that no earlier checkpoint covers were false,
// and are dropped.
func (m *Mirror) catchUp() error {
	if err := m.identify(); err != nil {
		return err
	}
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
		return errors.Join(Hearsay("entries-differ", raw, "the entries that came over the link do not lead to the checkpoint of %d entries that the appliance signed",
			m.ahead.Size), m.Drop())
	}
	if err := m.obey(m.ahead, m.anote); err != nil {
		m.ahead, m.anote = nil, nil
		return err
	}
	m.cp, m.note, m.cpBy, m.ahead, m.anote = m.ahead, m.anote, m.trust, nil, nil
	return m.twice()
}

// twice looks for a job that the proven log has two intents of.
func (m *Mirror) twice() error {
	for _, t := range m.traces {
		if t.again > 0 && t.again < m.cp.Size {
			return Contradiction("job-twice", map[string][]byte{"first": t.Entry, "second": t.againEntry, "checkpoint": m.note},
				"entries %d and %d are two intents for one job", t.Index, t.again)
		}
	}
	return nil
}

// Verified is the head that a checkpoint proves: size and root.
func (m *Mirror) Verified() (uint64, [32]byte) {
	if m.cp == nil {
		return 0, ledger.EmptyRoot()
	}
	return m.cp.Size, m.cp.Root
}

// Head is what this host keeps: all entries it holds, hearsay included.
func (m *Mirror) Head() (uint64, [32]byte, error) {
	n := m.Store.Size()
	if n == 0 {
		return 0, ledger.EmptyRoot(), nil
	}
	root, err := m.Store.Root(n)
	return n, root, err
}

// maxPending bounds the entries kept that no checkpoint covers, and the sizes
// tried to explain HEAD. A commit takes a few; a board that is restarted every
// day and never asked to sign leaves one for each start.
const maxPending = 4096

// Explains reports whether an attested HEAD is where the checkpoint left it,
// or one commit of the entries held here further: the one under way.
func (m *Mirror) Explains(head [32]byte) (bool, error) {
	if m.cp == nil {
		return false, nil
	}
	if m.cp.Head == head {
		return true, nil
	}
	last := min(m.Store.Size(), m.cp.Size+maxPending)
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
