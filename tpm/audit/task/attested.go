package task

import (
	"fmt"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

type tagFunc func(x [32]byte) [32]byte

// attested verifies both attestations of a commit, over the entries as they
// are or, if somebody altered one, over the leaf hashes that were committed.
func (t *Task) attested(certify, q quote.Attestation, certifyTag, quoteTag tagFunc) {
	if !t.Rooted || t.Keys == nil {
		return
	}
	first := true
	var reason error
	for _, root := range []([32]byte){t.Roots.Own, t.Roots.Claimed} {
		if !first && root == t.Roots.Own {
			break
		}
		x := ledger.X(ledger.CheckpointBody(t.Keys.Trust.Origin, t.Size, root))
		nv, facts, err := t.open(certify, q, certifyTag(x), quoteTag(x))
		if err == nil || first {
			t.X, t.NV, t.Quote, reason = x, nv, facts, err
		}
		if err == nil {
			if !first {
				t.Claimed = append(t.Claimed, finding.Of(finding.Evidence, finding.Attestation, fmt.Sprintf("entry %d, commit of size %d: HEAD took other entries than these, those of the published leaf hashes", t.Index, t.Size), []uint64{t.Index}))
			}
			return
		}
		first = false
	}
	t.Evidence(finding.Attestation, "entry %d, commit of size %d: %v", t.Index, t.Size, reason)
}

// open verifies what it can; the error is the first failure.
func (t *Task) open(certify, q quote.Attestation, certifyTag, quoteTag [32]byte) (nv *quote.NVFacts, facts *quote.QuoteFacts, err error) {
	tr := t.Keys.Trust
	n, err := t.Keys.AK.VerifyNV(certify, tr.HeadName, certifyTag)
	if err != nil {
		err = fmt.Errorf("NV_Certify: %w", err)
	} else {
		nv = &n
	}
	if len(q.Attest) == 0 {
		return nv, nil, err
	}
	f, qerr := t.Keys.AK.VerifyQuote(q, tr.PCR, quoteTag)
	if qerr == nil {
		return nv, &f, err
	}
	if err == nil {
		err = fmt.Errorf("quote: %w", qerr)
	}
	return nv, nil, err
}

func (t *Task) recallCommit(certify, q quote.Attestation, certifyTag, quoteTag tagFunc) {
	if t.Depth == Attested {
		t.attested(certify, q, certifyTag, quoteTag)
		return
	}
	if t.Rooted {
		t.X = ledger.X(ledger.CheckpointBody(t.Keys.Trust.Origin, t.Size, t.Roots.Own))
	}
}

// checkResume verifies the attestation in a resume entry: what the TPM says of
// HEAD counts whoever ordered it, and whatever else is wrong with the order.
func (t *Task) checkResume(b *ledger.Order) {
	if t.Keys == nil || b.Action != ledger.KindResume {
		return
	}
	if t.Order.Hash == nil {
		t.Evidence(finding.Attestation, "entry %d: there is no order that its NV_Certify could be for", t.Index)
		return
	}
	nv, err := t.Keys.AK.VerifyNV(b.Certify, t.Keys.Trust.HeadName, quote.ResumeTag(*t.Order.Hash))
	if err != nil {
		t.Evidence(finding.Attestation, "entry %d: NV_Certify: %v", t.Index, err)
		return
	}
	t.NV = &nv
	if t.Order.Order == nil {
		return
	}
	if r, ok := t.Order.Order.Action.(*order.Resume); ok && r.Head != nv.Contents {
		t.Evidence(finding.OrderInvalid, "entry %d: HEAD is not where the administrators saw it", t.Index)
	}
}
