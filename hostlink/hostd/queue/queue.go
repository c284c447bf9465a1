// Package queue is what becomes of the requests of clients: they wait for approvals, for the board and behind one another, are
// submitted one at a time, withdrawn or settled from the proven log, and outlive their clients and the daemon. All of it is one
// list of jobs and what moves them on.
package queue

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/classes"
	"touchmark/hostlink/hostd/conversation"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/news"
	"touchmark/hostlink/hostd/request"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/hostd/trustfile"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
)

// Options are what a queue is made of.
type Options struct {
	Dir     string // of the jobs that are kept
	Loop    *loop.Loop
	Board   *conversation.Board
	Mirror  *mirror.Mirror
	Trust   *trustfile.Follower
	Log     zerolog.Logger
	Key     note.Signer   // the host's
	Device  string        // for people
	Grace   time.Duration // in which a board that is not there may come
	Publish func()        // what changed is published
	Ended   func(Ended)   // hears of each end, in the loop; may be nil
	News    *news.News    // and so do those who watch
}

// Queue belongs to the loop.
type Queue struct {
	o         Options       // read only
	jobs      []*Job        // open, in order; one at a time is with the board
	past      []*Job        // ended, and nobody has taken the answer; oldest first
	spool     *spool.Spool  // what an accepted job is kept in
	disk      *loop.Errands // writes to it
	accepted  uint64        // number of the job accepted last
	overtakes bool          // a job whose client has not come back yet is passed over
}

// New takes over what an earlier daemon kept.
func New(o Options) (*Queue, error) {
	q := &Queue{o: o, disk: loop.NewErrands(maxErrands)}
	return q, q.resume()
}

// Write writes jobs to the disk until Close, on a goroutine of its own.
func (q *Queue) Write() { q.disk.Run() }

// Close lets Write end when all is written.
func (q *Queue) Close() { q.disk.Close() }

// Busy reports whether there are open jobs.
func (q *Queue) Busy() bool { return len(q.jobs) > 0 }

// Has reports whether a job is open.
func (q *Queue) Has(id message.JobID) bool { return q.find(id) != nil }

// Ask takes a client's request: one that is known already is joined, a new one
// is queued. It returns the job that the client waits for.
func (q *Queue) Ask(r *request.Request, w *waiter.Waiter) *Job {
	j := &Job{Request: r}
	if known := q.knownAs(j); known != nil {
		if j.Park && !q.parked(known) {
			w.Final <- api.Fail(api.Usage, "job %s waits for no approvals any more: touchmark sign takes it up", known.id())
			return nil
		}
		known.earlier = known.Key != j.Key
		q.revive(known)
		q.join(known, w)
		return known
	}
	j.waiters = waiter.Group{w}
	if resp := q.Unable(); resp != nil {
		j.answer(resp)
		return j
	}
	q.jobs = append(q.jobs, j)
	j.timer = q.o.Loop.After(j.Timeout, func() { q.expire(j) })
	if !q.o.Board.Ready() {
		j.tell("waiting-for-link", q.o.Board.State())
		q.o.Loop.After(q.o.Grace, func() { q.lapse(j) })
	}
	q.pump()
	return j
}

// Unable says why no new request is taken, nil if one is.
func (q *Queue) Unable() *api.Response {
	switch {
	case q.o.Board.Evidence() != "":
		return q.refuseEvidence()
	case q.o.Mirror.Closed():
		return api.Fail(api.DeviceFault, "the administrators ended this log: it signs nothing any more; the log that goes on, if there is one, stands in the last entry")
	case q.o.Board.Halted():
		return api.Fail(api.DeviceFault, "%s", q.o.Board.HaltedText())
	case q.o.Trust.Outdated():
		return api.Fail(api.BadInput, "%s", trustfile.OutdatedText)
	case len(q.jobs) >= MaxJobs:
		return api.Fail(api.DeviceFault, "%d requests are waiting already: try again when some are done", len(q.jobs))
	}
	return nil
}

