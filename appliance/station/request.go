package station

import (
	"slices"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake"
	"touchmark/appliance/policy"
	"touchmark/appliance/station/keys"
	"touchmark/appliance/station/perform"
	"touchmark/hostlink/message"
)

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

// submit takes a job from the host: a repeated one is answered from the log or
// the queue, a new one is checked and queued.
func (s *Station) submit(m *message.Submit) {
	id := submittedJob(m)
	if s.recorded(id) {
		return
	}
	req, err := s.past.Policy.Authenticate(m.Approval, m.Submission)
	if err != nil {
		s.refuseFor(id, err)
		return
	}
	if j := s.pending(id); j != nil {
		s.again(j, req)
		s.tell(j)
		return
	}
	j, err := s.admit(m, req)
	if err != nil {
		s.refuseFor(id, err)
		return
	}
	s.queue = append(s.queue, j)
	s.next()
	if s.job != j {
		s.tell(j)
		s.show("queued", "")
	}
}

// recorded answers for a job that has its outcome in the log.
func (s *Station) recorded(id message.JobID) bool {
	p := s.past.Jobs[id]
	if p == nil || p.Outcome == 0 {
		return false
	}
	s.push()
	m := message.Done{Job: id, Intent: p.Intent, Outcome: p.Outcome}
	s.line.Send(m.Marshal())
	return true
}

// pending finds a job on display or in the queue.
func (s *Station) pending(id message.JobID) *job {
	if s.job != nil && s.job.order == nil && s.job.id == id {
		return s.job
	}
	if i := slices.IndexFunc(s.queue, func(j *job) bool { return j.id == id }); i >= 0 {
		return s.queue[i]
	}
	return nil
}

// again notes that the host asks for a waiting job once more: a cancellation
// that it made before does not count any longer. A time too far ahead is no
// time.
func (s *Station) again(j *job, r *policy.Request) {
	at := r.Submission.HostTime
	if r.Host == j.request.Host && at.After(j.asked) && at.Sub(s.clock.Now()) <= s.past.Policy.MaxSkew {
		j.asked = at
	}
}

// admit checks everything that can be checked before a person is asked.
func (s *Station) admit(m *message.Submit, req *policy.Request) (*job, error) {
	now := s.clock.Now()
	s.ended.Forget(now.Add(-s.past.Policy.MaxSkew))
	if err := s.ended.Answer(req); err != nil {
		return nil, err
	}
	switch {
	case s.halted != nil:
		return nil, intake.Refuse(message.CodeHalted, "the appliance has halted: %v", s.halted)
	case s.starting:
		return nil, intake.Refuse(message.CodeBusy, "the TPM does not answer as it should, ask again")
	case len(s.queue) >= maxQueue:
		return nil, intake.Refuse(message.CodeTooMany, "%d jobs are waiting already; try again when some are done", len(s.queue))
	}
	grant, items, err := intake.Admit(s.past.Policy, s.cfg.Store, s.past.Rates, req, m.Contents, now)
	if err != nil {
		return nil, err
	}
	if _, err := keys.For(&s.past.Law, grant, s.token.Holds, now); err != nil {
		s.update() // the warning, which time alone does not put on display
		return nil, err
	}
	m.Contents = nil // read: what is left of them is in items
	return &job{id: req.Job, submit: m, request: req, grant: grant, items: items, asked: req.Submission.HostTime}, nil
}

// next puts the first waiting job on display if the display is free. Policy is
// asked again, so that what the operator sees is what remains now, and not
// what remained when the job began to wait.
func (s *Station) next() {
	defer s.challenges.Answer()
	if s.job == nil && s.decree != nil && s.decree.state == decreeShown {
		s.showDecree("")
	}
	for s.job == nil && s.decree == nil && len(s.queue) > 0 && s.halted == nil && !s.starting && !s.stopping {
		j := s.queue[0]
		s.queue = s.queue[1:]
		grant, err := s.grant(j.request, s.clock.Now())
		if err != nil {
			s.end(j, j.asked, intake.RefusalOf(err))
			continue
		}
		j.grant = grant
		s.present(j)
	}
}

