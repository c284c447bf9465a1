package hostd

import (
	"slices"
	"strings"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/hostd/trustfile"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
)

// ask takes a client's request: one that is known already is joined, a new one
// is queued. It returns the job that the client waits for.
func (d *Daemon) ask(j *job, w *waiter.Waiter) *job {
	if known := d.knownAs(j); known != nil {
		if j.park && !d.parked(known) {
			w.Final <- api.Fail(api.Usage, "job %s waits for no approvals any more: touchmark sign takes it up", known.id())
			return nil
		}
		known.earlier = known.key != j.key
		d.revive(known)
		d.join(known, w)
		return known
	}
	j.waiters = waiter.Group{w}
	if resp := d.unable(); resp != nil {
		j.answer(resp)
		return j
	}
	d.jobs = append(d.jobs, j)
	j.timer = d.loop.After(j.timeout, func() { d.expire(j) })
	if !d.ready() {
		j.tell("waiting-for-link", d.linkState())
		d.loop.After(d.o.Grace, func() { d.lapse(j) })
	}
	d.pump()
	return j
}

// unable says why no new request is taken, nil if one is.
func (d *Daemon) unable() *api.Response {
	switch {
	case d.evidence != "":
		return d.refuseEvidence()
	case d.mirror.Closed():
		return api.Fail(api.DeviceFault, "the administrators ended this log: it signs nothing any more; the log that goes on, if there is one, stands in the last entry")
	case d.conv != nil && d.conv.halted:
		return api.Fail(api.DeviceFault, "%s", d.conv.haltedText())
	case d.trust.Outdated():
		return api.Fail(api.BadInput, "%s", trustfile.OutdatedText)
	case len(d.jobs) >= maxJobs:
		return api.Fail(api.DeviceFault, "%d requests are waiting already: try again when some are done", len(d.jobs))
	}
	return nil
}

// knownAs finds the job that a request means: the one that this client asked
// for before its daemon or its connection went away, or one for the same bytes
// whose result nobody has taken.
func (d *Daemon) knownAs(j *job) *job {
	jobs := slices.Concat(d.jobs, d.past)
	if i := slices.IndexFunc(jobs, func(o *job) bool { return o.key == j.key }); i >= 0 {
		return jobs[i]
	}
	i := slices.IndexFunc(jobs, func(o *job) bool { return o.sameAs(j) && d.forgotten(o) })
	if i < 0 {
		return nil
	}
	return jobs[i]
}

// forgotten reports whether a job goes on, or was signed, and nobody waits.
func (d *Daemon) forgotten(j *job) bool {
	switch {
	case j.record == nil || j.record.End != nil || j.ending != nil || len(j.waiters) > 0:
		return false
	case slices.Contains(d.past, j):
		return d.ended(j).OK
	}
	return true
}

// revive takes up a job again that was withdrawn because nobody waited for it,
// or is just being, when its client comes back after all. Whoever withdraws it
// himself does not.
func (d *Daemon) revive(j *job) {
	i := slices.Index(d.past, j)
	switch {
	case len(j.waiters) > 0 || d.armed(j):
		return
	case i < 0 && j.ending == nil:
		return
	case i >= 0 && (j.record.End == nil || j.record.End.Code != api.Interrupted || !d.loop.Now().Before(j.record.Deadline)):
		return
	case i >= 0:
		d.past = slices.Delete(d.past, i, i+1)
		d.jobs = append(d.jobs, j)
		j.timer = d.loop.After(j.record.Deadline.Sub(d.loop.Now()), func() { d.expire(j) })
		j.record.End = nil
		d.keep(j)
	}
	j.ending, j.submitted = nil, false
	j.notBefore = d.loop.Now().Add(time.Second) // later than it was withdrawn
}

// find gives the job of an identity, nil for an unknown one.
func (d *Daemon) find(id message.JobID) *job { return findIn(d.jobs, id) }

