package hostd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// job is one request of a client, from its arrival to its final answer. It
// belongs to the loop; final and events are read by the client's goroutine.
type job struct {
	class   string
	timeout time.Duration
	items   []message.Item
	states  []sigformat.State

	final  chan *api.Response // capacity 1, sent once
	events chan *api.Event    // hints; dropped when the client is slow

	id        message.JobID // zero until prepared
	approval  []byte        // note
	submitted bool          // in this session
	ever      bool          // in any session: the board may know it
	asked     time.Time     // host time of the newest submission
	ending    *api.Response // after a cancel: the answer if the board confirms or is silent
	extended  bool          // the client's timeout has passed, but the job is armed
	timer     *time.Timer
}

// newJob checks a client's request. The client is local and trusted with its
// own files only: everything is parsed strictly.
func newJob(r *api.Request) (*job, error) {
	if len(r.Items) == 0 || len(r.Items) > message.MaxItems {
		return nil, fmt.Errorf("%d files at once: sign 1 to %d", len(r.Items), message.MaxItems)
	}
	j := &job{class: r.Class, timeout: r.Wait(), final: make(chan *api.Response, 1), events: make(chan *api.Event, 32)}
	if j.timeout <= 0 || j.timeout > maxTimeout {
		return nil, fmt.Errorf("timeout %s: use up to %s", j.timeout, maxTimeout)
	}
	for _, it := range r.Items {
		if err := j.addItem(it); err != nil {
			return nil, err
		}
	}
	return j, nil
}

func (j *job) addItem(it api.Item) error {
	if it.Format != sigformat.OpenPGPBinary {
		return fmt.Errorf("format %q is not known: use %q", it.Format, sigformat.OpenPGPBinary)
	}
	if err := message.ValidName(it.Name); err != nil {
		return err
	}
	if slices.ContainsFunc(j.items, func(o message.Item) bool { return o.Name == it.Name }) {
		return fmt.Errorf("two files are called %s: sign them in separate calls", it.Name)
	}
	digest, err := message.ParseDigest(it.Digest)
	if err != nil {
		return err
	}
	state, err := sigformat.ParseState(digest.Alg, it.State)
	if err != nil {
		return err
	}
	if state.Count() != it.Size || !digest.Equal(message.Digest{Alg: digest.Alg, Sum: state.Digest()}) {
		return fmt.Errorf("%s: digest, size and hash state do not belong together", it.Name)
	}
	j.items = append(j.items, message.Item{Format: it.Format, Digest: digest, Size: it.Size, Name: it.Name})
	j.states = append(j.states, state)
	return nil
}

// tell passes a hint on, or drops it when the client does not read.
func (j *job) tell(state, text string) {
	j.emit(&api.Event{State: state, Text: text})
}

func (j *job) hint(m *message.Event) {
	j.emit(&api.Event{State: m.State, Item: m.Item, Seconds: m.Seconds})
}

func (j *job) emit(e *api.Event) {
	if j.id != (message.JobID{}) {
		e.Job = j.id.String()
	}
	select {
	case j.events <- e:
	default:
	}
}

// enqueue takes a job from a client.
func (d *Daemon) enqueue(j *job) {
	switch {
	case d.evidence != "":
		j.final <- d.refuseEvidence()
		return
	case d.conv != nil && d.conv.halted:
		j.final <- fail(api.DeviceFault, haltedText)
		return
	case len(d.jobs) >= maxJobs:
		j.final <- fail(api.DeviceFault, "%d requests are waiting already: try again when some are done", len(d.jobs))
		return
	}
	d.jobs = append(d.jobs, j)
	j.timer = d.after(j.timeout, func() { d.expire(j) })
	if !d.ready() {
		j.tell("waiting-for-link", d.linkState())
		d.after(d.o.Grace, func() { d.lapse(j) })
	} else if len(d.jobs) > 1 {
		j.tell("queued", "")
	}
	d.pump()
}

// lapse ends a request that came while there was no link, and there still is
// none.
func (d *Daemon) lapse(j *job) {
	if slices.Contains(d.jobs, j) && !j.ever && !d.ready() {
		d.finish(j, d.noLink())
	}
}

func (d *Daemon) noLink() *api.Response {
	return fail(api.LinkDown, "no conversation with the appliance on %s (%s)", d.o.Device, d.linkState())
}

