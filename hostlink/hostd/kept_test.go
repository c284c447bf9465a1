package hostd

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tpm/ledger"
)

// restart stops the daemon with the link down, as a kill does, and starts another.
func (w *world) restart() {
	w.t.Helper()
	w.b.drop()
	w.settled() // else it may be the next daemon that hears of it
	w.stop()
	w.start()
}

func (w *world) jobs() []api.Job {
	w.t.Helper()
	return w.ask(&api.Request{Op: api.OpJobs}).expect(api.OK, "").Jobs
}

// TestJobOutlivesDaemon: the same request to the next daemon is the same job, whatever the log has of it by then.
func TestJobOutlivesDaemon(t *testing.T) {
	for name, tc := range map[string]struct{ before, after func(b *board, r *request) }{
		"not armed": {nil, func(b *board, r *request) { b.run(b.submitted(), nil) }},
		"armed": {func(b *board, r *request) {
			i, items := b.intent(r)
			b.push(i)
			b.acked()
			b.Commit()
			b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
		}, nil},
		"over, and nobody told": {func(b *board, r *request) { b.run(r, nil) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.b.meet()
			req := signing("core.db")
			c := w.ask(req)
			r := w.b.submitted()
			c.event(api.EventAccepted)
			if tc.before != nil {
				tc.before(w.b, r)
			}
			w.restart()
			c = w.ask(req)
			w.b.meet()
			if tc.after != nil {
				tc.after(w.b, r)
			}
			got := c.expect(api.OK, "")
			if got.Job != r.Job.String() || len(got.Signatures) != 1 {
				t.Fatalf("answer %+v to job %s", got, r.Job)
			}
			if left := w.jobs(); len(left) != 0 {
				t.Fatalf("kept though taken: %+v", left)
			}
			if files := must(os.ReadDir(filepath.Join(w.dir, "state", jobsDir))); len(files) > 1 { // the removal may be on its way
				t.Fatalf("%d files", len(files))
			}
		})
	}
}

// TestDocumentOutlivesDaemon: what goes to the board as it is goes there again as it was, beside states of other items.
func TestDocumentOutlivesDaemon(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	req := signing("core.db", "extra.db")
	req.Items[0] = documented("core.db", message.MaxDocument)
	c := w.ask(req)
	first := w.b.submitted()
	c.event(api.EventAccepted)
	if list := w.jobs(); len(list) != 1 || list[0].State != api.EventAccepted {
		t.Errorf("of a job that the board has said nothing of, it says %+v", list)
	}
	w.restart()
	c = w.ask(req)
	w.b.meet()
	again := w.b.submitted()
	if !reflect.DeepEqual(first.submit.Contents, again.submit.Contents) || again.submit.Contents[0].Document == nil || again.submit.Contents[1].State == nil {
		t.Error("the board is sent something else by the next daemon")
	}
	w.b.run(again, nil)
	if got := c.expect(api.OK, ""); len(got.Signatures) != 2 {
		t.Errorf("answer %+v", got)
	}
}

// TestOrderOutlivesDaemon: the jobs of a daemon before this one keep their order, whichever client comes back first; but
// one whose client does not come for a while is passed over.
func TestOrderOutlivesDaemon(t *testing.T) {
	first, second := signing("core.db"), signing("extra.db")
	begin := func(timing loop.Timing) *world {
		w := newWorldTimed(t, timing)
		w.b.meet()
		w.ask(first).event(api.EventAccepted)
		w.b.submitted()
		w.ask(second).event(api.EventAccepted)
		w.restart()
		return w
	}
	w := begin(loop.Timing{})
	w.b.meet()
	late := w.ask(second)
	late.event(message.EventQueued)
	early := w.ask(first)
	for _, name := range []string{"core.db", "extra.db"} {
		r := w.b.submitted()
		if got := r.Approval.Items[0].Name; got != name {
			t.Errorf("submitted %s, want %s", got, name)
		}
		w.b.run(r, nil)
	}
	early.expect(api.OK, "")
	late.expect(api.OK, "")

	w = begin(loop.Timing{InOrder: time.Millisecond})
	w.b.meet()
	late = w.ask(second)
	r := w.b.submitted()
	if got := r.Approval.Items[0].Name; got != "extra.db" {
		t.Errorf("submitted %s", got)
	}
	w.b.run(r, nil)
	late.expect(api.OK, "")
}