func findIn(jobs []*job, id message.JobID) *job {
	i := slices.IndexFunc(jobs, func(j *job) bool { return j.record != nil && j.record.Job == id })
	if i < 0 {
		return nil
	}
	return jobs[i]
}

// join lets another client wait for a job, or gives it the answer.
func (d *Daemon) join(j *job, w *waiter.Waiter) {
	j.waiters = append(j.waiters, w)
	if slices.Contains(d.past, j) {
		j.answer(d.ended(j))
		return
	}
	d.log.Info().Str("job", j.id().String()).Msg("a client waits for it again")
	if j.kept {
		w.Emit(api.Event{State: api.EventAccepted, Job: j.id().String()})
	}
	if j.hint.State != "" && j.hint.State != api.EventApprovals {
		w.Emit(j.hint)
	} else {
		d.tellParked(j) // by now others may have approved it
	}
	d.pump()
}

// lapse ends a request that came while there was no link, and there still is
// none.
func (d *Daemon) lapse(j *job) {
	if slices.Contains(d.jobs, j) && j.record == nil && !d.ready() {
		d.decide(j, d.noLink())
	}
}

func (d *Daemon) noLink() *api.Response {
	code := api.LinkDown
	if d.conv != nil && d.conv.suspect {
		code = api.Evidence
	}
	return api.Fail(code, "no conversation with the appliance on %s (%s)", d.o.Device, d.linkState())
}

// pump accepts what waits when the conversation is ready, and submits the
// first job that somebody waits for. One at a time is with the board, so that
// its operator sees them in order. Just after a start the first is waited for:
// its client is about to come back.
func (d *Daemon) pump() {
	if !d.ready() {
		return
	}
	for _, j := range slices.Clone(d.jobs) {
		if resp := d.accept(j); resp != nil {
			d.decide(j, resp)
		}
	}
	for _, j := range d.jobs {
		switch {
		case j.submitted || j.ending != nil || d.armed(j),
			j.awaited && len(j.waiters) == 0 && !d.patient(j) && !d.overtakes:
			d.othersQueue(j)
			return
		case len(j.waiters) > 0 && !d.parked(j):
			d.submit(j)
			d.othersQueue(j)
			return
		}
	}
}

// othersQueue tells the jobs behind one that they wait.
func (d *Daemon) othersQueue(first *job) {
	for _, j := range d.jobs {
		if j != first && !j.submitted && j.hint.State != message.EventQueued && !d.parked(j) {
			j.tell(message.EventQueued, "")
		}
	}
}

// accept makes a job of a request, once: the approval's text is its identity,
// and the board never executes one job twice. The record is on disk before the
// board hears of the job, so that a daemon started after this one was killed
// knows it; the client is told when it survives a power cut too.
func (d *Daemon) accept(j *job) *api.Response {
	if j.record != nil {
		return nil
	}
	class, resp := d.classOf(j)
	if resp != nil {
		return resp
	}
	if resp := d.mayPark(j, class); resp != nil {
		return resp
	}
	wait := min(j.timeout, d.mirror.Policy().MaxValidity)
	if room := d.mirror.Policy().MaxValidity - d.mirror.Policy().MaxSkew; room > 0 {
		wait = min(wait, room) // so that a board whose clock is behind takes it too
	}
	now := d.loop.Now()
	a := message.Approval{
		Origin: d.mirror.Pinned().Origin, Class: class, Nonce: j.key, Items: j.items,
		NotAfter: now.Add(max(wait.Truncate(time.Second), time.Second)),
	}
	text := a.Marshal()
	n, err := message.SignNote(text) // host keys never approve
	if err != nil {
		return api.Fail(api.Internal, "%v", err)
	}
	d.accepted++
	rec := &spool.Record{Job: message.JobOf(text), Number: d.accepted, Key: j.key, Created: now, Deadline: now.Add(j.timeout), From: d.mirror.Committed(), Approval: n, Contents: j.sent}
	if err := d.spool.Put(rec); err != nil {
		return api.Fail(api.CannotWrite, "the request cannot be written down: %v", err)
	}
	if err := d.mirror.Watch(d.mirror.Size(), rec.Job); err != nil {
		return api.Fail(api.Internal, "%v", err)
	}
	j.record, j.class = rec, class
	d.keepSoon(j)
	d.tellParked(j)
	return nil
}

