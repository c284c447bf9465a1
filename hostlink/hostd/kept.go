package hostd

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/message"
)

// jobsDir in the state directory holds the jobs that were accepted and whose
// end no client has taken.
const jobsDir = "jobs"

// resume takes over what an earlier daemon kept. Its clients come back by
// themselves and soon; what nobody has come back for by then is withdrawn.
func (d *Daemon) resume() error {
	s, records, damaged, err := spool.Open(filepath.Join(d.o.State, jobsDir))
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	d.spool = s
	for _, err := range damaged {
		d.log.Error().Err(err).Msg("a job that was kept cannot be read: look at it and remove it")
	}
	slices.SortFunc(records, func(a, b *spool.Record) int { return cmp.Compare(a.Number, b.Number) })
	from, ids := d.mirror.Size(), []message.JobID{}
	for _, r := range records {
		j, err := restored(r, d.mirror.Pinned().Origin)
		if err != nil {
			d.log.Error().Err(err).Msg("a job that was kept cannot be used: look at it and remove it")
			continue
		}
		j.notBefore = d.loop.Now().Add(time.Second) // the daemon before this one may have withdrawn it just now
		j.awaited = true
		d.accepted = max(d.accepted, r.Number)
		from, ids = min(from, r.From), append(ids, r.Job)
		if r.End != nil {
			d.past = append(d.past, j)
		} else {
			d.jobs = append(d.jobs, j)
			j.ever = !d.parked(j)
		}
	}
	if err := d.mirror.Watch(from, ids...); err != nil {
		return err
	}
	d.forgetOld()
	return nil
}

// rearm starts the clocks of resumed jobs.
func (d *Daemon) rearm() {
	for _, j := range d.jobs {
		j.timer = d.loop.After(max(j.record.Deadline.Sub(d.loop.Now()), d.loop.Waits.Rejoin), func() { d.expire(j) })
		d.loop.After(d.loop.Waits.Rejoin, func() { d.rejoin(j) })
	}
	d.loop.After(d.loop.Waits.InOrder, func() { d.overtakes = true; d.pump() })
	d.settle()
}

// rejoin ends the time in which a client could come back.
func (d *Daemon) rejoin(j *job) {
	j.awaited = false
	d.orphan(j)
}

// orphans withdraws, when a conversation has become ready, what nobody waits
// for.
func (d *Daemon) orphans() {
	for _, j := range slices.Clone(d.jobs) {
		d.orphan(j)
	}
}

// keepAfter is how long a job is open before its record is made durable: one whose client
// has the answer by then costs the disk nothing, and people take longer.
const keepAfter = 50 * time.Millisecond

// keepSoon makes an accepted job's record durable unless it is done with before.
func (d *Daemon) keepSoon(j *job) {
	d.loop.After(keepAfter, func() {
		if !j.kept && (slices.Contains(d.jobs, j) || slices.Contains(d.past, j)) {
			d.keep(j)
		}
	})
}

// keep makes a job's record durable, off the loop, and tells who waits.
func (d *Daemon) keep(j *job) {
	r := *j.record
	d.disk.Do(func() {
		err := d.spool.Keep(&r)
		d.loop.Post(func() {
			switch {
			case err != nil:
				d.log.Error().Err(err).Msg("a job is not kept over a power cut")
			case !j.kept:
				j.kept = true
				j.waiters.Emit(api.Event{State: api.EventAccepted, Job: j.id().String()})
			}
		})
	})
}

// taken forgets a job whose end its client has.
func (d *Daemon) taken(j *job) {
	if i := slices.Index(d.past, j); i >= 0 {
		d.drop(i)
	}
}

func (d *Daemon) drop(i int) {
	id := d.past[i].id()
	d.past = slices.Delete(d.past, i, i+1)
	d.mirror.Forget(id)
	d.disk.Do(func() {
		if err := d.spool.Remove(id); err != nil {
			d.log.Warn().Err(err).Msg("a job that is done with is still on disk")
		}
	})
}

// forgetOld drops what nobody has fetched for too long, and the oldest when
// there is too much.
func (d *Daemon) forgetOld() {
	old := d.loop.Now().Add(-keepFor)
	for i := 0; i < len(d.past); {
		if len(d.past) > maxPast || d.past[i].record.Deadline.Before(old) {
			d.drop(i)
			continue
		}
		i++
	}
}

// list says what is remembered, open jobs first.
func (d *Daemon) list() *api.Response {
	r := &api.Response{Final: true, OK: true, Jobs: []api.Job{}}
	for _, j := range slices.Concat(d.jobs, d.past) {
		if j.record != nil {
			r.Jobs = append(r.Jobs, d.describe(j))
		}
	}
	return r
}

func (d *Daemon) describe(j *job) api.Job {
	a := api.Job{
		Job: j.id().String(), Class: j.class, Created: j.record.Created.Format(time.RFC3339),
		Deadline: j.record.Deadline.Format(time.RFC3339), Waiting: len(j.waiters), Persons: []string{},
	}
	c := d.counted(j)
	a.Persons, a.Need = append(a.Persons, c.Persons...), c.Need
	for _, it := range j.items {
		a.Names = append(a.Names, it.Name)
	}
	switch {
	case slices.Contains(d.past, j):
		resp := d.ended(j)
		a.State, a.Code, a.Error = "ended", resp.Code, resp.Error
		if resp.OK {
			a.State = "signed"
		}
	case d.armed(j):
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
