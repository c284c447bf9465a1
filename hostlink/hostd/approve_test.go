package hostd

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/queue"
	"touchmark/hostlink/message"
)

// approve has people sign a note and hands it to the daemon.
func (w *world) approve(note []byte, people ...string) *client {
	w.t.Helper()
	for _, name := range people {
		note = must(message.CosignNote(note, logtest.ApproverKey(name)))
	}
	return w.ask(&api.Request{Op: api.OpApprove, Note: note})
}

// request waits for a job to wait for approvals, and gives what is to be signed.
func (w *world) request(c *client) []byte {
	w.t.Helper()
	c.event(api.EventApprovals)
	l := w.jobs()
	r := w.ask(&api.Request{Op: api.OpApproval, Job: l[len(l)-1].Job}).expect(api.OK, "")
	if r.Need != 2 || len(r.Persons) != 0 {
		w.t.Fatalf("asked for: %+v", r)
	}
	return r.Approval
}

// TestApprovals: a job is submitted when enough people approved it, not before, with all their signatures; what needs
// no approvals does not wait behind it.
func TestApprovals(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("a.pkg", "b.pkg")
	n := w.request(c)
	other := w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	other.expect(api.OK, "")

	r := w.approve(n, "alice").expect(api.OK, "")
	if r.Need != 2 || !slices.Equal(r.Persons, []string{"alice"}) || !slices.Equal(r.Added, []string{"alice"}) {
		t.Fatalf("one approved: %+v", r)
	}
	c.event(api.EventApprovals)
	if l := w.jobs(); l[0].State != api.EventApprovals || l[0].Need != 2 || !slices.Equal(l[0].Persons, []string{"alice"}) {
		t.Fatalf("listed: %+v", l[0])
	}
	if r := w.approve(n, "alice").expect(api.OK, ""); len(r.Added) != 0 || len(r.Persons) != 1 {
		t.Fatalf("the same approval again: %+v", r)
	}
	w.approve(n, "bob").expect(api.OK, "")
	got := w.b.submitted()
	if !slices.Equal(got.Persons, []string{"alice", "bob"}) || message.JobOf(got.ApprovalText) != got.Job {
		t.Fatalf("submitted: %+v", got.Request)
	}
	w.b.run(got, nil)
	c.expect(api.OK, "")
	w.approve(n, "carol").expect(api.BadInput, "does not wait here")
}

// TestApprovalsTogether: one note may carry several people's signatures, and more than are needed.
func TestApprovalsTogether(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("a.pkg")
	w.approve(w.request(c), "carol", "bob", "laptop").expect(api.OK, "")
	got := w.b.submitted()
	if !slices.Equal(got.Persons, []string{"alice", "bob", "carol"}) {
		t.Fatalf("submitted: %+v", got.Persons)
	}
	w.approve(got.submit.Approval).expect(api.BadInput, "with the appliance already")
	w.b.run(got, nil)
	c.expect(api.OK, "")
}

// TestWrongApprovals: what the appliance would refuse is refused when it comes, and spoils nothing.
func TestWrongApprovals(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("a.pkg")
	n := w.request(c)
	text := must(message.NoteText(n))
	a := must(message.ParseApproval(text))
	changed := func(change func(*message.Approval)) []byte {
		b := a
		b.Items = slices.Clone(a.Items)
		change(&b)
		return must(message.SignNote(b.Marshal()))
	}
	ofOther := changed(func(b *message.Approval) { b.Nonce[0]++ })
	signature := must(message.CosignNote(ofOther, logtest.ApproverKey("alice")))[len(ofOther):]
	for name, tc := range map[string]struct {
		note   []byte
		people []string
		code   int
		part   string
	}{
		"no note":                       {[]byte("hello"), nil, api.BadInput, "no approval"},
		"another text":                  {must(message.SignNote([]byte("hello\n"))), []string{"alice"}, api.BadInput, "no approval"},
		"nobody signed":                 {n, nil, api.BadInput, "nobody has signed this"},
		"a stranger":                    {n, []string{"mallory"}, api.Refused, "unknown-approver"},
		"one person with two keys":      {n, []string{"alice", "laptop"}, api.Refused, "same-person: alice approved twice"},
		"the signature of another text": {append(bytes.Clone(n), signature...), nil, api.Refused, "bad-signature"},
		"another log":                   {changed(func(b *message.Approval) { b.Origin = "other.example/log" }), []string{"alice"}, api.Refused, "wrong-origin"},
		"another class":                 {changed(func(b *message.Approval) { b.Class = "iso" }), []string{"alice"}, api.BadInput, "does not wait here"},
		"another digest":                {changed(func(b *message.Approval) { b.Items[0].Digest.Sum = make([]byte, 32) }), []string{"alice"}, api.BadInput, "does not wait here"},
		"another request for the same":  {changed(func(b *message.Approval) { b.Nonce[0]++ }), []string{"alice"}, api.BadInput, "does not wait here"},
		"expired":                       {changed(func(b *message.Approval) { b.NotAfter = noon.Add(-time.Second) }), []string{"alice"}, api.Refused, "expired: the approval was good until"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func(outer *testing.T) { w.t = outer }(w.t)
			w.t = t
			w.approve(tc.note, tc.people...).expect(tc.code, tc.part)
		})
	}
	w.ask(&api.Request{Op: api.OpApprove, Note: must(message.SignNote(text, must(note.NewSigner(w.b.hostKey))))}).expect(api.Refused, "a host never does")
	w.approve(n, "alice").expect(api.OK, "")
	w.approve(n, "laptop").expect(api.Refused, "same-person")
	w.approve(n, "carol").expect(api.OK, "")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