// classOf finds the policy class: the one asked for, or the first in the
// policy's order that fits all names.
func (d *Daemon) classOf(j *job) (string, *api.Response) {
	p := d.mirror.Policy()
	if j.class != "" {
		if _, ok := p.Class(j.class); !ok {
			return "", api.Fail(api.Refused, "the policy has no class %q: it has %s", j.class, strings.Join(d.classes(), ", "))
		}
		return j.class, nil
	}
	host, ok := d.hostName()
	if !ok {
		return "", api.Fail(api.Refused, "the policy does not know this host's key %s: have the administrators add it", d.o.Key.Name())
	}
	var common []string
	for i, it := range j.items {
		fits := p.ClassesFor(host, it.Format, it.Name)
		if len(fits) == 0 {
			return "", api.Fail(api.Refused, "no class of the policy lets host %s have %s signed as %s: take another format, rename the file or have the policy changed", host, it.Name, it.Format)
		}
		if i == 0 {
			common = fits
		} else {
			common = slices.DeleteFunc(common, func(c string) bool { return !slices.Contains(fits, c) })
		}
	}
	if len(common) == 0 {
		return "", api.Fail(api.Usage, "these files belong to different classes of the policy: sign them in separate calls")
	}
	return common[0], nil
}

// may says what the policy has against files, as far as names, formats and sizes tell,
// so that no large one is hashed in vain. The appliance decides when it is asked.
func (d *Daemon) may(req *api.Request) *api.Response {
	p := d.mirror.Policy()
	if p == nil || len(req.Items) > message.MaxItems {
		return &api.Response{Final: true, OK: true} // who asks to sign is told
	}
	j := &job{class: req.Class}
	for _, it := range req.Items {
		j.items = append(j.items, message.Item{Format: it.Format, Size: it.Size, Name: it.Name})
	}
	name, resp := d.classOf(j)
	if resp != nil {
		return resp
	}
	c, _ := p.Class(name)
	if err := c.Takes(j.items); err != nil {
		return api.Fail(api.Refused, "the policy refuses: %v", err)
	}
	return &api.Response{Final: true, OK: true}
}

func (d *Daemon) classes() []string {
	var out []string
	for _, c := range d.mirror.Policy().Classes {
		out = append(out, c.Name)
	}
	return out
}

// hostName is what the policy calls the holder of our key.
func (d *Daemon) hostName() (string, bool) {
	for _, h := range d.mirror.Policy().Hosts {
		if h.Key.Name() == d.o.Key.Name() && h.Key.KeyHash() == d.o.Key.KeyHash() {
			return h.Name, true
		}
	}
	return "", false
}

// submit sends a job, for the first time or again: the board answers a
// repeated one from its log.
func (d *Daemon) submit(j *job) {
	size, root, err := d.mirror.Head()
	if err != nil {
		d.broken(err)
		return
	}
	if j.plainHead {
		size, root = d.mirror.Verified()
	}
	at := d.loop.Now()
	if at.Before(j.notBefore) {
		at = j.notBefore
	}
	s := message.Submission{Approval: j.id(), HeadSize: size, HeadRoot: root, HostTime: at}
	n, err := d.signed(s.Marshal())
	if err != nil {
		d.decide(j, api.Fail(api.Internal, "%v", err))
		return
	}
	m := message.Submit{Approval: j.record.Approval, Submission: n, Contents: j.record.Contents}
	j.submitted, j.ever, j.asked = true, true, at
	d.send(m.Marshal())
	d.log.Info().Str("job", j.id().String()).Int("items", len(j.items)).Msg("submitted")
}

