package station

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// job is a request that policy admitted, from the queue to its end.
type job struct {
	id      message.JobID
	submit  *message.Submit
	request *policy.Request
	grant   *policy.Grant
	states  []sigformat.State
	timer   *time.Timer // arm or mirror time-out

	machine *ceremony.Machine // nil while it waits in the queue
	plans   []*sigformat.Plan
	intent  entry
	extend  extend
	attest  *ledger.Attest
	results []ledger.ItemResult
}

// maxQueue bounds the jobs that wait behind the one on display: a display
// cannot be buried, and a host with more to say can say it later.
const maxQueue = 16

func submittedJob(m *message.Submit) message.JobID {
	text, err := message.NoteText(m.Approval)
	if err != nil {
		return message.JobID{}
	}
	return message.JobOf(text)
}

// submit takes a job from the host: a repeated one is answered from the log, a
// new one is checked against policy, head and hash states, and queued.
func (s *Station) submit(m *message.Submit) {
	id := submittedJob(m)
	if s.known(id) {
		return
	}
	j, err := s.admit(m)
	if err != nil {
		s.refusals++
		r := refusalOf(err)
		s.refuse(id, r.Code, r.Text)
		return
	}
	s.queue = append(s.queue, j)
	s.next()
	if s.job != j {
		s.tellQueued(j)
	}
}

func (s *Station) tellQueued(j *job) {
	m := message.Event{Job: j.id, State: message.EventQueued}
	s.send(chanInteractive, m.Marshal())
	s.show("queued", "")
}

// known answers for a job that the log or the queue has already.
func (s *Station) known(id message.JobID) bool {
	if p := s.hist.jobs[id]; p != nil && p.outcome != 0 {
		s.push()
		m := message.Done{Job: id, Intent: p.intent, Outcome: p.outcome}
		s.send(chanInteractive, m.Marshal())
		return true
	}
	if s.job != nil && s.job.id == id {
		s.hostEvent(s.eventNow(), s.job.machine.Current(), 0)
		return true
	}
	for _, j := range s.queue {
		if j.id == id {
			s.tellQueued(j)
			return true
		}
	}
	return false
}

// eventNow is the hint that fits the job on display.
func (s *Station) eventNow() string {
	switch m := s.job.machine; {
	case m.Phase() == ceremony.Shown:
		return message.EventShown
	case m.Phase() == ceremony.Touching && m.Denied():
		return message.EventTokenWait
	case m.Phase() == ceremony.Touching:
		return message.EventTouch
	}
	return message.EventCommitting
}

// admit checks everything that can be checked before a person is asked.
func (s *Station) admit(m *message.Submit) (*job, error) {
	switch {
	case s.halted != nil:
		return nil, refusal(message.CodeHalted, "the appliance has halted: %v", s.halted)
	case !s.confirmed:
		return nil, refusal(message.CodeBusy, "the operator has not confirmed the clock yet")
	case len(s.queue) >= maxQueue:
		return nil, refusal(message.CodeTooMany, "%d jobs are waiting already; try again when some are done", len(s.queue))
	}
	req, err := s.policy.Authenticate(m.Approval, m.Submission)
	if err != nil {
		return nil, err
	}
	if err := s.policy.Fresh(req, s.now()); err != nil {
		return nil, err
	}
	grant, err := s.policy.Admit(req, s.hist.rates, s.now())
	if err != nil {
		return nil, err
	}
	if err := s.checkHead(req.Submission); err != nil {
		return nil, err
	}
	j := &job{id: req.Job, submit: m, request: req, grant: grant}
	if err := j.checkStates(m.States); err != nil {
		return nil, err
	}
	return j, nil
}

// maxHeadAge bounds how many entries a host may be behind when it asks. An
// auditor keeps the roots of that many sizes, and a host that never looks at
// the log commits to nothing.
const maxHeadAge = 1024

// checkHead holds the host's view of the log against ours: any true prefix
// will do. So each job is also the host's commitment to this log.
func (s *Station) checkHead(sub message.Submission) error {
	if sub.HeadSize > s.cfg.Store.Size() {
		return refusal(message.CodeUnknownHead, "the host has seen %d log entries, this board holds %d: the board's storage was rolled back or replaced", sub.HeadSize, s.cfg.Store.Size())
	}
	if old := s.cfg.Store.Size() - sub.HeadSize; old > maxHeadAge {
		return refusal(message.CodeStaleHead, "the host's view of the log is %d entries old: fetch the log and ask again", old)
	}
	root, err := s.cfg.Store.Root(sub.HeadSize)
	if err != nil {
		return refusal(message.CodeHalted, "reading the log: %v", err)
	}
	if root != sub.HeadRoot {
		return refusal(message.CodeForkedHead, "the host's log of %d entries is not the beginning of this board's log", sub.HeadSize)
	}
	return nil
}

