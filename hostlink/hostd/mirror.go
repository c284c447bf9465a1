package hostd

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
)

// mirror is the host's copy of the log and what it verified of it. It belongs
// to the daemon's loop; the store may be read by others.
type mirror struct {
	trust  *verify.Trust
	store  *ledgerstore.Store
	policy *policy.Policy // nil before the genesis entry is here

	note   []byte             // newest verified checkpoint
	cp     *anchor.Checkpoint // what it says; nil before the first
	ahead  *anchor.Checkpoint // verified, but for entries not here yet
	anote  []byte
	traces map[message.JobID]*trace // of the jobs under way
}

// trace is what the log says about a job under way.
type trace struct {
	index   uint64 // of the intent
	header  ledger.Header
	entry   []byte
	intent  *ledger.Intent  // nil before it came
	outcome *ledger.Outcome // nil before it came
}

// openMirror opens or creates the mirror below the state directory.
func openMirror(state string, tr *verify.Trust) (*mirror, error) {
	dir := filepath.Join(state, "mirror")
	s, err := ledgerstore.Open(dir)
	if errors.Is(err, ledgerstore.ErrNoStore) {
		if err = os.MkdirAll(state, 0o750); err == nil {
			s, err = ledgerstore.Create(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	m := &mirror{trust: tr, store: s, traces: map[message.JobID]*trace{}}
	if err := m.load(state); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return m, nil
}

// load checks the first entry and the checkpoint kept beside the mirror.
func (m *mirror) load(state string) error {
	if m.store.Size() == 0 {
		return nil
	}
	first, err := m.store.Entry(0)
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
		err = m.advance(n)
	}
	if err != nil {
		return fmt.Errorf("checkpoint of the mirror: %w", err)
	}
	return nil
}

// genesis checks entry 0 and takes the policy from it.
func (m *mirror) genesis(entry []byte, body any) error {
	g, ok := body.(*ledger.Genesis)
	if !ok || ledger.LeafHash(entry) != m.trust.Genesis {
		return contradiction("other-log", map[string][]byte{"entry-0": entry},
			"entry 0 is not the pinned genesis entry: this is another log, or the trust file is of another appliance")
	}
	p, err := policy.Open(g.Policy)
	if err != nil {
		return fmt.Errorf("policy in the genesis entry: %w", err)
	}
	m.policy = p
	return nil
}

// errGap says that entries before these are missing.
var errGap = errors.New("entries are missing in between")

// add checks entries from the board and makes the new ones durable.
func (m *mirror) add(e *message.Entries) error {
	size := m.store.Size()
	if e.Start > size {
		return errGap
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
	if err := m.store.Append(fresh, nil); err != nil {
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
func (m *mirror) same(i uint64, entry []byte) error {
	have, err := m.store.Entry(i)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, entry) {
		return contradiction("entry-differs", map[string][]byte{"mirror": have, "board": entry},
			"entry %d of the appliance's log is not the one this host mirrored", i)
	}
	return nil
}

// parse checks the form of new entries before any of them is stored.
func (m *mirror) parse(from uint64, fresh [][]byte) ([]any, []ledger.Header, error) {
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
func (m *mirror) follow(h ledger.Header, entry []byte, body any) error {
	switch b := body.(type) {
	case *ledger.Intent:
		t := m.traces[b.Job]
		if t == nil {
			return nil
		}
		if t.intent != nil {
			return contradiction("job-twice", map[string][]byte{"first": t.entry, "second": entry},
				"entries %d and %d are two intents for one job", t.index, h.Index)
		}
		t.index, t.header, t.entry, t.intent = h.Index, h, entry, b
	case *ledger.Outcome:
		if t := m.traces[b.Job]; t != nil && t.outcome == nil {
			t.outcome = b
		}
	}
	return nil
}

// watch begins to follow a job.
func (m *mirror) watch(id message.JobID) *trace {
	t := m.traces[id]
	if t == nil {
		t = &trace{}
		m.traces[id] = t
	}
	return t
}

// advance takes a checkpoint note. A newer one becomes the head once its
// entries are here; an old one is ignored, because anybody can repeat it.
func (m *mirror) advance(n []byte) error {
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
func (m *mirror) catchUp() error {
	if m.ahead == nil || m.ahead.Size > m.store.Size() {
		return nil
	}
	root, err := m.store.Root(m.ahead.Size)
	if err != nil {
		return err
	}
	if root != m.ahead.Root {
		raw := map[string][]byte{"checkpoint": m.anote}
		if m.note != nil {
			raw["previous-checkpoint"] = m.note
		}
		return contradiction("checkpoint-differs", raw,
			"the appliance signed a log of %d entries that is not the one this host mirrored", m.ahead.Size)
	}
	m.cp, m.note, m.ahead, m.anote = m.ahead, m.anote, nil, nil
	return nil
}

// head is what this host commits to: all entries it holds.
func (m *mirror) head() (uint64, [32]byte, error) {
	n := m.store.Size()
	root, err := m.store.Root(n)
	return n, root, err
}

// explains reports whether an attested HEAD is where the checkpoint left it,
// or one commit of the entries held here further: the one under way.
func (m *mirror) explains(head [32]byte) (bool, error) {
	if m.cp == nil {
		return false, nil
	}
	if m.cp.Head == head {
		return true, nil
	}
	last := min(m.store.Size(), m.cp.Size+maxPendingCommit)
	for n := m.cp.Size + 1; n <= last; n++ {
		root, err := m.store.Root(n)
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

// proof makes the proof of an intent under the newest checkpoint.
func (m *mirror) proof(t *trace) ([]byte, error) {
	path, err := m.store.Inclusion(t.index, m.cp.Size)
	if err != nil {
		return nil, err
	}
	p := ledger.Proof{Origin: m.trust.Origin, Index: t.index, Size: m.cp.Size, Intent: t.entry, Path: path, Checkpoint: m.note}
	return p.Marshal()
}