// grant asks whether the policy admits a request at a time, and the certificate
// of one of its keys a signature.
func (s *Station) grant(r *policy.Request, now time.Time) (*policy.Grant, error) {
	g, err := s.past.Policy.Admit(r, s.past.Rates, now)
	if err == nil {
		_, err = keys.For(&s.past.Law, g, s.token.Holds, now)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (s *Station) present(j *job) {
	s.job = j
	j.key, _ = keys.For(&s.past.Law, j.grant, s.token.Holds, s.clock.Now()) // there is one, says grant
	j.ceremony = perform.New(s.perform, perform.Subject{ID: j.id, Items: len(j.items)})
	j.ceremony.Limit(s.cfg.ArmTimeout)
	s.log.Info().Str("job", j.id.String()).Str("class", j.grant.Class).Int("items", len(j.items)).Msg("shown")
	s.tell(j)
	s.show("shown", "")
}

// cancel withdraws a job that is not armed, for the host that submitted it. A
// job that is not here is withdrawn too: a submission that is still on its way,
// or comes again, and was made no later than the cancellation, is refused.
func (s *Station) cancel(m *message.CancelNote) {
	c, host, err := intake.OpenCancel(s.past.Policy, m.Note, s.clock.Now())
	if err != nil {
		s.refuseFor(message.JobID{}, err)
		return
	}
	if s.recorded(c.Job) {
		return
	}
	cancelled := policy.Refusal{Code: message.CodeCancelled, Text: "cancelled by the host"}
	j := s.pending(c.Job)
	switch {
	case j == nil:
		s.ended.Note(host, c.Job, c.HostTime, cancelled)
		s.refuse(c.Job, cancelled.Code, cancelled.Text)
	case j.request.Host != host:
		s.refuse(message.JobID{}, message.CodeHostForbidden, "host "+host+" cannot cancel job "+c.Job.String()+" of host "+j.request.Host)
	case c.HostTime.Before(j.asked):
		s.refuse(message.JobID{}, message.CodeStaleCancel, "the cancellation of job "+c.Job.String()+" is older than its submission")
	case j.ceremony == nil:
		s.queue = slices.DeleteFunc(s.queue, func(q *job) bool { return q == j })
		s.end(j, c.HostTime, cancelled)
		s.show("cancelled", "")
	case j.phase() != ceremony.Shown:
		s.tell(j) // too late: armed is armed
	default:
		j.asked = c.HostTime
		j.ceremony.Step(ceremony.Withdraw{Code: cancelled.Code, Text: cancelled.Text})
	}
}

// end refuses a job that was taken once; at is the host time up to which
// submissions of it have this answer.
func (s *Station) end(j *job, at time.Time, r policy.Refusal) {
	s.ended.Note(j.request.Host, j.id, at, r)
	s.remember(j, "Not signed: "+r.Text+".")
	s.refuse(j.id, r.Code, r.Text)
}

// refuse answers that nothing is done about a job, or about a message if id is
// zero, and counts it.
func (s *Station) refuse(id message.JobID, code, text string) {
	s.refusals.Add(code)
	s.hostLog.Warn().Str("job", id.String()).Str("code", code).Msg(text)
	m := message.Refused{Job: id, Code: code, Text: text}
	if code == message.CodeNoHello {
		s.line.Answer(m.Marshal())
		return
	}
	s.line.Send(m.Marshal())
}

func (s *Station) refuseFor(id message.JobID, err error) {
	r := intake.RefusalOf(err)
	s.refuse(id, r.Code, r.Text)
}

// tell hints to the host how a job goes.
func (s *Station) tell(j *job) {
	if j.ceremony != nil {
		j.ceremony.Tell()
		return
	}
	m := message.Event{Job: j.id, State: message.EventQueued}
	s.line.Send(m.Marshal())
}
