package audit

import (
	"fmt"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// task is one entry on its way through the audit: read (any order), linked (in
// order), verified (any order), folded (in order).
type task struct {
	index  uint64
	raw    []byte
	leaf   [32]byte
	header ledger.Header
	body   any   // nil if it did not parse
	err    error // why not

	keys  *keys // set by link
	known known // likewise
	notes []finding.Remark

	// Boot and attest entries.
	size   uint64 // the commit they attest
	roots  history.Pair
	rooted bool // roots are known
	x      [32]byte
	nv     *quote.NVFacts
	quote  *quote.QuoteFacts

	order  *openOrder // of an administrative entry
	effect *openOrder // took effect with the commit that this entry makes known

	// Intent entries; an outcome has that of its intent, nil if there is none.
	intent *openIntent
	forked string // what is wrong with the submission's head
	// unchecked says that it is too far back to be compared.
	unchecked bool
	// request is the authenticated request of an intent entry, nil if it is not.
	request *policy.Request
}

// openIntent is what an outcome needs to know of its intent.
type openIntent struct {
	index   uint64
	header  ledger.Header
	job     message.JobID
	digests []message.Digest
	last    bool // no later intent or boot entry

	// Set when folded.
	class   string
	counted bool           // its items were counted as unknown
	burst   bool           // a rate is exceeded if all that HEAD took was signed
	settled bool           // it is known whether HEAD took it
	taken   bool           // HEAD did
	states  []ledger.State // of its outcome, nil while there is none
}

// keys are what the genesis entry gives everybody to verify with.
type keys struct {
	trust  *anchor.Trust
	ak     *quote.AK
	policy *policy.Policy // nil if it does not open
	key    *sigformat.Key // nil if the certificate does not parse
	name   string         // what the policy calls the key
	logKey string         // that entry 0 names
}

// with is the same keys under another policy.
func (k *keys) with(p *policy.Policy) *keys {
	next := *k
	next.policy = p
	return &next
}

func (t *task) add(s finding.Severity, code, format string, a ...any) {
	t.notes = append(t.notes, finding.Of(s, code, fmt.Sprintf(format, a...), []uint64{t.index}))
}

func (t *task) evidence(code, format string, a ...any) { t.add(finding.Evidence, code, format, a...) }

// read parses the entry and hashes the leaf.
func (t *task) read() {
	t.leaf = ledger.LeafHash(t.raw)
	t.header, t.body, t.err = ledger.Parse(t.raw)
}

// known says how much of an entry below the size audited before is to be
// verified again: attestations, where the newest is what the next one is
// compared with, and nothing else.
type known int

const (
	unknown  known = iota // all of it
	attested              // attestations
	recalled              // nothing
)

// verify does the costly part: signatures. It touches only the task itself.
func (t *task) verify() {
	if t.known != unknown {
		t.recall()
		return
	}
	switch b := t.body.(type) {
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

type tagFunc func(x [32]byte) [32]byte

// attested verifies both attestations of a commit, over the entries as they
// are or, if somebody altered one, over the leaf hashes that were committed.
func (t *task) attested(certify, q quote.Attestation, certifyTag, quoteTag tagFunc) {
	if !t.rooted || t.keys == nil {
		return
	}
	first := true
	var reason error
	for _, root := range []([32]byte){t.roots.Own, t.roots.Claimed} {
		if !first && root == t.roots.Own {
			break
		}
		x := ledger.X(ledger.CheckpointBody(t.keys.trust.Origin, t.size, root))
		nv, facts, err := t.open(certify, q, certifyTag(x), quoteTag(x))
		if err == nil || first {
			t.x, t.nv, t.quote, reason = x, nv, facts, err
		}
		if err == nil {
			return
		}
		first = false
	}
	t.evidence(finding.Attestation, "entry %d, commit of size %d: %v", t.index, t.size, reason)
}

// open verifies what it can; the error is the first failure.
func (t *task) open(certify, q quote.Attestation, certifyTag, quoteTag [32]byte) (nv *quote.NVFacts, facts *quote.QuoteFacts, err error) {
	tr := t.keys.trust
	n, err := t.keys.ak.VerifyNV(certify, tr.HeadName, certifyTag)
	if err != nil {
		err = fmt.Errorf("NV_Certify: %w", err)
	} else {
		nv = &n
	}
	if len(q.Attest) == 0 {
		return nv, nil, err
	}
	f, qerr := t.keys.ak.VerifyQuote(q, tr.PCR, quoteTag)
	if qerr == nil {
		return nv, &f, err
	}
	if err == nil {
		err = fmt.Errorf("quote: %w", qerr)
	}
	return nv, nil, err
}

// recall takes from an entry what later ones depend on.
func (t *task) recall() {
	switch b := t.body.(type) {
	case *ledger.Boot:
		t.recallCommit(b.Certify, b.Quote, quote.BootTag, quote.BootTag)
	case *ledger.Attest:
		t.recallCommit(b.Certify, b.Quote, quote.CertifyTag, quote.QuoteTag)
	case *ledger.Order:
		t.checkResume(b)
	case *ledger.Intent:
		text, err := message.NoteText(b.Approval)
		if err != nil {
			return
		}
		if a, err := message.ParseApproval(text); err == nil {
			t.request = &policy.Request{Job: b.Job, Approval: a}
		}
	}
}

func (t *task) recallCommit(certify, q quote.Attestation, certifyTag, quoteTag tagFunc) {
	if t.known == attested {
		t.attested(certify, q, certifyTag, quoteTag)
		return
	}
	if t.rooted {
		t.x = ledger.X(ledger.CheckpointBody(t.keys.trust.Origin, t.size, t.roots.Own))
	}
}

func (t *task) authenticate(b *ledger.Intent) {
	if t.keys == nil || t.keys.policy == nil {
		return
	}
	r, err := t.keys.policy.Authenticate(b.Approval, b.Submission)
	if err != nil {
		t.evidence(finding.Unauthentic, "intent %d: %v", t.index, err)
		return
	}
	t.request = r
	if r.Job != b.Job {
		t.evidence(finding.Job, "intent %d names job %s, its approval is job %s", t.index, b.Job, r.Job)
	}
	t.digests(b, r.Approval.Items)
}

func (t *task) digests(b *ledger.Intent, items []message.Item) {
	if len(items) != len(b.SignDigests) {
		t.evidence(finding.Digests, "intent %d: %d sign lines for %d items", t.index, len(b.SignDigests), len(items))
		return
	}
	for i, it := range items {
		if it.Format != sigformat.OpenPGPBinary || it.Digest.Alg != b.SignDigests[i].Alg {
			t.evidence(finding.Digests, "intent %d item %d: %s over %s is not signed as %s", t.index, i+1, it.Format, it.Digest.Alg, b.SignDigests[i].Alg)
		}
	}
}

// signatures verifies every signature of an outcome against the digest that
// its intent announced.
func (t *task) signatures(b *ledger.Outcome) {
	in := t.intent
	if in == nil || t.keys == nil || t.keys.key == nil {
		return
	}
	if b.Job != in.job || len(b.Items) != len(in.digests) {
		t.evidence(finding.Outcome, "outcome %d: job or number of items are not those of intent %d", t.index, in.index)
		return
	}
	for i, it := range b.Items {
		if it.State != ledger.Signed {
			continue
		}
		if err := t.signature(it.Signature, in, in.digests[i]); err != nil {
			t.notes = append(t.notes, finding.Of(finding.Evidence, finding.Signature,
				fmt.Sprintf("outcome %d item %d: %v", t.index, i+1, err), []uint64{in.index, t.index}))
		}
	}
}

func (t *task) signature(sig []byte, in *openIntent, digest message.Digest) error {
	s, err := t.keys.key.VerifyDigest(sig, digest.Sum)
	if err != nil {
		return err
	}
	switch {
	case s.Alg != digest.Alg:
		return fmt.Errorf("signed with %s, announced was %s", s.Alg, digest.Alg)
	case !s.Created.Equal(in.header.Time):
		return fmt.Errorf("creation time %s is not the intent's %s", clock(s.Created), clock(in.header.Time))
	case s.Origin != t.keys.trust.Origin || s.Job != in.job:
		return fmt.Errorf("its notation names log %q and job %s", s.Origin, s.Job)
	}
	return nil
}
