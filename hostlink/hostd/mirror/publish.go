package mirror

import (
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/tiles"
)

// checkpointFile holds the newest verified checkpoint beside the mirror.
const checkpointFile = "checkpoint"

// An edition is written when nothing new was wanted for publishQuiet, and at
// the latest publishLate after the first wish: just after a signature is given
// out the client writes its own files, and the disk should be theirs.
const (
	publishQuiet = 100 * time.Millisecond
	publishLate  = time.Second
)

// Publisher writes the newest checkpoint and the published log, off the path
// of any signature. Editions that were overtaken are skipped.
type Publisher struct {
	state, dir string
	store      *ledgerstore.Store
	log        zerolog.Logger

	mu      sync.Mutex // guards the fields below
	changed sync.Cond
	note    []byte
	size    uint64
	version uint64 // of what is wanted
	written uint64 // version that is on disk
	on      uint64 // size of the published checkpoint
	err     error  // of the last try
	due     time.Time
	latest  time.Time
	hurry   bool // somebody waits
	closed  bool
}

// NewPublisher writes from a store into the state directory, and publishes into
// dir unless that is "".
func NewPublisher(state, dir string, s *ledgerstore.Store, log zerolog.Logger) *Publisher {
	p := &Publisher{state: state, dir: dir, store: s, log: log}
	p.changed.L = &p.mu
	return p
}

// Want asks for an edition with this checkpoint and all pending entries.
func (p *Publisher) Want(note []byte, size uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.version == p.written {
		p.latest = now.Add(publishLate)
	}
	if p.due = now.Add(publishQuiet); p.due.After(p.latest) {
		p.due = p.latest
	}
	p.note, p.size = note, size
	p.version++
	p.changed.Broadcast()
}

// idle waits until an edition is due. It returns false when there is none and
// there will be none.
func (p *Publisher) idle() bool {
	for !p.closed && !(p.hurry && p.version != p.written) {
		wait := time.Until(p.due)
		if p.version != p.written && wait <= 0 {
			break
		}
		var timer *time.Timer
		if p.version != p.written {
			timer = time.AfterFunc(wait, p.wake)
		}
		p.changed.Wait()
		if timer != nil {
			timer.Stop()
		}
	}
	p.hurry = false
	return p.version != p.written
}

// wake has Run look again. It waits for the lock: whoever set the timer holds it until it waits, and would miss a word
// said before on a machine that is slow enough.
func (p *Publisher) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

// Run writes editions until close; the last one wanted is written before.
func (p *Publisher) Run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.idle() {
		note, size, version := p.note, p.size, p.version
		p.mu.Unlock()
		err := p.write(note, size)
		p.mu.Lock()
		p.written, p.err = version, err
		if err == nil {
			p.on = size
		} else {
			p.log.Error().Err(err).Msg("publishing the log; tried again at the next change")
		}
		p.changed.Broadcast()
	}
}

func (p *Publisher) write(note []byte, size uint64) error {
	if err := durable.WriteFile(filepath.Join(p.state, checkpointFile), note, 0o644); err != nil {
		return err
	}
	if p.dir == "" {
		return nil
	}
	return tiles.Publish(p.dir, p.store, note, size)
}

// Flush waits until everything wanted so far is on disk.
func (p *Publisher) Flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for want := p.version; p.written < want; {
		p.hurry = true
		p.changed.Broadcast()
		p.changed.Wait()
	}
	return p.err
}

// Published is the size of the published checkpoint.
func (p *Publisher) Published() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on
}

// Close lets Run end, after the last edition.
func (p *Publisher) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
}
