package past

import (
	"fmt"
	"slices"
	"time"

	"touchmark/appliance/policy"
	"touchmark/appliance/station/clock"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// History is what the entries say that were read, and those appended since.
type History struct {
	Whole    bool   // all entries were read
	From     uint64 // else: what happened before this one was not looked at
	Boots    uint64
	Admin    uint64 // index of the newest administrative entry that HEAD took, 0 is the genesis
	Sequence uint64 // of the newest intent
	LastTime time.Time
	LastBoot *ledger.Boot

	Correction *clock.Correction      // a time order behind which no boot entry stands yet; nil if there is none
	Clock      *quote.Clock           // nil if there is none; of the newest NV_Certify whose counters count; see ReadClock
	Taken      uint64                 // largest size that an attestation says HEAD took
	Quoted     uint64                 // largest that a quote vouches for too
	Attest     *ledger.Attest         // newest
	Jobs       map[message.JobID]*Job // whose approval can still be repeated
	Open       []*Job                 // intents and cert entries without an outcome
	Resumes    []Resume               // behind the newest boot entry
	Rates      *policy.History

	certs   map[uint64]bool // cert entries, whose outcomes count in no rate
	jobs    bool            // intents and outcomes count from here on; before, what is derived of them does
	updated string          // firmware that the newest update entry behind the newest boot entry names
	ordered uint64          // index of the newest administrative entry, taken or not
	newest  stamped
}

// Job is a committed or at least appended job, or cert entry. Outcome is 0 while
// it has none (index 0 is the genesis entry).
type Job struct {
	ID              message.JobID
	Class           string
	Intent, Outcome uint64
	Items           int
	Time            time.Time // of the intent
	NotAfter        time.Time
	Cert            bool // a cert entry, whose ID is the order's hash: it counts in no rate
}

// Lost is an outcome that gives every item of a job the same end.
func (p *Job) Lost(end ledger.ItemResult) *ledger.Outcome {
	o := &ledger.Outcome{Intent: p.Intent, Job: p.ID}
	for range p.Items {
		o.Items = append(o.Items, end)
	}
	return o
}

// Resume is a resume entry, taken by HEAD or not.
type Resume struct {
	Index uint64
	Entry *ledger.Order
}

func newHistory() *History {
	return &History{certs: map[uint64]bool{}, Jobs: map[message.JobID]*Job{}, Rates: policy.NewHistory()}
}

// stamped is an NV_Certify from the log, for the commit of the given size.
type stamped struct {
	attestation quote.Attestation
	size        uint64
	boot        bool      // its tag is that of a boot entry
	at          time.Time // of the entry
}

// ReadClock takes the TPM's counters from the newest attestation in the log, if
// there is one.
func (p *Past) ReadClock() error {
	n := p.newest
	if n.size == 0 {
		p.Clock = nil
		return nil
	}
	root, err := p.cfg.Store.Root(n.size)
	if err != nil {
		return err
	}
	x := ledger.X(ledger.CheckpointBody(p.Trust.Origin, n.size, root))
	tag := quote.CertifyTag(x)
	if n.boot {
		tag = quote.BootTag(x)
	}
	facts, err := p.AK.VerifyNV(n.attestation, p.Trust.HeadName, tag)
	if err != nil {
		return fmt.Errorf("the newest attestation in the log: %w", err)
	}
	p.Clock = &facts.Clock
	return nil
}

// Stated is what the newest attestation in the log says of the time, once ReadClock
// has read it. The ceremony's says nothing: its entries have the time at which it began; nor
// does a boot entry whose time nobody set. What administrators ordered since, if it is not
// zero, stands for its time.
func (p *Past) Stated(ordered time.Time) recovery.Stated {
	switch {
	case p.LastBoot == nil:
		return recovery.Stated{}
	case !ordered.IsZero():
		return recovery.Stated{Time: ordered, Clock: p.Clock}
	case p.newest.boot && p.LastBoot.Clock == ledger.ClockHostUnset:
		return recovery.Stated{}
	}
	return recovery.Stated{Time: p.newest.at, Clock: p.Clock}
}

// Add takes the next entry into account.
func (h *History) Add(hdr ledger.Header, body any) error {
	h.LastTime = hdr.Time
	switch b := body.(type) {
	case *ledger.Boot:
		h.Correction = nil
		h.commit(b.Committed)
		h.Quoted = max(h.Quoted, b.Committed)
		h.Boots, h.LastBoot, h.newest = b.Number, b, stamped{b.Certify, b.Committed, true, hdr.Time}
		h.Admin, h.Resumes, h.updated = b.Admin, nil, ""
	case *ledger.Attest:
		h.commit(b.Size)
		h.Attest = b
		if b.HasQuote() { // see recovery.Base.Clock
			h.newest = stamped{b.Certify, b.Size, false, hdr.Time}
			h.Quoted = max(h.Quoted, b.Size)
		}
	case *ledger.Intent, *ledger.Outcome:
		return h.addJob(hdr, body)
	case *ledger.Update:
		h.updated = b.To
	case *ledger.Order:
		h.ordered, h.Correction = hdr.Index, nil
		if b.Action == ledger.KindResume {
			h.Resumes = append(h.Resumes, Resume{hdr.Index, b})
		}
		switch b.Action {
		case ledger.KindTime:
			return h.correct(hdr, b)
		case ledger.KindCert:
			return h.cert(hdr, b)
		}
	}
	return nil
}

// Update is the entry that is owed before a boot entry of this firmware, nil if
// it is what ran before or the entry stands already.
func (h *History) Update(firmware string) *ledger.Update {
	if h.LastBoot == nil || h.LastBoot.Firmware == firmware || h.updated == firmware {
		return nil
	}
	return &ledger.Update{From: h.LastBoot.Firmware, To: firmware}
}

// commit notes that HEAD took a size. An administrative entry has effect once
// the commit that ends with it was taken.
func (h *History) commit(size uint64) {
	h.Taken = max(h.Taken, size)
	if h.ordered > 0 && size == h.ordered+1 {
		h.Admin = h.ordered
	}
	if c := h.Correction; c != nil {
		if c.Taken = c.Taken || size == c.Index+1; !c.Taken && size > c.Index {
			h.Correction = nil // HEAD took something else instead
		}
	}
}

// correct notes a time order, which has effect if HEAD took it.
func (h *History) correct(hdr ledger.Header, b *ledger.Order) error {
	text, err := message.NoteText(b.Note)
	if err != nil {
		return err
	}
	o, err := order.Parse(text)
	if err != nil {
		return err
	}
	if t, ok := o.Action.(*order.Time); ok {
		h.Correction = &clock.Correction{Index: hdr.Index, At: hdr.Time, To: t.To}
	}
	return nil
}

// cert notes a cert entry, which awaits an outcome.
func (h *History) cert(hdr ledger.Header, b *ledger.Order) error {
	hash, err := order.Hash(b.Note)
	if err != nil {
		return err
	}
	h.Open = append(h.Open, &Job{ID: hash, Intent: hdr.Index, Items: 1, Time: hdr.Time, Cert: true})
	return nil
}

// addJob takes an intent or outcome.
func (h *History) addJob(hdr ledger.Header, body any) error {
	switch b := body.(type) {
	case *ledger.Intent:
		text, err := message.NoteText(b.Approval)
		if err != nil {
			return err
		}
		a, err := message.ParseApproval(text)
		if err != nil {
			return err
		}
		h.Sequence = b.Sequence
		h.intent(&Job{ID: message.JobOf(text), Class: a.Class, Intent: hdr.Index, Items: len(b.SignDigests), Time: hdr.Time, NotAfter: a.NotAfter})
	case *ledger.Outcome:
		n := 0
		for _, it := range b.Items {
			if it.State.Counts() {
				n++
			}
		}
		_, err := h.outcome(hdr.Index, b.Intent, n)
		return err
	}
	return nil
}

func (h *History) intent(j *Job) {
	h.Jobs[j.ID] = j
	h.Open = append(h.Open, j)
}

// awaits reports whether an entry has no outcome yet.
func (h *History) awaits(intent uint64) bool {
	return slices.ContainsFunc(h.Open, func(j *Job) bool { return j.Intent == intent })
}

// outcome ends an intent with n items that count, and answers it, nil if it is
// of so long ago that it counts for nothing.
func (h *History) outcome(index, intent uint64, n int) (*Job, error) {
	for i, j := range h.Open {
		if j.Intent != intent {
			continue
		}
		j.Outcome = index
		h.Open = append(h.Open[:i], h.Open[i+1:]...)
		if !j.Cert {
			h.Rates.Add(j.Class, j.Time, n)
		}
		return j, nil
	}
	if intent < h.From {
		return nil, nil
	}
	return nil, fmt.Errorf("outcome of entry %d, which awaits none", intent)
}

// Forget drops jobs whose approval has expired: Admit refuses them anyway.
func (h *History) Forget(now time.Time, window time.Duration) {
	for id, p := range h.Jobs {
		if p.Outcome != 0 && now.After(p.NotAfter) {
			delete(h.Jobs, id)
		}
	}
	h.Rates.Forget(now.Add(-window))
}

// AttestOf answers the attestation of the commit of this size, nil if the log
// has none.
func (h *History) AttestOf(size uint64) *ledger.Attest {
	if h.Attest != nil && h.Attest.Size == size {
		return h.Attest
	}
	return nil
}
