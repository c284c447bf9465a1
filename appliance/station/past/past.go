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
	"touchmark/appliance/sigformat"
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

	// Facts of the genesis entry.
	Trust *anchor.Trust
	AK    *quote.AK
	Key   *sigformat.Key
	Slot  string
	Base  [32]byte // HEAD before the log
	Born  time.Time

	Law
	*History

	corrections []uint64 // indices of time orders, taken or not, newest first
}

// New makes the past of a log, yet to be loaded.
func New(cfg Config) *Past {
	return &Past{cfg: cfg, Trust: &anchor.Trust{}, History: newHistory(0)}
}

// Load sets up what the board must know of the past at a time, from the genesis entry,
// the administrative entries, and the log's end as far back as the newest boot
// entry, the rate windows and the approvals that are still good. If that does
// not fit together it reads the whole log before it gives up: what leads to the
// parts is derived from the log and may be damaged where the log is not.
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
	return p.loadFrom(now, func(time.Time) (uint64, error) { return 0, nil })
}

func (p *Past) loadFrom(now time.Time, first func(time.Time) (uint64, error)) error {
	if err := p.begin(); err != nil {
		return err
	}
	from, err := first(now)
	if err != nil {
		return err
	}
	h := newHistory(from)
	i := from
	for raw, err := range p.cfg.Store.Entries(from, p.cfg.Store.Size()) {
		if err == nil {
			err = h.replay(i, raw)
		}
		if err != nil {
			return Damaged(i, err)
		}
		i++
	}
	if err := p.before(h); err != nil {
		return err
	}
	p.History = h
	if err := p.Obey(); err != nil {
		return err
	}
	h.Forget(now, p.Policy.LongestWindow())
	return nil
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
	cert, err := sigformat.ParseCertificate(g.Cert)
	if err != nil {
		return err
	}
	p.Key = cert.Key
	if p.Policy, err = policy.Open(g.Policy); err != nil {
		return err
	}
	p.Born = hdr.Time
	p.first, p.Key, p.Trust, p.Slot, p.Base = p.Policy, cert.Key, anchor.TrustOf(raw, g), g.Key.Slot, g.Base
	return nil
}

// replay takes entry i of the log into account.
func (h *History) replay(i uint64, raw []byte) error {
	hdr, body, err := ledger.Parse(raw)
	if err != nil {
		return err
	}
	if hdr.Index != i {
		return fmt.Errorf("it says it is entry %d", hdr.Index)
	}
	return h.Add(hdr, body)
}

// before looks behind what was read for the newest attest entry and the newest
// intent, which may be older than everything else that matters.
func (p *Past) before(h *History) error {
	for raw, err := range p.cfg.Store.Backward(h.From) {
		if h.Attest != nil && h.Sequence > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return err
		}
		switch b := body.(type) {
		case *ledger.Attest:
			if h.Attest == nil {
				h.Attest = b
			}
		case *ledger.Intent:
			h.Sequence = max(h.Sequence, b.Sequence)
		}
	}
	return nil
}
