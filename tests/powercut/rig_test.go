package powercut

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// patience bounds one run: many times what it takes, so that it means a hang.
const patience = 5 * time.Minute

func binDir() string {
	if dir := os.Getenv("TOUCHMARK_BIN"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "build", "bin")
}

// target is one of the programs, the directories whose files it is about, and
// what it does while calls on them fail.
type target struct {
	program string
	base    string // the world that it begins in
	good    string // what is said when nothing fails
	root    func(w *world.World) string
	except  []string
	does    func(r *run) (said string, err error)
	after   func(r *run) error // everything works again
	rules   string             // of the daemon's configuration
}

var targets = map[string]target{
	"appliance": {"appliance", usual, "exit code 0", boardFiles, []string{"run"}, (*run).faulty, (*run).recovered, ""},
	"mirror":    {"hostd", usual, "exit code 0", func(w *world.World) string { return filepath.Join(w.Host, "mirror") }, nil, (*run).faulty, (*run).recovered, ""},
	"published": {"hostd", usual, "exit code 0", func(w *world.World) string { return w.Mirror }, nil, (*run).publishes, (*run).recovered, ""},
	"enrolment": {"enroll", blank, "exit code 0", func(w *world.World) string { return w.Dir }, []string{"calls"}, (*run).enrols, (*run).enrolled, ""},
	"orders":    {"appliance", usual, "exit code 0", boardFiles, []string{"run"}, bringing("policy", "note"), obeying("policy", "note"), ""},
	"log key":   {"appliance", usual, "exit code 0", boardFiles, []string{"run"}, bringing("key"), (*run).rekeyed, ""},
	"close":     {"appliance", usual, closedText, boardFiles, []string{"run"}, bringing("close"), (*run).closed, ""},
	"heal":      {"appliance", behind, "exit code 0", boardFiles, []string{"run"}, (*run).heals, (*run).healed, ""},
	"resume":    {"appliance", lost, "exit code 0", boardFiles, []string{"run"}, (*run).resumes, (*run).resumed, ""},
	"rounds":    {"hostd", usual, "exit code 0", func(w *world.World) string { return w.Dir }, notOfRounds, (*run).repository, (*run).published, roundRule},
}

func boardFiles(w *world.World) string { return w.Board }

// run is one life of a copy of the enrolled world.
type run struct {
	*world.World
	ctx  context.Context
	work string
}

// outcome is what a run came to.
type outcome struct {
	calls []string // as reported by the tracer
	hit   string   // the call that was hit, "" if there were fewer
	said  string   // what the program said about it
}

// try runs one ceremony with a fault, then starts everything again without,
// runs another, and has the auditor look at both.
func try(ctx context.Context, base, dir string, tg target, o Order) (out outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
		return out, err
	}
	o.Report = filepath.Join(dir, "calls")
	cfg := world.Config{Dir: dir, Bin: binDir(), Touch: "auto", HostTOML: tg.rules}
	armed := true
	var w *world.World
	cfg.Wrap = func(program string, argv []string) []string {
		if program != tg.program || !armed {
			return argv
		}
		return append([]string{"/proc/self/exe", traceMark, o.encode()}, argv...)
	}
	if w, err = world.New(ctx, cfg); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	o.Root, o.Except = tg.root(w), tg.except
	r := &run{World: w, ctx: ctx, work: filepath.Join(dir, "work")}
	if err := os.MkdirAll(r.work, 0o755); err != nil {
		return out, err
	}
	out.said, err = tg.does(r)
	r.StopHostd()
	r.StopAppliance()
	armed = false
	var rerr error
	if out.calls, out.hit, rerr = readReport(o.Report); err != nil || rerr != nil {
		return out, errors.Join(err, rerr)
	}
	return out, tg.after(r)
}

// faulty is the life with the fault. That a program does not come up, or halts,
// is as good as that it goes on, if it says why.
func (r *run) faulty() (said string, err error) {
	if said, err := r.rises(); said != "" || err != nil {
		return said, err
	}
	code, err := r.sign("faulty")
	if err != nil {
		return r.Hostd().LogTail(), err
	}
	return r.state(fmt.Sprintf("exit code %d", code)), nil
}

