package queue

import (
	"errors"
	"slices"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/outcome"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// Settle ends the jobs whose end the log proves, and goes on with the others.
func (q *Queue) Settle() {
	for _, j := range slices.Clone(q.jobs) {
		if resp := q.conclude(j); resp != nil {
			q.decide(j, resp)
		}
	}
	q.recall()
	q.pump()
}

// conclude gives the final answer of a job as the log has it, nil if the log
// does not decide it yet.
func (q *Queue) conclude(j *Job) *api.Response {
	t := q.o.Mirror.Trace(j.id())
	if t == nil || t.Outcome == nil {
		return nil
	}
	o := t.Outcome
	if t.Intent == nil || o.Intent != t.Index || len(o.Items) != len(j.Items) {
		return q.doubt(j, t, errors.New("the outcome does not match the intent"))
	}
	if outcome.Count(o.Items, ledger.Signed) == 0 {
		return outcome.Unsigned(j.Items, o.Items)
	}
	return q.signedSome(j, t)
}

// signedSome verifies the signatures of a job under a committed checkpoint. Until
// one covers the intent nothing is given out. Those of a job that failed later go
// with the word that it did: a round need not have them made again.
func (q *Queue) signedSome(j *Job, t *mirror.Trace) *api.Response {
	if q.o.Mirror.Committed() <= t.Index {
		return nil
	}
	resp, err := q.proven(j, t)
	if err != nil {
		return q.doubt(j, t, err)
	}
	return resp
}

// doubt deals with an outcome that does not verify. While no checkpoint covers
// it, somebody on the cable may have made it: it is asked for again, now and
// then. If it stays as it is, that is the answer.
func (q *Queue) doubt(j *Job, t *mirror.Trace, err error) *api.Response {
	if q.o.Mirror.Committed() <= t.OutcomeIndex && j.doubts < maxDoubts && q.o.Board.Up() {
		j.doubts++
		q.o.Log.Error().Err(err).Str("job", j.id().String()).Msg("the outcome does not verify; asking for it again")
		q.o.Board.Reread()
		q.o.Loop.After(q.o.Loop.Waits.BusyRetry, q.Settle)
		return nil
	}
	return api.Fail(api.Evidence, "job %s: the appliance's answer does not verify: %v; do not use it, ask the auditor", j.id(), err)
}

// proven verifies the signatures of a job that the log has.
func (q *Queue) proven(j *Job, t *mirror.Trace) (*api.Response, error) {
	if err := q.prove(j, t); err != nil {
		return nil, err
	}
	return j.proof.Give(t.Outcome.Items, j.Items, j.States)
}

// prove makes and verifies the proof of an intent that a checkpoint covers, once.
func (q *Queue) prove(j *Job, t *mirror.Trace) error {
	p, err := outcome.Prove(q.o.Mirror, j.id(), t, j.proof)
	if err == nil {
		j.proof = p
	}
	return err
}

// ProveArmed does that for the jobs that wait for their touch: when that comes, only the
// signature is left to verify. What fails is met again, and told, with the outcome.
func (q *Queue) ProveArmed() {
	for _, j := range q.jobs {
		if t := q.o.Mirror.Trace(j.id()); t != nil && t.Intent != nil && t.Outcome == nil && t.Index < q.o.Mirror.Committed() {
			_ = q.prove(j, t)
		}
	}
}

// EndHalted ends the jobs that a halted board leaves open. One that was committed
// stays open: the board's next start writes down how it ended.
func (q *Queue) EndHalted() {
	text := q.o.Board.HaltedText()
	for _, j := range slices.Clone(q.jobs) {
		if q.armed(j) {
			j.answer(api.Fail(api.MaySigned, "%s; job %s was committed before: a signature may exist%s", text, j.id(), later(j)))
			continue
		}
		q.decide(j, api.Fail(api.DeviceFault, "%s", text))
	}
}

// TellArmed tells who waits for a job that the log has its intent.
func (q *Queue) TellArmed() {
	for _, j := range q.jobs {
		if armed := q.armed(j); armed != j.said {
			if j.said = armed; armed {
				j.tell(message.EventArmed, "")
			}
		}
	}
}

// Event takes the board's hint how a job goes; it reports whether it is about one.
func (q *Queue) Event(m *message.Event) bool {
	j := q.find(m.Job)
	if j != nil {
		j.hear(m)
	}
	return j != nil
}

// Lost tells who waits that the link went down.
func (q *Queue) Lost(why string) {
	for _, j := range q.jobs {
		j.submitted = false
		if !q.parked(j) { // who waits for people waits for no link
			j.tell("link-lost", why)
		}
	}
}

// Suspected tells who waits that somebody on the cable may lie.
func (q *Queue) Suspected(text string) {
	for _, j := range q.jobs {
		j.tell("suspect", text)
	}
}

func (q *Queue) refuseEvidence() *api.Response {
	return api.Fail(api.Evidence, "the appliance's log contradicts this host's mirror (%s): nothing is signed; see \"Evidence\" in the host guide", q.o.Board.Evidence())
}

// Alarmed ends everything: the log contradicts the mirror.
func (q *Queue) Alarmed() {
	for len(q.jobs) > 0 {
		q.decide(q.jobs[0], q.refuseEvidence())
	}
}

// Broken withdraws what waits, because the mirror cannot be written and could not take its intent.
func (q *Queue) Broken(err error) {
	for _, j := range slices.Clone(q.jobs) {
		if q.armed(j) { // how it ends stands in entries that cannot be taken
			j.answer(api.Fail(api.MaySigned, "the mirror of the log cannot be written: %v; then restart touchmark-hostd: job %s may be signed%s", err, j.id(), later(j)))
			continue
		}
		q.withdraw(j, api.Fail(api.CannotWrite, "the mirror of the log cannot be written: %v; then restart touchmark-hostd", err))
	}
}
