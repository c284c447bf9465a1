package station

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// load sets up what the station must know of the past, from the genesis entry,
// the administrative entries, and the log's end as far back as the newest boot
// entry, the rate windows and the approvals that are still good. If that does
// not fit together it reads the whole log before it gives up: what leads to the
// parts is derived from the log and may be damaged where the log is not.
func (s *Station) load() error {
	if s.cfg.Store.Size() == 0 {
		return errors.New("the log is empty: run 'touchmark-appliance enroll' first")
	}
	err := s.loadFrom(s.recent)
	if err != nil {
		s.log.Warn().Err(err).Msg("reading the whole log")
		err = s.loadAll()
	}
	return err
}

// loadAll is load by reading everything.
func (s *Station) loadAll() error {
	return s.loadFrom(func() (uint64, error) { return 0, nil })
}

func (s *Station) loadFrom(first func() (uint64, error)) error {
	if err := s.begin(); err != nil {
		return damaged(0, err)
	}
	from, err := first()
	if err != nil {
		return err
	}
	h := newHistory(from)
	i := from
	for raw, err := range s.cfg.Store.Entries(from, s.cfg.Store.Size()) {
		if err == nil {
			err = h.replay(i, raw)
		}
		if err != nil {
			return damaged(i, err)
		}
		i++
	}
	if err := s.before(h); err != nil {
		return err
	}
	s.hist = h
	if err := s.obey(); err != nil {
		return err
	}
	h.forget(s.now(), s.policy.LongestWindow())
	return s.lastCheckpoint()
}

func damaged(i uint64, err error) error {
	return fmt.Errorf("log entry %d: %w: the log is damaged; see docs/operator-guide.md, 'halted'", i, err)
}

// begin takes the facts of the genesis entry: key, first policy, what is
// pinned.
func (s *Station) begin() error {
	raw, err := s.cfg.Store.Entry(0)
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
	if s.ak, err = quote.ParseAK(g.AK); err != nil {
		return err
	}
	cert, err := sigformat.ParseCertificate(g.Cert)
	if err != nil {
		return err
	}
	s.key = cert.Key
	if s.policy, err = policy.Open(g.Policy); err != nil {
		return err
	}
	s.first, s.trust, s.slot, s.base = s.policy, anchor.TrustOf(raw, g), g.Key.Slot, g.Base
	return nil
}

// replay takes entry i of the log into account.
func (h *history) replay(i uint64, raw []byte) error {
	hdr, body, err := ledger.Parse(raw)
	if err != nil {
		return err
	}
	if hdr.Index != i {
		return fmt.Errorf("it says it is entry %d", hdr.Index)
	}
	return h.add(hdr, body)
}

// before looks behind what was read for the newest attest entry and the newest
// intent, which may be older than everything else that matters.
func (s *Station) before(h *history) error {
	for raw, err := range s.cfg.Store.Backward(h.from) {
		if h.attest != nil && h.sequence > 0 {
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
			if h.attest == nil {
				h.attest = b
			}
		case *ledger.Intent:
			h.sequence = max(h.sequence, b.Sequence)
		}
	}
	return nil
}

// recent is the first entry that matters today.
func (s *Station) recent() (uint64, error) {
	boot, reach := uint64(0), reachOf(s.policy)
	var corrections []uint64 // of the clock, newest first
	for m, err := range s.cfg.Store.MarksBackward() {
		switch {
		case err != nil:
			return 0, err
		case m.Kind == ledger.KindBoot:
			boot = max(boot, m.Index)
		case m.Kind == ledger.KindTime:
			corrections = append(corrections, m.Index)
		case m.Kind == ledger.KindPolicy:
			r, err := s.policyReach(m.Index)
			if err != nil {
				return 0, err
			}
			reach = max(reach, r)
		}
	}
	since, err := s.firstSince(s.now().Add(-reach), corrections)
	return min(boot, since), err
}

// reachOf is how long what happened under a policy matters.
func reachOf(p *policy.Policy) time.Duration { return max(p.LongestWindow(), p.MaxValidity) }

