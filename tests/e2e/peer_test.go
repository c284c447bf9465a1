package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/frame"
	"touchmark/hostlink/message"
	"touchmark/tests/cable"
	"touchmark/tests/world"
)

// The tests in this file put tests/peer, a host written in another language from docs/spec alone, in the place of
// touchmark-hostd: if it gets its files signed, the specification is enough.

// peerRig is a world whose host is the peer.
type peerRig struct {
	*rig
	key, log, job string // the peer's files
}

// peerSays is one line of the peer's account of what happens, or the object it prints in the end.
type peerSays struct {
	At, Job, State, Code, Reason, Refused string
	Have, Total, Size, Entries, Verified  int
	Sessions, Intent, Outcome             int
	Opened                                []string
	BadFrames                             int `json:"bad_frames"`
	Items                                 []peerItem
}

type peerItem struct{ Name, State, Value string }

func peerProgram(args ...string) []string {
	return append([]string{"python3", filepath.Join("..", "peer", "peer.py")}, args...)
}

// withPeer starts a board that knows the peer's key as repo1's.
func withPeer(t *testing.T) *peerRig {
	t.Helper()
	dir := t.TempDir()
	// Reads it, so that a cached result is not for another peer.
	if err := os.CopyFS(filepath.Join(dir, "peer"), os.DirFS(filepath.Join("..", "peer"))); err != nil {
		t.Fatal(err)
	}
	p := &peerRig{key: filepath.Join(dir, "key"), log: filepath.Join(dir, "log"), job: filepath.Join(dir, "job")}
	argv := peerProgram("keygen", "--name", "repo1", "--key", p.key)
	verifier, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	p.rig = newRig(t, world.Config{Policy: func(toml string) string {
		repo1 := regexp.MustCompile(`name = "repo1"\nkey = "[^"]*"`)
		return repo1.ReplaceAllLiteralString(toml, "name = \"repo1\"\nkey = \""+strings.TrimSpace(string(verifier))+`"`)
	}})
	p.must(p.Enrol(p.ctx))
	p.must(p.StartAppliance(p.ctx))
	return p
}

// running is a peer at work.
type running struct {
	r     *peerRig
	cmd   *exec.Cmd
	out   bytes.Buffer
	lines chan string
	seen  []string
	mark  int // of the operator's panel
}

// start runs the peer with a command and what follows the common flags.
func (r *peerRig) start(command string, args ...string) *running {
	r.t.Helper()
	common := []string{command, "--device", r.Cable.HostPath(), "--trust", filepath.Join(r.Trust, "trust"), "--key", r.key, "--log", r.log}
	argv := peerProgram(append(common, args...)...)
	p := &running{r: r, cmd: exec.CommandContext(r.ctx, argv[0], argv[1:]...), lines: make(chan string, 1000), mark: r.Views().Mark()}
	p.cmd.Stdout = &p.out
	// A peer that outlived a killed test would take the next pty of that number.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	r.must(err)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig is of the thread that starts it, which must stay as long
		started <- p.cmd.Start()
		for in := bufio.NewScanner(stderr); in.Scan(); {
			p.lines <- in.Text()
		}
		close(p.lines)
	}()
	r.must(<-started)
	return p
}

// await reads the peer's account until something in it is as wanted.
func (p *running) await(want func(peerSays) bool) peerSays {
	p.r.t.Helper()
	for line := range p.lines {
		p.seen = append(p.seen, line)
		var says peerSays
		if json.Unmarshal([]byte(line), &says) == nil && want(says) {
			return says
		}
	}
	p.r.t.Fatalf("the peer ended before its time:\n%s", strings.Join(p.seen, "\n"))
	panic("unreachable")
}

func at(what string) func(peerSays) bool { return func(s peerSays) bool { return s.At == what } }

// event waits for a progress event of the job.
func event(state string) func(peerSays) bool {
	return func(s peerSays) bool { return s.At == "event" && s.State == state }
}

// end waits for the peer to exit with a code and returns what it printed.
func (p *running) end(code int) (says peerSays) {
	p.r.t.Helper()
	for line := range p.lines {
		p.seen = append(p.seen, line)
	}
	p.r.must(world.Exited(p.cmd.Wait()))
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.r.t.Fatalf("the peer's exit code is %d, want %d\n%s\n%s", got, code, strings.Join(p.seen, "\n"), &p.out)
	}
	if p.out.Len() > 0 {
		p.r.must(json.Unmarshal(p.out.Bytes(), &says))
	}
	return says
}