// pump submits the first job when the conversation is ready.
func (d *Daemon) pump() {
	for d.ready() && len(d.jobs) > 0 {
		j := d.jobs[0]
		if j.submitted || j.ending != nil {
			return
		}
		if t := d.mirror.Trace(j.id); j.ever && t != nil && t.Intent != nil {
			return // the log has it already: nothing to repeat, its outcome will come
		}
		if resp := d.prepare(j); resp != nil {
			d.finish(j, resp)
			return // finish pumps again
		}
		d.submit(j)
	}
}

// prepare makes the approval, once: its text is the job's identity, and the
// board never executes one job twice.
func (d *Daemon) prepare(j *job) *api.Response {
	if j.approval != nil {
		return nil
	}
	class, resp := d.classOf(j)
	if resp != nil {
		return resp
	}
	wait := min(j.timeout, d.mirror.Policy.MaxValidity)
	if room := d.mirror.Policy.MaxValidity - d.mirror.Policy.MaxSkew; room > 0 {
		wait = min(wait, room) // so that a board whose clock is behind takes it too
	}
	a := message.Approval{
		Origin: d.o.Trust.Origin, Class: class, Nonce: nonce(), Items: j.items,
		NotAfter: d.now().Add(max(wait.Truncate(time.Second), time.Second)),
	}
	text := a.Marshal()
	n, err := message.SignNote(text) // host keys never approve
	if err != nil {
		return fail(api.Internal, "%v", err)
	}
	j.approval, j.id = n, message.JobOf(text)
	d.mirror.Watch(j.id)
	return nil
}

// classOf finds the policy class: the one asked for, or the first in the
// policy's order that fits all names.
func (d *Daemon) classOf(j *job) (string, *api.Response) {
	p := d.mirror.Policy
	if j.class != "" {
		if _, ok := p.Class(j.class); !ok {
			return "", fail(api.Refused, "the policy has no class %q: it has %s", j.class, strings.Join(d.classes(), ", "))
		}
		return j.class, nil
	}
	host, ok := d.hostName()
	if !ok {
		return "", fail(api.Refused, "the policy does not know this host's key %s: have the administrators add it", d.o.Key.Name())
	}
	var common []string
	for i, it := range j.items {
		fits := p.ClassesFor(host, it.Format, it.Name)
		if len(fits) == 0 {
			return "", fail(api.Refused, "no class of the policy lets host %s have %s signed: rename the file or have the policy changed", host, it.Name)
		}
		if i == 0 {
			common = fits
		} else {
			common = slices.DeleteFunc(common, func(c string) bool { return !slices.Contains(fits, c) })
		}
	}
	if len(common) == 0 {
		return "", fail(api.Usage, "these files belong to different classes of the policy: sign them in separate calls")
	}
	return common[0], nil
}

func (d *Daemon) classes() []string {
	var out []string
	for _, c := range d.mirror.Policy.Classes {
		out = append(out, c.Name)
	}
	return out
}

