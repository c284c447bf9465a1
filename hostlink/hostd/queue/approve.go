package queue

import (
	"errors"
	"slices"

	"touchmark/appliance/policy"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/approvals"
	"touchmark/hostlink/message"
)

// counted says who approved a job and how many must.
func (q *Queue) counted(j *Job) approvals.Count {
	if p := q.o.Mirror.Policy(); p != nil && j.record != nil {
		return approvals.Of(p, j.Class, j.record.Approval)
	}
	return approvals.Count{}
}

// parked reports whether a job waits for approvals: the appliance has not heard
// of it, so it keeps no operator busy, and needs no client that waits with it.
func (q *Queue) parked(j *Job) bool { return !q.armed(j) && !q.counted(j).Enough() }

// patient reports whether a job waits for its client too: people approved it, or
// will, and the appliance has not heard of it.
func (q *Queue) patient(j *Job) bool {
	return q.parked(j) || !j.ever && q.counted(j).Need > 0
}

// mayPark says why a job of a class may not begin to wait for approvals; nil if
// it may, or needs none.
func (q *Queue) mayPark(j *Job, class string) *api.Response {
	c, ok := q.o.Mirror.Policy().Class(class)
	switch {
	case !ok || c.Approvals == 0 && !j.Park:
		return nil
	case c.Approvals == 0:
		return api.Fail(api.Usage, "class %s demands no approvals: use touchmark sign", class)
	}
	parked := 0
	for _, o := range q.jobs {
		if o != j && o.record != nil && q.parked(o) {
			parked++
		}
	}
	if parked >= maxParked {
		return api.Fail(api.DeviceFault, "%d requests wait for approvals already: have some approved, or withdraw them (touchmark approvals withdraw JOB)", parked)
	}
	return nil
}

// tellParked tells whoever waits for a job that it needs approvals.
func (q *Queue) tellParked(j *Job) {
	if c := q.counted(j); !c.Enough() {
		j.tell(api.EventApprovals, c.String())
	}
}

// Approve takes an approval from wherever it comes, and submits the job if it
// was the last one needed and somebody waits.
func (q *Queue) Approve(note []byte) *api.Response {
	p := q.o.Mirror.Policy()
	if p == nil {
		return api.Fail(api.LinkDown, "the appliance's log is not known here yet: %s", q.o.Board.State())
	}
	id, err := approvals.Job(p, note, q.o.Loop.Now())
	if err != nil {
		return wrongApproval(err)
	}
	j := q.find(id)
	switch {
	case j == nil && findIn(q.past, id) != nil:
		return api.Fail(api.BadInput, "job %s has ended: an approval is for one request only, make another", id)
	case j == nil:
		return api.Fail(api.BadInput, "it approves job %s, which does not wait here: see touchmark jobs", id)
	case j.submitted || q.armed(j):
		return api.Fail(api.BadInput, "job %s is with the appliance already: it needs no more approvals", id)
	}
	joined, added, err := approvals.Add(p, j.record.Approval, note)
	if err != nil {
		return wrongApproval(err)
	}
	return q.approved(j, joined, added)
}

// wrongApproval says why, with the policy's code if it is the policy's word.
func wrongApproval(err error) *api.Response {
	var r *policy.Refusal
	if errors.As(err, &r) {
		return api.Fail(api.Refused, "%v", r)
	}
	return api.Fail(api.BadInput, "%v", err)
}

// approved keeps a job's approvals on disk before anything is done with them.
func (q *Queue) approved(j *Job, joined []byte, added []string) *api.Response {
	if len(added) > 0 {
		rec := *j.record
		rec.Approval = joined
		if err := q.spool.Put(&rec); err != nil {
			return api.Fail(api.CannotWrite, "the approval cannot be written down: %v", err)
		}
		j.record = &rec
		q.keep(j)
		q.o.Log.Info().Str("job", j.id().String()).Strs("persons", added).Msg("approved")
	}
	c := q.counted(j)
	if !c.Enough() {
		j.tell(api.EventApprovals, c.String())
	}
	q.pump()
	return &api.Response{Final: true, OK: true, Job: j.id().String(), Approval: j.record.Approval, Persons: c.Persons, Need: c.Need, Added: added}
}

// Approval gives the note of a job, for approvers to sign.
func (q *Queue) Approval(job string) *api.Response {
	id, err := message.ParseJobID(job)
	if err != nil {
		return api.Fail(api.Usage, "%v: see touchmark jobs", err)
	}
	j := findIn(slices.Concat(q.jobs, q.past), id)
	if j == nil {
		return api.Fail(api.Usage, "job %s is not kept here (any more): see touchmark jobs", id)
	}
	c := q.counted(j)
	return &api.Response{Final: true, OK: true, Job: job, Approval: j.record.Approval, Persons: c.Persons, Need: c.Need}
}

// Withdraw ends a job that waits for approvals: of one, the appliance has not
// heard, so nobody else need agree.
func (q *Queue) Withdraw(job string) *api.Response {
	id, err := message.ParseJobID(job)
	if err != nil {
		return api.Fail(api.Usage, "%v: see touchmark jobs", err)
	}
	j := q.find(id)
	switch {
	case j == nil && findIn(q.past, id) != nil:
		return api.Fail(api.BadInput, "job %s has ended", id)
	case j == nil:
		return api.Fail(api.BadInput, "job %s does not wait here: see touchmark jobs", id)
	case j.ever || !q.parked(j):
		return api.Fail(api.BadInput, "job %s does not wait for approvals (any more): Ctrl-C of touchmark fetch %s FILE withdraws it from the appliance", id, id)
	}
	q.withdraw(j, api.Fail(api.Interrupted, "withdrawn by touchmark approvals withdraw; nothing was signed"))
	return &api.Response{Final: true, OK: true, Job: job}
}

// tooFew is the end of a job that was not approved in time.
func (q *Queue) tooFew(j *Job) *api.Response {
	return api.Fail(api.TimedOut, "not approved within %s (%s): nothing was signed", j.Timeout, q.counted(j))
}
