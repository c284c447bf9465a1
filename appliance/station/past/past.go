// Package past reads what the log says about the past, as far as the present
// needs it: the facts of the genesis entry, the law that the administrators'
// entries amount to, and the jobs, rates and commits of the log's newest part.
//
// A Past is derived from the log and nothing else. It is not safe for use by
// several goroutines: whoever appends to the log owns it.
package past

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/policy"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// Config is what a past is read from.
type Config struct {
	Store Log
	// Genesis is a copy of the genesis entry from beside the log, nil if there is none: what
	// a board that lost its whole log still knows of it.
	Genesis []byte
	Log     zerolog.Logger
}

// Past is what the log says. Before Load it says nothing.
type Past struct {
	cfg   Config
	first *policy.Policy // of the genesis entry
	keys  []Key          // of the genesis entry

	// Facts of the genesis entry.
	Trust *anchor.Trust
	AK    *quote.AK
	Base  [32]byte // HEAD before the log
	Born  time.Time

	Law
	*History

	corrections []uint64 // indices of time orders, taken or not, newest first
}

// New makes the past of a log, yet to be loaded.
func New(cfg Config) *Past {
	return &Past{cfg: cfg, Trust: &anchor.Trust{}, History: newHistory()}
}

// Load sets up what the board must know of the past at a time, from the genesis
// entry, the administrative entries, what the log's end says of the TPM, and
// what is known of intents and outcomes as far back as rate windows and
// approvals reach. That takes as long whatever the length of the log. If it
// does not fit together it reads the whole log before it gives up: what leads
// to the parts is derived from the log and may be damaged where the log is not.
func (p *Past) Load(now time.Time) error {
	err := p.loadFrom(now, p.recent)
	if err != nil && p.cfg.Store.Size() > 0 {
		p.cfg.Log.Warn().Err(err).Msg("reading the whole log")
		err = p.LoadAll(now)
	}
	return err
}

// LoadAll is Load by reading everything.
func (p *Past) LoadAll(now time.Time) error {
	return p.loadFrom(now, p.everything)
}

func (p *Past) loadFrom(now time.Time, read func(time.Time, *History) error) error {
	if err := p.begin(); err != nil {
		return err
	}
	h := newHistory()
	if err := read(now, h); err != nil {
		return err
	}
	p.History = h
	if err := p.Obey(); err != nil {
		return err
	}
	if !h.Whole {
		if err := p.jobs(now, h); err != nil {
			return err
		}
	}
	h.Forget(now, p.Policy.LongestWindow())
	return nil
}

// everything reads all entries.
func (p *Past) everything(_ time.Time, h *History) error {
	h.Whole, h.jobs = true, true
	_, err := p.replay(h, 0, func(uint64, any) bool { return false })
	return err
}

// replay takes entries from one on into account, up to and with that at which
// it shall end, and answers the index of the next.
func (p *Past) replay(h *History, from uint64, end func(uint64, any) bool) (next uint64, err error) {
	for raw, err := range p.cfg.Store.Entries(from, p.cfg.Store.Size()) {
		var hdr ledger.Header
		var body any
		if err == nil {
			hdr, body, err = h.read(raw)
		}
		if err == nil && hdr.Index != from {
			err = fmt.Errorf("it says it is entry %d", hdr.Index)
		}
		if err == nil {
			err = h.Add(hdr, body)
		}
		if err != nil {
			return from, Damaged(from, err)
		}
		if from++; end(from-1, body) {
			break
		}
	}
	return from, nil
}

// read parses an entry; of an intent or outcome that jobs will know of it takes
// the header only, and the body is nil.
func (h *History) read(raw []byte) (ledger.Header, any, error) {
	if !h.jobs {
		if g, ok := ledger.Glance(raw); ok {
			return g.Header, nil, nil
		}
	}
	return ledger.Parse(raw)
}

// begin takes the facts of the genesis entry: key, first policy, what is
// pinned. They never change, and other goroutines may read them by then.
func (p *Past) begin() error {
	if p.first != nil {
		p.Policy = p.first
		return nil
	}
	raw, err := p.genesis()
	if err != nil {
		return err
	}
	if err := p.facts(raw); err != nil {
		return Damaged(0, err)
	}
	return nil
}

// genesis is the genesis entry, from the log if there is one.
func (p *Past) genesis() ([]byte, error) {
	if p.cfg.Store.Size() > 0 {
		return p.cfg.Store.Entry(0)
	}
	if p.cfg.Genesis == nil {
		return nil, ErrNoLog
	}
	return p.cfg.Genesis, nil
}

func (p *Past) facts(raw []byte) error {
	hdr, body, err := ledger.Parse(raw)
	if err != nil {
		return err
	}
	g, ok := body.(*ledger.Genesis)
	if !ok {
		return fmt.Errorf("it is %s, not genesis", ledger.KindOf(body))
	}
	if p.AK, err = quote.ParseAK(g.AK); err != nil {
		return err
	}
	if p.keys, err = keysOf(g); err != nil {
		return err
	}
	if p.Policy, err = policy.Open(g.Policy); err != nil {
		return err
	}
	p.Born, p.first, p.Trust, p.Base = hdr.Time, p.Policy, anchor.TrustOf(raw, g), g.Base
	return nil
}