// checkStates confirms that each hash state is one that a file of the approved
// size with the approved digest leaves behind.
func (j *job) checkStates(states [][]byte) error {
	items := j.request.Approval.Items
	if len(states) != len(items) {
		return refusal(message.CodeStateMismatch, "%d hash states for %d items", len(states), len(items))
	}
	for i, it := range items {
		st, err := sigformat.ParseState(it.Digest.Alg, states[i])
		if err != nil {
			return refusal(message.CodeStateMismatch, "item %d: %v", i+1, err)
		}
		got := message.Digest{Alg: it.Digest.Alg, Sum: st.Digest()}
		if st.Count() != it.Size || !got.Equal(it.Digest) {
			return refusal(message.CodeStateMismatch, "item %d: the hash state is of another file than the digest", i+1)
		}
		j.states = append(j.states, st)
	}
	return nil
}

func refusal(code, format string, a ...any) error {
	return &policy.Refusal{Code: code, Text: fmt.Sprintf(format, a...)}
}

func refusalOf(err error) *policy.Refusal {
	var r *policy.Refusal
	if errors.As(err, &r) {
		return r
	}
	return &policy.Refusal{Code: message.CodeBadMessage, Text: err.Error()}
}

// next puts the first waiting job on display if the display is free. Policy is
// asked again, so that what the operator sees is what remains now, and not
// what remained when the job began to wait.
func (s *Station) next() {
	for s.job == nil && len(s.queue) > 0 && s.halted == nil && !s.stopping {
		j := s.queue[0]
		s.queue = s.queue[1:]
		grant, err := s.policy.Admit(j.request, s.hist.rates, s.now())
		if err != nil {
			s.refusals++
			r := refusalOf(err)
			s.refuse(j.id, r.Code, r.Text)
			continue
		}
		j.grant = grant
		s.present(j)
	}
}

func (s *Station) present(j *job) {
	s.job = j
	j.machine = ceremony.New(len(j.states))
	j.timer = s.after(s.cfg.ArmTimeout, func() {
		s.step(j, ceremony.Withdraw{Code: message.CodeArmTimeout, Text: "nobody armed it in time"})
	})
	s.log.Info().Str("job", j.id.String()).Str("class", j.grant.Class).Int("items", len(j.states)).Msg("shown")
	s.hostEvent(message.EventShown, 0, int(s.cfg.ArmTimeout.Seconds()))
	s.show("shown", "")
}

