package station

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// at makes the request once more, with a submission of some seconds later.
func at(r *intaketest.Request, seconds int) *message.Submit {
	again := *r
	again.Submission.HostTime = r.Submission.HostTime.Add(time.Duration(seconds) * time.Second)
	return again.Submit()
}

// cancelAt withdraws it, seconds after it was submitted first.
func (b *board) cancelAt(by note.Signer, r *intaketest.Request, seconds int) {
	b.send(b.forge.Cancel(by, r.Job(), r.Submission.HostTime.Add(time.Duration(seconds)*time.Second)))
}

// answered wants a refusal with this code, about the job or about no job.
func (b *board) answered(job message.JobID, code string) {
	b.t.Helper()
	b.until(func() bool { return b.refused[job] != nil })
	if got := b.refused[job]; got.Code != code {
		b.t.Fatalf("%s (%s), want %s", got.Code, got.Text, code)
	}
	delete(b.refused, job)
}

// signsAgain arms and touches what is on display.
func (b *board) signsAgain(r *intaketest.Request) {
	b.t.Helper()
	b.armUntilTouch(r.Job())
	b.token.touch <- nil
	if o := b.end(r.Job()); o.Items[0].State != ledger.Signed {
		b.t.Fatalf("%+v", o)
	}
}

// armUntilTouch arms a job that is on display, again as long as the board says
// that the token is not ready: the PIN may still be on its way.
func (b *board) armUntilTouch(id message.JobID) {
	b.t.Helper()
	arm := operator.Command{Verb: operator.Arm, Job: id.String()}
	b.command(arm)
	deadline := time.After(patience)
	for {
		select {
		case m := <-b.link.out:
			p, err := fromBoard(m)
			must(b.t, err)
			b.take(p)
		case v := <-b.panel.views:
			if strings.Contains(v.Message, "nothing was armed") {
				b.command(arm)
			}
		case <-b.token.waiting:
			return
		case <-deadline:
			b.t.Fatal("the token is never asked")
		}
	}
}

// begin gives a connected board with a job on display and one behind it.
func begin(t *testing.T) (b *board, shown, queued *intaketest.Request) {
	b = newBoard(t)
	b.start()
	b.connect()
	shown, queued = b.forge.Honest("shown"), b.forge.Honest("queued")
	b.submit(shown.Submit())
	b.told(message.EventShown)
	b.submit(queued.Submit())
	b.told(message.EventQueued)
	return b, shown, queued
}

func TestCancelWithdrawsWhatWaits(t *testing.T) {
	b, shown, queued := begin(t)
	u := b.unimpressed()
	for _, r := range []*intaketest.Request{queued, shown} {
		b.cancelAt(b.host, r, 0)
		b.answered(r.Job(), message.CodeCancelled)
		b.cancelAt(b.host, r, 0) // its answer was lost
		b.answered(r.Job(), message.CodeCancelled)
	}
	u.still(shown.Job())
	b.signs("next.db", "next")
}

func TestCancelByAnotherHost(t *testing.T) {
	b, shown, queued := begin(t)
	for _, r := range []*intaketest.Request{shown, queued} {
		b.cancelAt(b.forge.Other, r, 1)
		b.answered(message.JobID{}, message.CodeHostForbidden)
		b.cancelAt(intaketest.Impostor("repo1"), r, 1)
		b.answered(message.JobID{}, message.CodeUnknownHost)
	}
	b.signsAgain(shown)
	b.shown(queued.Job())
	b.signsAgain(queued)
}

// A host that speaks for a job that is not here speaks for itself only.
func TestCancelByAnotherHostBeforeTheSubmission(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	r := b.forge.Honest("content")
	b.cancelAt(b.forge.Other, r, 1)
	b.answered(r.Job(), message.CodeCancelled)
	b.submit(r.Submit())
	b.shown(r.Job())
	b.signsAgain(r)
}

func TestCancelBeforeTheSubmission(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	r := b.forge.Honest("content")
	u := b.unimpressed()
	b.cancelAt(b.host, r, 0)
	b.answered(r.Job(), message.CodeCancelled)
	b.submit(r.Submit())
	b.answered(r.Job(), message.CodeCancelled)
	u.still()
	b.submit(at(r, 1)) // it wants it after all
	b.shown(r.Job())
	b.signsAgain(r)
}

// Whoever sits on the cable has recorded everything: the first submission, and
// the cancellation. Neither brings the job back nor takes it away again.
func TestReplaysAfterACancel(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	r := b.forge.Honest("content")
	b.submit(r.Submit())
	b.told(message.EventShown)
	b.cancelAt(b.host, r, 2)
	b.answered(r.Job(), message.CodeCancelled)
	for _, seconds := range []int{0, 1, 2} {
		b.submit(at(r, seconds))
		b.answered(r.Job(), message.CodeCancelled)
	}
	b.submit(at(r, 3))
	b.told(message.EventShown)
	b.cancelAt(b.host, r, 2)
	b.answered(message.JobID{}, message.CodeStaleCancel)
	b.signsAgain(r)
	b.cancelAt(b.host, r, 9)
	b.until(func() bool { return b.ended[r.Job()] != nil })
}

