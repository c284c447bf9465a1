package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
)

// step is one of the moments of a ceremony that the operator's panel tells apart. An update is none: on a slow machine the
// end of the log's check, for one, comes when the first job is on display, and never again.
func step(v operator.View) string {
	if v.Job == nil || v.Event == "update" {
		return ""
	}
	return fmt.Sprintf("%s/%s/%d", v.Event, v.Job.State, v.Job.Touch)
}

// steps runs a good job and lists its moments, in order, each once.
func (r *rig) steps() []string {
	r.t.Helper()
	mark := r.Views().Mark()
	r.sign(nil, r.file("a", 100), r.file("b", 100))
	var list []string
	for _, v := range r.Views().All()[mark:] {
		if s := step(v); s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if len(list) < 4 {
		r.t.Fatalf("a ceremony has only these moments: %v", list)
	}
	return list
}

// outcome checks what a client wrote against what it said: all or nothing.
func (s *signing) outcome(codes ...int) int {
	s.r.t.Helper()
	var res world.Result
	select {
	case res = <-s.done:
	case <-s.r.ctx.Done():
		s.r.t.Fatal("touchmark sign hangs")
	}
	if !slices.Contains(codes, res.Code) {
		s.r.t.Errorf("touchmark sign: exit code %d, want one of %v\n%s%s", res.Code, codes, res.Stdout, res.Stderr)
	}
	for _, f := range s.files {
		if res.Code == api.OK {
			s.r.verified(f)
		} else {
			s.r.unsigned(f)
		}
	}
	return res.Code
}

// accounted wants the auditor to find nothing, and every touch that the token took to be in the log as a signature
// given, withheld or possible: none may have been made without its commit.
func (r *rig) accounted() {
	r.t.Helper()
	p := r.clean()
	b, err := os.ReadFile(filepath.Join(r.Logs, "token-apdu.log"))
	r.must(err)
	touched := strings.Count(string(b), " - touched\n") - 1 // the first was for the certificate
	told := p.Items["signed"] + p.Items["signed-withheld"] + p.Items["unknown"] + p.Items["timed-out"]
	if touched > told {
		r.t.Errorf("the token was touched %d times, the log accounts for %d: %v", touched, told, p.Items)
	}
}

// TestApplianceKilledAtEachMoment kills the board at every moment that the panel tells apart, starts it again and wants
// the client to have said the truth, the next job to work and the log to account for everything.
func TestApplianceKilledAtEachMoment(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	for _, at := range r.steps() {
		s := r.ask(nil, r.file("a", 100), r.file("b", 100))
		r.driveTo(s, at)
		r.KillAppliance()
		r.restarted()
		r.recovers(s, at, api.OK, api.LinkDown, api.DeviceFault, api.MaySigned)
	}
	r.accounted()
}

// TestChallengeInsideACommit: a board that was killed between its TPM's commit and the log's word of it does not answer an
// auditor before a start has settled that: HEAD and PCR, log and checkpoint would seem to contradict each other.
func TestChallengeInsideACommit(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.works()
	asked, answered := filepath.Join(r.work, "challenge"), filepath.Join(r.work, "answer")
	r.client(api.OK, "publish")
	r.says("touchmark-audit", 0, "", "challenge", "--trust", r.Trust, "--out", asked)
	steps := r.steps()
	s := r.ask(nil, r.file("a", 100), r.file("b", 100))
	r.driveTo(s, steps[slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(s, "touch/") })])
	r.KillAppliance()
	answer := func(code int, want string) {
		r.says("touchmark-appliance-emulated", code, want, "answer", "--tpm", r.TPM.Spec(), "--dir", r.Board, "--challenge", asked, "--out", answered)
	}
	answer(1, "start the board")
	r.restarted()
	s.outcome(api.OK, api.LinkDown, api.DeviceFault, api.MaySigned)
	r.shut()
	answer(0, "")
	r.says("touchmark-audit", 0, "fresh-at", "verify", r.Mirror, "--trust", r.Trust, "--challenge", asked, "--answer", answered)
}

// TestHostdKilledAtEachMoment does the same to the daemon.
func TestHostdKilledAtEachMoment(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	for _, at := range r.steps() {
		s := r.ask(nil, r.file("a", 100), r.file("b", 100))
		r.driveTo(s, at)
		r.KillHostd()
		r.must(r.StartHostd(r.ctx))
		r.recovers(s, at, api.OK, api.NoDaemon, api.MaySigned)
	}
	r.accounted()
}

// driveTo is the operator of one job until the moment comes.
func (r *rig) driveTo(s *signing, at string) {
	r.t.Helper()
	armed, touched := false, 0
	for {
		v := s.view(func(v operator.View) bool { return step(v) != "" })
		switch {
		case step(v) == at:
			return
		case v.Ask == operator.AskArm && !armed:
			armed = true
			r.must(r.Operator("arm " + v.Job.ID))
		case v.Ask == operator.AskTouch && v.Job.Touch > touched:
			touched = v.Job.Touch
			r.must(r.Token.Touch(r.ctx))
		}
	}
}

