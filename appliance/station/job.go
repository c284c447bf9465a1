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
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/keys"
	"touchmark/appliance/station/meaning"
	"touchmark/appliance/station/past"
	"touchmark/appliance/station/perform"
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
	key     *past.Key         // what it is to be signed with, set when it is shown
	results []ledger.ItemResult

	order    *errand           // the administrators' order that the token certifies its key by; else nil, and the above is there
	ceremony *perform.Ceremony // nil while it waits in the queue
}

// phase is how far its ceremony is.
func (j *job) phase() ceremony.Phase { return j.ceremony.Machine().Phase() }

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
	if j == nil || j.phase() != ceremony.Shown {
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
		j.ceremony.Step(ceremony.Withdraw{Code: r.Code, Text: r.Text})
		return
	}
	j.ceremony.Arm()
}

func (s *Station) denyJob(id string) {
	if j := s.shownJob(id); j != nil {
		s.alarm = ""
		s.log.Info().Str("job", j.id.String()).Msg("denied by the operator")
		j.ceremony.Step(ceremony.Deny{})
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
	fixed := perform.Fixed{}
	if fixed.Key, err = keys.For(&s.past.Law, grant, s.token.Holds, now); err != nil {
		return err
	}
	intent := &ledger.Intent{
		Sequence: s.past.Sequence + 1, Policy: s.past.Policy.Hash, Key: fixed.Key.Cert.Key.Fingerprint(),
		Job: j.id, Approval: j.submit.Approval, Submission: j.submit.Submission,
	}
	intent.Refusals, intent.Refused = s.refusals.Sum()
	for i, it := range j.items {
		format, ok := sigformat.FormatOf(j.request.Approval.Items[i].Format)
		if !ok {
			return fmt.Errorf("policy admitted format %q, which there is not", j.request.Approval.Items[i].Format)
		}
		p, err := format.Plan(fixed.Key.Cert.Key, it.State, now, s.past.Trust.Origin, j.id)
		if err != nil {
			return err
		}
		fixed.Plans = append(fixed.Plans, p)
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
	fixed.Intent, fixed.Commit = entries[0], s.chain.Commit(*plan)
	j.key, j.ceremony.Fixed = fixed.Key, fixed
	return nil
}

// afterFault brings TPM and log together after a TPM command failed, as a
// restart would. A TPM that still fails costs only this job; a state that the
// log does not explain halts the board.
func (s *Station) afterFault() error {
	if !s.chain.Dirty {
		return nil
	}
	var last time.Time
	var taken bool
	_, err := s.lockPlatform()
	if err == nil {
		last, taken, err = s.chain.LastTime()
	}
	if err == nil {
		err = s.startChain(last, taken)
	}
	if err == nil || !fault.Passes(err) {
		return err
	}
	return intake.Refuse(message.CodeBusy, "the TPM does not answer as it should, ask again: %v", err)
}

// newPerform is what ceremonies are carried out on.
func (s *Station) newPerform() *perform.Board {
	return &perform.Board{
		Loop: s.loop, TPM: &s.tpm, Chain: s.chain, Token: s.token, Line: s.line, Log: s.log, Now: s.clock.Now, MirrorTimeout: s.cfg.MirrorTimeout,
		Kept: s.kept, Push: s.push, Show: s.show, Over: s.over,
	}
}

// kept is when the intent of the job under way is in the log.
func (s *Station) kept() {
	s.wear.Writes++ // at most: HEAD may not take it
	if s.job.order == nil {
		s.refusals.Reset()
	}
}

// over is the end of the ceremony under way.
func (s *Station) over(how ceremony.Effect) {
	j := s.job
	switch e := how.(type) {
	case ceremony.Release:
		s.release(j, e.Items)
	case ceremony.Refuse:
		s.refused(j, e)
	case ceremony.Halt:
		s.interrupted(j, e.Err)
	}
}

// interrupted is a ceremony whose end a start concludes.
func (s *Station) interrupted(j *job, err error) {
	s.job = nil
	if s.lost = j; j.order != nil {
		s.ordered, s.decree, s.lost = s.decree, nil, nil
	} else {
		s.remember(j, "Interrupted. If anything came of it, the log says so after the next start.")
	}
	if errors.Is(err, chain.ErrUnexplained) {
		s.restart(err)
		return
	}
	s.halt(err)
	s.tellLost()
	s.tellOrdered()
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
	if s.job != nil {
		s.job.ceremony.Mirrored(m.Size)
	}
	if d := s.decree; d != nil && d.state == decreeMirroring && m.Size >= d.Plan.Size {
		s.commitDecree(d)
	}
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
	if j.ceremony.Attested() {
		failed = j.ceremony.Prove()
	}
	done := message.Done{Job: j.id, Intent: p.Intent, Outcome: p.Outcome}
	s.line.Send(done.Marshal())
	s.past.Forget(s.clock.Now(), s.past.Policy.LongestWindow())
	text := meaning.Ended(items, j.ceremony.Machine().Denied())
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
