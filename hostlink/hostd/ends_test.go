package hostd

import (
	"bytes"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/queue"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/tpm/ledger"
)

func TestTooManyRequests(t *testing.T) {
	w := newWorld(t)
	for range queue.MaxJobs {
		w.sign("core.db").event("waiting-for-link")
	}
	w.sign("core.db").expect(api.DeviceFault, "waiting already")
}

func TestLinkLoss(t *testing.T) {
	t.Run("before arming", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		first := w.b.submitted()
		w.b.drop()
		c.event("link-lost")
		w.b.meet()
		again := w.b.submitted()
		if again.Job != first.Job || !bytes.Equal(again.submit.Approval, first.submit.Approval) {
			t.Fatal("submitted again as another job")
		}
		w.b.run(again, nil)
		c.expect(api.OK, "")
	})
	t.Run("after the intent", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		i, items := w.b.intent(r)
		w.b.push(i)
		w.b.acked()
		w.b.drop()
		c.event("link-lost")
		w.b.Commit()
		w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
		w.b.meet() // hears a fetch and acknowledgements only, no second submission
		c.expect(api.OK, "")
	})
	t.Run("outcome missed", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		w.b.drop()
		i, items := w.b.intent(r)
		w.b.Commit()
		w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
		w.b.meet()
		c.expect(api.OK, "")
	})
}

func TestBusyAndNoHello(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeBusy, Text: "the operator has not confirmed the clock yet"})
	r = w.b.submitted()
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeNoHello, Text: "say hello first"})
	w.b.say(w.b.welcome(w.b.hello().Hello.Nonce))
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

func TestQueue(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	first := w.sign("core.db")
	r1 := w.b.submitted()
	second := w.sign("extra.db")
	second.event("queued")
	w.b.run(r1, nil)
	first.expect(api.OK, "")
	r2 := w.b.submitted()
	if r2.Approval.Items[0].Name != "extra.db" {
		t.Fatalf("submitted %+v", r2.Approval)
	}
	w.b.run(r2, nil)
	second.expect(api.OK, "")
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.back.Store(5)
	if err := c.lines.Write(&api.Request{Op: api.OpCancel}); err != nil {
		t.Fatal(err)
	}
	n := hear[*message.CancelNote](w.b)
	if n.Cancel.HostTime.Before(r.Submission.HostTime) {
		t.Error("the cancellation is older than the submission, because the clock went back")
	}
	if _, by, err := message.OpenNote(n.Note, []note.Verifier{w.b.host}); err != nil || len(by) != 1 || n.Cancel.Job != r.Job {
		t.Fatalf("cancel %+v, %v", n.Cancel, err)
	}
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeCancelled, Text: "cancelled by the host"})
	c.expect(api.Interrupted, "nothing was signed")
}

func TestCancelUnconfirmed(t *testing.T) {
	w := newWorldTimed(t, loop.Timing{CancelWait: time.Millisecond})
	w.b.meet()
	c := w.sign("core.db")
	w.b.submitted()
	if err := c.lines.Write(&api.Request{Op: api.OpCancel}); err != nil {
		t.Fatal(err)
	}
	hear[*message.CancelNote](w.b)
	c.expect(api.MaySigned, "does not confirm")
}

func TestClientGone(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if n := hear[*message.CancelNote](w.b); n.Cancel.Job != r.Job {
		t.Fatal("another job cancelled")
	}
}

