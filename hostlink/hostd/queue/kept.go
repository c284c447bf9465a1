package queue

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/request"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/message"
)

// resume takes over what an earlier daemon kept. Its clients come back by
// themselves and soon; what nobody has come back for by then is withdrawn.
func (q *Queue) resume() error {
	s, records, damaged, err := spool.Open(q.o.Dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	q.spool = s
	for _, err := range damaged {
		q.o.Log.Error().Err(err).Msg("a job that was kept cannot be read: look at it and remove it")
	}
	slices.SortFunc(records, func(a, b *spool.Record) int { return cmp.Compare(a.Number, b.Number) })
	from, ids := q.o.Mirror.Size(), []message.JobID{}
	for _, r := range records {
		asked, err := request.Restored(r, q.o.Mirror.Pinned().Origin)
		if err != nil {
			q.o.Log.Error().Err(err).Msg("a job that was kept cannot be used: look at it and remove it")
			continue
		}
		j := &Job{Request: asked, record: r, kept: true, ever: true}
		j.notBefore = q.o.Loop.Now().Add(time.Second) // the daemon before this one may have withdrawn it just now
		j.awaited = true
		q.accepted = max(q.accepted, r.Number)
		from, ids = min(from, r.From), append(ids, r.Job)
		if r.End != nil {
			q.past = append(q.past, j)
		} else {
			q.jobs = append(q.jobs, j)
			j.ever = !q.parked(j)
		}
	}
	if err := q.o.Mirror.Watch(from, ids...); err != nil {
		return err
	}
	q.forgetOld()
	return nil
}

// Start starts the clocks of resumed jobs.
func (q *Queue) Start() {
	for _, j := range q.jobs {
		j.timer = q.o.Loop.After(max(j.record.Deadline.Sub(q.o.Loop.Now()), q.o.Loop.Waits.Rejoin), func() { q.expire(j) })
		q.o.Loop.After(q.o.Loop.Waits.Rejoin, func() { q.rejoin(j) })
	}
	q.o.Loop.After(q.o.Loop.Waits.InOrder, func() { q.overtakes = true; q.pump() })
	q.Settle()
}

// rejoin ends the time in which a client could come back.
func (q *Queue) rejoin(j *Job) {
	j.awaited = false
	q.orphan(j)
}

// Orphans withdraws, when a conversation has become ready, what nobody waits
// for.
func (q *Queue) Orphans() {
	for _, j := range slices.Clone(q.jobs) {
		q.orphan(j)
	}
}

// keepAfter is how long a job is open before its record is made durable: one whose client
// has the answer by then costs the disk nothing, and people take longer.
const keepAfter = 50 * time.Millisecond

// keepSoon makes an accepted job's record durable unless it is done with before.
func (q *Queue) keepSoon(j *Job) {
	q.o.Loop.After(keepAfter, func() {
		if !j.kept && (slices.Contains(q.jobs, j) || slices.Contains(q.past, j)) {
			q.keep(j)
		}
	})
}

// keep makes a job's record durable, off the loop, and tells who waits.
func (q *Queue) keep(j *Job) {
	r := *j.record
	q.disk.Do(func() {
		err := q.spool.Keep(&r)
		q.o.Loop.Post(func() {
			switch {
			case err != nil:
				q.o.Log.Error().Err(err).Msg("a job is not kept over a power cut")
			case !j.kept:
				j.kept = true
				j.waiters.Emit(api.Event{State: api.EventAccepted, Job: j.id().String()})
			}
		})
	})
}

// Taken forgets a job whose end its client has.
func (q *Queue) Taken(j *Job) {
	if i := slices.Index(q.past, j); i >= 0 {
		q.drop(i)
	}
}

func (q *Queue) drop(i int) {
	id := q.past[i].id()
	q.past = slices.Delete(q.past, i, i+1)
	q.o.Mirror.Forget(id)
	q.disk.Do(func() {
		if err := q.spool.Remove(id); err != nil {
			q.o.Log.Warn().Err(err).Msg("a job that is done with is still on disk")
		}
	})
}

// forgetOld drops what nobody has fetched for too long, and the oldest when
// there is too much.
func (q *Queue) forgetOld() {
	old := q.o.Loop.Now().Add(-keepFor)
	for i := 0; i < len(q.past); {
		if len(q.past) > maxPast || q.past[i].record.Deadline.Before(old) {
			q.drop(i)
			continue
		}
		i++
	}
}

// List says what is remembered, open jobs first.
func (q *Queue) List() *api.Response {
	r := &api.Response{Final: true, OK: true, Jobs: []api.Job{}}
	for _, j := range slices.Concat(q.jobs, q.past) {
		if j.record != nil {
			r.Jobs = append(r.Jobs, q.describe(j))
		}
	}
	return r
}

func (q *Queue) describe(j *Job) api.Job {
	a, c := j.facts(), q.counted(j)
	a.Waiting, a.Persons, a.Need = len(j.waiters), append([]string{}, c.Persons...), c.Need
	switch {
	case slices.Contains(q.past, j):
		resp := q.ended(j)
		a.State, a.Code, a.Error = "ended", resp.Code, resp.Error
		if resp.OK {
			a.State = "signed"
		}
	case q.armed(j):
		a.State = "committed"
	case !c.Enough():
		a.State = api.EventApprovals
	case c.Need > 0 && !j.submitted:
		a.State = api.StateApproved
	default:
		a.State = cmp.Or(j.hint.State, api.EventAccepted) // the board has not said a word of it
	}
	return a
}

// IDs names the jobs that go on.
func (q *Queue) IDs() []string {
	ids := []string{}
	for _, j := range q.jobs {
		if j.record != nil {
			ids = append(ids, j.id().String())
		}
	}
	return ids
}

// Open says what goes on, as List does.
func (q *Queue) Open() []api.Job {
	open := []api.Job{}
	for _, j := range q.jobs {
		if j.record != nil {
			open = append(open, q.describe(j))
		}
	}
	return open
}

// Quit takes from the board's display what can still be withdrawn. The jobs
// stay open: their clients wait for the next daemon, which goes on with them.
func (q *Queue) Quit() {
	for _, j := range q.jobs {
		if j.record != nil && !j.kept {
			q.keep(j)
		}
		if !j.submitted || q.armed(j) || !q.o.Board.Ready() {
			continue
		}
		if n, err := q.cancelNote(j); err == nil {
			q.o.Board.Send(n)
		}
	}
}