// TestNobodyComesBack: a job whose client stays away is withdrawn after a while; if the client comes after all, it goes
// on as the same job, asked for later than it was withdrawn.
func TestNobodyComesBack(t *testing.T) {
	w := newWorldTimed(t, loop.Timing{Rejoin: time.Millisecond})
	w.b.meet()
	req := signing("core.db")
	w.ask(req)
	r := w.b.submitted()
	w.restart()
	w.b.meet()
	n := hear[*message.CancelNote](w.b)
	if n.Cancel.Job != r.Job {
		t.Fatal("another job withdrawn")
	}
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeCancelled, Text: "cancelled by the host"})
	for {
		if l := w.jobs(); len(l) == 1 && l[0].State == "ended" && l[0].Code == api.Interrupted {
			break
		}
	}
	c := w.ask(req)
	again := w.b.submitted()
	if again.Job != r.Job || !again.Submission.HostTime.After(n.Cancel.HostTime) {
		t.Fatalf("job %s at %s, withdrawn at %s", again.Job, again.Submission.HostTime, n.Cancel.HostTime)
	}
	w.b.run(again, nil)
	c.expect(api.OK, "")
}

// TestResultWaits: what was signed for a client that is gone is there for the same request again, and for fetch.
func TestResultWaits(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db", "extra.db")
	r := w.b.submitted()
	i, items := w.b.intent(r)
	w.b.push(i)
	w.b.acked()
	_ = c.conn.Close() // armed: nothing is withdrawn any more
	w.b.Commit()
	w.b.push(w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items}))
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	for {
		if l := w.jobs(); l[0].State == "signed" && l[0].Waiting == 0 {
			break
		}
	}
	w.restart()
	w.b.meet()
	got := w.ask(&api.Request{Op: api.OpFetch, Job: r.Job.String()}).final() // not taken
	if !got.OK || len(got.Signatures) != 2 {
		t.Fatalf("fetched %+v", got)
	}
	again := w.sign("core.db", "extra.db").expect(api.OK, "")
	if !again.Earlier || again.Job != got.Job || !bytes.Equal(again.Signatures[1], got.Signatures[1]) {
		t.Fatalf("the same request is another job: %+v", again)
	}
	w.sign("core.db", "extra.db")
	if next := w.b.submitted(); next.Job == r.Job {
		t.Fatal("what was taken is given again")
	}
	watched := make(chan bool)
	w.d.loop.Post(func() { watched <- w.d.mirror.Trace(r.Job) != nil })
	if <-watched {
		t.Error("what was taken stays in memory")
	}
}

// TestTwoWait: the same bytes twice at once are two jobs while somebody waits for the first; fetch joins, and the first
// of two to leave does not withdraw.
func TestTwoWait(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	second := w.sign("core.db")
	second.event("queued")
	f := w.ask(&api.Request{Op: api.OpFetch, Job: r.Job.String()})
	f.event(api.EventAccepted)
	if err := f.lines.Write(&api.Request{Op: api.OpCancel}); err != nil {
		t.Fatal(err)
	}
	f.expect(api.Interrupted, "it goes on")
	w.b.run(r, nil)
	if got := c.expect(api.OK, ""); got.Job != r.Job.String() {
		t.Fatal("another job's signature")
	}
	next := w.b.submitted()
	if next.Job == r.Job {
		t.Fatal("one job for two clients")
	}
	w.b.run(next, nil)
	second.expect(api.OK, "")
}

