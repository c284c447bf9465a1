package hostd

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
func (d *Daemon) withdraw(j *job, resp *api.Response) {
	switch {
	case !slices.Contains(d.jobs, j) || j.ending != nil || d.armed(j):
	case !j.ever:
		d.decide(j, resp)
	case !d.ready():
		j.answer(api.Fail(api.MaySigned, "the link is down (%s) and the appliance has job %s: it may be signed yet%s", d.linkState(), j.id(), later(j)))
	default:
		d.cancel(j, resp)
	}
}

func (d *Daemon) cancel(j *job, resp *api.Response) {
	n, err := d.cancelNote(j)
	if err != nil {
		d.decide(j, api.Fail(api.Internal, "%v", err))
		return
	}
	j.ending = resp
	d.send(n)
	d.loop.After(d.loop.Waits.CancelWait, func() {
		if !slices.Contains(d.jobs, j) || d.armed(j) || j.ending != resp {
			return
		}
		if len(j.waiters) > 0 {
			j.answer(api.Fail(api.MaySigned, "the appliance does not confirm that job %s is withdrawn: it may be signed yet%s", j.id(), later(j)))
		}
		j.ending, j.submitted = nil, false
		d.loop.After(d.loop.Waits.HelloRetry, func() { d.orphan(j) })
	})
}

// recall withdraws what was asked for before this host knew that it could not
// verify it, and is not armed yet.
func (d *Daemon) recall() {
	if len(d.jobs) == 0 || !d.trust.Outdated() {
		return
	}
	for _, j := range slices.Clone(d.jobs) {
		d.withdraw(j, api.Fail(api.BadInput, "%s", trustfile.OutdatedText))
	}
}

// cancelNote withdraws a job. The board puts it and the submission in order by
// host time, even if this host's clock went back.
func (d *Daemon) cancelNote(j *job) ([]byte, error) {
	c := message.Cancel{Origin: d.mirror.Pinned().Origin, Job: j.id(), HostTime: d.loop.Now()}
	if c.HostTime.Before(j.asked) {
		c.HostTime = j.asked
	}
	return d.signed(c.Marshal())
}

// orphan withdraws a job that nobody waits for, so that no operator arms it.
func (d *Daemon) orphan(j *job) {
	if len(j.waiters) == 0 && !j.awaited && d.ready() && !d.patient(j) {
		d.withdraw(j, api.Fail(api.Interrupted, "withdrawn, because nobody waited for it; nothing was signed"))
	}
}

// later tells a person how to come by what may be signed yet.
func later(j *job) string {
	text := "; to learn how it ended: touchmark fetch " + j.id().String()
	for _, it := range j.items {
		text += " " + it.Name
	}
	return text
}

// expire is the client's timeout.
func (d *Daemon) expire(j *job) {
	switch {
	case !slices.Contains(d.jobs, j):
	case d.armed(j) && !j.extended:
		j.extended = true
		j.timer = d.loop.After(d.loop.Waits.ArmedGrace, func() { d.expire(j) })
	case d.armed(j):
		j.answer(api.Fail(api.MaySigned, "job %s was committed, but its outcome did not arrive in time: a signature may exist%s", j.id(), later(j)))
	case d.parked(j):
		d.decide(j, d.tooFew(j))
	case !j.ever && !d.ready():
		d.decide(j, d.noLink())
	case !j.ever:
		d.decide(j, api.Fail(api.TimedOut, "other requests were waiting for the operator all the time: try again"))
	default:
		d.withdraw(j, api.Fail(api.TimedOut, "nobody armed the request within %s: it was withdrawn, nothing was signed", j.timeout))
	}
}

// leave is a client's wish to stop. When it is the only one that waits, the job
// is withdrawn if it still can be, and the client waits for what comes of that.
func (d *Daemon) leave(j *job, w *waiter.Waiter) {
	if j == nil || !j.waiters.Has(w) {
		return
	}
	if len(j.waiters) > 1 {
		j.waiters.Part(w)
		w.Final <- api.Fail(api.Interrupted, "others wait for job %s: it goes on", j.id())
		return
	}
	d.withdraw(j, api.Fail(api.Interrupted, "withdrawn, nothing was signed"))
}

// gone is the end of a client that did not get its answer.
func (d *Daemon) gone(j *job, w *waiter.Waiter) {
	if j == nil || !j.waiters.Part(w) {
		return
	}
	w.Final <- api.Fail(api.Interrupted, "nobody hears this")
	if len(j.waiters) == 0 && !d.patient(j) {
		d.withdraw(j, api.Fail(api.Interrupted, "withdrawn, because its client went away; nothing was signed"))
	}
}

// decide is the end of a job: what the log says, or resp if that says nothing.
func (d *Daemon) decide(j *job, resp *api.Response) {
	i := slices.Index(d.jobs, j)
	if i < 0 {
		return
	}
	d.jobs = slices.Delete(d.jobs, i, i+1)
	stop(j.timer)
	d.note(j, resp)
	d.over(j, resp)
	if j.record != nil {
		d.past = append(d.past, j)
		if t := d.mirror.Trace(j.id()); t == nil || t.Outcome == nil {
			j.record.End = &spool.End{Code: resp.Code, Text: resp.Error}
			d.keep(j)
		}
	}
	j.answer(resp)
	d.forgetOld()
	d.publish()
	d.pump()
}

func stop(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

func (d *Daemon) note(j *job, resp *api.Response) {
	ev := d.log.Info()
	if !resp.OK {
		ev = d.log.Warn().Int("code", resp.Code).Str("error", resp.Error)
	}
	ev.Str("job", j.id().String()).Msg("finished")
}

// ended answers for a job that is over: from the log, if that knows it.
func (d *Daemon) ended(j *job) *api.Response {
	if resp := d.conclude(j); resp != nil {
		return resp
	}
	if e := j.record.End; e != nil {
		return api.Fail(e.Code, "%s", e.Text)
	}
	return api.Fail(api.MaySigned, "the log does not say yet how job %s ended", j.id())
}