// armed reports whether the log has an intent for the job: from then on it
// cannot be withdrawn, and a signature may come to exist.
func (d *Daemon) armed(j *job) bool {
	t := d.mirror.Trace(j.id())
	return t != nil && t.Intent != nil
}

// refused takes the board's word that it does nothing about a job.
func (d *Daemon) refused(m *message.Refused) {
	d.log.Warn().Str("code", m.Code).Str("job", m.Job.String()).Msg(m.Text)
	if d.refusedChallenge(m) {
		return
	}
	for _, h := range d.findOrders(m.Job) {
		d.refuseOrder(h, m)
	}
	switch {
	case m.Code == message.CodeHalted && d.conv.ready:
		defer d.helloAgain() // its answer says so for `touchmark status`, and for the jobs that wait
	case m.Code == message.CodeHalted && !d.conv.halted: // instead of a welcome
		d.conv.halted, d.conv.problem = true, m.Text
		d.endHalted()
		return
	case m.Job == message.JobID{} && m.Code == message.CodeForkedHead:
		d.reread() // what this host acknowledged is not what the board has
	case m.Job == message.JobID{} && m.Code == message.CodeClockSkew:
		d.skewed()
	}
	j := d.find(m.Job)
	if j == nil {
		return
	}
	if d.armed(j) {
		if m.Code == message.CodeHalted {
			j.answer(api.Fail(api.MaySigned, "%s; job %s was committed before: a signature may exist%s", m.Text, j.id(), later(j)))
		}
		return
	}
	d.refusedJob(j, m)
}

func (d *Daemon) refusedJob(j *job, m *message.Refused) {
	switch m.Code {
	case message.CodeBusy, message.CodeTooMany:
		j.tell("busy", m.Text)
		d.loop.After(d.loop.Waits.BusyRetry, func() { d.again(j) })
	case message.CodeNoHello:
		j.submitted = false
		d.helloAgain()
	case message.CodeCancelled:
		d.cancelled(j)
	case message.CodeForkedHead, message.CodeUnknownHead, message.CodeStaleHead:
		d.otherHead(j, m)
	case message.CodeDenied:
		d.decide(j, api.Fail(api.Denied, "denied by the operator: nothing was signed"))
	case message.CodeArmTimeout:
		d.decide(j, api.Fail(api.TimedOut, "nobody armed the request in time: nothing was signed, try again"))
	default:
		d.decide(j, api.Fail(api.CodeFor(m.Code), "the appliance refuses (%s): %s", m.Code, m.Text))
	}
}

// cancelled is the board's word that it dropped a job. If nobody here wants that
// now, it was wanted a moment ago, or by the daemon before this one when it
// stopped: the job is asked for again, later than it was withdrawn.
func (d *Daemon) cancelled(j *job) {
	switch {
	case j.ending != nil:
		d.decide(j, j.ending)
	case j.cancels == maxUnexplained:
		d.decide(j, api.Fail(api.Interrupted, "the appliance says that the request was withdrawn"))
	default:
		j.cancels++
		j.notBefore = d.loop.Now().Add(time.Second)
		d.again(j)
	}
}

// otherHead is the board's word that our log is not its own. If that is because
// of entries that only came over the link, it is asked again with the head that
// is proven.
func (d *Daemon) otherHead(j *job, m *message.Refused) {
	if j.plainHead {
		d.decide(j, api.Fail(api.CodeFor(m.Code), "the appliance refuses (%s): %s", m.Code, m.Text))
		return
	}
	j.plainHead = true
	d.reread()
	d.again(j)
}

// again submits a job once more, if it still can be withdrawn.
func (d *Daemon) again(j *job) {
	if slices.Contains(d.jobs, j) && !d.armed(j) && j.ending == nil {
		j.submitted = false
		d.pump()
	}
}
