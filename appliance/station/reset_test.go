package station

import (
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// A TPM that is reset while a job is on display quotes another PCR than the log
// leads to: the signature is withheld. Before the next job the board takes it for
// the restart that it is, because the PCR holds the newest commit and nothing
// else, and goes on.
func TestResetInsideACeremonyIsARestart(t *testing.T) {
	for _, at := range []string{"shown", "NV_Extend", "PCR_Extend", "NV_Certify", "Quote"} {
		t.Run(at, func(t *testing.T) {
			b := newBoard(t)
			b.start()
			b.connect()
			b.signs("a.db", "content")
			id, m := b.job([]string{"b.db"}, "content")
			b.submit(m)
			b.shown(id)
			b.tpm.resetBefore(at)
			b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
			b.awaitTouch()
			b.token.touch <- nil
			if o := b.end(id); o.Items[0].State != ledger.Withheld {
				t.Fatalf("%+v", o.Items[0])
			}
			b.signs("c.db", "content")
			b.replays()
			if n := b.boots(); n != 2 {
				t.Errorf("%d boot entries, want one more", n)
			}
		})
	}
}

// A PCR that something else extended is no restart: the board halts, and a power
// cycle leads out of it.
func TestForeignExtendHaltsUntilThePowerCycle(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.tpm.mu.Lock()
	b.tpm.tpm.PowerCycle()
	b.tpm.tpm.ExtendPCR([32]byte{66})
	b.tpm.mu.Unlock()
	id, m := b.job([]string{"b.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	if o := b.end(id); o.Items[0].State != ledger.Withheld {
		t.Fatalf("%+v", o.Items[0])
	}
	id, m = b.job([]string{"c.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.until(func() bool { return b.refused[id] != nil })
	if r := b.refused[id]; r.Code != message.CodeHalted || !strings.Contains(r.Text, "pcr-unexplained") {
		t.Fatalf("%+v", r)
	}
	b.kill()
	b.tpm.tpm.PowerCycle()
	b.start()
	b.connect()
	b.signs("d.db", "content")
	b.replays()
}

// A start that dies between the attest entry that it makes good and its boot
// entry leaves the new counters of a reset in the log without the boot entry
// that accounts for them. The next start must not take that for a PCR that
// somebody cleared.
func TestStartDiesBetweenAttestAndBootEntry(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.tpm.fail("NV_Certify", "always")
	id, m := b.job([]string{"b.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	b.end(id)
	b.kill()
	b.tpm.tpm.PowerCycle()
	b.tpm.fail("NV_Certify", "")
	b.tpm.fail("Quote", "always")
	b.start()
	b.view("a failed start", func(v operator.View) bool { return v.Event == "tpm-error" && strings.Contains(v.Message, "quoting") })
	b.kill()
	b.tpm.fail("Quote", "")
	b.start()
	b.connect()
	b.signs("c.db", "content")
	b.replays()
}

// A TPM state from one commit ago must not pass for a commit that was never
// applied: the log holds an attestation of it.
func TestTPMRolledBackByOneCommitHalts(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	head, pcr := b.tpm.tpm.Head, b.tpm.tpm.PCR
	b.signs("a.db", "content")
	b.kill()
	b.tpm.tpm.Head, b.tpm.tpm.PCR = head, pcr
	b.start()
	v := b.view("a halt", func(v operator.View) bool { return v.Halted != "" })
	if !strings.Contains(v.Halted, "head-behind") {
		t.Fatal(v.Halted)
	}
}

// The clock is asked for before the PIN, one question at a time.
func TestClockIsAskedForFirst(t *testing.T) {
	b := newBoard(t)
	b.cfg.Confirm = true
	b.locked = true
	b.start()
	v := b.view("a token behind the question about the clock", func(v operator.View) bool { return v.Token == "pin-needed" })
	if v.Ask != operator.AskTime || strings.Contains(v.Message, "PIN") {
		t.Fatalf("asks %q and says %q", v.Ask, v.Message)
	}
	b.command(operator.Command{Verb: operator.Time})
	if v := b.event("ready"); v.Ask != operator.AskPIN || !strings.Contains(v.Message, "PIN") {
		t.Fatalf("asks %q and says %q", v.Ask, v.Message)
	}
	b.command(operator.Command{Verb: operator.PIN, PIN: []byte("123456")})
	b.connect()
	b.signs("a.db", "content")
}
