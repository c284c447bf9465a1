package chain

import (
	"errors"
	"fmt"

	"touchmark/appliance/station/fault"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// Commit is one commit in flight; its values are fixed before the goroutine
// that serves the TPM starts on it, so that it and the owner of the chain share
// nothing.
type Commit struct {
	Plan   anchor.Plan
	before State
	After  State
	clock  quote.Clock
}

// Commit is what a plan does to the chain.
func (c *Chain) Commit(p anchor.Plan) Commit { return c.CommitAt(c.State, p) }

// CommitAt is what it does to another state, such as the one that a resume
// entry goes on from.
func (c *Chain) CommitAt(at State, p anchor.Plan) Commit {
	m := Commit{Plan: p, before: at, After: State{p.Size, p, anchor.Extend(at.Head, p.X), anchor.Extend(at.PCR, p.X)}}
	if c.Past.Clock != nil {
		m.clock = *c.Past.Clock
	}
	return m
}

// ExtendHead runs NV_Extend. After an error it reads HEAD back, because the
// command may have been carried out all the same.
func (c *Chain) ExtendHead(m Commit) (applied bool, err error) {
	return settle(c.cfg.TPM.ExtendHead(m.Plan.X), m.before.Head, m.After.Head, c.cfg.TPM.Head)
}

// TookHead notes that HEAD took a commit.
func (c *Chain) TookHead(m Commit) { c.Size, c.Plan, c.Head = m.After.Size, m.After.Plan, m.After.Head }

// TookPCR notes that the PCR took it.
func (c *Chain) TookPCR(m Commit) { c.PCR = m.After.PCR }

// ExtendPCR runs PCR_Extend, under the same rule. If it did not take, the
// chain owes the PCR this commit; a start pays before the next one.
func (c *Chain) ExtendPCR(m Commit) (applied bool, err error) {
	return settle(c.cfg.TPM.ExtendPCR(m.Plan.X), m.before.PCR, m.After.PCR, c.cfg.TPM.PCR)
}

// ErrUnexplained is a TPM that is not where a command can have left it. Only a
// restart may conclude from that.
var ErrUnexplained = errors.New("the TPM is in a state that the log does not explain")

// settle decides whether an extension that may have failed was carried out.
func settle(err error, before, after [32]byte, read func() ([32]byte, error)) (applied bool, _ error) {
	if err == nil {
		return true, nil
	}
	now, readErr := read()
	switch {
	case readErr != nil:
		return false, fmt.Errorf("%w (%w; then %w)", ErrUnexplained, err, readErr)
	case now == after:
		return true, nil
	case now == before:
		return false, err
	}
	return false, fmt.Errorf("%w (%w)", ErrUnexplained, err)
}

// Attestation makes both attestations of a commit and verifies them as any
// auditor would, the first while the TPM makes the second. unsigned, unless nil, is the
// commit's checkpoint: it is signed then too, which verifies the first, and told is given
// it, on a goroutine that has ended when Attestation returns.
func (c *Chain) Attestation(m Commit, unsigned *Unsigned, told func(checkpoint []byte)) (*ledger.Attest, error) {
	tag := quote.CertifyTag(m.Plan.X)
	certify, err := c.cfg.TPM.CertifyHead(tag)
	if err != nil {
		return nil, fault.Failed("attesting HEAD", err)
	}
	checked := make(chan error, 1)
	go func() {
		note, err := c.certified(certify, m, unsigned)
		if err == nil && note != nil {
			told(note)
		}
		checked <- err
	}()
	q, err := c.quoted(quote.QuoteTag(m.Plan.X), m.After.PCR)
	if cerr := <-checked; cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, err
	}
	return &ledger.Attest{Size: m.Plan.Size, Certify: certify, Quote: q}, nil
}

// certified checks the NV_Certify of a commit, and signs its checkpoint unless that is nil.
func (c *Chain) certified(a quote.Attestation, m Commit, unsigned *Unsigned) (note []byte, err error) {
	var facts quote.NVFacts
	if unsigned == nil {
		facts, err = c.certifies(a, quote.CertifyTag(m.Plan.X), m.After.Head)
	} else {
		note, facts, err = unsigned.Sign(a)
	}
	if err == nil && (facts.Contents != m.After.Head || !sameRun(facts.Clock, m.clock)) {
		err = ErrUnexplained
	}
	return note, err
}

// sameRun reports whether the TPM was neither reset nor restarted between two
// attestations: only a boot entry may account for that.
func sameRun(a, b quote.Clock) bool {
	return a.ResetCount == b.ResetCount && a.RestartCount == b.RestartCount
}

// Certified makes an NV_Certify of HEAD and checks that it says what it should.
func (c *Chain) Certified(tag, head [32]byte) (quote.Attestation, quote.NVFacts, error) {
	a, err := c.cfg.TPM.CertifyHead(tag)
	if err != nil {
		return a, quote.NVFacts{}, fault.Failed("attesting HEAD", err)
	}
	facts, err := c.certifies(a, tag, head)
	return a, facts, err
}

// certifies checks that an attestation is the TPM's of a HEAD.
func (c *Chain) certifies(a quote.Attestation, tag, head [32]byte) (quote.NVFacts, error) {
	facts, err := c.Past.AK.VerifyNV(a, c.Past.Trust.HeadName, tag)
	if err == nil && facts.Contents != head {
		err = ErrUnexplained
	}
	return facts, err
}

// quoted makes a quote of the boot chain's PCR and checks it.
func (c *Chain) quoted(tag, pcr [32]byte) (quote.Attestation, error) {
	a, err := c.cfg.TPM.QuotePCR(tag)
	if err != nil {
		return a, fault.Failed(fmt.Sprintf("quoting PCR %d", c.Past.Trust.PCR), err)
	}
	facts, err := c.Past.AK.VerifyQuote(a, c.Past.Trust.PCR, tag)
	if err == nil && facts.PCRDigest != quote.PCRDigest(pcr) {
		err = ErrUnexplained
	}
	return a, err
}
