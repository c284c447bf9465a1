package past

import (
	"fmt"
	"time"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// jobs takes into account what is known of the intents and outcomes from
// h.From on, without reading them. Only classes of the policy in force have
// rates: when it changes, the past is loaded again.
func (p *Past) jobs(now time.Time, h *History) error {
	names := map[ledgerstore.ClassID]string{}
	for _, c := range p.Policy.Classes {
		names[ledgerstore.ClassOf(c.Name)] = c.Name
	}
	var newest *Job
	for j, err := range p.cfg.Store.Jobs(h.From) {
		switch {
		case err != nil:
			return err
		case !j.Outcome:
			newest = &Job{ID: j.ID, Class: names[j.Class], Intent: j.Index, Items: j.Items, Time: j.Time, NotAfter: j.NotAfter}
			h.intent(newest)
		case h.certs[j.Intent] && !h.awaits(j.Intent): // it is of before the newest boot entry
		default:
			ended, err := h.outcome(j.Index, j.Intent, j.Items)
			if err != nil {
				return Damaged(j.Index, err)
			}
			if ended != nil && now.After(ended.NotAfter) {
				delete(h.Jobs, ended.ID) // as Forget will: there may be very many
			}
		}
	}
	h.jobs = true
	return p.sequence(h, newest)
}

// sequence takes that of the newest intent, which must be the one that is known
// of if there is one.
func (p *Past) sequence(h *History, newest *Job) error {
	if newest == nil {
		return p.olderSequence(h)
	}
	raw, err := p.cfg.Store.Entry(newest.Intent)
	if err != nil {
		return err
	}
	hdr, body, err := ledger.Parse(raw)
	if err != nil {
		return Damaged(newest.Intent, err)
	}
	in, ok := body.(*ledger.Intent)
	if !ok || in.Job != newest.ID || !hdr.Time.Equal(newest.Time) {
		return Damaged(newest.Intent, fmt.Errorf("it is not the intent of job %s that is derived from it", newest.ID))
	}
	h.Sequence = in.Sequence
	return nil
}

// olderSequence looks for the newest intent before h.From.
func (p *Past) olderSequence(h *History) error {
	for raw, err := range p.cfg.Store.Backward(h.From) {
		if err != nil {
			return err
		}
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return err
		}
		if in, ok := body.(*ledger.Intent); ok {
			h.Sequence = in.Sequence
			break
		}
	}
	return nil
}
