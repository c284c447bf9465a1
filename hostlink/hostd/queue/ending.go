package queue

import (
	"slices"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/hostd/trustfile"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
)

// withdraw ends a job that is not armed with the given answer: at once if the
// board does not know it, else when the board confirms or stays silent. Without
// a link nobody can be asked: whoever waits is told so, and the job is withdrawn
// when the link is back.
func (q *Queue) withdraw(j *Job, resp *api.Response) {
	switch {
	case !slices.Contains(q.jobs, j) || j.ending != nil || q.armed(j):
	case !j.ever:
		q.decide(j, resp)
	case !q.o.Board.Ready():
		j.answer(api.Fail(api.MaySigned, "the link is down (%s) and the appliance has job %s: it may be signed yet%s", q.o.Board.State(), j.id(), later(j)))
	default:
		q.cancel(j, resp)
	}
}

func (q *Queue) cancel(j *Job, resp *api.Response) {
	n, err := q.cancelNote(j)
	if err != nil {
		q.decide(j, api.Fail(api.Internal, "%v", err))
		return
	}
	j.ending = resp
	q.o.Board.Send(n)
	q.o.Loop.After(q.o.Loop.Waits.CancelWait, func() {
		if !slices.Contains(q.jobs, j) || q.armed(j) || j.ending != resp {
			return
		}
		if len(j.waiters) > 0 {
			j.answer(api.Fail(api.MaySigned, "the appliance does not confirm that job %s is withdrawn: it may be signed yet%s", j.id(), later(j)))
		}
		j.ending, j.submitted = nil, false
		q.o.Loop.After(q.o.Loop.Waits.HelloRetry, func() { q.orphan(j) })
	})
}

// recall withdraws what was asked for before this host knew that it could not
// verify it, and is not armed yet.
func (q *Queue) recall() {
	if len(q.jobs) == 0 || !q.o.Trust.Outdated() {
		return
	}
	for _, j := range slices.Clone(q.jobs) {
		q.withdraw(j, api.Fail(api.BadInput, "%s", trustfile.OutdatedText))
	}
}

// cancelNote withdraws a job. The board puts it and the submission in order by
// host time, even if this host's clock went back.
func (q *Queue) cancelNote(j *Job) ([]byte, error) {
	c := message.Cancel{Origin: q.o.Mirror.Pinned().Origin, Job: j.id(), HostTime: q.o.Loop.Now()}
	if c.HostTime.Before(j.asked) {
		c.HostTime = j.asked
	}
	return q.o.Board.Signed(c.Marshal())
}

// orphan withdraws a job that nobody waits for, so that no operator arms it.
func (q *Queue) orphan(j *Job) {
	if len(j.waiters) == 0 && !j.awaited && q.o.Board.Ready() && !q.patient(j) {
		q.withdraw(j, api.Fail(api.Interrupted, "withdrawn, because nobody waited for it; nothing was signed"))
	}
}

// later tells a person how to come by what may be signed yet.
func later(j *Job) string {
	text := "; to learn how it ended: touchmark fetch " + j.id().String()
	for _, it := range j.Items {
		text += " " + it.Name
	}
	return text
}

// expire is the client's timeout.
func (q *Queue) expire(j *Job) {
	switch {
	case !slices.Contains(q.jobs, j):
	case q.armed(j) && !j.extended:
		j.extended = true
		j.timer = q.o.Loop.After(q.o.Loop.Waits.ArmedGrace, func() { q.expire(j) })
	case q.armed(j):
		j.answer(api.Fail(api.MaySigned, "job %s was committed, but its outcome did not arrive in time: a signature may exist%s", j.id(), later(j)))
	case q.parked(j):
		q.decide(j, q.tooFew(j))
	case !j.ever && !q.o.Board.Ready():
		q.decide(j, q.noLink())
	case !j.ever:
		q.decide(j, api.Fail(api.TimedOut, "other requests were waiting for the operator all the time: try again"))
	default:
		q.withdraw(j, api.Fail(api.TimedOut, "nobody armed the request within %s: it was withdrawn, nothing was signed", j.Timeout))
	}
}

// Leave is a client's wish to stop. When it is the only one that waits, the job
// is withdrawn if it still can be, and the client waits for what comes of that.
func (q *Queue) Leave(j *Job, w *waiter.Waiter) {
	if j == nil || !j.waiters.Has(w) {
		return
	}
	if len(j.waiters) > 1 {
		j.waiters.Part(w)
		w.Final <- api.Fail(api.Interrupted, "others wait for job %s: it goes on", j.id())
		return
	}
	q.withdraw(j, api.Fail(api.Interrupted, "withdrawn, nothing was signed"))
}

// Gone is the end of a client that did not get its answer.
func (q *Queue) Gone(j *Job, w *waiter.Waiter) {
	if j == nil || !j.waiters.Part(w) {
		return
	}
	w.Final <- api.Fail(api.Interrupted, "nobody hears this")
	if len(j.waiters) == 0 && !q.patient(j) {
		q.withdraw(j, api.Fail(api.Interrupted, "withdrawn, because its client went away; nothing was signed"))
	}
}

// Ended is how a request ended, for whoever counts.
type Ended struct {
	Code  int    // exit code, api.OK if it was signed
	Class string // "" if it never had one
	Files int
	Took  time.Duration // since it was accepted
}

// over tells who watches, and who counts, of the end of a job.
func (q *Queue) over(j *Job, resp *api.Response) {
	e := Ended{Code: resp.Code, Class: j.Class, Files: len(j.Items)}
	if j.record != nil {
		e.Took = q.o.Loop.Clock().Sub(j.record.Created)
	}
	if q.o.Ended != nil {
		q.o.Ended(e)
	}
	if j.record == nil {
		return
	}
	a := j.facts()
	a.Persons = []string{}
	a.State, a.Code, a.Error = "ended", resp.Code, resp.Error
	if resp.OK {
		a.State = "signed"
	}
	q.o.News.Over(a)
}

// decide is the end of a job: what the log says, or resp if that says nothing.
func (q *Queue) decide(j *Job, resp *api.Response) {
	i := slices.Index(q.jobs, j)
	if i < 0 {
		return
	}
	q.jobs = slices.Delete(q.jobs, i, i+1)
	stop(j.timer)
	q.note(j, resp)
	q.over(j, resp)
	if j.record != nil {
		q.past = append(q.past, j)
		if t := q.o.Mirror.Trace(j.id()); t == nil || t.Outcome == nil {
			j.record.End = &spool.End{Code: resp.Code, Text: resp.Error}
			q.keep(j)
		}
	}
	j.answer(resp)
	q.forgetOld()
	q.o.Publish()
	q.pump()
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

func (q *Queue) note(j *Job, resp *api.Response) {
	ev := q.o.Log.Info()
	if !resp.OK {
		ev = q.o.Log.Warn().Int("code", resp.Code).Str("error", resp.Error)
	}
	ev.Str("job", j.id().String()).Msg("finished")
}

// ended answers for a job that is over: from the log, if that knows it.
func (q *Queue) ended(j *Job) *api.Response {
	if resp := q.conclude(j); resp != nil {
		return resp
	}
	if e := j.record.End; e != nil {
		return api.Fail(e.Code, "%s", e.Text)
	}
	return api.Fail(api.MaySigned, "the log does not say yet how job %s ended", j.id())
}