// knownAs finds the job that a request means: the one that this client asked
// for before its daemon or its connection went away, or one for the same bytes
// whose result nobody has taken.
func (q *Queue) knownAs(j *Job) *Job {
	jobs := slices.Concat(q.jobs, q.past)
	if i := slices.IndexFunc(jobs, func(o *Job) bool { return o.Key == j.Key }); i >= 0 {
		return jobs[i]
	}
	i := slices.IndexFunc(jobs, func(o *Job) bool { return o.SameAs(j.Request) && q.forgotten(o) })
	if i < 0 {
		return nil
	}
	return jobs[i]
}

// forgotten reports whether a job goes on, or was signed, and nobody waits.
func (q *Queue) forgotten(j *Job) bool {
	switch {
	case j.record == nil || j.record.End != nil || j.ending != nil || len(j.waiters) > 0:
		return false
	case slices.Contains(q.past, j):
		return q.ended(j).OK
	}
	return true
}

// revive takes up a job again that was withdrawn because nobody waited for it,
// or is just being, when its client comes back after all. Whoever withdraws it
// himself does not.
func (q *Queue) revive(j *Job) {
	i := slices.Index(q.past, j)
	switch {
	case len(j.waiters) > 0 || q.armed(j):
		return
	case i < 0 && j.ending == nil:
		return
	case i >= 0 && (j.record.End == nil || j.record.End.Code != api.Interrupted || !q.o.Loop.Now().Before(j.record.Deadline)):
		return
	case i >= 0:
		q.past = slices.Delete(q.past, i, i+1)
		q.jobs = append(q.jobs, j)
		j.timer = q.o.Loop.After(j.record.Deadline.Sub(q.o.Loop.Now()), func() { q.expire(j) })
		j.record.End = nil
		q.keep(j)
	}
	j.ending, j.submitted = nil, false
	j.notBefore = q.o.Loop.Now().Add(time.Second) // later than it was withdrawn
}

// find gives the job of an identity, nil for an unknown one.
func (q *Queue) find(id message.JobID) *Job { return findIn(q.jobs, id) }

func findIn(jobs []*Job, id message.JobID) *Job {
	i := slices.IndexFunc(jobs, func(j *Job) bool { return j.record != nil && j.record.Job == id })
	if i < 0 {
		return nil
	}
	return jobs[i]
}

// Fetch lets a client wait for a job that was asked for before, or gives it the answer.
func (q *Queue) Fetch(id message.JobID, w *waiter.Waiter) *Job {
	j := findIn(slices.Concat(q.jobs, q.past), id)
	if j == nil {
		w.Final <- api.Fail(api.Usage, "job %s is not kept here (any more): see touchmark jobs, and touchmark log", id)
		return nil
	}
	q.join(j, w)
	return j
}

// join lets another client wait for a job, or gives it the answer.
func (q *Queue) join(j *Job, w *waiter.Waiter) {
	j.waiters = append(j.waiters, w)
	if slices.Contains(q.past, j) {
		j.answer(q.ended(j))
		return
	}
	q.o.Log.Info().Str("job", j.id().String()).Msg("a client waits for it again")
	if j.kept {
		w.Emit(api.Event{State: api.EventAccepted, Job: j.id().String()})
	}
	if j.hint.State != "" && j.hint.State != api.EventApprovals {
		w.Emit(j.hint)
	} else {
		q.tellParked(j) // by now others may have approved it
	}
	q.pump()
}

// lapse ends a request that came while there was no link, and there still is
// none.
func (q *Queue) lapse(j *Job) {
	if slices.Contains(q.jobs, j) && j.record == nil && !q.o.Board.Ready() {
		q.decide(j, q.noLink())
	}
}

func (q *Queue) noLink() *api.Response {
	code := api.LinkDown
	if q.o.Board.Suspect() {
		code = api.Evidence
	}
	return api.Fail(code, "no conversation with the appliance on %s (%s)", q.o.Device, q.o.Board.State())
}

