package guides

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/appliance/operator/screen"
	"touchmark/tests/world"
)

// What the operator of a guide chooses, and what a new token has.
const (
	chosenPIN, chosenPUK   = "24681357", "87654321"
	factoryPIN, factoryPUK = world.PIN, "12345678"
)

// stage is the machines of one page, and the people at them.
type stage struct {
	*world.World
	t    *testing.T
	ctx  context.Context
	dir  string
	webs map[string]string // the addresses of machines' web servers, by the name that pages have for them
	mark int               // of the board's display, before the newest commands
	said string            // what those printed

	calling sync.Mutex // held while a stand-in is served, which starts and stops programs

	busy sync.WaitGroup // people at the board and the token

	mu      sync.Mutex    // guards what follows
	hands   string        // what the operator does: arm, deny or away
	changed chan struct{} // closed when that changes
}

// newStage plugs the hardware together; the page does everything else.
func newStage(t *testing.T) *stage {
	t.Helper()
	bin := os.Getenv("TOUCHMARK_BIN")
	if bin == "" {
		t.Fatal("TOUCHMARK_BIN is not set: run make test")
	}
	dir, err := os.MkdirTemp("", "tm") // short: gpg keeps sockets below it
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	s := &stage{t: t, ctx: ctx, dir: dir, webs: map[string]string{}, hands: "arm", changed: make(chan struct{})}
	t.Cleanup(func() { cancel(); must(t, os.RemoveAll(dir)) })
	s.World, err = world.New(ctx, world.Config{Dir: filepath.Join(dir, "world"), Bin: bin, Touch: "auto", Secret: secret})
	must(t, err)
	t.Cleanup(s.end)
	for name, who := range map[string]string{"packages.example": "host", "bob.example": "bob"} {
		web := httptest.NewServer(http.FileServer(http.Dir(s.path(who, "/srv/www"))))
		t.Cleanup(web.Close)
		s.webs[name] = strings.TrimPrefix(web.URL, "http://")
	}
	must(t, os.MkdirAll(filepath.Join(dir, "usb"), 0o755))
	s.answerCalls()
	return s
}

// end stops everything; a page that failed leaves the logs of its programs.
func (s *stage) end() {
	for _, home := range []string{s.path("client", "gnupg"), s.path("bob", "home/.gnupg")} {
		if _, err := os.Stat(home); err == nil { // an agent would outlive its directory by a while
			_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() // there may be none
		}
	}
	must(s.t, s.Close())
	s.busy.Wait()
	logs, err := filepath.Glob(filepath.Join(s.Logs, "*.log"))
	must(s.t, err)
	for _, path := range logs {
		if b, err := os.ReadFile(path); err == nil && s.t.Failed() && !strings.HasPrefix(filepath.Base(path), "token-apdu") {
			s.t.Logf("%s:\n%s", filepath.Base(path), b)
		}
	}
}

// secret is what the operator types where the ceremony asks.
func secret(v operator.View) string {
	puk, old := strings.Contains(v.Message, "PUK"), strings.Contains(v.Message, "present")
	switch {
	case puk && old:
		return factoryPUK
	case puk:
		return chosenPUK
	case old:
		return factoryPIN
	}
	return chosenPIN
}

// path is where a machine's file is.
func (s *stage) path(who, name string) string { return filepath.Join(s.dir, who, name) }

// rooted are paths as commands and configurations name them. A machine's own are below its directory; the stick is the
// same for all; so are devices.
var rooted = regexp.MustCompile(`(^|[\s"'=:(<>]|file://)(/(?:etc|data|srv|var/lib|usr/share|usr/lib/touchmark|usr/bin/touchmark[a-z-]*|media/usb|dev/ttyGS0)\b)`)

// local rewrites a text for a machine.
func (s *stage) local(who, text string) string {
	text = rooted.ReplaceAllStringFunc(text, func(m string) string {
		at := strings.Index(strings.TrimPrefix(m, "file://"), "/") + len(m) - len(strings.TrimPrefix(m, "file://"))
		switch before, path := m[:at], m[at:]; path {
		case "/media/usb":
			return before + filepath.Join(s.dir, "usb")
		case "/dev/ttyGS0":
			return before + s.Cable.BoardPath()
		default:
			return before + s.path(who, path)
		}
	})
	for name, address := range s.webs {
		text = strings.NewReplacer("https://"+name, "http://"+address, "://"+name, "://"+address).Replace(text)
	}
	return text
}

// machine makes a machine's directory on its first use.
func (s *stage) machine(who string) string {
	s.t.Helper()
	home := s.path(who, "home")
	if _, err := os.Stat(home); err == nil {
		return home
	}
	for _, sub := range []string{"home", "etc", "srv", "data", "usr/bin", "usr/share/keyrings", "var/lib", "stand-in"} {
		must(s.t, os.MkdirAll(s.path(who, sub), 0o755))
	}
	must(s.t, os.WriteFile(s.path(who, "session"), fmt.Appendf(nil, "cd %s\n", home), 0o644))
	for name := range standIns {
		must(s.t, os.Symlink(self(s.t), s.path(who, "stand-in/"+name)))
	}
	s.furnish(who)
	return home
}