// cancel withdraws a job that is not armed, for the host that submitted it.
func (s *Station) cancel(m *message.CancelNote) {
	_, host, err := s.policy.AuthenticateHost(m.Note)
	if err != nil || m.Cancel.Origin != s.trust.Origin {
		s.refuse(m.Cancel.Job, message.CodeBadSignature, "the cancellation is not signed by a known host for this log")
		return
	}
	for i, j := range s.queue {
		if j.id == m.Cancel.Job && j.request.Host == host {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			s.refuse(j.id, message.CodeCancelled, "cancelled by the host")
			s.show("cancelled", "")
			return
		}
	}
	if s.job != nil && s.job.id == m.Cancel.Job && s.job.request.Host == host {
		s.step(s.job, ceremony.Withdraw{Code: message.CodeCancelled, Text: "cancelled by the host"})
	}
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
	if s.token.state != tokenReady {
		s.say("The token is not ready (" + s.token.state + "): nothing was armed.")
		return
	}
	s.alarm = ""
	if err := s.prepare(j); err != nil {
		s.log.Error().Err(err).Msg("cannot arm")
		if errors.Is(err, errMustHalt) {
			s.halt(err)
			return
		}
		r := refusalOf(err)
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
	now := s.now()
	if now.Before(s.hist.lastTime) {
		return refusal(message.CodeClockSkew, "the board's clock went backwards")
	}
	if _, err := s.policy.Admit(j.request, s.hist.rates, now); err != nil {
		return err
	}
	intent := &ledger.Intent{
		Sequence: s.hist.sequence + 1, Policy: s.policy.Hash, Key: s.key.Fingerprint(), Refusals: s.refusals,
		Job: j.id, Approval: j.submit.Approval, Submission: j.submit.Submission,
	}
	j.plans = nil
	for _, st := range j.states {
		p, err := sigformat.PlanOpenPGP(s.key, st, now, s.trust.Origin, j.id)
		if err != nil {
			return err
		}
		j.plans = append(j.plans, p)
		intent.SignDigests = append(intent.SignDigests, message.Digest{Alg: p.Alg, Sum: p.Digest})
	}
	entries, err := s.entries(now, intent)
	if err != nil {
		return err
	}
	plan, err := s.plan(entries)
	if err != nil {
		return err
	}
	j.intent, j.extend = entries[0], s.chain.commit(*plan)
	return nil
}

// afterFault brings TPM and log together after a TPM command failed, as a
// restart would. A TPM that still fails costs only this job; a state that the
// log does not explain halts the board.
func (s *Station) afterFault() error {
	if !s.dirty {
		return nil
	}
	err := s.startChain()
	if err == nil || errors.Is(err, errMustHalt) {
		return err
	}
	return refusal(message.CodeBusy, "the TPM does not answer as it should, ask again: %v", err)
}

// perform carries out one effect of the ceremony.
func (s *Station) perform(j *job, effect ceremony.Effect) {
	switch e := effect.(type) {
	case ceremony.AppendIntent:
		s.appendIntent(j)
	case ceremony.AwaitMirror:
		s.awaitMirror(j)
	case ceremony.ExtendHead:
		j.timer.Stop()
		s.hostEvent(message.EventCommitting, 0, 0)
		s.extendHead(j)
	case ceremony.ExtendPCR:
		s.extendPCR(j)
	case ceremony.Attest:
		s.attest(j)
	case ceremony.Sign:
		s.sign(j, e.Item)
		s.hostEvent(message.EventTouch, e.Item, 0)
		s.show("touch", "")
	case ceremony.DoNotTouch:
		s.hostEvent(message.EventTokenWait, 0, 0)
		s.show("do-not-touch", "Denied. The token is still armed for some seconds: DO NOT TOUCH it.")
	case ceremony.Record:
		s.record(j, e)
	case ceremony.Release:
		s.release(j, e.Items)
	case ceremony.Refuse:
		s.refused(j, e)
	case ceremony.Halt:
		s.job = nil
		s.refuse(j.id, message.CodeHalted, "the appliance has halted: "+e.Err.Error())
		s.halt(e.Err)
	}
}

func (s *Station) appendIntent(j *job) {
	err := s.append(&j.extend.plan, j.intent)
	if err == nil {
		s.refusals = 0
	}
	s.step(j, ceremony.Appended{Err: err})
	if s.job == j && j.machine.Phase() == ceremony.Mirroring {
		s.show("armed", "") // while the host writes
	}
}

// awaitMirror sends the new leaves and waits, bounded, for the host to say
// that they are safe.
func (s *Station) awaitMirror(j *job) {
	j.timer = s.after(s.cfg.MirrorTimeout, func() { s.step(j, ceremony.Unmirrored{}) })
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
	if j := s.job; j != nil && j.machine.Phase() == ceremony.Mirroring && m.Size >= j.extend.plan.Size {
		s.step(j, ceremony.Mirrored{})
	}
}

// record appends the attestation and the outcome in one durable write.
func (s *Station) record(j *job, e ceremony.Record) {
	j.timer.Stop()
	outcome := &ledger.Outcome{Intent: j.intent.header.Index, Job: j.id, Items: e.Items}
	bodies := []any{outcome}
	if e.Attested {
		bodies = []any{j.attest, outcome}
	}
	s.step(j, ceremony.Recorded{Err: s.appendNow(bodies...)})
}

// release sends the outcome with the checkpoint that proves its intent.
func (s *Station) release(j *job, items []ledger.ItemResult) {
	j.results = items
	p := s.hist.jobs[j.id]
	s.push()
	if j.attest != nil {
		if err := s.signCheckpoint(j.attest); err != nil {
			s.log.Error().Err(err).Msg("checkpoint")
		} else {
			m := message.Checkpoint{Note: s.checkpoint}
			s.send(chanInteractive, m.Marshal())
		}
	}
	done := message.Done{Job: j.id, Intent: p.intent, Outcome: p.outcome}
	s.send(chanInteractive, done.Marshal())
	s.hist.forget(s.now(), s.policy.LongestWindow())
	text := summary(items, j.machine.Denied())
	if slices.ContainsFunc(items, func(it ledger.ItemResult) bool { return it.State == ledger.TimedOut }) {
		s.alarm, text = touchAlarm, ""
	}
	s.finished(j, "done", text)
}

// refused ends a ceremony that left no trace in the log but a count.
func (s *Station) refused(j *job, e ceremony.Refuse) {
	j.timer.Stop()
	s.refusals++
	s.refuse(j.id, e.Code, e.Text)
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

// touchAlarm is shown after a time-out: if the operator did touch, something
// else may have had the touch. No later request may wipe it off the display.
const touchAlarm = "No touch was seen in time. If you DID touch, raise the alarm: the signature may exist."

// summary tells the operator how the job ended.
func summary(items []ledger.ItemResult, denied bool) string {
	signed := 0
	for _, it := range items {
		why := strings.ReplaceAll(it.Reason, "-", " ")
		switch {
		case it.State == ledger.Signed:
			signed++
		case it.State == ledger.Withheld && denied:
			return "Denied. A signature that still came back was destroyed."
		case it.State == ledger.Withheld:
			return "Not released: the TPM did not attest the commit, so the signature was destroyed. Have it asked for again."
		case denied:
			return "Denied."
		case signed == 0:
			return "Not signed: " + why + "."
		default:
			return fmt.Sprintf("%d of %d signed, then: %s.", signed, len(items), why)
		}
	}
	return fmt.Sprintf("%d of %d signed.", signed, len(items))
}