// publishes is such a life, and a daemon that lived through it brings what it
// publishes up to date: by itself it does when nothing else is under way, which
// may be after it was stopped here.
func (r *run) publishes() (said string, err error) {
	if said, err = r.faulty(); err != nil || r.Hostd() == nil {
		return said, err
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	go func(hostd *world.Process) {
		select {
		case <-hostd.Done():
			cancel()
		case <-ctx.Done():
		}
	}(r.Hostd())
	out, _ := r.Command(ctx, r.work, "touchmark", "publish").CombinedOutput() // what it says is the daemon's affair
	if r.ctx.Err() != nil {
		return said, fmt.Errorf("touchmark publish hangs: %s", out)
	}
	return said, nil
}

// rises starts both programs and answers what keeps them from being ready.
func (r *run) rises() (said string, err error) {
	if err := r.StartAppliance(r.ctx); err != nil {
		return r.spoken(err, r.Appliance())
	}
	if err := r.startHostd(); err != nil {
		return r.spoken(err, r.Hostd())
	}
	return "", nil
}

// state is why the board has halted, by its display, or what is said else.
func (r *run) state(said string) string {
	views := r.Views().All()
	if v := views[len(views)-1]; v.Halted != "" {
		return v.Halted
	}
	return said
}

// startHostd starts the daemon and waits until it has met the board or said
// that it cannot, or until the board has halted or died.
func (r *run) startHostd() error {
	if err := r.LaunchHostd(r.ctx, "repo1"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	go watchHalt(ctx, cancel, r.Views(), 0, "")
	go func(board *world.Process) {
		select {
		case <-board.Done():
			cancel(errors.New("the board died"))
		case <-ctx.Done():
		}
	}(r.Appliance())
	line, _, err := r.Hostd().Log.Wait(ctx, 0, func(line string) bool {
		return strings.Contains(line, "log verified") || strings.Contains(line, " ERR ")
	})
	if err == nil && strings.Contains(line, " ERR ") {
		err = errors.New(line)
	}
	return err
}

// watchHalt ends a wait when the board halts, with what its display says, unless
// that is known.
func watchHalt(ctx context.Context, cancel context.CancelCauseFunc, views *world.Views, mark int, known string) {
	v, _, err := views.Wait(ctx, mark, func(v operator.View) bool { return v.Halted != "" && v.Halted != known })
	if err == nil {
		cancel(&world.HaltedError{Why: v.Halted})
	}
}

// spoken is what a program that did not come up has said: on its display, if it
// has one.
func (r *run) spoken(err error, p *world.Process) (string, error) {
	var halted *world.HaltedError
	switch {
	case r.ctx.Err() != nil:
		return "", fmt.Errorf("it hangs: %w", err)
	case errors.As(err, &halted):
		return halted.Why, nil
	}
	if p == nil {
		return err.Error(), nil
	}
	p.Stop() // now its log is complete
	return p.LogTail() + "\n" + err.Error(), nil
}

// recovered starts without faults and wants the next ceremony to work, the
// signature of the first, if it was released, to be in the log, and the auditor
// to find nothing.
func (r *run) recovered() error {
	if err := r.restarted(); err != nil {
		return err
	}
	return r.works()
}

// restarted starts without faults.
func (r *run) restarted() error {
	err := r.StartAppliance(r.ctx)
	if err == nil {
		err = r.StartHostd(r.ctx)
	}
	if err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	return nil
}

// works wants a signature, stops everything, and has the auditor look.
func (r *run) works() error {
	if code, err := r.sign("next"); err != nil || code != api.OK {
		return errors.Join(fmt.Errorf("after the fault: touchmark sign: exit code %d", code), err)
	}
	return r.judged()
}

func (r *run) judged() error {
	r.StopHostd()
	r.StopAppliance()
	return errors.Join(r.audited(), r.accounted("faulty"))
}

// sign asks for a signature with an operator who arms everything, and checks
// that the client has it if it says so, and nothing if not.
func (r *run) sign(name string) (code int, err error) {
	path := filepath.Join(r.work, name)
	if err := os.WriteFile(path, []byte("content of "+name), 0o644); err != nil {
		return 0, err
	}
	ctx, leave := r.attended()
	defer leave()
	cmd := r.Command(ctx, r.work, "touchmark", "sign", path)
	cmd.Cancel = func() error { return cmd.Process.Kill() } // to Ctrl-C it may answer that a signature may exist, and wait
	text, err := cmd.CombinedOutput()
	if r.ctx.Err() != nil {
		return 0, fmt.Errorf("touchmark sign hangs: %w", err)
	}
	code = cmd.ProcessState.ExitCode()
	if _, err := os.Stat(path + ".sig"); (code == api.OK) != (err == nil) && code >= 0 {
		return code, fmt.Errorf("touchmark sign: exit code %d and %w: %s", code, err, text)
	}
	if code == api.OK {
		if v, err := r.Run(r.ctx, r.work, "touchmark", "verify", path); err != nil || v.Code != api.OK {
			return code, fmt.Errorf("released, but does not verify: %s, %w", v.Stderr, err)
		}
	}
	return code, nil
}

// attended has somebody at the panel who arms everything, and ends when one of
// the programs does.
func (r *run) attended() (ctx context.Context, leave func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	views, board, hostd, known := r.Views(), r.Appliance(), r.Hostd(), r.state("")
	var hands sync.WaitGroup
	hands.Go(func() { r.consent(ctx, views) })
	hands.Go(func() { abandon(ctx, cancel, views, board, hostd, known) })
	return ctx, func() { cancel(); hands.Wait() }
}

// abandon ends the client when one of the programs is gone or has halted:
// perhaps nobody answers it before the programs are started again.
func abandon(ctx context.Context, cancel func(), views *world.Views, board, hostd *world.Process, known string) {
	halted, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go watchHalt(halted, stop, views, max(0, views.Mark()-1), known)
	select {
	case <-board.Done():
	case <-hostd.Done():
	case <-halted.Done():
	}
	cancel()
}

// consent arms whatever the panel asks for.
func (r *run) consent(ctx context.Context, views *world.Views) {
	armed := ""
	asked := func(v operator.View) string {
		switch {
		case v.Ask != operator.AskArm:
			return ""
		case v.Job != nil:
			return v.Job.ID
		}
		return v.Order.ID
	}
	for mark := max(0, views.Mark()-1); ; {
		v, next, err := views.Wait(ctx, mark, func(v operator.View) bool { return asked(v) != "" && asked(v) != armed })
		if err != nil {
			return
		}
		mark, armed = next, asked(v)
		if r.Operator("arm "+armed) != nil {
			return
		}
	}
}

// audited wants the auditor to find no evidence in what is published.
func (r *run) audited() error {
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", "verify", r.Mirror, "--trust", r.Trust, "--json")
	if err != nil {
		return err
	}
	var p struct {
		Verdict  string
		Findings []struct{ Severity, Code, Explanation string }
	}
	if err := json.Unmarshal([]byte(res.Stdout), &p); err != nil {
		return fmt.Errorf("touchmark-audit: %w\n%s%s", err, res.Stdout, res.Stderr)
	}
	for _, f := range p.Findings {
		if f.Severity == "evidence" {
			return fmt.Errorf("touchmark-audit: %s: %s", f.Code, f.Explanation)
		}
	}
	if res.Code != 0 && p.Verdict != "warnings" {
		return fmt.Errorf("touchmark-audit: exit code %d, %s", res.Code, p.Verdict)
	}
	return nil
}

// accounted wants a job of which a signature was released, or of which the
// token was touched, to be in the published log.
func (r *run) accounted(name string) error {
	b, err := os.ReadFile(filepath.Join(r.Logs, "token-apdu.log"))
	if err != nil {
		return err
	}
	touched := strings.Count(string(b), " - touched\n")
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", "show", r.Mirror)
	if err != nil {
		return err
	}
	told := strings.Count(res.Stdout, "intent")
	if touched-1 > told { // the first was for the certificate
		return fmt.Errorf("the token was touched %d times, the log has %d intents", touched, told)
	}
	if _, err := os.Stat(filepath.Join(r.work, name+".sig")); err == nil {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte("content of "+name)))
		if !strings.Contains(res.Stdout, sum[:16]) {
			return fmt.Errorf("a signature of %s was released that the log does not show:\n%s", sum, res.Stdout)
		}
	}
	return nil
}

func readReport(path string) (calls []string, hit string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	calls = strings.Split(strings.TrimSpace(string(b)), "\n")
	if i := slices.IndexFunc(calls, func(c string) bool { return strings.HasSuffix(c, " HIT") }); i >= 0 {
		hit = strings.TrimSuffix(calls[i], " HIT")
	}
	return calls, hit, nil
}
