package audit

import (
	"bytes"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// remark is a log that gives a finding which is no evidence. What is evidence
// is in the tables of attacks.
type remark struct {
	code string
	do   func(t *testing.T, w *world) Input
}

// plain is a remark about what a world did.
func plain(code string, do func(w *world)) remark {
	return remark{code, func(_ *testing.T, w *world) Input { do(w); return w.input() }}
}

// fresh is a remark about a world made in a way of its own.
func fresh(code string, p parts, do func(w *world)) remark {
	return remark{code, func(t *testing.T, _ *world) Input {
		w := newWorld(t, p)
		w.boot()
		do(w)
		return w.input()
	}}
}

// far has a log pass by more than anybody keeps in mind, with no hash tiles.
func far(code string, do func(w *world)) remark {
	return remark{code, func(_ *testing.T, w *world) Input {
		for range history.Window {
			w.add(&ledger.Update{From: w.version, To: "never-started"})
		}
		do(w)
		in := w.input()
		in.Tile = nil
		return in
	}}
}

var warnings = []remark{
	fresh(finding.EUCLEAK, parts{firmware: "5.4.3"}, func(*world) {}),
	booted(finding.BootForeign, func(m *ledger.Measured) { m.Programs = [32]byte{4} }),
	plain(finding.NoOutcome, func(w *world) {
		w.newJob(1).record()
		w.commit()
		w.attest()
		w.ceremony(1)
	}),
	plain(finding.Unattested, func(w *world) {
		j := w.newJob(1)
		j.record()
		w.commit()
		j.sign()
		w.add(j.outcome)
	}),
	fresh(finding.Burst, parts{rates: `"5/1h"`}, func(w *world) {
		for _, state := range []ledger.State{ledger.TimedOut, ledger.Denied, ledger.TimedOut} {
			w.ends(2, true, state)
		}
	}),
	plain(finding.Stretched, func(w *world) { // fast: rates have more hours
		w.now = w.now.Add(12 * time.Minute)
		w.ceremony(1)
	}),
	plain(finding.Stretched, func(w *world) { // slow: approvals live longer
		w.tpm.Clock.Millis += 2 * 3600 * 1000
		w.ceremony(1)
	}),
	plain(finding.Stretched, func(w *world) { // set ahead between two starts, while the TPM had power
		w.ceremony(1)
		w.now = w.now.Add(12 * time.Minute)
		w.boot()
	}),
	{finding.Tiles, func(_ *testing.T, w *world) Input {
		in := w.input()
		in.Tile = func(int, uint64) []byte { return bytes.Repeat([]byte{1}, 32*256) }
		return in
	}},
	{finding.Proof, func(_ *testing.T, w *world) Input {
		in := w.input()
		in.Proofs = []*ledger.Proof{{Origin: origin}}
		return in
	}},
	{finding.OldInvalid, func(_ *testing.T, w *world) Input {
		in := w.input()
		in.Previous = [][]byte{[]byte("x")}
		return in
	}},
	{finding.Answer, func(t *testing.T, w *world) Input {
		in := w.input()
		in.Dialogue = w.dialogue(t)
		in.Dialogue.Answer.Checkpoint = []byte("x")
		return in
	}},
	{finding.Unplaced, func(t *testing.T, w *world) Input { // an older copy
		in := w.input()
		w.ceremony(1)
		in.Dialogue = w.dialogue(t)
		return in
	}},
	{finding.TrustOutdated, func(_ *testing.T, w *world) Input {
		old := *w.trust
		w.rotate()
		in := w.input()
		in.Trust = &old
		return in
	}},
	far(finding.HeadUnchecked, func(w *world) {
		w.newJob(1, func(_ *message.Approval, s *message.Submission) { s.HeadSize, s.HeadRoot = 2, w.root[2] }).run()
	}),
	far(finding.OrderUnchecked, func(w *world) {
		o := &order.Order{Origin: origin, After: order.State{Size: 2, Root: w.root[2]}, Action: &order.Note{}, Reason: "x"}
		w.obey(w.entry(ledger.KindNote, w.signed(o, w.admin)))
	}),
	plain(finding.TimeCorrected, func(w *world) { w.setClock(w.now.Add(time.Hour)) }),
	plain(finding.Recovered, func(w *world) { w.rescue() }),
	plain(anchor.CodeResumed, func(w *world) { w.tpm.ExtendHead([32]byte{1}); w.resume() }),
	plain(finding.Revoked, func(w *world) { w.revoke(certificate.NoReason) }),
	{finding.Wear, func(_ *testing.T, w *world) Input {
		w.seq = 80_000
		w.days(60, 2)
		old := w.checkpoint()
		w.ceremony(1)
		in := w.input()
		in.Since = old
		return in
	}},
}

var infos = []remark{
	plain(finding.Freshness, func(*world) {}),
	plain(finding.Wear, func(*world) {}),
	{finding.FreshAt, func(t *testing.T, w *world) Input {
		in := w.input()
		in.Dialogue = w.dialogue(t)
		return in
	}},
	fresh(finding.Emulated, parts{}, func(*world) {}),
	fresh(anchor.CodeInherited, parts{head: [32]byte{5}, genesis: func(g *ledger.Genesis) { g.Base = [32]byte{5} }}, func(*world) {}),
	fresh(finding.Predecessor, parts{genesis: func(g *ledger.Genesis) { g.Predecessor = ledger.LogID{Origin: "old.example"} }}, func(*world) {}),
	plain(finding.BootRecovery, func(w *world) { w.boot(func(b *ledger.Boot) { b.Recovery = "outcomes" }) }),
	booted(finding.BootUnknown, func(m *ledger.Measured) { m.Image = [32]byte{} }),
	plain(finding.ClockUnset, func(w *world) { w.boot(func(b *ledger.Boot) { b.Clock = ledger.ClockHostUnset }) }),
	plain(finding.Updated, func(w *world) { w.update("2") }),
	plain(anchor.CodeResets, func(w *world) { w.tpm.PowerCycle(); w.tpm.PowerCycle(); w.boot() }),
	plain(finding.Stale, func(w *world) {
		old := w.shown
		size := w.hostSize
		w.ceremony(1)
		w.shown, w.hostSize = old, size
	}),
	plain(finding.InFlight, func(w *world) { w.newJob(1).record() }),
	plain(finding.MaybeSigned, func(w *world) { w.ends(1, true, ledger.TimedOut) }),
	plain(finding.RefusedJobs, func(w *world) {
		j := w.newJob(1)
		j.intent.Refusals = 3
		j.run()
	}),
	plain(finding.OrderTaken, func(w *world) { w.do(&order.Note{}) }),
	plain(finding.OrderVoid, func(w *world) { w.add(w.entry(ledger.KindNote, w.orderNote(&order.Note{}))); w.ceremony(1) }),
	plain(finding.OrderOpen, func(w *world) { w.add(w.entry(ledger.KindNote, w.orderNote(&order.Note{}))) }),
	plain(finding.Unmirrored, func(w *world) {
		e := w.entry(ledger.KindNote, w.orderNote(&order.Note{}))
		e.Mirrored = false
		w.obey(e)
	}),
	plain(finding.Closed, func(w *world) { w.do(&order.Close{}) }),
	plain(finding.Renewed, func(w *world) { w.renew(time.Time{}) }),
	plain(finding.Bound, func(w *world) { w.bind() }),
	plain(finding.Revoked, func(w *world) { w.revoke(certificate.Retired) }),
}

// booted is a start that is held against a build; change is how it differs from that.
func booted(code string, change func(*ledger.Measured)) remark {
	return remark{code, func(t *testing.T, w *world) Input {
		build := golden.Image{Firmware: w.version, Measured: ledger.Measured{Image: [32]byte{1}, Programs: [32]byte{3}}}
		measured := build.Measured
		change(&measured)
		w.boot(func(b *ledger.Boot) { b.Measured = measured })
		in := w.input()
		in.Golden = []golden.Image{build}
		return in
	}}
}

func TestWarnings(t *testing.T) {
	base := started(t)
	base.checkpoint()
	shown := newExamples(t, finding.Warning, len(warnings))
	for _, r := range warnings {
		t.Run(r.code, func(t *testing.T) {
			t.Parallel()
			got := audited(t, r.do(t, base.copy(t)))
			if got.Verdict != finding.Warnings || !slices.Equal(codes(got, finding.Warning), []string{r.code}) {
				t.Errorf("%s %+v", got.Verdict, got.Findings)
			}
			shown.add(r.code, got)
		})
	}
}

func TestInformation(t *testing.T) {
	base := started(t)
	base.checkpoint()
	shown := newExamples(t, finding.Info, len(infos))
	for _, r := range infos {
		t.Run(r.code, func(t *testing.T) {
			t.Parallel()
			got := audited(t, r.do(t, base.copy(t)))
			if got.Verdict != finding.Clean || !slices.Contains(codes(got, finding.Info), r.code) {
				t.Errorf("%s %+v", got.Verdict, got.Findings)
			}
			shown.add(r.code, got)
		})
	}
}

// An earlier mismatch makes the PCR unknown to the next start.
func TestPCRUnknown(t *testing.T) {
	w := started(t)
	w.tpm.ExtendPCR([32]byte{1})
	w.ceremony(1)
	w.ceremony(1)
	if r := audited(t, w.input()); !slices.Equal(codes(r, finding.Evidence), []string{anchor.CodePCR}) || !slices.Contains(codes(r, finding.Info), anchor.CodePCRUnknown) {
		t.Errorf("%+v", r.Findings)
	}
}

// A boot entry that speaks of no commit at all.
func TestCommitUnknown(t *testing.T) {
	w := started(t)
	w.boot(func(b *ledger.Boot) { b.Committed = 0 })
	if r := audited(t, w.input()); !slices.Equal(codes(r, finding.Evidence), []string{finding.Unrooted}) {
		t.Errorf("%+v", r.Findings)
	}
}

// elsewhere are the codes that other tests of this package, or of fold, produce.
var elsewhere = map[string][]string{
	string(finding.Evidence): {finding.Unrooted, finding.Continuity},
	string(finding.Warning):  {finding.Unconfirmed, finding.JobsForgotten},
	string(finding.Info):     {finding.Continued, anchor.CodePCRUnknown},
}

// TestCatalogue: each finding that audit.md lists is produced by a test, with
// the severity that it says.
func TestCatalogue(t *testing.T) {
	made := map[string]bool{}
	for severity, list := range elsewhere {
		for _, code := range list {
			made[severity+" "+code] = true
		}
	}
	for _, a := range attacks {
		made[string(finding.Evidence)+" "+a.code] = true
	}
	for _, r := range warnings {
		made[string(finding.Warning)+" "+r.code] = true
	}
	for _, r := range infos {
		made[string(finding.Info)+" "+r.code] = true
	}
	page := string(read(t, filepath.Join(spec, "audit.md")))
	from, to := regexp.MustCompile(`(?m)^## 2\.`).FindStringIndex(page), regexp.MustCompile(`(?m)^## 3\.`).FindStringIndex(page)
	rows := regexp.MustCompile("(?m)^\\| `([a-z]+-?[a-z-]+)`((?: \\([wi]\\))?) \\| (.*) \\|$").FindAllStringSubmatch(page[from[0]:to[0]], -1)
	listed := 0
	examples := findingsPage(t)
	for _, row := range rows {
		if len(row[1]) < 5 || row[1] == "signed" {
			continue // states and words of other tables
		}
		severities := []finding.Severity{map[string]finding.Severity{"": finding.Evidence, " (w)": finding.Warning, " (i)": finding.Info}[row[2]]}
		if regexp.MustCompile(`; \(w\)`).MatchString(row[3]) {
			severities = append(severities, finding.Warning)
		}
		for _, s := range severities {
			listed++
			if !made[string(s)+" "+row[1]] {
				t.Errorf("no test produces %s as %s", row[1], s)
			}
			if examples[string(s)+" "+row[1]] == "" {
				t.Errorf("docs/findings.md shows no %s as %s", row[1], s)
			}
		}
	}
	if listed < 80 {
		t.Errorf("only %d findings are listed", listed)
	}
}
