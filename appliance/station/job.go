package station

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/keys"
	"touchmark/appliance/station/meaning"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// job is a request that policy admitted, from the queue to its end.
type job struct {
	id      message.JobID
	submit  *message.Submit
	request *policy.Request
	grant   *policy.Grant
	items   []intake.Artifact // what the request's are made of, in order
	asked   time.Time         // host time of its newest submission
	timer   *time.Timer       // arm or mirror time-out
	until   time.Time         // while shown or touching: when that ends by itself

	key     *past.Key         // what it is signed with, set when it is shown, and for good when it is armed
	order   *errand           // the administrators' order that the token certifies its key by; else nil, and the above is there
	machine *ceremony.Machine // nil while it waits in the queue
	plans   []*signing.Plan
	intent  chain.Entry
	commit  chain.Commit
	attest  *ledger.Attest
	results []ledger.ItemResult

	checkpoint <-chan []byte // brings that of the commit, nil before the attestation
	proven     bool          // it is the chain's
	told       uint64        // the session in which the host was told of it
}

// shownJob answers the job on display if the operator means it.
func (s *Station) shownJob(id string) *job {
	if s.job == nil || s.job.id.String() != id {
		s.say("That is not the job on display.")
		return nil
	}
	return s.job
}

// armJob is the operator's consent. Policy is asked once more, because rates
// and validity may have run out while the job was on display.
func (s *Station) armJob(id string) {
	j := s.shownJob(id)
	if j == nil || j.machine.Phase() != ceremony.Shown {
		return
	}
	if !s.armable(j.key.Name) {
		return
	}
	s.alarm = ""
	if err := s.prepare(j); err != nil {
		s.log.Error().Err(err).Msg("cannot arm")
		var r *policy.Refusal
		if !errors.As(err, &r) {
			s.halt(err)
			return
		}
		s.step(j, ceremony.Withdraw{Code: r.Code, Text: r.Text})
		return
	}
	j.timer.Stop()
	s.step(j, ceremony.Arm{})
}

func (s *Station) denyJob(id string) {
	if j := s.shownJob(id); j != nil {
		s.alarm = ""
		s.log.Info().Str("job", j.id.String()).Msg("denied by the operator")
		s.step(j, ceremony.Deny{})
	}
}

// prepare fixes everything the ceremony commits to: creation time, the digests
// the token will sign, the intent entry and its commit.
func (s *Station) prepare(j *job) error {
	if err := s.afterFault(); err != nil {
		return err
	}
	now := s.clock.Now()
	if now.Before(s.past.LastTime) {
		return intake.Refuse(message.CodeClockSkew, "the board's clock went backwards")
	}
	grant, err := s.grant(j.request, now)
	if err != nil {
		return err
	}
	if j.key, err = keys.For(&s.past.Law, grant, s.token.Holds, now); err != nil {
		return err
	}
	intent := &ledger.Intent{
		Sequence: s.past.Sequence + 1, Policy: s.past.Policy.Hash, Key: j.key.Cert.Key.Fingerprint(),
		Job: j.id, Approval: j.submit.Approval, Submission: j.submit.Submission,
	}
	intent.Refusals, intent.Refused = s.refusals.Sum()
	j.plans = nil
	for i, it := range j.items {
		format, ok := sigformat.FormatOf(j.request.Approval.Items[i].Format)
		if !ok {
			return fmt.Errorf("policy admitted format %q, which there is not", j.request.Approval.Items[i].Format)
		}
		p, err := format.Plan(j.key.Cert.Key, it.State, now, s.past.Trust.Origin, j.id)
		if err != nil {
			return err
		}
		j.plans = append(j.plans, p)
		intent.SignDigests = append(intent.SignDigests, message.Digest{Alg: p.Alg, Sum: p.Digest})
	}
	entries, err := s.chain.Entries(now, intent)
	if err != nil {
		return err
	}
	plan, err := s.chain.Planned(entries)
	if err != nil {
		return err
	}
	j.intent, j.commit = entries[0], s.chain.Commit(*plan)
	return nil
}

// afterFault brings TPM and log together after a TPM command failed, as a
// restart would. A TPM that still fails costs only this job; a state that the
// log does not explain halts the board.
func (s *Station) afterFault() error {
	if !s.chain.Dirty {
		return nil
	}
	last, taken, err := s.chain.LastTime()
	if err == nil {
		err = s.chain.Start(s.clock.Now(), last, taken, s.cfg.Firmware, s.clock.Vouched())
	}
	if err == nil || !fault.Passes(err) {
		return err
	}
	return intake.Refuse(message.CodeBusy, "the TPM does not answer as it should, ask again: %v", err)
}

