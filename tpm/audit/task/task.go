// Package task is one entry on its way through an audit. It is read (any
// order), linked to the entries before (in order, package link), verified (any
// order, perhaps in parallel) and folded (in order, package fold). Here is what
// those four hand on, and the two of them that look at nothing but the entry
// itself: reading and verifying.
//
// The package is pure.
package task

import (
	"fmt"
	"slices"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// Task is one entry. Whoever makes it sets Index, Raw and Depth.
type Task struct {
	Index uint64
	Raw   []byte
	Depth Depth

	// Set by Read.
	Leaf   [32]byte
	Header ledger.Header
	Body   any   // nil if it did not parse
	Err    error // why not

	Notes []finding.Remark // what there is to say about it, by every stage
	// Claimed is what there is to say besides if the checkpoint is over the entries: it
	// holds over the published leaf hashes, which are others, and over them only.
	Claimed []finding.Remark

	// Set when it is linked.
	Keys *Keys // nil as long as there is no genesis entry
	// Boot and attest entries: the commit they speak of, and its roots if they
	// are known.
	Size   uint64
	Roots  history.Pair
	Rooted bool
	// Order is that of an administrative entry; Effect the one that took effect
	// with the commit that this entry makes known.
	Order, Effect *Order
	// Intent is that of an intent or cert entry; of an outcome, the one that it
	// ends, nil if there is none.
	Intent *Intent
	// Forked says what is wrong with the head that an intent's host committed
	// to, Unchecked that it is too far back to be compared.
	Forked    string
	Unchecked bool

	// Set by Verify, nil for what does not verify.
	X     [32]byte // of the commit
	NV    *quote.NVFacts
	Quote *quote.QuoteFacts
	// Request is that of an intent; of a recalled one it has no more than job,
	// class and not-after.
	Request *policy.Request
}

// Depth says how much of an entry is to be verified. Of what was audited
// before, attestations where the newest is what the next one is compared with,
// and nothing else.
type Depth int

// Depths.
const (
	Whole    Depth = iota // all of it
	Attested              // attestations
	Recalled              // nothing
)

// Intent is what an outcome needs to know of its intent or cert entry.
type Intent struct {
	Index   uint64
	Header  ledger.Header
	Job     message.JobID
	Digests []message.Digest
	Items   []message.Item // of the approval; nil if all are of the format openpgp-binary
	Last    bool           // no later intent, boot or administrative entry
	Cert    *Cert          // of a cert entry, nil of an intent
	Key     *Key           // that an intent names, as it was then; nil if the log has none of this fingerprint

	// Set when folded.
	Class   string
	Counted bool           // its items were counted as unknown
	Burst   bool           // a rate is exceeded if all that HEAD took was signed
	Settled bool           // it is known whether HEAD took it
	Taken   bool           // HEAD did
	States  []ledger.State // of its outcome, nil while there is none
}

// What names the entry to people.
func (in *Intent) What() string {
	if in.Cert != nil {
		return fmt.Sprintf("cert entry %d", in.Index)
	}
	return fmt.Sprintf("intent %d", in.Index)
}

// Fits reports whether an outcome has the intent's job and number of items. The
// job of a cert entry whose order does not open is not looked at.
func (in *Intent) Fits(o *ledger.Outcome) bool {
	if in.Cert != nil {
		return len(o.Items) == 1 && (in.Cert.Order == nil || o.Job == in.Job)
	}
	return len(o.Items) == len(in.Digests) && o.Job == in.Job
}

// Cert is what a cert entry is about.
type Cert struct {
	Key   string                     // name
	Order *certificate.Certification // nil if the order does not open
}

// Keys are what the genesis entry, and administrators after it, give everybody
// to verify with.
type Keys struct {
	Trust  *anchor.Trust
	AK     *quote.AK
	Policy *policy.Policy      // nil if it does not open
	Pinned certificate.Keyring // and what administrators added; nil if one of the pinned does not parse
	Own    []Key               // of the genesis entry, in its order
	LogKey string              // that entry 0 names
}

// Key is one of the log's keys.
type Key struct {
	Name        string // in the policy
	Fingerprint [20]byte
	Public      *signing.Key             // nil if it is not pinned
	Cert        *certificate.Certificate // in force, nil if the first does not parse or is of another key
}

// With is the same keys under another policy.
func (k *Keys) With(p *policy.Policy) *Keys {
	next := *k
	next.Policy = p
	return &next
}

// WithKey is the same keys with one that administrators added.
func (k *Keys) WithKey(c *certificate.Certificate) *Keys {
	next := *k
	next.Pinned = append(slices.Clone(k.Pinned), c)
	return &next
}

// Add notes what there is to say about the entry.
func (t *Task) Add(s finding.Severity, code, format string, a ...any) {
	t.Notes = append(t.Notes, finding.Of(s, code, fmt.Sprintf(format, a...), []uint64{t.Index}))
}

// Evidence notes what no honest appliance writes.
func (t *Task) Evidence(code, format string, a ...any) { t.Add(finding.Evidence, code, format, a...) }

// Read parses the entry and hashes the leaf.
func (t *Task) Read() {
	t.Leaf = ledger.LeafHash(t.Raw)
	if t.Depth == Recalled && t.glance() {
		return
	}
	t.Header, t.Body, t.Err = ledger.Parse(t.Raw)
}

// glance takes from an intent or outcome no more than rates and repeated jobs
// depend on: there may be years of them.
func (t *Task) glance() bool {
	g, ok := ledger.Glance(t.Raw)
	if !ok {
		return false
	}
	t.Header = g.Header
	if g.Outcome() {
		out := &ledger.Outcome{Intent: g.Intent, Job: g.Job, Items: make([]ledger.ItemResult, len(g.States))}
		for i, s := range g.States {
			out.Items[i].State = s
		}
		t.Body = out
		return true
	}
	t.Body = &ledger.Intent{Sequence: g.Sequence, Job: g.Job, SignDigests: make([]message.Digest, g.Items)}
	t.Request = &policy.Request{Job: g.Job, Approval: message.Approval{Class: g.Class, NotAfter: g.NotAfter}}
	return true
}

// WholeOutcome is an outcome with all that a glance leaves out, nil and no body
// any more if it does not parse.
func (t *Task) WholeOutcome() *ledger.Outcome {
	if t.Depth == Recalled {
		t.Header, t.Body, t.Err = ledger.Parse(t.Raw)
	}
	b, _ := t.Body.(*ledger.Outcome)
	return b
}

// Verify does the costly part: signatures. It touches only the task itself.
func (t *Task) Verify() {
	if t.Depth != Whole {
		t.recall()
		return
	}
	switch b := t.Body.(type) {
	case *ledger.Boot:
		t.attested(b.Certify, b.Quote, quote.BootTag, quote.BootTag)
	case *ledger.Attest:
		t.attested(b.Certify, b.Quote, quote.CertifyTag, quote.QuoteTag)
	case *ledger.Intent:
		t.authenticate(b)
	case *ledger.Outcome:
		t.signatures(b)
	case *ledger.Order:
		t.checkResume(b)
	}
}

// recall takes from an entry what later ones depend on.
func (t *Task) recall() {
	switch b := t.Body.(type) {
	case *ledger.Boot:
		t.recallCommit(b.Certify, b.Quote, quote.BootTag, quote.BootTag)
	case *ledger.Attest:
		t.recallCommit(b.Certify, b.Quote, quote.CertifyTag, quote.QuoteTag)
	case *ledger.Order:
		t.checkResume(b)
	case *ledger.Intent:
		if t.Request != nil {
			return // by glance
		}
		text, err := message.NoteText(b.Approval)
		if err != nil {
			return
		}
		if a, err := message.ParseApproval(text); err == nil {
			t.Request = &policy.Request{Job: message.JobOf(text), Approval: a}
		}
	}
}
