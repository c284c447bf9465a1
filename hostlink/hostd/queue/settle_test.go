package queue

import (
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/request"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// TestProvesBeforeTheTouch: while the token waits for its touch all but the signature is verified, and the proof that was
// verified then is given out; a trust file that came meanwhile has it verified anew.
func TestProvesBeforeTheTouch(t *testing.T) {
	for name, renewed := range map[string]bool{"the same trust file": false, "the next one": true} {
		t.Run(name, func(t *testing.T) {
			parties := logtest.NewParties()
			l := logtest.New(parties.Policy)
			m := logtest.Must(mirror.Open(t.TempDir(), logtest.Must(verify.ParseTrust(l.TrustText()))))
			defer func() { _ = m.Store.Close() }()
			j, approval := armed(l)
			submission := message.Submission{Approval: j.id(), HeadSize: l.Size(), HeadRoot: l.Root(l.Size()), HostTime: logtest.Noon}
			host := logtest.Must(note.NewSigner(parties.HostKey))
			i, items := l.Intent(approval, logtest.Must(message.SignNote(submission.Marshal(), host)), j.States)
			q := &Queue{o: Options{Mirror: m}, jobs: []*Job{j}}
			logtest.Must(0, m.Watch(0, j.id()))
			logtest.Must(m.Add(&message.Entries{Total: l.Size(), Entries: l.Entries}))
			if q.ProveArmed(); j.proof != nil {
				t.Fatal("it is proven under no checkpoint")
			}
			l.Commit()
			logtest.Must(0, m.Advance(l.Note))
			q.ProveArmed()
			early, want := j.proof, l.Proof(i)
			if early == nil {
				t.Fatal("it is not proven before the outcome")
			}
			if renewed {
				tr := *m.Pinned()
				m.Retrust(&tr)
			}
			out := l.Append(&ledger.Outcome{Intent: i, Job: j.id(), Items: items})
			logtest.Must(m.Add(&message.Entries{Start: out, Total: l.Size(), Entries: l.Entries[out:]}))
			if got := q.conclude(j); got == nil || !got.OK || string(got.Proofs[0]) != string(want) {
				t.Fatalf("the answer is %+v", got)
			}
			if (j.proof == early) == renewed {
				t.Errorf("the trust file changed: %v; verified again: %v", renewed, j.proof != early)
			}
		})
	}
}

// armed is a job for one file, with its approval.
func armed(l *logtest.Log) (*Job, []byte) {
	h := hashstate.New(message.SHA256)
	_, _ = h.Write([]byte("core.db"))
	s := h.State()
	it := message.Item{Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: message.SHA256, Sum: s.Digest()}, Size: s.Count(), Name: "core.db"}
	a := message.Approval{Origin: l.Trust.Origin, Class: "pacman-db", NotAfter: logtest.Noon.Add(time.Hour), Items: []message.Item{it}}
	text := a.Marshal()
	r := &request.Request{Class: a.Class, Items: a.Items, States: []hashstate.State{s}}
	return &Job{Request: r, record: &spool.Record{Job: message.JobOf(text)}}, logtest.Must(message.SignNote(text))
}