// TestApprovalsOutliveEverybody: approvals are kept over a daemon that is killed and a client that went away; the same
// request finds them, and is submitted then.
func TestApprovalsOutliveEverybody(t *testing.T) {
	w := newWorldTimed(t, loop.Timing{Rejoin: time.Millisecond})
	w.b.meet()
	c := w.sign("a.pkg")
	n := w.request(c)
	w.approve(n, "bob").expect(api.OK, "")
	_ = c.conn.Close()
	for w.jobs()[0].Waiting != 0 { // until the daemon has seen it
	}
	w.restart()
	w.b.meet()
	if l := w.jobs(); len(l) != 1 || l[0].State != api.EventApprovals || !slices.Equal(l[0].Persons, []string{"bob"}) {
		t.Fatalf("after a restart: %+v", l)
	}
	again := w.sign("a.pkg")
	again.event(api.EventApprovals)
	w.approve(n, "alice").expect(api.OK, "")
	got := w.b.submitted()
	if id := message.JobOf(must(message.NoteText(n))); got.Job != id || !slices.Equal(got.Persons, []string{"alice", "bob"}) {
		t.Fatalf("job %s of %v, want %s", got.Job, got.Persons, id)
	}
	w.b.run(got, nil)
	again.expect(api.OK, "")
}

// TestApprovalsWithoutLink: people approve while the appliance is away, and whoever waits is told of them all the same;
// it hears of the job when it is back.
func TestApprovalsWithoutLink(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	req := signing("a.pkg")
	c := w.ask(req)
	n := w.request(c)
	w.b.drop()
	w.settled()
	w.ask(req).event(api.EventApprovals)
	w.approve(n, "alice", "bob").expect(api.OK, "")
	w.b.meet()
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

// TestPark: a request that is made to be approved reaches no display by itself.
func TestPark(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	park := func(name string) *client {
		req := signing(name)
		req.Park = true
		return w.ask(req)
	}
	park("core.db").expect(api.Usage, "class pacman-db demands no approvals")
	c := park("a.pkg")
	n := w.request(c)
	_ = c.conn.Close()
	for w.jobs()[0].Waiting != 0 { // until the daemon has seen it
	}
	again := park("a.pkg")
	again.event(api.EventApprovals)
	_ = again.conn.Close()
	for w.jobs()[0].Waiting != 0 {
	}
	w.approve(n, "alice", "bob").expect(api.OK, "")
	if l := w.jobs(); len(l) != 1 || l[0].State != api.StateApproved {
		t.Fatalf("listed: %+v", l)
	}
	park("a.pkg").expect(api.Usage, "waits for no approvals any more: touchmark sign takes it up")
	c = w.sign("a.pkg")
	w.b.run(w.b.submitted(), nil)
	r := c.read()
	for ; !r.Final; r = c.read() {
		if r.Event != nil && r.Event.State == api.EventApprovals {
			t.Errorf("told to wait for approvals that are there: %+v", r.Event)
		}
	}
	if !r.OK {
		t.Errorf("%+v", r)
	}
	c.take()
}

// TestTooManyParked: requests that wait for approvals leave room for what needs none.
func TestTooManyParked(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	for i := range queue.MaxJobs / 4 {
		w.sign(fmt.Sprintf("%d.pkg", i)).event(api.EventApprovals)
	}
	w.sign("more.pkg").expect(api.DeviceFault, "16 requests wait for approvals already")
	c := w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

// TestNotApprovedInTime: the request ends, and says who was missing; a late approval is told so.
func TestNotApprovedInTime(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("a.pkg")
	n := w.request(c)
	w.approve(n, "bob").expect(api.OK, "")
	w.pass(timeout)
	if r := c.final(); r.Code != api.TimedOut || r.Error != "not approved within 1h0m0s (1 of 2 approved: bob): nothing was signed" {
		t.Fatalf("%+v", r)
	}
	w.approve(n, "alice").expect(api.BadInput, "has ended: an approval is for one request only")
	w.ask(&api.Request{Op: api.OpApproval, Job: "42"}).expect(api.Usage, "see touchmark jobs")
	w.ask(&api.Request{Op: api.OpApproval, Job: message.JobID{}.String()}).expect(api.Usage, "is not kept here")
}

// TestWithdrawParked: a request that waits for approvals is taken back by its job, whoever asked;
// its approvals are worth nothing then. What the appliance has is not.
func TestWithdrawParked(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("a.pkg")
	n := w.request(c)
	text, err := message.NoteText(n)
	if err != nil {
		t.Fatal(err)
	}
	job := message.JobOf(text).String()
	withdraw := func(job string) *client { return w.ask(&api.Request{Op: api.OpWithdraw, Job: job}) }
	withdraw("42").expect(api.Usage, "see touchmark jobs")
	withdraw(message.JobID{}.String()).expect(api.BadInput, "does not wait here")
	withdraw(job).expect(api.OK, "")
	c.expect(api.Interrupted, "withdrawn by touchmark approvals withdraw; nothing was signed")
	withdraw(job).expect(api.BadInput, "does not wait here")
	w.approve(n, "bob").expect(api.BadInput, "does not wait here")
	other := w.sign("core.db") // of a class without approvals
	m := w.b.submitted()
	withdraw(m.Job.String()).expect(api.BadInput, "does not wait for approvals")
	w.b.run(m, nil)
	other.expect(api.OK, "")
}

// TestParkedIsWithdrawn: who asked can take it back before anybody at the appliance hears of it.
func TestParkedIsWithdrawn(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("a.pkg")
	w.request(c)
	if err := c.lines.Write(&api.Request{Op: api.OpCancel}); err != nil {
		t.Fatal(err)
	}
	c.expect(api.Interrupted, "withdrawn, nothing was signed")
}