// restarted starts the board again and waits until the host has met it.
func (r *rig) restarted() {
	r.t.Helper()
	mark := r.Hostd().Log.Mark()
	r.must(r.StartAppliance(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
}

// recovers wants the job that an accident hit to end with one of the codes, and the next one to be signed, with an
// operator who arms and touches whatever the board shows: it may show the old job first.
func (r *rig) recovers(s *signing, at string, codes ...int) {
	r.t.Helper()
	defer r.attended()()
	s.outcome(codes...)
	next := r.file("next", 100)
	r.ask(nil, next).end(api.OK)
	r.verified(next)
	if r.t.Failed() {
		r.t.Fatalf("killed at %s", at)
	}
}

// attended puts an operator at the board who arms and touches whatever comes, until stop is called.
func (r *rig) attended() (stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	views := r.Views()
	go func() { done <- r.consent(ctx, views) }()
	return func() {
		r.t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			r.t.Errorf("the operator left: %v", err)
		}
	}
}

func (r *rig) consent(ctx context.Context, views *world.Views) error {
	armed, touched := "", 0
	for mark := max(0, views.Mark()-1); ; {
		v, next, err := views.Wait(ctx, mark, func(operator.View) bool { return true })
		if err != nil {
			return err
		}
		mark = next
		if v.Ask != operator.AskArm {
			armed = "" // a job that was withdrawn may be shown again
		}
		switch {
		case v.Ask == operator.AskArm && v.Job.ID != armed:
			armed, touched = v.Job.ID, 0
			err = r.Operator("arm " + v.Job.ID)
		case v.Ask == operator.AskTouch && v.Job.Touch > touched:
			touched = v.Job.Touch
			err = r.Token.Touch(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// TestKilledInsideTPMCommands stops the TPM at each command of a commit, before it is carried out and after, kills the
// board there and starts it again: these are the moments that no display can show.
func TestKilledInsideTPMCommands(t *testing.T) {
	t.Parallel()
	r := faulty(t)
	r.must(r.Token.Mode(r.ctx, "auto"))
	for _, code := range []uint32{swtpm.NVExtend, swtpm.PCRExtend, swtpm.NVCertify, swtpm.Quote} {
		for _, kind := range []swtpm.Kind{swtpm.Hang, swtpm.ApplyAndHang} {
			happened := r.TPM.Fail(swtpm.Fault{Code: code, Kind: kind})
			s := r.ask(nil, r.file("a", 100), r.file("b", 100)).arm()
			select {
			case <-happened:
			case <-r.ctx.Done():
				t.Fatalf("command %#x never comes", code)
			}
			r.KillAppliance()
			r.TPM.Heal()
			r.restarted()
			s.outcome(api.DeviceFault, api.MaySigned)
			r.ask(nil, r.file("next", 100)).arm().end(api.OK)
			if t.Failed() {
				t.Fatalf("killed in command %#x, kind %d", code, kind)
			}
		}
	}
	r.accounted()
}

// TestPowerCut takes the power from board and TPM together while the token waits for a touch.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	r := faulty(t)
	for range 3 {
		s := r.ask(nil, r.file("f", 100)).arm()
		r.must(r.Token.Await(r.ctx))
		r.KillAppliance()
		r.must(r.TPM.PowerCycle())
		r.restarted()
		s.outcome(api.MaySigned)
		r.works()
	}
	r.accounted()
}

// TestTPMErrors makes each command of a commit fail, carried out or not, answered or not. A job may fail and say so; it
// must not end half done, and the board must go on, after a restart at the latest.
func TestTPMErrors(t *testing.T) {
	t.Parallel()
	r := faulty(t)
	r.must(r.Token.Mode(r.ctx, "auto"))
	for _, code := range []uint32{swtpm.NVExtend, swtpm.PCRExtend, swtpm.NVCertify, swtpm.Quote} {
		for _, kind := range []swtpm.Kind{swtpm.Refuse, swtpm.ApplyAndRefuse, swtpm.Close, swtpm.ApplyAndClose} {
			r.TPM.Fail(swtpm.Fault{Code: code, Kind: kind, RC: swtpm.RCFailure})
			r.ask(nil, r.file("f", 100)).arm().outcome(api.OK, api.DeviceFault, api.MaySigned, api.Denied)
			r.TPM.Heal()
			views := r.Views().All()
			if v := views[len(views)-1]; v.Halted != "" {
				r.StopAppliance()
				r.restarted()
			}
			r.ask(nil, r.file("next", 100)).arm().end(api.OK)
			if t.Failed() {
				t.Fatalf("command %#x, kind %d", code, kind)
			}
		}
	}
	r.accounted()
}
