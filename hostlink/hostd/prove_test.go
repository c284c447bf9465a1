package hostd

import (
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

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