// A host that asks again for what waits already has taken its cancellation back.
func TestAskingAgainOutdatesACancel(t *testing.T) {
	b, shown, queued := begin(t)
	for _, r := range []*intaketest.Request{shown, queued} {
		b.submit(at(r, 5))
		b.receive() // the event once more
		b.cancelAt(b.host, r, 4)
		b.answered(message.JobID{}, message.CodeStaleCancel)
	}
	b.cancelAt(b.host, queued, 5)
	b.answered(queued.Job(), message.CodeCancelled)
	b.signsAgain(shown)
}

// A time of the far future, which no job could be admitted with, makes none that
// waits immune to cancellation.
func TestAskingAgainInTheFutureChangesNothing(t *testing.T) {
	b, shown, queued := begin(t)
	for _, r := range []*intaketest.Request{shown, queued} {
		b.submit(at(r, 24*3600))
		b.receive() // the event once more
		b.cancelAt(b.host, r, 1)
		b.answered(r.Job(), message.CodeCancelled)
	}
}

func TestReplaysAfterADenial(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	r := b.forge.Honest("content")
	b.submit(r.Submit())
	b.shown(r.Job())
	b.command(operator.Command{Verb: operator.Deny, Job: r.Job().String()})
	b.answered(r.Job(), message.CodeDenied)
	b.event(message.CodeDenied)
	u := b.unimpressed()
	b.submit(r.Submit())
	b.answered(r.Job(), message.CodeDenied)
	u.still()
	b.submit(at(r, 1))
	b.shown(r.Job())
	b.signsAgain(r)
}

func TestReplaysAfterNobodyArmed(t *testing.T) {
	b := newBoard(t)
	b.cfg.ArmTimeout = time.Millisecond
	b.start()
	b.connect()
	r := b.forge.Honest("content")
	b.submit(r.Submit())
	b.answered(r.Job(), message.CodeArmTimeout)
	b.event(message.CodeArmTimeout)
	u := b.unimpressed()
	b.submit(r.Submit())
	b.answered(r.Job(), message.CodeArmTimeout)
	u.still()
}

func TestCancelOfWhatIsArmedIsTooLate(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.acks = false // so that it stays between arming and committing
	r := b.forge.Honest("content")
	b.submit(r.Submit())
	b.shown(r.Job())
	b.command(operator.Command{Verb: operator.Arm, Job: r.Job().String()})
	b.until(func() bool { return len(b.entries) > 0 && isIntent(b.entries[len(b.entries)-1]) })
	b.cancelAt(b.host, r, 1)
	b.told(message.EventArmed)
	b.acks = true
	b.ack()
	b.awaitTouch()
	b.cancelAt(b.host, r, 1)
	for { // told of the touch when it began, and once more
		if e := b.told(message.EventTouch); e.Seconds > 0 && e.Seconds <= 15 {
			break
		}
	}
	b.token.touch <- nil
	if o := b.end(r.Job()); o.Items[0].State != ledger.Signed {
		t.Fatalf("%+v", o)
	}
	b.cancelAt(b.host, r, 1)
	delete(b.ended, r.Job())
	b.until(func() bool { return b.ended[r.Job()] != nil })
}

func isIntent(raw []byte) bool {
	_, body, err := ledger.Parse(raw)
	return err == nil && ledger.KindOf(body) == ledger.KindIntent
}

// An approval that was signed once is not signed again, whoever asks: with a
// new submission, and after a restart.
func TestAnApprovalIsUsedUp(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	r := b.forge.Honest("content")
	r.Approval.Class, r.Approvers = intaketest.Approved, []note.Signer{b.forge.Alice, b.forge.Bob}
	b.submit(r.Submit())
	b.shown(r.Job())
	b.signsAgain(r)
	entries := len(b.entries)
	for _, restart := range []bool{false, true} {
		if restart {
			b.kill()
			b.start()
			b.connect()
			entries = len(b.entries)
		}
		for _, approvers := range [][]note.Signer{{b.forge.Alice, b.forge.Bob}, {b.forge.AliceLaptop, b.forge.Bob}, nil} {
			delete(b.ended, r.Job())
			r.Approvers = approvers
			b.submit(at(r, 1))
			b.until(func() bool { return b.ended[r.Job()] != nil })
		}
		if len(b.entries) != entries {
			t.Errorf("the log grew from %d to %d entries", entries, len(b.entries))
		}
	}
}
