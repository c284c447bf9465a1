package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

func TestDeniedBeforeArming(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	a, b := r.file("a", 100), r.file("b", 100)
	s := r.ask(nil, a, b)
	r.must(r.Operator("deny " + s.shown()))
	r.oneLine(s.end(api.Denied), "denied")
	r.unsigned(a, b)
	r.works()
	r.clean()
}

// TestDeniedWhileTheTokenWaits denies after the APDU is out, first with nobody touching, then with somebody who touches
// all the same: that signature must be withheld, and only its hash recorded.
func TestDeniedWhileTheTokenWaits(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	for _, touched := range []bool{false, true} {
		f := r.file("f", 100)
		s := r.ask(nil, f).arm()
		job := s.view(asks(operator.AskTouch)).Job.ID
		r.must(r.Token.Await(r.ctx))
		r.must(r.Operator("deny " + job))
		s.view(asks(operator.AskNoTouch))
		if touched {
			r.must(r.Token.Touch(r.ctx))
		} else {
			r.must(r.Token.Expire(r.ctx))
		}
		s.end(api.Denied)
		r.unsigned(f)
	}
	r.works()
	report := r.clean()
	if report.Items["denied"] != 1 || report.Items["signed-withheld"] != 1 {
		t.Errorf("outcomes in the log: %v", report.Items)
	}
}

// TestDeniedBetweenTouches gives a batch its first touch and then denies.
func TestDeniedBetweenTouches(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	a, b := r.file("a", 100), r.file("b", 100)
	s := r.ask(nil, a, b).arm()
	r.must(r.Token.Touch(r.ctx))
	v := s.view(func(v operator.View) bool { return v.Ask == operator.AskTouch && v.Job.Touch == 2 })
	r.must(r.Token.Await(r.ctx))
	r.must(r.Operator("deny " + v.Job.ID))
	s.view(asks(operator.AskNoTouch))
	r.must(r.Token.Expire(r.ctx))
	s.end(api.Denied)
	r.unsigned(a, b)
	r.works()
	r.clean()
}

func TestTouchTimesOut(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	f := r.file("f", 100)
	s := r.ask(nil, f).arm()
	r.must(r.Token.Await(r.ctx))
	r.must(r.Token.Expire(r.ctx))
	res := s.end(api.TimedOut)
	r.oneLine(res, "touched")
	if !regexp.MustCompile(`waiting for the touch: 1[0-5] s left`).MatchString(res.Stderr) {
		t.Errorf("the client says nothing of the time there is to touch:\n%s", res.Stderr)
	}
	r.unsigned(f)
	r.works()
	if report := r.clean(); report.Items["timed-out"] != 1 {
		t.Errorf("outcomes in the log: %v", report.Items)
	}
}

// TestNobodyArms lets the client's patience end before the operator comes.
func TestNobodyArms(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	f := r.file("f", 100)
	r.oneLine(r.ask([]string{"--timeout", "1s"}, f).end(api.TimedOut), "nobody armed")
	r.unsigned(f)
	r.works()
	r.clean()
}

// TestTokenPulled takes the token out while it waits for a touch, and while it waits for nothing.
func TestTokenPulled(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	f := r.file("f", 100)
	s := r.ask(nil, f).arm()
	r.must(r.Token.Await(r.ctx))
	mark := r.Views().Mark()
	r.must(r.Token.Pull(r.ctx))
	r.oneLine(s.end(api.DeviceFault), "token")
	r.unsigned(f)
	r.must(r.Token.Insert(r.ctx))
	r.must(r.unlockAfter(mark))
	r.works()

	mark = r.Views().Mark()
	r.must(r.Token.Pull(r.ctx))
	_, mark, err := r.Views().Wait(r.ctx, mark, func(v operator.View) bool { return v.Token == "missing" })
	r.must(err)
	r.must(r.Token.Insert(r.ctx))
	r.must(r.unlockAfter(mark))
	r.works()
	r.clean()
}

// unlockAfter waits for the board to ask for the PIN again and types it: a token that was out must not sign without.
func (r *rig) unlockAfter(mark int) error {
	_, next, err := r.Views().Wait(r.ctx, mark, asks(operator.AskPIN))
	if err != nil {
		return err
	}
	return r.Unlock(r.ctx, next-1, world.PIN)
}

// TestWrongPIN types a wrong PIN, is told, and then the right one.
func TestWrongPIN(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{})
	r.must(r.Enrol(r.ctx))
	r.must(r.LaunchAppliance())
	if err := r.Unlock(r.ctx, 0, "654321"); err == nil {
		t.Fatal("a wrong PIN is accepted")
	}
	r.must(r.Unlock(r.ctx, r.Views().Mark()-1, world.PIN))
	r.must(r.StartHostd(r.ctx))
	r.works()
	r.clean()
}

