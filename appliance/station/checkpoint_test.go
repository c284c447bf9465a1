package station

import (
	"testing"

	"touchmark/appliance/operator"
)

// covered reports whether the newest checkpoint that the host was told of covers
// everything that it has.
func (b *board) covered() bool {
	b.t.Helper()
	if len(b.notes) == 0 {
		return false
	}
	cp, err := b.trust.OpenCheckpoint(b.notes[len(b.notes)-1])
	must(b.t, err)
	return cp.Size == uint64(len(b.entries))
}

// The host can verify the intent while the token waits for its touch: it has the
// checkpoint, and is not told of it again with the outcome.
func TestCheckpointComesBeforeTheTouch(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	told := len(b.notes)
	id, m := b.job([]string{"core.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.until(func() bool { return len(b.notes) > told && b.covered() })
	if b.ended[id] != nil {
		t.Fatal("the job ended without a touch")
	}
	b.awaitTouch()
	b.token.touch <- nil
	b.proves(b.end(id), "content")
	if n := len(b.notes) - told; n != 1 {
		t.Errorf("the host was told of the checkpoint %d times", n)
	}
}

// A host that comes back during the touch is welcomed with the checkpoint, and a
// touch that comes at once, before it is signed, waits for it.
func TestCheckpointInAnotherSession(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"core.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.until(b.covered)
	b.notes = nil
	w := b.connect()
	cp, err := b.trust.OpenCheckpoint(w.Checkpoint)
	must(t, err)
	if cp.Size != uint64(len(b.entries)) {
		t.Errorf("welcomed with a checkpoint of %d entries, of %d", cp.Size, len(b.entries))
	}
	b.awaitTouch()
	b.token.touch <- nil
	b.proves(b.end(id), "content")
}

// However the token's answer and the attestation meet, the host gets the checkpoint
// before Done.
func TestCheckpointWhateverIsFaster(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	for _, slow := range []bool{false, true} {
		begun, finish := func() {}, func() {}
		if slow {
			begun, finish = b.tpm.slowDown("Quote")
		}
		id, m := b.job([]string{"core.db"}, "content")
		b.submit(m)
		b.shown(id)
		b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
		b.awaitTouch()
		begun()
		b.token.touch <- nil
		finish()
		b.proves(b.end(id), "content")
	}
}
