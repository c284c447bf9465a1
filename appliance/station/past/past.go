// Package past reads what the log says about the past, as far as the present
// needs it: the facts of the genesis entry, the law that the administrators'
// entries amount to, and the jobs, rates and commits of the log's newest part.
//
// A Past is derived from the log and nothing else. It is not safe for use by
// several goroutines: whoever appends to the log owns it.
package past

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
)

// Config is what a past is read from. All fields are required.
type Config struct {
	Store *ledgerstore.Store
	Log   zerolog.Logger
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

	Law
	*History
}

// New makes the past of a log, yet to be loaded.
func New(cfg Config) *Past { return &Past{cfg: cfg} }

// Load sets up what the board must know of the past at a time, from the genesis entry,
// the administrative entries, and the log's end as far back as the newest boot
// entry, the rate windows and the approvals that are still good. If that does
// not fit together it reads the whole log before it gives up: what leads to the
// parts is derived from the log and may be damaged where the log is not.
func (p *Past) Load(now time.Time) error {
	if p.cfg.Store.Size() == 0 {
		return errors.New("the log is empty: run 'touchmark-appliance enroll' first")
	}
	err := p.loadFrom(now, p.recent)
	if err != nil {
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
		return Damaged(0, err)
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

// Damaged says that entry i cannot be right.
func Damaged(i uint64, err error) error {
	return fmt.Errorf("log entry %d: %w: the log is damaged; see docs/operator-guide.md, 'halted'", i, err)
}

// begin takes the facts of the genesis entry: key, first policy, what is
// pinned.
func (p *Past) begin() error {
	raw, err := p.cfg.Store.Entry(0)
	if err != nil {
		return err
	}
	_, body, err := ledger.Parse(raw)
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