func (s *Station) policyReach(index uint64) (time.Duration, error) {
	o, _, err := s.orderAt(index)
	if err != nil {
		return 0, err
	}
	text, err := message.NoteText(o.Note)
	if err != nil {
		return 0, err
	}
	p, err := policy.Parse(text)
	if err != nil {
		return 0, err
	}
	return reachOf(p), nil
}

// firstSince is the index of the first entry of this time or later. Times rise
// from entry to entry, but for corrections of the clock, which take effect
// behind these entries, newest first.
func (s *Station) firstSince(t time.Time, corrections []uint64) (uint64, error) {
	n := s.cfg.Store.Size()
	ends := append(slices.Clone(corrections), 0)
	slices.Reverse(ends)
	ends = append(ends[1:], n-1)
	var failed error
	later := func(i uint64) bool {
		raw, err := s.cfg.Store.Entry(i)
		if err == nil {
			var h ledger.Header
			if h, _, err = ledger.Parse(raw); err == nil {
				return !h.Time.Before(t)
			}
		}
		failed = err
		return true
	}
	start := uint64(0)
	for _, last := range ends {
		end := last + 1
		i := start + uint64(sort.Search(int(end-start), func(k int) bool { return later(start + uint64(k)) }))
		if i < end {
			return i, failed
		}
		start = end
	}
	return n, failed
}

// orderAt reads an administrative entry.
func (s *Station) orderAt(index uint64) (*ledger.Order, ledger.Header, error) {
	raw, err := s.cfg.Store.Entry(index)
	if err != nil {
		return nil, ledger.Header{}, err
	}
	h, body, err := ledger.Parse(raw)
	if err != nil {
		return nil, h, damaged(index, err)
	}
	o, ok := body.(*ledger.Order)
	if !ok {
		return nil, h, damaged(index, fmt.Errorf("it is %s, not an administrative entry", ledger.KindOf(body)))
	}
	return o, h, nil
}

// obey makes what the administrators ordered, and HEAD took, the law: policy,
// log key, end of the log.
func (s *Station) obey() error {
	l := law{policy: s.first, logKey: s.trust.LogKey, done: map[[32]byte]bool{}}
	var orders []*ledger.Order
	for i := s.hist.admin; i > 0; {
		o, _, err := s.orderAt(i)
		if err == nil && o.Previous >= i {
			err = damaged(i, fmt.Errorf("it names entry %d as the one before", o.Previous))
		}
		if err != nil {
			return err
		}
		orders = append(orders, o)
		i = o.Previous
	}
	for _, o := range slices.Backward(orders) {
		if err := l.add(o); err != nil {
			return fmt.Errorf("the administrators' entries do not follow from each other: %w", err)
		}
	}
	v, err := message.ParseKey(l.logKey)
	if err != nil {
		return err
	}
	if s.cfg.LogKey.Name() != v.Name() || s.cfg.LogKey.KeyHash() != v.KeyHash() {
		return fmt.Errorf("the log key on this board is for %q, and not the one that the log says: put back the file that belongs to this log", s.cfg.LogKey.Name())
	}
	s.law, s.policy = l, l.policy
	return nil
}

// law is what the administrators' entries amount to.
type law struct {
	policy *policy.Policy
	logKey string
	closed bool
	done   map[[32]byte]bool // orders that took effect, by order.Hash
}

// add takes the next entry that took effect.
func (l *law) add(e *ledger.Order) error {
	hash, err := order.Hash(e.Note)
	if err != nil {
		return err
	}
	l.done[hash] = true
	if e.Action == ledger.KindPolicy {
		l.policy, err = l.policy.Successor(e.Note)
		return err
	}
	o, err := order.OpenEntry(e, l.policy.Administrators.Keys, l.policy.Administrators.Quorum)
	if err != nil {
		return err
	}
	switch a := o.Action.(type) {
	case *order.Close:
		l.closed = true
	case *order.Key:
		l.logKey = a.LogKey
	}
	return nil
}