// TestWrongHostKey runs the daemon with a key that the policy does not know.
func TestWrongHostKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{})
	r.must(r.Enrol(r.ctx))
	r.client(api.OK, "key", "new", "--name", "repo1", "--out", r.Key("stranger"))
	r.must(r.StartAppliance(r.ctx))
	r.must(r.LaunchHostd(r.ctx, "stranger"))
	f := r.file("f", 100)
	r.oneLine(r.ask(nil, f).end(api.LinkDown), "host key")
	r.unsigned(f)
	for _, v := range r.Views().All() {
		if v.Job != nil {
			t.Errorf("a stranger's job reached the display: %+v", v.Job)
		}
	}
	r.StopHostd()
	r.must(r.StartHostd(r.ctx))
	r.works()
}

// TestPolicyRefuses asks for what the policy does not give.
func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Policy: func(s string) string { return world.WithoutClass(s, "anything") }})
	evil := r.file("evil.sh", 100)
	r.oneLine(r.ask([]string{"--class", "pacman-db"}, evil).end(api.Refused), "evil.sh")
	r.oneLine(r.ask(nil, evil).end(api.Refused), "evil.sh")
	r.oneLine(r.ask([]string{"--class", "pacman-bd"}, evil).end(api.Refused), "pacman-bd")
	r.unsigned(evil)
	good := r.file("core.db.tar.gz", 100)
	r.sign(nil, good)
	r.clean()
}

// TestRateIsKept spends a class's rate and wants the next job refused, also after a restart.
func TestRateIsKept(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Policy: func(s string) string {
		return s + "\n[[class]]\nname = \"rare\"\nkeys = [\"packages\"]\nhosts = [\"repo1\"]\nnames = [\"*\"]\nformats = [\"openpgp-binary\"]\nmax_size = \"1KiB\"\nrates = [\"2/1h\"]\napprovals = 0\nbatch = 2\n"
	}})
	r.sign([]string{"--class", "rare"}, r.file("a", 10), r.file("b", 10))
	r.ask([]string{"--class", "rare"}, r.file("c", 10)).end(api.Refused)
	r.StopAppliance()
	r.must(r.StartAppliance(r.ctx))
	r.ask([]string{"--class", "rare"}, r.file("d", 10)).end(api.Refused)
	r.ask([]string{"--class", "rare"}, r.file("large", 2000)).end(api.Refused)
	r.works()
	r.clean()
}

// TestBadInput wants one clear line and nothing written for every input that cannot be signed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	good := r.file("good", 100)
	spaced := r.file("a b", 100)
	for _, c := range []struct {
		name  string
		files []string
		code  int
		words []string
	}{
		{"missing", []string{filepath.Join(r.work, "nothing")}, api.BadInput, []string{"nothing"}},
		{"directory", []string{r.work}, api.BadInput, []string{"directory"}},
		{"device", []string{"/dev/null"}, api.BadInput, []string{"/dev/null"}},
		{"empty", []string{r.file("empty", 0)}, api.BadInput, []string{"empty"}},
		{"name", []string{spaced}, api.BadInput, []string{"a b"}},
		{"one of two missing", []string{good, filepath.Join(r.work, "nothing")}, api.BadInput, []string{"nothing"}},
		{"twice", []string{good, good}, api.Usage, []string{"good"}},
		{"none", nil, api.Usage, nil},
	} {
		res := r.ask(nil, c.files...).end(c.code)
		r.oneLine(res, c.words...)
		r.unsigned(good, spaced)
	}
	inTheWay := r.file("blocked", 100)
	r.must(os.Mkdir(inTheWay+".sig", 0o755))
	r.ask(nil, inTheWay).end(api.CannotWrite)
	r.client(api.BadInput, "--trust", filepath.Join(r.work, "nowhere"), "sign", good)
	r.client(api.NoDaemon, "--socket", filepath.Join(r.work, "no.sock"), "sign", good)
	r.client(api.NoDaemon, "--socket", filepath.Join(r.work, "no.sock"), "status")
	r.unsigned(good)
	r.works()
}

// TestPolicyTypo wants enrolment and the policy check to name the line and the word.
func TestPolicyTypo(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{})
	path := filepath.Join(r.work, "policy.toml")
	r.must(os.WriteFile(path, []byte("version = 1\norigin = \"touchmark.example/demo\"\nserail = 1\n"), 0o644))
	res := r.client(api.BadInput, "policy", "check", path)
	r.oneLine(res, "policy.toml", "line 3", `"serail"`, `"serial"`) // the first of them, behind all, each with its line
	if !regexp.MustCompile(`line 3\D.*"serail".*"serial"`).MatchString(res.Stderr) {
		t.Errorf("it says: %s", res.Stderr)
	}
}