// pump accepts what waits when the conversation is ready, and submits the
// first job that somebody waits for. One at a time is with the board, so that
// its operator sees them in order. Just after a start the first is waited for:
// its client is about to come back.
func (q *Queue) pump() {
	if !q.o.Board.Ready() {
		return
	}
	for _, j := range slices.Clone(q.jobs) {
		if resp := q.accept(j); resp != nil {
			q.decide(j, resp)
		}
	}
	for _, j := range q.jobs {
		switch {
		case j.submitted || j.ending != nil || q.armed(j),
			j.awaited && len(j.waiters) == 0 && !q.patient(j) && !q.overtakes:
			q.othersQueue(j)
			return
		case len(j.waiters) > 0 && !q.parked(j):
			q.submit(j)
			q.othersQueue(j)
			return
		}
	}
}

// othersQueue tells the jobs behind one that they wait.
func (q *Queue) othersQueue(first *Job) {
	for _, j := range q.jobs {
		if j != first && !j.submitted && j.hint.State != message.EventQueued && !q.parked(j) {
			j.tell(message.EventQueued, "")
		}
	}
}

// accept makes a job of a request, once: the approval's text is its identity,
// and the board never executes one job twice. The record is on disk before the
// board hears of the job, so that a daemon started after this one was killed
// knows it; the client is told when it survives a power cut too.
func (q *Queue) accept(j *Job) *api.Response {
	if j.record != nil {
		return nil
	}
	class, resp := q.classOf(j)
	if resp != nil {
		return resp
	}
	if resp := q.mayPark(j, class); resp != nil {
		return resp
	}
	wait := min(j.Timeout, q.o.Mirror.Policy().MaxValidity)
	if room := q.o.Mirror.Policy().MaxValidity - q.o.Mirror.Policy().MaxSkew; room > 0 {
		wait = min(wait, room) // so that a board whose clock is behind takes it too
	}
	now := q.o.Loop.Now()
	a := message.Approval{
		Origin: q.o.Mirror.Pinned().Origin, Class: class, Nonce: j.Key, Items: j.Items,
		NotAfter: now.Add(max(wait.Truncate(time.Second), time.Second)),
	}
	text := a.Marshal()
	n, err := message.SignNote(text) // host keys never approve
	if err != nil {
		return api.Fail(api.Internal, "%v", err)
	}
	q.accepted++
	rec := &spool.Record{Job: message.JobOf(text), Number: q.accepted, Key: j.Key, Created: now, Deadline: now.Add(j.Timeout), From: q.o.Mirror.Committed(), Approval: n, Contents: j.Sent}
	if err := q.spool.Put(rec); err != nil {
		return api.Fail(api.CannotWrite, "the request cannot be written down: %v", err)
	}
	if err := q.o.Mirror.Watch(q.o.Mirror.Size(), rec.Job); err != nil {
		return api.Fail(api.Internal, "%v", err)
	}
	j.record, j.Class = rec, class
	q.keepSoon(j)
	q.tellParked(j)
	return nil
}

// classOf finds the policy class that a job is asked for in.
func (q *Queue) classOf(j *Job) (string, *api.Response) {
	name, err := classes.Choose(q.o.Mirror.Policy(), q.o.Key, j.Class, j.Items)
	return name, against(err)
}

// against says what the policy has against a request, nil if nothing.
func against(err error) *api.Response {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, classes.ErrMixed):
		return api.Fail(api.Usage, "%v", err)
	}
	return api.Fail(api.Refused, "%v", err)
}

// May says what the policy has against files, as far as names, formats and sizes tell,
// so that no large one is hashed in vain. The appliance decides when it is asked.
func (q *Queue) May(req *api.Request) *api.Response {
	ok := &api.Response{Final: true, OK: true}
	p := q.o.Mirror.Policy()
	if p == nil || len(req.Items) > message.MaxItems {
		return ok // who asks to sign is told
	}
	var items []message.Item
	for _, it := range req.Items {
		items = append(items, message.Item{Format: it.Format, Size: it.Size, Name: it.Name})
	}
	return cmp.Or(against(classes.May(p, q.o.Key, req.Class, items)), ok)
}