// kill ends the peer as a crash would.
func (p *running) kill() {
	p.r.t.Helper()
	p.r.must(p.cmd.Process.Kill())
	for range p.lines {
	}
	_ = p.cmd.Wait() // says that it was killed
}

// consent arms the job that is shown and touches once for each item.
func (p *running) consent(items int) {
	p.r.t.Helper()
	v, mark, err := p.r.Views().Wait(p.r.ctx, p.mark, asks(operator.AskArm))
	p.r.must(err)
	p.mark = mark
	p.r.must(p.r.Operator("arm " + v.Job.ID))
	for range items {
		p.r.must(p.r.Token.Touch(p.r.ctx))
	}
}

// signs has the peer get files signed, and the consumers accept them.
func (r *peerRig) signs(flags []string, files ...string) peerSays {
	r.t.Helper()
	p := r.start("sign", slices.Concat([]string{"--job", r.job}, flags, files)...)
	p.consent(len(files))
	says := p.end(0)
	r.allSigned(says, files...)
	r.must(os.Remove(r.job))
	return says
}

// allSigned wants every item signed, in the eyes of gpg and sqv too.
func (r *peerRig) allSigned(says peerSays, files ...string) {
	r.t.Helper()
	if len(says.Items) != len(files) {
		r.t.Fatalf("%d items for %d files: %+v", len(says.Items), len(files), says)
	}
	for _, item := range says.Items {
		if item.State != "signed" {
			r.t.Errorf("%s is %s", item.Name, item.State)
		}
	}
	r.consumers(files...)
}

// TestPeerSigns is the whole conversation: hello, log, job, touches, outcome, for both hashes, in several sessions.
func TestPeerSigns(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	says := r.signs([]string{"--verifier", "gpgv"}, r.file("small.bin", 5), r.file("block.bin", 128))
	before := says.Entries
	says = r.signs([]string{"--verifier", "sqv", "--hash", "sha512"}, r.file("large.bin", 10001))
	if says.Entries <= before || says.Verified <= says.Intent {
		t.Errorf("the log has %d entries after %d, %d proved: %+v", says.Entries, before, says.Verified, says)
	}
	mark := r.Views().Mark()
	r.signs([]string{"--document"}, r.text("Release", release))
	v, _, err := r.Views().Wait(r.ctx, mark, asks(operator.AskArm))
	r.must(err)
	r.means(v, "Suite: stable", "SHA256 of 1 file")
	r.must(os.Remove(r.log))
	if again := r.start("log").end(0); again.Entries < says.Entries {
		t.Errorf("fetched anew the log has %d entries, it had %d", again.Entries, says.Entries)
	}
}

// TestPeerAnnouncesARound: the board shows what waits on the peer, and the peer hears that its operator opens that.
func TestPeerAnnouncesARound(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	p := r.start("rounds", "--rule", "core")
	v, _, err := r.Views().Wait(r.ctx, p.mark, func(v operator.View) bool { return len(v.Rounds) > 0 })
	r.must(err)
	if one := v.Rounds[0]; one.Rule != "core" || one.Files != 1 || one.State != message.RoundWaiting || !one.Next.IsZero() || v.MoreRounds != 0 {
		t.Errorf("the board shows %+v", v.Rounds)
	}
	r.must(r.Operator("open core"))
	if says := p.end(0); !slices.Equal(says.Opened, []string{"core"}) {
		t.Errorf("the peer heard of %+v", says)
	}
	_, _, err = r.Views().Wait(r.ctx, p.mark, func(v operator.View) bool { return v.Host == "down" && len(v.Rounds) == 0 })
	r.must(err)
}

// refused wants a job to be refused with a code while nothing of it reaches the display.
func (r *peerRig) refused(code string, flags ...string) {
	r.t.Helper()
	mark := r.Views().Mark()
	f := r.file("refused.bin", 100)
	says := r.start("sign", slices.Concat([]string{"--job", r.job}, flags, []string{f})...).end(2)
	if says.Refused != code {
		r.t.Errorf("refused with %q, want %q", says.Refused, code)
	}
	r.unsigned(f)
	for _, v := range r.Views().All()[mark:] {
		if v.Job != nil {
			r.t.Errorf("the operator was shown %+v", v.Job)
		}
	}
	r.must(os.Remove(r.job))
}

// TestPeerIsRefused asks for what it may not have, and is told why by a code.
func TestPeerIsRefused(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	r.refused("wrong-origin", "--origin", "touchmark.example/other")
	r.refused("unknown-class", "--class", "nothing")
	r.refused("name-forbidden", "--class", "pacman-db")
	r.refused("bad-document", "--document")
	r.signs(nil, r.file("next.bin", 100))
}