// run runs commands of a page on a machine, in a shell that goes on where the machine's last one was.
func (s *stage) run(who, script string) (string, error) {
	s.t.Helper()
	home, state := s.machine(who), s.path(who, "session")
	text := "set -eEu -o pipefail -a\n. " + state + "\n" + s.local(who, script) + "\n{ export -p; echo \"cd '$PWD'\"; } >" + state + "\n"
	cmd := exec.CommandContext(s.ctx, "bash", "-c", text)
	cmd.Env = append(s.env(who), "HOME="+home)
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// env is what a machine's programs run with: what the package installed there, and stand-ins before everything else.
func (s *stage) env(who string) []string {
	path := strings.Join([]string{s.path(who, "stand-in"), s.path(who, "usr/bin"), os.Getenv("PATH"), "/usr/sbin", "/sbin"}, ":")
	return []string{"PATH=" + path, "LC_ALL=C.UTF-8", "TERM=dumb", "GORACE=atexit_sleep_ms=0", sourceDate, callSocket + "=" + s.calls(), callMachine + "=" + who,
		"TOUCHMARK_SOCKET=" + s.Socket, "TOUCHMARK_TRUST=" + s.path(who, "etc/touchmark/trust"), "APT_CONFIG=" + s.path(who, "apt.conf"), "GIT_CONFIG_NOSYSTEM=1"}
}

// perform goes through a page.
func (s *stage) perform(page string) {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(pages, page))
	must(s.t, err)
	steps, err := parse(string(text))
	must(s.t, err)
	for _, step := range steps {
		switch step.kind {
		case hands:
			err = s.people(step.text)
		case commands:
			before, mark := s.board()
			s.said, err = s.run(step.who, step.script())
			if s.mark = mark; s.other(before) {
				s.mark = 0
			}
			s.t.Logf("%s, line %d: %s", page, step.line, s.said)
		case printed:
			if m := step.missing(s.said, true); m != "" {
				err = fmt.Errorf("the commands before did not print %q", m)
			}
		case display:
			err = s.shows(step)
		}
		if err != nil {
			s.t.Fatalf("%s, line %d: %v\n%s", page, step.line, err, s.said)
		}
	}
}

// board is the board that runs, if one does; what it has shown so far is the past.
func (s *stage) board() (p *world.Process, mark int) {
	s.calling.Lock()
	defer s.calling.Unlock()
	if s.Appliance() == nil {
		return nil, 0
	}
	return s.Appliance(), s.Views().Mark()
}

// other reports that the board was started anew since.
func (s *stage) other(before *world.Process) bool {
	now, _ := s.board()
	return now != before
}

// shows waits until the board has shown the lines of a step.
func (s *stage) shows(want step) error {
	ctx, cancel := context.WithTimeout(s.ctx, patience/2)
	defer cancel()
	var text strings.Builder
	_, _, err := s.Views().Wait(ctx, max(0, s.mark-1), func(v operator.View) bool {
		text.WriteString(console(v))
		return want.missing(text.String(), false) == ""
	})
	if err != nil {
		return fmt.Errorf("the board does not show %q: %w", want.missing(text.String(), false), err)
	}
	return nil
}

// console is what the board's console shows, on a screen that has room for all of it.
func console(v operator.View) string {
	var face screen.Face
	face.Show(v, v.Time)
	var text strings.Builder
	for _, line := range face.Frame(100, 400, v.Time).Lines {
		text.WriteString(line.Text + "\n")
	}
	return text.String()
}

// people does what a page says of hands.
func (s *stage) people(what string) error {
	switch what {
	case "arm", "deny", "away":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hands = what
		close(s.changed)
		s.changed = make(chan struct{})
		return nil
	case "do not touch":
		if err := s.Token.Mode(s.ctx, "ask"); err != nil {
			return err
		}
		s.busy.Go(func() { // the window ends as if nobody had come
			if s.Token.Await(s.ctx) == nil {
				_ = s.Token.Expire(s.ctx) // without it the page's command does not end
			}
		})
		return nil
	case "touch":
		return s.Token.Mode(s.ctx, "auto")
	case "pull the cable":
		s.Cable.Unplug(0)
		s.Cable.Unplug(1)
		return nil
	case "plug the cable in":
		return errors.Join(s.Cable.Plug(0), s.Cable.Plug(1))
	case "stop the board":
		s.StopAppliance()
		return nil
	}
	return fmt.Errorf("nobody knows how to %q", what)
}

// attend decides about what the board shows, as long as it runs.
func (s *stage) attend(views *world.Views, say func(string) error) {
	last := ""
	for mark := 0; ; {
		v, next, err := views.Wait(s.ctx, mark, func(v operator.View) bool {
			return (v.Ask == operator.AskArm || v.Ask == operator.AskUnmirrored) && v.Subject() != last
		})
		if err != nil {
			return
		}
		mark, last = next, v.Subject()
		word, ok := s.decision()
		if !ok || say(word+" "+last) != nil {
			return
		}
	}
}

// decision waits until the operator is there.
func (s *stage) decision() (word string, ok bool) {
	for {
		s.mu.Lock()
		word, changed := s.hands, s.changed
		s.mu.Unlock()
		if word != "away" {
			return word, true
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return "", false
		}
	}
}
