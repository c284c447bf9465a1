package hostd

import (
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// While the token waits for its touch the daemon verifies all but the signature, and gives out
// the proof that it verified then; a trust file that came meanwhile has it verified anew.
func TestProvesBeforeTheTouch(t *testing.T) {
	for name, renewed := range map[string]bool{"the same trust file": false, "the next one": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.b.meet()
			c := w.sign("core.db")
			r := w.b.submitted()
			from := w.b.Size()
			i, items := w.b.intent(r)
			w.b.push(from)
			w.b.acked()
			w.b.Commit()
			w.b.say(&message.Checkpoint{Note: w.b.Note})
			var j *job
			var early *proof
			for early == nil { // until the loop has taken the checkpoint
				w.look(func() { j = w.d.find(r.Job); early = j.proof })
			}
			if early.intent.Job != r.Job || early.intent.Header.Index != i {
				t.Fatalf("proved entry %d of job %s", early.intent.Header.Index, early.intent.Job)
			}
			if renewed {
				w.look(func() {
					tr := *w.d.mirror.Pinned()
					w.d.mirror.Retrust(&tr)
				})
			}
			out := w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
			w.b.push(out)
			w.b.say(&message.Done{Job: r.Job, Intent: i, Outcome: out})
			got := c.expect(api.OK, "")
			if string(got.Proofs[0]) != string(early.raw) {
				t.Error("another proof is given out than was verified")
			}
			w.look(func() {
				if used := j.proof; (used == early) == renewed {
					t.Errorf("the trust file changed: %v; verified again: %v", renewed, used != early)
				}
			})
		})
	}
}

// A job whose signature is bad is refused though its proof was good.
func TestProvenIntentDoesNotVouchForTheSignature(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	from := w.b.Size()
	i, items := w.b.intent(r)
	w.b.push(from)
	w.b.acked()
	c.event(message.EventArmed) // which the intent says, and no event of the board
	w.b.Commit()
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	items[0].Signature[len(items[0].Signature)-1] ^= 1
	out := w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
	w.b.Commit()
	w.b.push(out)
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	defer w.b.attend()() // it asks for the entries again
	c.expect(api.Evidence, "does not verify")
}
