// Package outcome tells what the log says of how a request, or an order to the token, ended: the exit code and words for
// people, and the signatures once they are verified.
package outcome

import (
	"fmt"
	"slices"
	"strings"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// Proof is that of a request's intent, verified under a version of the trust file. It holds
// for good: what a checkpoint covers never changes.
type Proof struct {
	raw    []byte
	intent *verify.Intent
	by     *verify.Trust
}

// Prove makes and verifies the proof of a request's intent that a checkpoint covers. old is one of the same made before, nil
// for none: it is given back if the trust file is the same.
func Prove(m *mirror.Mirror, id message.JobID, t *mirror.Trace, old *Proof) (*Proof, error) {
	if old != nil && old.by == m.Pinned() {
		return old, nil
	}
	raw, err := m.Prove(t)
	if err != nil {
		return nil, err
	}
	in, err := m.Trust().OpenProof(raw)
	if err != nil {
		return nil, err
	}
	if in.Job != id {
		return nil, fmt.Errorf("the intent is of job %s", in.Job)
	}
	return &Proof{raw, in, m.Pinned()}, nil
}

// Give verifies the signatures of items that were asked for with these names and states, and gives them out with the proof;
// together with the word that not all were made, if so.
func (p *Proof) Give(items []ledger.ItemResult, names []message.Item, states []hashstate.State) (*api.Response, error) {
	resp := &api.Response{Final: true, OK: true}
	if Count(items, ledger.Signed) < len(items) {
		resp = Unsigned(names, items)
	}
	resp.Signatures, resp.Proofs = make([][]byte, len(items)), make([][]byte, len(items))
	for i, it := range items {
		if it.State != ledger.Signed {
			continue
		}
		if _, err := p.intent.CheckItem(i, states[i], it.Signature); err != nil {
			return nil, err
		}
		resp.Signatures[i], resp.Proofs[i] = it.Signature, p.raw
	}
	return resp, nil
}

// verdicts say what a state of an item means for the whole request. The first
// in this order that occurs decides.
var verdicts = []struct {
	state ledger.State
	code  int
	text  string
}{
	{ledger.Unknown, api.MaySigned, "the appliance stopped between commit and signature: a signature may exist"},
	{ledger.Failed, api.DeviceFault, "token or appliance failure"},
	{ledger.TimedOut, api.TimedOut, "nobody touched the token in time; if the operator DID touch it, raise the alarm: a signature may exist"},
	{ledger.Withheld, api.Denied, "denied by the operator after the token was asked; the signature was destroyed"},
	{ledger.Denied, api.Denied, "denied by the operator"},
	{ledger.NotStarted, api.DeviceFault, "not started: nothing was signed, try again"},
}

// Decide is the item that decides, with exit code and text; -1 if none does.
func Decide(items []ledger.ItemResult) (at, code int, text string) {
	for _, v := range verdicts {
		i := slices.IndexFunc(items, func(it ledger.ItemResult) bool { return it.State == v.state })
		if i < 0 {
			continue
		}
		text := v.text
		if r := items[i].Reason; r != "" {
			text += " (" + strings.ReplaceAll(r, "-", " ") + ")"
		}
		return i, v.code, text
	}
	return -1, api.Internal, "the log has an outcome of no known kind"
}

// Unsigned is the answer for a request of which not all was signed.
func Unsigned(names []message.Item, items []ledger.ItemResult) *api.Response {
	i, code, text := Decide(items)
	if i < 0 {
		return api.Fail(code, "%s", text)
	}
	if n := Count(items, ledger.Signed); n > 0 {
		text += fmt.Sprintf("; %d of %d were signed and stand in the log", n, len(items))
	}
	return api.Fail(code, "%s: %s", names[i].Name, text)
}

// Count is how many items ended so.
func Count(items []ledger.ItemResult, s ledger.State) (n int) {
	for _, it := range items {
		if it.State == s {
			n++
		}
	}
	return n
}
