package past

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// recent is the first entry that matters today.
func (p *Past) recent(now time.Time) (uint64, error) {
	boot, reach := uint64(0), reachOf(p.Policy)
	p.corrections = nil
	for m, err := range p.cfg.Store.MarksBackward() {
		switch {
		case err != nil:
			return 0, err
		case m.Kind == ledger.KindBoot:
			boot = max(boot, m.Index)
		case m.Kind == ledger.KindTime:
			p.corrections = append(p.corrections, m.Index)
		case m.Kind == ledger.KindPolicy:
			r, err := p.policyReach(m.Index)
			if err != nil {
				return 0, err
			}
			reach = max(reach, r)
		}
	}
	since, err := p.firstSince(now.Add(-reach))
	return min(boot, since), err
}

// reachOf is how long what happened under a policy matters.
func reachOf(p *policy.Policy) time.Duration { return max(p.LongestWindow(), p.MaxValidity) }

func (p *Past) policyReach(index uint64) (time.Duration, error) {
	o, _, err := p.orderAt(index)
	if err != nil {
		return 0, err
	}
	text, err := message.NoteText(o.Note)
	if err != nil {
		return 0, err
	}
	next, err := policy.Parse(text)
	if err != nil {
		return 0, err
	}
	return reachOf(next), nil
}

// firstSince is the index of the first entry of this time or later. Times rise
// from entry to entry, but for corrections of the clock, which take effect
// behind these entries, newest first.
func (p *Past) firstSince(t time.Time) (uint64, error) {
	n := p.cfg.Store.Size()
	if n == 0 {
		return 0, nil
	}
	ends := append(slices.Clone(p.corrections), 0)
	slices.Reverse(ends)
	ends = append(ends[1:], n-1)
	var failed error
	later := func(i uint64) bool {
		raw, err := p.cfg.Store.Entry(i)
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
func (p *Past) orderAt(index uint64) (*ledger.Order, ledger.Header, error) {
	raw, err := p.cfg.Store.Entry(index)
	if err != nil {
		return nil, ledger.Header{}, err
	}
	h, body, err := ledger.Parse(raw)
	if err != nil {
		return nil, h, Damaged(index, err)
	}
	o, ok := body.(*ledger.Order)
	if !ok {
		return nil, h, Damaged(index, fmt.Errorf("it is %s, not an administrative entry", ledger.KindOf(body)))
	}
	return o, h, nil
}