// TestPeerCancels withdraws a job that is on the display, from another session than the one that asked for it.
func TestPeerCancels(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	f := r.file("f", 100)
	p := r.start("sign", "--job", r.job, f)
	job := p.await(event("shown")).Job
	p.kill()
	if says := r.start("cancel", "--job", r.job).end(2); says.Refused != "cancelled" || says.Job != job {
		t.Errorf("cancelling %s was answered %+v", job, says)
	}
	_, _, err := r.Views().Wait(r.ctx, p.mark, func(v operator.View) bool { return v.Job == nil })
	r.must(err)
	r.unsigned(f)
}

// TestPeerRestartedMidJob kills the peer while the token waits for its touch. Asked again, the board answers the same job
// with the one signature that it has; asked a third time, with the same.
func TestPeerRestartedMidJob(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	f := r.file("f", 100)
	p := r.start("sign", "--job", r.job, f)
	r.must(r.Operator("arm " + p.await(event("shown")).Job))
	p.await(event("touch"))
	p.kill()
	p = r.start("sign", "--job", r.job, f)
	p.await(at("submitted"))
	r.must(r.Token.Touch(r.ctx))
	first := p.end(0)
	r.allSigned(first, f)
	second := r.start("sign", "--job", r.job, f).end(0)
	r.allSigned(second, f)
	if second.Items[0] != first.Items[0] || second.Intent != first.Intent || second.Entries != first.Entries {
		t.Errorf("the same job gave %+v, then %+v", first, second)
	}
}

// interrupted is a fault that lets a direction pass until the first fragment of a bulk message that has more to come. From
// then on everything is lost; stop is called in another goroutine.
func interrupted(stop func()) cable.Fault {
	var decoder frame.Decoder
	stopped := false
	return func(p []byte) []byte {
		for rest := p; !stopped && len(rest) > 0; {
			f, n, ok := decoder.Feed(rest)
			if ok && f.Type == bulkWithMore {
				stopped = true
				go stop()
			}
			rest = rest[n:]
		}
		if stopped {
			return nil
		}
		return p
	}
}

// bulkWithMore is the type of a frame with a bulk fragment that is not its message's last (docs/spec/frame.md).
const bulkWithMore = 0x12

// fillLog makes a log that takes several fragments to fetch.
func (r *peerRig) fillLog() {
	r.t.Helper()
	for range 3 {
		r.signs(nil, r.file("f", 100), r.file("g", 100))
	}
	r.must(os.Remove(r.log))
}

func (r *peerRig) awaits(happened <-chan struct{}) {
	r.t.Helper()
	select {
	case <-happened:
	case <-r.ctx.Done():
		r.t.Fatal("the fetch is never interrupted: it takes no two fragments")
	}
}

// TestPeerAndCutCable cuts the cable in the middle of fetching the log: the session goes on where it was.
func TestPeerAndCutCable(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	r.fillLog()
	cut := make(chan struct{})
	r.Cable.SetFault(cable.Down, interrupted(func() { close(cut) }))
	p := r.start("log")
	p.await(at("welcome"))
	r.awaits(cut)
	r.Cable.SetFault(cable.Down, nil)
	if says := p.end(0); says.Sessions != 1 || says.Entries == 0 {
		t.Errorf("after the cut: %+v", says)
	}
}

// TestPeerAndPulledAdapter pulls the host's adapter in the middle of fetching the log: a new session fetches what is missing.
func TestPeerAndPulledAdapter(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	r.fillLog()
	pulled := make(chan struct{})
	r.Cable.SetFault(cable.Down, interrupted(func() {
		r.Cable.Unplug(cable.Up)
		close(pulled)
	}))
	p := r.start("log")
	r.awaits(pulled)
	r.Cable.SetFault(cable.Down, nil)
	p.await(at("down"))
	r.must(r.Cable.Plug(cable.Up))
	if says := p.end(0); says.Sessions != 2 || says.Entries == 0 {
		t.Errorf("after the adapter was pulled: %+v", says)
	}
}

// TestPeerOnNoisyLine signs over a line that flips and loses bytes all the time.
func TestPeerOnNoisyLine(t *testing.T) {
	t.Parallel()
	r := withPeer(t)
	r.Cable.SetFault(cable.Up, cable.Noise(1, 1e-5, 1e-4))
	r.Cable.SetFault(cable.Down, cable.Noise(2, 1e-5, 1e-4))
	bad := 0
	for range 5 {
		bad += r.signs(nil, r.file("f", 1000)).BadFrames
		r.must(os.Remove(r.log)) // the next one fetches everything again
	}
	if bad == 0 {
		t.Error("the line was not noisy")
	}
}
