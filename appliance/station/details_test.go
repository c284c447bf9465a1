package station

import (
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/token"
	"touchmark/hostlink/message"
)

// What a document says stands with its item and no other, also when the request
// has waited behind another one; what is signed is those bytes, and nothing of
// them comes into the log.
func TestTheDisplayTellsWhatADocumentSays(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	first, m1 := b.job([]string{"a.db"}, "content")
	sid := strings.Replace(intaketest.Release, "stable", "sid", 1)
	second, m2 := b.job([]string{"b.db", "c.db", "d.db"}, intaketest.Release, "plain", sid)
	m2.Contents[0], m2.Contents[2] = message.Content{Document: []byte(intaketest.Release)}, message.Content{Document: []byte(sid)}
	b.submit(m1)
	b.submit(m2)
	b.arm(first)
	b.awaitTouch()
	b.token.touch <- nil
	b.end(first)
	v := b.view("the documents", func(v operator.View) bool {
		return v.Ask == operator.AskArm && v.Token == token.Ready && v.Job.ID == second.String()
	})
	for i, suite := range []string{"Suite: stable", "", "Suite: sid"} {
		means := slices.ContainsFunc(v.Job.Items[i].Meaning, func(l string) bool { return strings.TrimSpace(l) == suite })
		if means != (suite != "") || (v.Job.Items[i].Meaning != nil) != means {
			t.Errorf("item %d means %q", i+1, v.Job.Items[i].Meaning)
		}
	}
	b.command(operator.Command{Verb: operator.Arm, Job: second.String()})
	for range 3 {
		b.awaitTouch()
		b.token.touch <- nil
	}
	b.proves(b.end(second), intaketest.Release)
	for i, e := range b.entries {
		if strings.Contains(string(e), "Suite") {
			t.Errorf("entry %d has something of the document", i)
		}
	}
}

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
	v = b.view("what was before the start", func(v operator.View) bool { return len(v.Recent) > 0 })
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
