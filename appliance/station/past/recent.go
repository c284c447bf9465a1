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

// recent reads what the end of the log says of TPM and administrators, and
// leaves intents and outcomes, from h.From on, to jobs.
func (p *Past) recent(now time.Time, h *History) error {
	boot, reach := uint64(0), reachOf(p.Policy)
	var behind []uint64 // marked entries behind the newest boot entry, newest first
	p.corrections = nil
	for m, err := range p.cfg.Store.MarksBackward() {
		switch {
		case err != nil:
			return err
		case m.Kind == ledger.KindBoot:
			boot = max(boot, m.Index)
		case m.Kind == ledger.KindTime:
			p.corrections = append(p.corrections, m.Index)
		case m.Kind == ledger.KindCert:
			h.certs[m.Index] = true
		case m.Kind == ledger.KindPolicy:
			r, err := p.policyReach(m.Index)
			if err != nil {
				return err
			}
			reach = max(reach, r)
		}
		if boot == 0 {
			behind = append(behind, m.Index)
		}
	}
	since, err := p.firstSince(now.Add(-reach))
	if err != nil {
		return err
	}
	h.From = min(boot, since)
	slices.Reverse(behind)
	return p.statements(h, boot, behind)
}

// statements reads the boot entry, each marked one behind it with what follows
// up to the attestation of its commit, and the end of the log, from the newest
// attestation with a quote on.
func (p *Past) statements(h *History, boot uint64, behind []uint64) error {
	if p.cfg.Store.Size() == 0 {
		return nil
	}
	next := boot
	for _, from := range append([]uint64{boot}, behind...) {
		if from < next {
			continue
		}
		var err error
		if next, err = p.replay(h, from, func(i uint64, body any) bool {
			a, ok := body.(*ledger.Attest)
			return ok && a.Size > from || i == boot
		}); err != nil {
			return err
		}
	}
	quoted, err := p.quoted(next)
	if err != nil {
		return err
	}
	if _, err = p.replay(h, quoted, func(uint64, any) bool { return false }); err != nil || h.Attest != nil {
		return err
	}
	return p.before(h, boot)
}

// quoted is the index of the newest attestation with a quote, from an index on;
// that index if there is none. It reads no entry that it need not look at.
func (p *Past) quoted(from uint64) (uint64, error) {
	for i := p.cfg.Store.Size(); i > from; i-- {
		raw, err := p.cfg.Store.Entry(i - 1)
		if err != nil {
			return 0, err
		}
		if _, ok := ledger.Glance(raw); ok {
			continue // an intent or outcome
		}
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return 0, Damaged(i-1, err)
		}
		if a, ok := body.(*ledger.Attest); ok && a.HasQuote() {
			return i - 1, nil
		}
	}
	return from, nil
}

// before looks behind the entries that will be read for the newest attest
// entry, which may be older than everything else that matters.
func (p *Past) before(h *History, boot uint64) error {
	for raw, err := range p.cfg.Store.Backward(boot) {
		if err != nil {
			return err
		}
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return err
		}
		if a, ok := body.(*ledger.Attest); ok {
			h.Attest = a
			break
		}
	}
	return nil
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
		h, err := p.header(i)
		if err != nil {
			failed = err
			return true
		}
		return !h.Time.Before(t)
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

// header reads an entry's header, and looks into what follows as little as it can.
func (p *Past) header(i uint64) (ledger.Header, error) {
	raw, err := p.cfg.Store.Entry(i)
	if err != nil {
		return ledger.Header{}, err
	}
	if g, ok := ledger.Glance(raw); ok {
		return g.Header, nil
	}
	h, _, err := ledger.Parse(raw)
	return h, err
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