// hostName is what the policy calls the holder of our key.
func (d *Daemon) hostName() (string, bool) {
	for _, h := range d.mirror.Policy.Hosts {
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
	s := message.Submission{Approval: j.id, HeadSize: size, HeadRoot: root, HostTime: d.now()}
	n, err := d.signed(s.Marshal())
	if err != nil {
		d.finish(j, fail(api.Internal, "%v", err))
		return
	}
	m := message.Submit{Approval: j.approval, Submission: n}
	for _, st := range j.states {
		m.States = append(m.States, st.Bytes())
	}
	j.submitted, j.ever, j.asked = true, true, s.HostTime
	d.send(m.Marshal())
	d.remember()
	d.log.Info().Str("job", j.id.String()).Int("items", len(j.items)).Msg("submitted")
}

func (d *Daemon) find(id message.JobID) *job {
	for _, j := range d.jobs {
		if j.id == id && id != (message.JobID{}) {
			return j
		}
	}
	return nil
}

// armed reports whether the log has an intent for the job: from then on it
// cannot be withdrawn, and a signature may come to exist.
func (d *Daemon) armed(j *job) bool {
	t := d.mirror.Trace(j.id)
	return t != nil && t.Intent != nil
}

// refused takes the board's word that it does nothing about a job.
func (d *Daemon) refused(m *message.Refused) {
	d.log.Warn().Str("code", m.Code).Str("job", m.Job.String()).Msg(m.Text)
	if m.Code == message.CodeHalted {
		defer d.helloAgain() // its answer says so for `touchmark status`, and for the jobs that wait
	}
	j := d.find(m.Job)
	if j == nil {
		return
	}
	if d.armed(j) {
		if m.Code == message.CodeHalted {
			d.finish(j, fail(api.MaySigned, "%s; job %s was committed before: a signature may exist", m.Text, j.id))
		}
		return
	}
	switch m.Code {
	case message.CodeBusy, message.CodeTooMany:
		j.tell("busy", m.Text)
		d.after(d.o.Timing.BusyRetry, func() { d.again(j) })
	case message.CodeNoHello:
		j.submitted = false
		d.helloAgain()
	case message.CodeCancelled:
		resp := j.ending
		if resp == nil {
			resp = fail(api.Interrupted, "the appliance says the request was withdrawn")
		}
		d.finish(j, resp)
	case message.CodeDenied:
		d.finish(j, fail(api.Denied, "denied by the operator: nothing was signed"))
	case message.CodeArmTimeout:
		d.finish(j, fail(api.TimedOut, "nobody armed the request in time: nothing was signed, try again"))
	default:
		d.finish(j, fail(api.CodeFor(m.Code), "the appliance refuses (%s): %s", m.Code, m.Text))
	}
}

func (d *Daemon) again(j *job) {
	if slices.Contains(d.jobs, j) && !d.armed(j) && j.ending == nil {
		j.submitted = false
		d.pump()
	}
}

// withdraw ends a job that is not armed with the given answer: at once if the
// board does not know it, else when the board confirms or stays silent.
func (d *Daemon) withdraw(j *job, resp *api.Response) {
	if !slices.Contains(d.jobs, j) || j.ending != nil || d.armed(j) {
		return
	}
	if !j.ever {
		d.finish(j, resp)
		return
	}
	if !d.ready() {
		d.finish(j, fail(api.MaySigned, "the link is down (%s) and the appliance has job %s: it may be signed yet", d.linkState(), j.id))
		return
	}
	n, err := d.cancelNote(j.id, j.asked)
	if err != nil {
		d.finish(j, fail(api.Internal, "%v", err))
		return
	}
	j.ending = resp
	d.send(n)
	d.after(d.o.Timing.CancelWait, func() {
		if slices.Contains(d.jobs, j) && !d.armed(j) {
			d.finish(j, fail(api.MaySigned, "the appliance does not confirm that job %s is withdrawn: it may be signed yet", j.id))
		}
	})
}

// expire is the client's timeout.
func (d *Daemon) expire(j *job) {
	switch {
	case !slices.Contains(d.jobs, j):
	case d.armed(j) && !j.extended:
		j.extended = true
		j.timer = d.after(d.o.Timing.ArmedGrace, func() { d.expire(j) })
	case d.armed(j):
		d.finish(j, fail(api.MaySigned, "job %s was committed, but its outcome did not arrive in time: a signature may exist; see \"touchmark log\"", j.id))
	case !j.ever && !d.ready():
		d.finish(j, d.noLink())
	case !j.ever:
		d.finish(j, fail(api.TimedOut, "other requests were waiting for the operator all the time: try again"))
	default:
		d.withdraw(j, fail(api.TimedOut, "nobody armed the request within %s: it was withdrawn, nothing was signed", j.timeout))
	}
}

// interrupted is the client's wish to stop, or its end.
func (d *Daemon) interrupted(j *job) {
	d.withdraw(j, fail(api.Interrupted, "withdrawn, nothing was signed"))
}

// stopped is the answer when the daemon ends.
func (d *Daemon) stopped(j *job) *api.Response {
	if j.ever {
		return fail(api.MaySigned, "touchmark-hostd is stopping; the appliance has job %s and it may be signed yet", j.id)
	}
	return fail(api.NoDaemon, "touchmark-hostd is stopping: start it and try again")
}

// finish gives a job's final answer and goes on to the next.
func (d *Daemon) finish(j *job, resp *api.Response) {
	i := slices.Index(d.jobs, j)
	if i < 0 {
		return
	}
	d.jobs = slices.Delete(d.jobs, i, i+1)
	j.timer.Stop()
	if resp.Code == api.MaySigned && !d.armed(j) {
		d.leave(j)
	}
	if j.id != (message.JobID{}) {
		d.mirror.Forget(j.id)
		resp.Job = j.id.String()
	}
	j.final <- resp
	ev := d.log.Info()
	if !resp.OK {
		ev = d.log.Warn().Int("code", resp.Code).Str("error", resp.Error)
	}
	ev.Str("job", resp.Job).Msg("finished")
	d.remember()
	d.publish()
	d.pump()
}