// TestStopWithJobs: a daemon that stops takes its job off the board's display and answers nobody; the next one goes on.
func TestStopWithJobs(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	first, second := signing("core.db"), signing("extra.db")
	a := w.ask(first)
	r := w.b.submitted()
	b := w.ask(second)
	b.event("queued")
	w.stop()
	n := hear[*message.CancelNote](w.b)
	if n.Cancel.Job != r.Job {
		t.Fatal("another job withdrawn")
	}
	for _, c := range []*client{a, b} {
		for {
			got := new(api.Response)
			if c.lines.Read(got) != nil {
				break
			}
			if got.Final {
				t.Fatalf("a last word: %+v", got)
			}
		}
	}
	w.b.up.Store(false)
	w.start()
	a, b = w.ask(first), w.ask(second)
	a.event(api.EventAccepted)
	b.event(api.EventAccepted) // both are there: who waits first is served first
	w.b.meet()
	again := w.b.submitted()
	if again.Job != r.Job || !again.Submission.HostTime.After(n.Cancel.HostTime) {
		t.Fatalf("job %s at %s", again.Job, again.Submission.HostTime)
	}
	w.b.run(again, nil)
	a.expect(api.OK, "")
	w.b.run(w.b.submitted(), nil)
	b.expect(api.OK, "")
}

