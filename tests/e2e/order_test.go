package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
	"touchmark/tpm/device"
)

// orders hands a signed note over and has the operator arm it.
func (r *rig) orders(note string) {
	r.t.Helper()
	mark := r.Views().Mark()
	r.client(api.OK, "order", "submit", note)
	v, next, err := r.Views().Wait(r.ctx, mark, func(v operator.View) bool { return v.Order != nil && v.Ask != operator.AskNothing })
	r.must(err)
	if v.Ask != operator.AskArm || len(v.Order.Lines) == 0 {
		r.t.Fatalf("asks %q about %+v", v.Ask, v.Order)
	}
	r.must(r.Operator("arm " + v.Order.ID))
	v, _, err = r.Views().Wait(r.ctx, next, func(v operator.View) bool {
		return v.Event == "order-done" || v.Event == "order-dropped" || v.Halted != "" && v.Order == nil
	})
	r.must(err)
	if v.Event == "order-dropped" {
		r.t.Fatal(v.Message)
	}
}

// order writes and signs an order of the first administrator's.
func (r *rig) order(kind string, flags ...string) (note string) {
	r.t.Helper()
	r.client(api.OK, "publish")
	text := filepath.Join(r.work, kind+".order")
	r.must(os.RemoveAll(text)) // one of before
	r.client(api.OK, append([]string{"order", "new", kind, "--checkpoint", filepath.Join(r.Mirror, "checkpoint"), "--reason", "a test", "--out", text}, flags...)...)
	note = filepath.Join(r.work, kind+".note")
	r.client(api.OK, "order", "sign", "--key", r.Key("admin1"), "--out", note, text)
	return note
}

// Administrators change the policy, note something, and end the log, with the host's program and the board's operator; the
// auditor finds it all in order.
func TestAdministratorsOrders(t *testing.T) {
	r := up(t, world.Config{})
	r.works()
	note := r.order("note")
	r.orders(note)
	if res := r.client(api.OK, "order", "submit", "--wait", note); !strings.Contains(res.Stdout, "in force: entry") {
		t.Fatal(res.Stdout)
	}
	r.works()
	r.order("close")
	other := filepath.Join(r.work, "other.note")
	r.client(api.OK, "order", "sign", "--key", r.Key("repo1"), "--out", other, filepath.Join(r.work, "close.order"))
	if res := r.client(api.Refused, "order", "submit", other); !strings.Contains(res.Stderr, "bad-signature") {
		t.Fatal(res.Stderr)
	}

	text, err := os.ReadFile(filepath.Join(r.Host, "policy.toml"))
	r.must(err)
	res := r.client(api.OK, "policy", "check", "--json", filepath.Join(r.Host, "policy.note"))
	hash := regexp.MustCompile(`"hash": ?"([0-9a-f]{64})"`).FindStringSubmatch(res.Stdout)
	if hash == nil {
		t.Fatal(res.Stdout)
	}
	next := regexp.MustCompile(`(?m)^previous *=.*$`).ReplaceAllString(string(text), `previous = "`+hash[1]+`"`)
	next = regexp.MustCompile(`(?m)^serial *=.*$`).ReplaceAllString(next, "serial = 2")
	next = strings.Replace(next, `max_skew = "10m"`, `max_skew = "11m"`, 1)
	path := filepath.Join(r.work, "next.toml")
	r.must(os.WriteFile(path, []byte(next), 0o644))
	r.client(api.OK, "policy", "sign", "--key", r.Key("admin1"), path)
	r.orders(filepath.Join(r.work, "next.note"))
	r.works()
	r.StopAppliance()
	r.must(r.StartAppliance(r.ctx))
	r.works()
	r.orders(r.order("close"))
	r.clean()
}