func TestTimeouts(t *testing.T) {
	t.Run("never armed", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		w.pass(timeout)
		hear[*message.CancelNote](w.b)
		w.b.say(&message.Refused{Job: r.Job, Code: message.CodeCancelled, Text: "cancelled"})
		c.expect(api.TimedOut, "nothing was signed")
	})
	t.Run("armed, no outcome", func(t *testing.T) {
		w := newWorldTimed(t, loop.Timing{ArmedGrace: time.Millisecond})
		w.b.meet()
		c := w.sign("core.db")
		i, _ := w.b.intent(w.b.submitted())
		w.b.push(i)
		w.b.acked()
		w.pass(timeout)
		c.expect(api.MaySigned, "committed")
	})
	t.Run("armed, outcome after all", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		i, items := w.b.intent(r)
		w.b.push(i)
		w.b.acked()
		w.pass(timeout)
		w.b.Commit()
		w.b.push(w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items}))
		w.b.say(&message.Checkpoint{Note: w.b.Note})
		c.expect(api.OK, "")
	})
	t.Run("link down, submitted", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		w.b.submitted()
		w.b.drop()
		c.event("link-lost")
		w.pass(timeout)
		c.expect(api.MaySigned, "the link is down")
	})
	t.Run("behind another", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		w.sign("core.db")
		w.b.submitted()
		behind := signing("extra.db")
		behind.Timeout *= 2
		c := w.ask(behind)
		c.event("queued")
		w.pass(2 * timeout)
		c.expect(api.TimedOut, "other requests")
	})
	t.Run("no link", func(t *testing.T) {
		w := newWorld(t)
		w.b.events <- serialport.Event{Kind: serialport.Unavailable, Err: &serialport.OpenError{Path: "/dev/ttyX", Err: serialport.ErrAbsent}}
		for !strings.Contains(w.status().Link, "absent") {
			continue // the daemon takes requests and link events in any order
		}
		c := w.sign("core.db")
		c.event("waiting-for-link")
		w.pass(grace)
		c.expect(api.LinkDown, "/dev/ttyX: serial device is absent")
	})
}

func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
	w.stop()
	w.start()
	h := w.b.connect()
	if h.Hello.HeadSize != w.b.Size() || h.Hello.HeadRoot != w.b.Root(w.b.Size()) {
		t.Fatalf("hello after a restart has head %d", h.Hello.HeadSize)
	}
	w.b.say(w.b.welcome(h.Hello.Nonce))
	c = w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

func TestDiskFull(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit unix.Rlimit
	must(0, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	must(0, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: limit.Max}))
	defer func() { must(0, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)) }()
	i, items := w.b.intent(r)
	w.b.push(i)
	if n := hear[*message.CancelNote](w.b); n.Cancel.Job != r.Job {
		t.Fatal("another job withdrawn")
	}
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeCancelled, Text: "cancelled"})
	c.expect(api.CannotWrite, "the mirror of the log cannot be written")
	if s := w.status(); s.Verified || !strings.Contains(s.Link, "file too large") {
		t.Fatalf("status %+v", s)
	}
	must(0, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	w.stop()
	w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
	w.start()
	w.b.meet()
	c = w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

func TestHaltedBoard(t *testing.T) {
	w := newWorld(t)
	w.b.noAttest = true
	h := w.b.connect()
	c := w.sign("core.db")
	c.event("waiting-for-link")
	m := w.b.welcome(h.Hello.Nonce)
	m.State, m.Halt = message.StateHalted, "head-unknown"
	w.b.say(m)
	c.expect(api.DeviceFault, "halted (head-unknown) and signs nothing: its display says")
	if s := w.status(); s.Board != message.StateHalted || s.Halt != "head-unknown" || s.Verified || s.Code != api.DeviceFault || !strings.Contains(s.Link, "head-unknown") {
		t.Fatalf("status %+v", s)
	}
}

func TestBoardWithoutALog(t *testing.T) {
	for _, full := range []bool{false, true} {
		w := newWorld(t)
		if full {
			w.b.meet()
			for !w.status().Verified {
				continue
			}
			w.b.drop()
		}
		m := w.b.welcome(w.b.connect().Hello.Nonce)
		m.State, m.Halt, m.Total, m.Attest, m.Sig, m.Checkpoint = message.StateHalted, "disk-failed", 0, nil, nil, nil
		w.b.say(m)
		for w.status().Halt != "disk-failed" {
			continue
		}
		w.sign("core.db").expect(api.DeviceFault, "halted (disk-failed)")
		w.b.say(&message.Fetch{})
		if full {
			if e := hear[*message.Entries](w.b); e.Total != w.b.Size() {
				t.Fatalf("offers %d entries", e.Total)
			}
		}
		w.quiet()
	}
}

func TestHaltsUnderAJob(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeHalted, Text: "the appliance has halted"})
	c.expect(api.DeviceFault, "halted")
	h := hear[*message.HelloNote](w.b)
	if s := w.status(); s.Verified {
		t.Fatalf("status before the board answered: %+v", s)
	}
	m := w.b.welcome(h.Hello.Nonce)
	m.State, m.Halt, m.Attest, m.Sig = message.StateHalted, "closed", nil, nil
	w.b.say(m)
	w.sign("extra.db").expect(api.DeviceFault, "halted")
	if s := w.status(); s.Verified || !strings.Contains(s.Link, "halted") {
		t.Fatalf("status %+v", s)
	}
}
