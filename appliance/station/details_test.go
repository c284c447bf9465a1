package station

import (
	"testing"

	"touchmark/appliance/operator"
)

// The display tells what waits, what was, and how the board is; of what was, the
// log still knows after a restart.
func TestTheDisplayTellsWhatWaitsAndWhatWas(t *testing.T) {
	b := newBoard(t)
	b.start()
	if v := b.event("ready"); v.Clock != "system" || v.TPM != operator.TPMReady || v.LogTime.IsZero() {
		t.Errorf("%+v", v)
	}
	b.connect()
	b.signs("a.db", "content")
	first, m1 := b.job([]string{"b.db", "c.db"}, "one", "two")
	second, m2 := b.job([]string{"d.db"}, "three")
	b.submit(m1)
	b.submit(m2)
	v := b.view("one that waits", func(v operator.View) bool { return v.Queue == 1 })
	if w := v.Waiting; len(w) != 1 || w[0].ID != second.String() || w[0].Host != "repo1" || w[0].Class != v.Job.Class || w[0].Items != 1 {
		t.Errorf("waiting: %+v", w)
	}
	if v.Left < 1 || v.Left > 600 || v.Job.ID != first.String() {
		t.Errorf("%d s for job %s", v.Left, v.Job.ID)
	}
	if v.Sealed == 0 || v.Sealed > v.LogSize || len(v.Head) != 64 {
		t.Errorf("HEAD %s at %d of %d", v.Head, v.Sealed, v.LogSize)
	}
	b.command(operator.Command{Verb: operator.Deny, Job: first.String()})
	v = b.view("the second job", func(v operator.View) bool { return v.Job != nil && v.Job.ID == second.String() })
	if r := v.Recent; len(r) != 2 || r[0].ID != first.String() || r[0].Items != 2 || r[0].End != "Not signed: the operator denied it." || r[1].End != "1 of 1 signed." {
		t.Errorf("before: %+v", r)
	}
	b.command(operator.Command{Verb: operator.Arm, Job: second.String()})
	b.awaitTouch()
	if v := b.event("touch"); v.Left < 1 || v.Left > 15 {
		t.Errorf("%d s to touch", v.Left)
	}
	b.token.touch <- nil
	b.end(second)
	b.kill()
	b.start()
	v = b.event("ready")
	if r := v.Recent; len(r) != 2 || r[0].ID != second.String() || r[0].Class == "" || r[0].Host != "repo1" || r[0].End != "1 of 1 signed." || r[0].Time.IsZero() {
		t.Errorf("after a restart, before: %+v", r)
	}
}

func TestTheDisplayTellsThatTheTPMIsAtOddsWithTheLog(t *testing.T) {
	b := newBoard(t)
	b.tpm.tpm.ExtendPCR([32]byte{1})
	b.start()
	if v := b.event("halted"); v.TPM != operator.TPMOdds {
		t.Errorf("TPM %s", v.TPM)
	}
}