// A board whose end of the log is nowhere any more goes on when the administrators order it, and the auditor is warned for
// ever.
func TestResumeByTheAdministrators(t *testing.T) {
	r := up(t, world.Config{})
	r.works()
	r.StopAppliance()
	log, old := filepath.Join(r.Board, "log"), filepath.Join(t.TempDir(), "log")
	r.must(os.CopyFS(old, os.DirFS(log)))
	note := r.checkpointCopy()
	r.StopHostd()
	state := filepath.Join(t.TempDir(), "host")
	r.must(os.CopyFS(state, os.DirFS(r.Host)))
	r.must(r.StartAppliance(r.ctx))
	r.must(r.StartHostd(r.ctx))
	r.works()
	r.StopHostd()
	r.StopAppliance()
	for dir, from := range map[string]string{log: old, r.Host: state} {
		r.must(os.RemoveAll(dir))
		r.must(os.CopyFS(dir, os.DirFS(from)))
	}
	r.must(os.RemoveAll(r.Mirror))
	r.must(r.LaunchAppliance())
	signed := r.resumeOrder(r.halts(), note)
	r.must(r.LaunchHostd(r.ctx, "repo1"))
	r.must(r.Hostd().AwaitLog(r.ctx, 0, "not where the appliance"))
	r.orders(signed)
	mark := r.Views().Mark()
	r.must(r.Unlock(r.ctx, mark-1, world.PIN))
	r.must(r.Hostd().AwaitLog(r.ctx, 0, "log verified"))
	r.works()
	r.shut()
	res, p := r.audit(r.Mirror)
	if !p.has("resumed") {
		t.Errorf("exit code %d, verdict %s\n%s", res.Code, p.Verdict, res.Stdout)
	}
	for _, f := range p.Findings {
		if f.Severity == "evidence" {
			t.Errorf("finding: %s: %s", f.Code, f.Explanation)
		}
	}
}

// TestResumeUnderTheSameDaemon: a halted board whose log and TPM agree signs again when the
// administrators have it go on, and nobody restarts the daemon.
func TestResumeUnderTheSameDaemon(t *testing.T) {
	r := up(t, world.Config{})
	r.works()
	note := r.checkpointCopy()
	r.StopAppliance()
	tpm, err := device.Open(r.TPM.Spec())
	r.must(err)
	r.must(errors.Join(tpm.ExtendPCR([32]byte{1}), tpm.Close()))
	r.must(r.LaunchAppliance())
	signed := r.resumeOrder(r.halts(), note)
	r.must(r.Hostd().AwaitLog(r.ctx, 0, "the appliance has halted"))
	mark := r.Hostd().Log.Mark()
	r.orders(signed)
	r.must(r.Unlock(r.ctx, r.Views().Mark()-1, world.PIN))
	r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
	r.works()
}

// halts waits until the board says what it has halted in.
func (r *rig) halts() string {
	r.t.Helper()
	v, _, err := r.Views().Wait(r.ctx, 0, func(v operator.View) bool {
		if v.Ask == operator.AskTime {
			r.must(r.Operator("time yes"))
		}
		return v.Halted != ""
	})
	r.must(err)
	return v.Halted
}

// resumeOrder has the administrator order the board to go on from what its display says.
func (r *rig) resumeOrder(halted, checkpoint string) (signed string) {
	r.t.Helper()
	at := regexp.MustCompile(`^((?:head|pcr)-[a-z]+):.*HEAD ([0-9a-f]{64}), PCR ([0-9a-f]{64})`).FindStringSubmatch(halted)
	if at == nil {
		r.t.Fatal(halted)
	}
	text, signed := filepath.Join(r.work, "resume.order"), filepath.Join(r.work, "resume.note")
	r.client(api.OK, "order", "new", "resume", "--halt", at[1], "--head", at[2], "--pcr", at[3], "--checkpoint", checkpoint, "--reason", "a test", "--out", text)
	r.client(api.OK, "order", "sign", "--key", r.Key("admin1"), "--out", signed, text)
	return signed
}

// checkpointCopy is the checkpoint as published now.
func (r *rig) checkpointCopy() string {
	r.t.Helper()
	r.client(api.OK, "publish")
	b, err := os.ReadFile(filepath.Join(r.Mirror, "checkpoint"))
	r.must(err)
	path := filepath.Join(r.work, "checkpoint")
	r.must(os.WriteFile(path, b, 0o644))
	return path
}
