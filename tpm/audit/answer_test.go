package audit

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
)

// An answer stays true when the log goes on: it is judged where the TPM spoke.
func TestAnswerBeforeTheLogWentOn(t *testing.T) {
	for _, tt := range []struct {
		name         string
		before, then func(w *world)
	}{
		{"commits", nil, func(w *world) { w.ceremony(2); w.ceremony(1) }},
		{"a start and commits", nil, func(w *world) { w.pass(time.Minute); w.boot(); w.ceremony(1) }},
		{"a reset and commits", nil, func(w *world) {
			w.tpm.PowerCycle()
			w.boot()
			w.ceremony(1)
			w.tpm.PowerCycle()
			w.boot()
			w.ceremony(1)
		}},
		{"a stopped board, which then starts", func(w *world) { w.tpm.PowerCycle() }, func(w *world) { w.pass(time.Minute); w.boot(); w.ceremony(1) }},
		{"a board that died before its attest entry", func(w *world) { w.newJob(1).record(); w.commit() },
			func(w *world) { w.pass(time.Minute); w.attest(); w.boot(); w.ceremony(1) }},
		{"a resume to another state of the TPM", nil, func(w *world) { w.tpm.ExtendHead([32]byte{1}); w.tpm.Clock.ResetCount--; w.resume(); w.ceremony(1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := started(t)
			w.ceremony(1)
			if tt.before != nil {
				tt.before(w)
			}
			d := answeredLater(t, w)
			w.pass(time.Minute)
			tt.then(w)
			without := audited(t, w.input())
			in := w.input()
			in.Dialogue = d
			r := audited(t, in)
			i := slices.IndexFunc(r.Findings, func(f finding.Finding) bool { return f.Code == finding.FreshAt })
			if r.Verdict != without.Verdict || len(codes(r, finding.Evidence)) > 0 || i < 0 || !bytes.Contains([]byte(r.Findings[i].Explanation), []byte("went on since")) {
				t.Errorf("%+v", r.Findings)
			}
		})
	}
}

// answeredLater asks the board after some time.
func answeredLater(t *testing.T, w *world) *Dialogue {
	t.Helper()
	w.pass(time.Minute)
	return w.dialogue(t)
}

// What an answer must not be, though the log went on since.
func TestAnswerOutOfItsPlace(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(w *world) *Dialogue
		want string
	}{
		{"HEAD that no commit left", func(w *world) *Dialogue {
			head := w.tpm.Head
			w.tpm.ExtendHead([32]byte{3})
			d := answeredLater(t, w)
			w.tpm.Head = head
			return d
		}, anchor.CodeHead},
		{"another PCR", func(w *world) *Dialogue {
			pcr := w.tpm.PCR
			w.tpm.ExtendPCR([32]byte{3})
			d := answeredLater(t, w)
			w.tpm.PCR = pcr
			return d
		}, anchor.CodePCR},
		{"an older state of the TPM, after it went on", func(w *world) *Dialogue {
			old := *w.tpm
			older := answeredLater(t, w).Answer.Checkpoint
			w.ceremony(1)
			now := w.tpm.Clock
			at := *w.tpm
			w.tpm.Head, w.tpm.PCR = old.Head, old.PCR
			d := answeredLater(t, w)
			d.Answer.Checkpoint = older
			at.Clock = w.tpm.Clock
			if at.Clock.Millis <= now.Millis {
				t.Fatal("the clock stands still")
			}
			*w.tpm = at
			return d
		}, anchor.CodeClock},
		{"HEAD behind its checkpoint", func(w *world) *Dialogue {
			d := answeredLater(t, w)
			w.ceremony(1)
			d.Answer.Checkpoint = w.checkpoint()
			return d
		}, anchor.CodeHead},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := started(t)
			w.ceremony(1)
			d := tt.do(w)
			w.ceremony(1)
			in := w.input()
			in.Dialogue = d
			r := audited(t, in)
			if !slices.Contains(codes(r, finding.Evidence), tt.want) || slices.Contains(codes(r, finding.Info), finding.FreshAt) {
				t.Errorf("%+v", r.Findings)
			}
		})
	}
}

// An audit that begins inside the log knows the states from there on.
func TestAnswerSince(t *testing.T) {
	w := newWorld(t, parts{rates: `"60/1h"`})
	w.days(2, 2)
	early := answeredLater(t, w)
	w.days(30, 5)
	old := w.checkpoint()
	recent := answeredLater(t, w)
	w.days(1, 1)
	in := w.input()
	in.Since, in.Dialogue = old, recent
	if r := audited(t, in); r.Verdict != finding.Clean || r.Since == 0 || !slices.Contains(codes(r, finding.Info), finding.FreshAt) {
		t.Errorf("%+v", r.Findings)
	}
	in.Dialogue = early
	if r := audited(t, in); r.Verdict != finding.Warnings || !slices.Contains(codes(r, finding.Warning), finding.Unplaced) {
		t.Errorf("%+v", r.Findings)
	}
	in.Since = nil
	if r := audited(t, in); r.Verdict != finding.Clean || !slices.Contains(codes(r, finding.Info), finding.FreshAt) {
		t.Errorf("%+v", r.Findings)
	}
}
