package station

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/station/token"
	"touchmark/tests/swtpm"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
)

// ownPlatform is a board whose TPM's platform is its own, locked as the first process does.
func ownPlatform(t *testing.T) (*board, *swtpm.Server) {
	t.Helper()
	b, server := rooted(t)
	b.cfg.Platform = b.cfg.TPM.(*device.TPM).LockPlatform
	b.cfg.TPMPoll = time.Hour // but where a test is about polls
	must(t, b.cfg.Platform())
	return b, server
}

// withheld has a job be armed and touched whose signature must not be given out.
func (b *board) withheld(name string) {
	b.t.Helper()
	id, m := b.job([]string{name}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	if o := b.end(id); o.Items[0].State != ledger.Withheld {
		b.t.Fatalf("%s: %+v", name, o.Items[0])
	}
}

// ready waits for a start that wrote a boot entry which the host does not have.
func (b *board) ready() {
	b.t.Helper()
	had := uint64(len(b.entries))
	b.view("a start", func(v operator.View) bool { return v.Event == "ready" && v.LogSize > had })
}

// after closes what it answers when the TPM has been given so many commands of a kind from now on.
func after(server *swtpm.Server, code uint32, n int) <-chan struct{} {
	reached := make(chan struct{})
	server.Intercept(func(c uint32) *swtpm.Fault {
		if c == code {
			if n--; n == 0 {
				close(reached)
			}
		}
		return nil
	})
	return reached
}

// Under an idle board a reset is found by the very command that locks the platform, even where the PCR tells
// nothing because nothing was committed since the start; as often as it happens.
func TestIdleBoardLocksItsPlatform(t *testing.T) {
	b, server := ownPlatform(t)
	b.cfg.TPMPoll = time.Millisecond
	b.start()
	b.connect()
	for i, reset := range []func() error{
		server.PowerCycle, server.PowerCycle,
		func() error { return server.Cycle(swtpm.Reset) }, func() error { return server.Cycle(swtpm.Restart) },
	} {
		server.Record()
		must(t, reset())
		b.ready()
		must(t, server.LockedFirst(swtpm.PCRRead)) // of a look at the TPM that the reset came into
		b.connect()
		if n := b.boots(); n != i+2 {
			t.Errorf("%d boot entries after %d resets", n, i+1)
		}
		if i != 0 {
			b.signs(fmt.Sprintf("file-%d.db", i), "content")
			b.view("idleness", func(v operator.View) bool { return v.Event == "done" })
		}
	}
	b.replays()
}

// Whatever a ceremony is about when the TPM is reset, between whichever two commands: its signature is withheld, and the
// start that follows locks the platform before it asks anything.
func TestResetInACeremonyLocksThePlatform(t *testing.T) {
	b, server := ownPlatform(t)
	b.start()
	b.connect()
	b.signs("first.db", "content")
	underWay := []uint32{swtpm.NVExtend, swtpm.PCRExtend, swtpm.NVCertify, swtpm.Quote}
	for n := range underWay {
		server.Record()
		server.Fail(swtpm.Fault{Nth: n + 1, Kind: swtpm.ResetFirst})
		b.withheld(fmt.Sprintf("lost-%d.db", n))
		if server.Pending() != 0 {
			t.Fatalf("a ceremony has %d commands", n)
		}
		b.signs(fmt.Sprintf("signed-%d.db", n), "content")
		must(t, server.LockedFirst(underWay...))
	}
	b.replays()
}

// The same of a start: it begins again.
func TestResetInAStartLocksThePlatform(t *testing.T) {
	b, server := ownPlatform(t)
	b.start()
	b.connect()
	b.signs("first.db", "content")
	for n := 1; ; n++ {
		b.kill()
		server.Fail(swtpm.Fault{Nth: n, Kind: swtpm.ResetFirst})
		b.start()
		b.ready()
		happened := server.Pending() == 0
		server.Heal()
		b.connect()
		b.signs(fmt.Sprintf("signed-%d.db", n), "content")
		must(t, server.PlatformLocked())
		if !happened {
			if n < 8 {
				t.Errorf("a start has %d commands", n-1)
			}
			break
		}
	}
	b.replays()
}

// A platform that cannot be locked is a TPM that does not answer: the display says so, nothing is signed, and the
// board goes on when it can be.
func TestNothingIsSignedUnlocked(t *testing.T) {
	b, server := ownPlatform(t)
	for kind := swtpm.Refuse; kind <= swtpm.ApplyAndClose; kind++ {
		if kind == swtpm.Hang || kind == swtpm.ApplyAndHang {
			continue // tpm/device has them
		}
		server.Record()
		must(t, server.PowerCycle())
		server.Fail(swtpm.Fault{Code: swtpm.HierarchyChangeAuth, Kind: kind, RC: swtpm.RCFailure, Times: 3})
		b.start()
		v := b.view("that it fails", func(v operator.View) bool { return v.Event == "tpm-error" })
		if !strings.Contains(v.Message, "locking its platform hierarchy") || !strings.Contains(v.Message, "switch the board off and on") {
			t.Error(v.Message)
		}
		b.ready()
		must(t, server.LockedFirst())
		b.connect()
		b.signs(fmt.Sprintf("kind-%d.db", kind), "content")
		b.kill()
	}
	b.start()
	b.connect()
	server.Fail(swtpm.Fault{Code: swtpm.HierarchyChangeAuth, Kind: swtpm.Refuse, RC: swtpm.RCFailure, Times: -1})
	server.Fail(swtpm.Fault{Kind: swtpm.ResetFirst})
	b.withheld("reset.db")
	id, m := b.job([]string{"unlocked.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.until(func() bool { return b.refused[id] != nil })
	if r := b.refused[id]; !strings.Contains(r.Text, "locking its platform hierarchy") {
		t.Errorf("%+v", r)
	}
	server.Heal()
	b.signs("locked.db", "content")
	must(t, server.PlatformLocked())
	b.replays()
}

// Before the operator said that the time is right, while a request is on display, and while the board is halted, the platform is
// locked all the same.
func TestPlatformOfABoardThatWaits(t *testing.T) {
	b, server := ownPlatform(t)
	b.cfg.TPMPoll, b.cfg.Confirm, b.locked = time.Millisecond, true, true
	locks := func() {
		t.Helper()
		server.Record()
		must(t, server.PowerCycle())
		select {
		case <-after(server, swtpm.HierarchyChangeAuth, 2): // the first of them was carried out then
		case <-time.After(patience):
			t.Fatal("the board does not look at its TPM")
		}
		server.Intercept(nil)
		must(t, server.LockedFirst(swtpm.PCRRead))
	}
	b.start()
	b.view("the question", func(v operator.View) bool { return v.Ask == operator.AskTime && v.Token == token.PIN })
	locks()
	b.command(operator.Command{Verb: operator.Time})
	b.event("ready")
	b.unlock()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.shown(id)
	locks()
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	b.awaitTouch()
	b.token.touch <- nil
	if o := b.end(id); o.Items[0].State != ledger.Signed {
		t.Errorf("%+v", o.Items[0])
	}
	b.view("idleness", func(v operator.View) bool { return v.Event == "done" })
	must(t, b.cfg.TPM.ExtendPCR([32]byte{66}))
	b.view("a halt", func(v operator.View) bool { return v.Halt == string(recovery.PCRUnexplained) })
	locks()
}

// The operator is told of somebody who was quicker than the board, until the next start.
func TestPlatformOfSomebodyElse(t *testing.T) {
	for name, how := range map[string]swtpm.Cycle{"reset": swtpm.Reset, "restart": swtpm.Restart} {
		t.Run(name, func(t *testing.T) { testPlatformOfSomebodyElse(t, how) })
	}
}

func testPlatformOfSomebodyElse(t *testing.T, how swtpm.Cycle) {
	b, server := ownPlatform(t)
	const warning = "its platform authorization is not this board's"
	b.start()
	b.connect()
	b.signs("a.db", "content")
	must(t, server.Cycle(how))
	_, err := server.Tool("tpm2_changeauth", "--object-context=platform", "theirs")
	must(t, err)
	b.withheld("b.db")
	b.signs("c.db", "content")
	b.view("who has the platform", func(v operator.View) bool { return strings.Contains(v.Warning, warning) })
	b.kill()
	must(t, server.PowerCycle())
	must(t, b.cfg.Platform())
	b.start()
	b.connect()
	b.signs("d.db", "content")
	if v := b.event("done"); strings.Contains(v.Warning, warning) {
		t.Error(v.Warning)
	}
	b.replays()
}

// A board whose platform is its firmware's leaves that alone, and takes a reset as ever.
func TestPlatformOfTheFirmware(t *testing.T) {
	b, server := rooted(t)
	b.cfg.TPMPoll = time.Millisecond
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.view("idleness", func(v operator.View) bool { return v.Event == "done" })
	must(t, server.PowerCycle())
	b.ready()
	b.connect()
	b.signs("b.db", "content")
	if n := server.Count(swtpm.HierarchyChangeAuth); n != 0 {
		t.Errorf("%d times it reached for the platform", n)
	}
	b.replays()
}
