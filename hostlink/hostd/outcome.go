package hostd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/verify"
	"touchmark/tpm/ledger"
)

// settle ends the jobs whose end the log proves, and goes on with the others.
func (d *Daemon) settle() {
	for _, j := range slices.Clone(d.jobs) {
		if resp := d.conclude(j); resp != nil {
			d.decide(j, resp)
		}
	}
	d.settleOrders()
	d.recall()
	d.pump()
}

// conclude gives the final answer of a job as the log has it, nil if the log
// does not decide it yet.
func (d *Daemon) conclude(j *job) *api.Response {
	t := d.mirror.Trace(j.id())
	if t == nil || t.Outcome == nil {
		return nil
	}
	o := t.Outcome
	if t.Intent == nil || o.Intent != t.Index || len(o.Items) != len(j.items) {
		return d.doubt(j, t, errors.New("the outcome does not match the intent"))
	}
	if count(o.Items, ledger.Signed) == 0 {
		return unsigned(j, o.Items)
	}
	return d.signedSome(j, t)
}

// signedSome verifies the signatures of a job under a committed checkpoint. Until
// one covers the intent nothing is given out. Those of a job that failed later go
// with the word that it did: a round need not have them made again.
func (d *Daemon) signedSome(j *job, t *mirror.Trace) *api.Response {
	if d.mirror.Committed() <= t.Index {
		return nil
	}
	resp, err := d.collect(j, t)
	if err != nil {
		return d.doubt(j, t, err)
	}
	return resp
}

// doubt deals with an outcome that does not verify. While no checkpoint covers
// it, somebody on the cable may have made it: it is asked for again, now and
// then. If it stays as it is, that is the answer.
func (d *Daemon) doubt(j *job, t *mirror.Trace, err error) *api.Response {
	if d.mirror.Committed() <= t.OutcomeIndex && j.doubts < maxUnexplained && d.conv != nil {
		j.doubts++
		d.log.Error().Err(err).Str("job", j.id().String()).Msg("the outcome does not verify; asking for it again")
		d.reread()
		d.loop.After(d.loop.Waits.BusyRetry, d.settle)
		return nil
	}
	return api.Fail(api.Evidence, "job %s: the appliance's answer does not verify: %v; do not use it, ask the auditor", j.id(), err)
}

// proof is that of a job's intent, verified under a version of the trust file. It holds
// for good: what a checkpoint covers never changes.
type proof struct {
	raw    []byte
	intent *verify.Intent
	by     *verify.Trust
}

// prove makes and verifies the proof of an intent that a checkpoint covers, once.
func (d *Daemon) prove(j *job, t *mirror.Trace) (*proof, error) {
	if j.proof != nil && j.proof.by == d.mirror.Pinned() {
		return j.proof, nil
	}
	raw, err := d.mirror.Prove(t)
	if err != nil {
		return nil, err
	}
	in, err := d.mirror.Trust().OpenProof(raw)
	if err != nil {
		return nil, err
	}
	if in.Job != j.id() {
		return nil, fmt.Errorf("the intent is of job %s", in.Job)
	}
	j.proof = &proof{raw, in, d.mirror.Pinned()}
	return j.proof, nil
}

// proveArmed does that for the jobs that wait for their touch: when that comes, only the
// signature is left to verify. What fails is met again, and told, with the outcome.
func (d *Daemon) proveArmed() {
	for _, j := range d.jobs {
		if t := d.mirror.Trace(j.id()); t != nil && t.Intent != nil && t.Outcome == nil && t.Index < d.mirror.Committed() {
			_, _ = d.prove(j, t)
		}
	}
}

func (d *Daemon) collect(j *job, t *mirror.Trace) (*api.Response, error) {
	p, err := d.prove(j, t)
	if err != nil {
		return nil, err
	}
	items := t.Outcome.Items
	resp := &api.Response{Final: true, OK: true}
	if count(items, ledger.Signed) < len(items) {
		resp = unsigned(j, items)
	}
	resp.Signatures, resp.Proofs = make([][]byte, len(items)), make([][]byte, len(items))
	for i, it := range items {
		if it.State != ledger.Signed {
			continue
		}
		if _, err := p.intent.CheckItem(i, j.states[i], it.Signature); err != nil {
			return nil, err
		}
		resp.Signatures[i], resp.Proofs[i] = it.Signature, p.raw
	}
	return resp, nil
}

// verdict says what a state of an item means for the whole request. The first
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

// verdictOf is the item that decides, with exit code and text; -1 if none does.
func verdictOf(items []ledger.ItemResult) (at, code int, text string) {
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

func unsigned(j *job, items []ledger.ItemResult) *api.Response {
	i, code, text := verdictOf(items)
	if i < 0 {
		return api.Fail(code, "%s", text)
	}
	if n := count(items, ledger.Signed); n > 0 {
		text += fmt.Sprintf("; %d of %d were signed and stand in the log", n, len(items))
	}
	return api.Fail(code, "%s: %s", j.items[i].Name, text)
}

func count(items []ledger.ItemResult, s ledger.State) (n int) {
	for _, it := range items {
		if it.State == s {
			n++
		}
	}
	return n
}

// endHalted ends the jobs that a halted board leaves open. One that was committed
// stays open: the board's next start writes down how it ended.
func (d *Daemon) endHalted() {
	text := d.conv.haltedText()
	for _, j := range slices.Clone(d.jobs) {
		if d.armed(j) {
			j.answer(api.Fail(api.MaySigned, "%s; job %s was committed before: a signature may exist%s", text, j.id(), later(j)))
			continue
		}
		d.decide(j, api.Fail(api.DeviceFault, "%s", text))
	}
}
