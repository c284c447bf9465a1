package station

import (
	"errors"
	"fmt"
	"time"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// history is what the log says about the past, as far as the present needs it.
type history struct {
	from     uint64 // entries before this one were not read, but for some few
	boots    uint64
	ordered  uint64 // index of the newest administrative entry, taken or not
	admin    uint64 // of the newest that HEAD took, 0 is the genesis
	sequence uint64 // of the newest intent
	lastTime time.Time
	lastBoot *ledger.Boot

	correction *time.Time                 // what the clock is set to, if the last entry is a time order
	newest     stamped                    // newest NV_Certify whose counters count
	clock      quote.Clock                // of newest
	taken      uint64                     // largest size that an attestation says HEAD took
	attest     *ledger.Attest             // newest
	jobs       map[message.JobID]*pastJob // whose approval can still be repeated
	open       []*pastJob                 // intents without an outcome
	resumes    []resumed                  // behind the newest boot entry
	rates      *policy.History
}

// pastJob is a committed or at least appended job. outcome is 0 while it has
// none (index 0 is the genesis entry).
type pastJob struct {
	id              message.JobID
	class           string
	intent, outcome uint64
	items           int
	time            time.Time // of the intent
	notAfter        time.Time
}

// resumed is a resume entry, taken by HEAD or not.
type resumed struct {
	index uint64
	entry *ledger.Order
}

func newHistory(from uint64) *history {
	return &history{from: from, jobs: map[message.JobID]*pastJob{}, rates: policy.NewHistory()}
}

// lastCheckpoint signs the newest commit that the log has an attestation of,
// so that a board that halts can still say what it is.
func (s *Station) lastCheckpoint() error {
	if s.hist.attest == nil {
		return nil
	}
	for p, err := range s.cfg.Store.PlansBackward() {
		if err != nil {
			return err
		}
		if p.Size == s.hist.attest.Size {
			s.chain.plan = p
			return s.signCheckpoint(s.hist.attest)
		}
	}
	return nil
}

// stamped is an NV_Certify from the log, for the commit of the given size.
type stamped struct {
	attestation quote.Attestation
	size        uint64
	tag         func(x [32]byte) [32]byte
}

// readClock takes the TPM's counters from the newest attestation in the log.
func (s *Station) readClock() error {
	n := s.hist.newest
	if n.tag == nil {
		return errors.New("enrolment was not finished: the log has no attestation")
	}
	root, err := s.cfg.Store.Root(n.size)
	if err != nil {
		return err
	}
	x := ledger.X(ledger.CheckpointBody(s.trust.Origin, n.size, root))
	facts, err := s.ak.VerifyNV(n.attestation, s.trust.HeadName, n.tag(x))
	if err != nil {
		return fmt.Errorf("the newest attestation in the log: %w", err)
	}
	s.hist.clock = facts.Clock
	return nil
}

// add takes the next entry into account.
func (h *history) add(hdr ledger.Header, body any) error {
	h.lastTime, h.correction = hdr.Time, nil
	switch b := body.(type) {
	case *ledger.Boot:
		h.commit(b.Committed)
		h.boots, h.lastBoot, h.newest = b.Number, b, stamped{b.Certify, b.Committed, quote.BootTag}
		h.admin, h.resumes = b.Admin, nil
	case *ledger.Attest:
		h.commit(b.Size)
		h.attest = b
		if b.HasQuote() { // see recovery.Base.Clock
			h.newest = stamped{b.Certify, b.Size, quote.CertifyTag}
		}
	case *ledger.Intent:
		return h.addIntent(hdr, b)
	case *ledger.Outcome:
		return h.addOutcome(hdr, b)
	case *ledger.Order:
		h.ordered = hdr.Index
		if b.Action == ledger.KindResume {
			h.resumes = append(h.resumes, resumed{hdr.Index, b})
		}
		if b.Action == ledger.KindTime {
			return h.correct(b)
		}
	}
	return nil
}

// commit notes that HEAD took a size. An administrative entry has effect once
// the commit that ends with it was taken.
func (h *history) commit(size uint64) {
	h.taken = max(h.taken, size)
	if h.ordered > 0 && size == h.ordered+1 {
		h.admin = h.ordered
	}
}

// correct notes a time order, which has effect if HEAD took it.
func (h *history) correct(b *ledger.Order) error {
	text, err := message.NoteText(b.Note)
	if err != nil {
		return err
	}
	o, err := order.Parse(text)
	if err != nil {
		return err
	}
	if t, ok := o.Action.(*order.Time); ok {
		h.correction = &t.To
	}
	return nil
}

func (h *history) addIntent(hdr ledger.Header, b *ledger.Intent) error {
	text, err := message.NoteText(b.Approval)
	if err != nil {
		return err
	}
	a, err := message.ParseApproval(text)
	if err != nil {
		return err
	}
	p := &pastJob{id: message.JobOf(text), class: a.Class, intent: hdr.Index, items: len(b.SignDigests), time: hdr.Time, notAfter: a.NotAfter}
	h.sequence = b.Sequence
	h.jobs[p.id] = p
	h.open = append(h.open, p)
	return nil
}

func (h *history) addOutcome(hdr ledger.Header, b *ledger.Outcome) error {
	for i, p := range h.open {
		if p.intent != b.Intent {
			continue
		}
		p.outcome = hdr.Index
		h.open = append(h.open[:i], h.open[i+1:]...)
		n := 0
		for _, it := range b.Items {
			if it.State.Counts() {
				n++
			}
		}
		h.rates.Add(p.class, p.time, n)
		return nil
	}
	if b.Intent < h.from {
		return nil // of so long ago that it counts for nothing
	}
	return fmt.Errorf("outcome of entry %d, which awaits none", b.Intent)
}

// forget drops jobs whose approval has expired: Admit refuses them anyway.
func (h *history) forget(now time.Time, window time.Duration) {
	for id, p := range h.jobs {
		if p.outcome != 0 && now.After(p.notAfter) {
			delete(h.jobs, id)
		}
	}
	h.rates.Forget(now.Add(-window))
}

// attestOf answers the attestation of the commit of this size, nil if the log
// has none.
func (h *history) attestOf(size uint64) *ledger.Attest {
	if h.attest != nil && h.attest.Size == size {
		return h.attest
	}
	return nil
}

// append makes entries durable, with the commit that is planned for the last
// of them, and takes them into account. An error leaves the store refusing
// further appends: the board must halt.
func (s *Station) append(plan *anchor.Plan, entries ...entry) error {
	raws := make([][]byte, len(entries))
	for i, e := range entries {
		raws[i] = e.raw
	}
	if err := s.cfg.Store.Append(raws, plan); err != nil {
		return mustHalt(fmt.Errorf("writing the log: %w", err))
	}
	for _, e := range entries {
		if err := s.hist.add(e.header, e.body); err != nil {
			return err
		}
	}
	return nil
}

// entry is a log entry about to be appended.
type entry struct {
	header ledger.Header
	body   any
	raw    []byte
}

// entries encodes bodies as the next entries of the log, all at one time.
func (s *Station) entries(at time.Time, bodies ...any) ([]entry, error) {
	next := s.cfg.Store.Size()
	out := make([]entry, len(bodies))
	for i, b := range bodies {
		h := ledger.Header{Index: next + uint64(i), Time: at}
		raw, err := ledger.Marshal(h, b)
		if err != nil {
			return nil, err
		}
		out[i] = entry{h, b, raw}
	}
	return out, nil
}

// plan computes the commit that the given entries would end in.
func (s *Station) plan(entries []entry) (*anchor.Plan, error) {
	raws := make([][]byte, len(entries))
	for i, e := range entries {
		raws[i] = e.raw
	}
	root, err := s.cfg.Store.RootWith(raws)
	if err != nil {
		return nil, err
	}
	size := s.cfg.Store.Size() + uint64(len(entries))
	x := ledger.X(ledger.CheckpointBody(s.trust.Origin, size, root))
	return &anchor.Plan{Size: size, X: x, Prev: s.chain.head}, nil
}