// TestDamagedRecord: a daemon starts although something that it kept is damaged, and leaves that alone.
func TestDamagedRecord(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	w.stop()
	path := filepath.Join(w.dir, "state", jobsDir, message.JobID{1}.String())
	if err := os.WriteFile(path, []byte("touchmark/hostd-job/v1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	if l := w.jobs(); len(l) != 0 {
		t.Fatalf("%+v", l)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

// TestOldJobsAreForgotten: what nobody fetches goes in the end.
func TestOldJobsAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	w.b.say(&message.Refused{Job: w.b.submitted().Job, Code: message.CodeDenied, Text: "x"})
	c.final()
	if l := w.jobs(); len(l) != 1 || l[0].Code != api.Denied || !strings.Contains(l[0].Error, "denied") {
		t.Fatalf("%+v", l)
	}
	w.stop()
	w.back.Store(-int64((7*24*time.Hour + 2*timeout).Seconds()))
	w.start()
	if l := w.jobs(); len(l) != 0 {
		t.Fatalf("kept for ever: %+v", l)
	}
}

// TestForgedEntries: somebody on the cable puts an entry into the place of the next one. What this host then says wrongly
// of the log, the board refuses; the host looks again, asks again, and none of it is evidence.
func TestForgedEntries(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	true1 := w.b.Size()
	w.b.Filler(noon.Add(time.Hour))
	w.b.push(true1)
	w.b.acked()
	w.b.Entries = w.b.Entries[:true1] // the board knows nothing of it
	c := w.sign("core.db")
	m := hear[*message.Submit](w.b)
	s := must(message.ParseSubmission(must(message.NoteText(m.Submission))))
	if s.HeadSize != true1+1 {
		t.Fatalf("head %d", s.HeadSize)
	}
	w.b.say(&message.Refused{Job: s.Approval, Code: message.CodeForkedHead, Text: "the host's head contradicts the board's log"})
	if f := hear[*message.Fetch](w.b); f.From != true1 {
		t.Fatalf("looks again from %d", f.From)
	}
	r := w.b.submitted()
	if r.Job != s.Approval || r.Submission.HeadSize != true1 {
		t.Fatalf("job %s, head %d", r.Job, r.Submission.HeadSize)
	}
	w.b.run(r, nil)
	c.expect(api.OK, "")
	if s := w.status(); s.Evidence != "" || !s.Verified {
		t.Fatalf("status %+v", s)
	}
}

// TestForkedHeadStays: a board that denies what its own TPM attested is not asked a third time.
func TestForkedHeadStays(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	for range 2 {
		w.b.say(&message.Refused{Job: w.b.submitted().Job, Code: message.CodeForkedHead, Text: "the host's head contradicts the board's log"})
	}
	c.expect(api.Evidence, "contradicts")
}

// TestLiesBeforeProof: what contradicts the proven log and nobody signed stops submitting, says so, and is forgotten when
// the board has proven itself again. It is not kept as evidence.
func TestLiesBeforeProof(t *testing.T) {
	for name, lie := range map[string]func(w *world){
		"another entry": func(w *world) {
			e := w.b.Entries[1]
			w.b.Entries = w.b.Entries[:1]
			w.b.Filler(noon.Add(time.Minute))
			w.b.push(1)
			w.b.Entries[1] = e
		},
		"a shorter log": func(w *world) {
			w.b.drop()
			wel := w.b.welcome(w.b.connect().Hello.Nonce)
			wel.Total = 1
			w.b.say(wel)
		},
		"entries that do not lead to the checkpoint": func(w *world) {
			w.b.Filler(noon)
			w.b.Commit()
			e := w.b.Entries[2]
			w.b.Entries = w.b.Entries[:2]
			w.b.Filler(noon.Add(time.Minute))
			w.b.push(2)
			w.b.Entries[2] = e
			w.b.say(&message.Checkpoint{Note: w.b.Note})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.b.Filler(noon)
			w.b.Commit()
			w.b.meet()
			for !w.status().Verified {
				continue
			}
			lie(w)
			for w.status().Verified {
				continue
			}
			w.retry()
			stop := w.b.attend()
			for !w.status().Verified {
				continue // greeted anew, it proves itself
			}
			stop()
			if s := w.status(); s.Evidence != "" {
				t.Fatalf("evidence %q", s.Evidence)
			}
			if kept := must(filepath.Glob(filepath.Join(w.dir, "state", "hearsay-*"))); len(kept) == 0 {
				t.Fatal("nothing kept for the auditor")
			}
		})
	}
}

// TestStatusIsLive: an old word of the board is asked for again, and its age is told when no answer comes.
func TestStatusIsLive(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	w.back.Store(-60)
	c := w.ask(&api.Request{Op: api.OpStatus})
	h := w.b.hello()
	m := w.b.welcome(h.Hello.Nonce)
	m.Firmware = "newer"
	w.b.say(m)
	if s := c.expect(api.OK, "").Status; s.Firmware != "newer" || s.Age != 0 || !s.Verified {
		t.Fatalf("status %+v", s)
	}
	w.back.Store(-120)
	w.d.loop.Post(func() { w.d.loop.Waits.FreshWait = time.Millisecond })
	c = w.ask(&api.Request{Op: api.OpStatus})
	w.b.hello()
	if s := c.expect(api.OK, "").Status; s.Age != 60 || !s.Verified {
		t.Fatalf("status %+v", s)
	}
}

// TestLinkTroubles: whatever keeps host and board apart is told in one line, with what to do, by status and to requests.
func TestLinkTroubles(t *testing.T) {
	unavailable := func(err error) serialport.Event {
		return serialport.Event{Kind: serialport.Unavailable, Err: &serialport.OpenError{Path: "/dev/ttyX", Err: err}}
	}
	for part, ev := range map[string]serialport.Event{
		"absent":                    unavailable(serialport.ErrAbsent),
		"in use by another program": unavailable(serialport.ErrBusy),
		"permission":                unavailable(serialport.ErrAccess),
		"the appliance does not answer: check cable, power and baud rate": {Kind: serialport.Opened, Device: "/dev/ttyX"},
		"upgrade touchmark on this repository host":                       {Kind: serialport.Down, Err: session.VersionError{Theirs: session.Version + 1, Host: true}},
		"never does if the host key repo1 is not in its policy":           {Kind: serialport.Up, SID: 1},
	} {
		t.Run(part, func(t *testing.T) {
			w := newWorld(t)
			w.b.events <- ev
			for !strings.Contains(w.status().Link, part) {
				continue // the daemon takes requests and link events in any order
			}
			c := w.sign("core.db")
			c.event("waiting-for-link")
			w.pass(grace)
			r := c.expect(api.LinkDown, part)
			if strings.Contains(r.Error, "\n") || !strings.Contains(r.Error, "memory") {
				t.Errorf("%q", r.Error)
			}
			if left := w.jobs(); len(left) != 0 {
				t.Errorf("a request that never had an appliance is kept: %+v", left)
			}
		})
	}
}

// TestAcknowledgedAnew: the word of what this host keeps may be lost with a session; the next one begins with it.
func TestAcknowledgedAnew(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	w.b.drop()
	w.b.meet()
	w.b.acked()
}

// TestStatusDisturbsNoCeremony: with a job under way a status greets nobody, however old the board's word is.
func TestStatusDisturbsNoCeremony(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.back.Store(-60)
	w.status()
	w.b.run(r, nil) // hears acknowledgements only
	c.expect(api.OK, "")
}