// submit sends a job, for the first time or again: the board answers a
// repeated one from its log.
func (q *Queue) submit(j *Job) {
	size, root, err := q.o.Mirror.Head()
	if err != nil {
		q.o.Board.Broken(err)
		return
	}
	if j.plainHead {
		size, root = q.o.Mirror.Verified()
	}
	at := q.o.Loop.Now()
	if at.Before(j.notBefore) {
		at = j.notBefore
	}
	s := message.Submission{Approval: j.id(), HeadSize: size, HeadRoot: root, HostTime: at}
	n, err := q.o.Board.Signed(s.Marshal())
	if err != nil {
		q.decide(j, api.Fail(api.Internal, "%v", err))
		return
	}
	m := message.Submit{Approval: j.record.Approval, Submission: n, Contents: j.record.Contents}
	j.submitted, j.ever, j.asked = true, true, at
	q.o.Board.Send(m.Marshal())
	q.o.Log.Info().Str("job", j.id().String()).Int("items", len(j.Items)).Msg("submitted")
}

// armed reports whether the log has an intent for the job: from then on it
// cannot be withdrawn, and a signature may come to exist.
func (q *Queue) armed(j *Job) bool {
	t := q.o.Mirror.Trace(j.id())
	return t != nil && t.Intent != nil
}

// Refused takes the board's word that it does nothing about a job.
func (q *Queue) Refused(m *message.Refused) {
	j := q.find(m.Job)
	switch {
	case j == nil:
	case !q.armed(j):
		q.refused(j, m)
	case m.Code == message.CodeHalted:
		j.answer(api.Fail(api.MaySigned, "%s; job %s was committed before: a signature may exist%s", m.Text, j.id(), later(j)))
	}
}

func (q *Queue) refused(j *Job, m *message.Refused) {
	switch m.Code {
	case message.CodeBusy, message.CodeTooMany:
		j.tell("busy", m.Text)
		q.o.Loop.After(q.o.Loop.Waits.BusyRetry, func() { q.again(j) })
	case message.CodeNoHello:
		j.submitted = false
		q.o.Board.HelloAgain()
	case message.CodeCancelled:
		q.cancelled(j)
	case message.CodeForkedHead, message.CodeUnknownHead, message.CodeStaleHead:
		q.otherHead(j, m)
	case message.CodeDenied:
		q.decide(j, api.Fail(api.Denied, "denied by the operator: nothing was signed"))
	case message.CodeArmTimeout:
		q.decide(j, api.Fail(api.TimedOut, "nobody armed the request in time: nothing was signed, try again"))
	default:
		q.decide(j, api.Fail(api.CodeFor(m.Code), "the appliance refuses (%s): %s", m.Code, m.Text))
	}
}

// cancelled is the board's word that it dropped a job. If nobody here wants that
// now, it was wanted a moment ago, or by the daemon before this one when it
// stopped: the job is asked for again, later than it was withdrawn.
func (q *Queue) cancelled(j *Job) {
	switch {
	case j.ending != nil:
		q.decide(j, j.ending)
	case j.cancels == maxCancels:
		q.decide(j, api.Fail(api.Interrupted, "the appliance says that the request was withdrawn"))
	default:
		j.cancels++
		j.notBefore = q.o.Loop.Now().Add(time.Second)
		q.again(j)
	}
}

// otherHead is the board's word that our log is not its own. If that is because
// of entries that only came over the link, it is asked again with the head that
// is proven.
func (q *Queue) otherHead(j *Job, m *message.Refused) {
	if j.plainHead {
		q.decide(j, api.Fail(api.CodeFor(m.Code), "the appliance refuses (%s): %s", m.Code, m.Text))
		return
	}
	j.plainHead = true
	q.o.Board.Reread()
	q.again(j)
}

// again submits a job once more, if it still can be withdrawn.
func (q *Queue) again(j *Job) {
	if slices.Contains(q.jobs, j) && !q.armed(j) && j.ending == nil {
		j.submitted = false
		q.pump()
	}
}