// perform carries out one effect of the ceremony.
func (s *Station) perform(j *job, effect ceremony.Effect) {
	switch e := effect.(type) {
	case ceremony.AppendIntent:
		s.appendIntent(j)
	case ceremony.AwaitMirror:
		s.awaitMirror(j)
		if j.order != nil { // of another job the intent tells
			s.tell(j)
		}
	case ceremony.ExtendHead:
		j.timer.Stop()
		s.extendHead(j)
	case ceremony.ExtendPCR:
		s.extendPCR(j)
	case ceremony.Attest:
		s.attest(j)
	case ceremony.Sign:
		s.sign(j, e.Item)
		s.tell(j)
		s.show("touch", "")
	case ceremony.DoNotTouch:
		s.tell(j)
		s.show("do-not-touch", "Denied. The token is still armed for some seconds: DO NOT TOUCH it.")
	case ceremony.Record:
		s.record(j, e)
	case ceremony.Release:
		s.release(j, e.Items)
	case ceremony.Refuse:
		s.refused(j, e)
	case ceremony.Halt:
		s.job = nil
		if s.lost = j; j.order != nil {
			s.ordered, s.decree, s.lost = s.decree, nil, nil
		} else {
			s.remember(j, "Interrupted. If anything came of it, the log says so after the next start.")
		}
		if errors.Is(e.Err, chain.ErrUnexplained) {
			s.restart(e.Err)
			return
		}
		s.halt(e.Err)
		s.tellLost()
		s.tellOrdered()
	}
}

// appendIntent makes the intent durable, before any host sees it: one that held what the
// board then lost could accuse an honest board of two histories.
func (s *Station) appendIntent(j *job) {
	err := s.chain.Append(&j.commit.Plan, j.intent)
	if err == nil {
		s.wear.Writes++ // at most: HEAD may not take it
		if j.order == nil {
			s.refusals.Reset()
		}
	}
	s.step(j, ceremony.Appended{Err: err})
	if s.job == j && j.machine.Phase() == ceremony.Mirroring {
		s.show("armed", "") // while the host writes
	}
}

// awaitMirror sends the new leaves and waits, bounded, for the host to say
// that they are safe.
func (s *Station) awaitMirror(j *job) {
	j.timer = s.loop.After(s.cfg.MirrorTimeout, func() { s.step(j, ceremony.Unmirrored{}) })
	if j.order != nil && j.order.alone {
		s.step(j, ceremony.Mirrored{}) // the operator agreed to go on without
		return
	}
	s.push()
}

// mirrored takes the host's acknowledgement. The root is over all leaves, so
// it says not only how many but which.
func (s *Station) mirrored(m *message.Mirrored) {
	if m.Size > s.cfg.Store.Size() {
		return
	}
	if root, err := s.cfg.Store.Root(m.Size); err != nil || root != m.Root {
		s.refuse(message.JobID{}, message.CodeForkedHead, "the mirror's root is not this log's")
		return
	}
	if j := s.job; j != nil && j.machine.Phase() == ceremony.Mirroring && m.Size >= j.commit.Plan.Size {
		s.step(j, ceremony.Mirrored{})
	}
	if d := s.decree; d != nil && d.state == decreeMirroring && m.Size >= d.Plan.Size {
		s.commitDecree(d)
	}
}

// record appends the attestation and the outcome in one durable write.
func (s *Station) record(j *job, e ceremony.Record) {
	j.timer.Stop()
	outcome := &ledger.Outcome{Intent: j.intent.Header.Index, Job: j.id, Items: e.Items}
	bodies := []any{outcome}
	if e.Attested {
		bodies = []any{j.attest, outcome}
	}
	s.step(j, ceremony.Recorded{Err: s.chain.AppendNow(s.clock.Now(), bodies...)})
}

// release sends the outcome, and the checkpoint that proves its intent if the host
// does not have that yet.
func (s *Station) release(j *job, items []ledger.ItemResult) {
	if j.order != nil {
		s.certified(j, items[0])
		return
	}
	j.results = items
	p := s.past.Jobs[j.id]
	s.push()
	var failed error
	if j.attest != nil {
		failed = s.takeCheckpoint(j)
	}
	done := message.Done{Job: j.id, Intent: p.Intent, Outcome: p.Outcome}
	s.line.Send(done.Marshal())
	s.past.Forget(s.clock.Now(), s.past.Policy.LongestWindow())
	text := meaning.Ended(items, j.machine.Denied())
	s.remember(j, text)
	if slices.ContainsFunc(items, func(it ledger.ItemResult) bool { return it.State == ledger.TimedOut }) {
		s.alarm, text = meaning.TouchAlarm, ""
	}
	s.finished(j, "done", text)
	if failed != nil { // the log cannot be read: no host could prove what follows
		s.halt(failed)
	}
}

// refused ends a ceremony that left no trace in the log but a count.
func (s *Station) refused(j *job, e ceremony.Refuse) {
	j.timer.Stop()
	s.end(j, j.asked, policy.Refusal{Code: e.Code, Text: e.Text})
	s.finished(j, e.Code, "Not signed: "+e.Text+".")
}

// finished shows the end of a job once more and goes on to the next.
func (s *Station) finished(j *job, event, text string) {
	s.log.Info().Str("job", j.id.String()).Str("end", event).Msg(text)
	if s.halted != nil {
		s.job = nil
		s.rest(text)
		return
	}
	s.show(event, text)
	s.job = nil
	if s.stopping {
		s.quit()
		return
	}
	s.next()
}
