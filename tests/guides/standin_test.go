package guides

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"touchmark/tests/world"
)

// The test program is also what stands in for programs that would change the machine, under their names: it hands the
// call to the test and ends as that says.
const (
	callSocket  = "GUIDES_SOCKET"
	callMachine = "GUIDES_MACHINE"
)

// call is a program that a page runs.
type call struct {
	Who, Dir string
	Argv     []string
}

// answer is how it ends.
type answer struct {
	Code int
	Said string
}

func TestMain(m *testing.M) {
	if socket := os.Getenv(callSocket); socket != "" {
		os.Exit(handOver(socket))
	}
	syscall.Umask(0o022) // what the machines of the pages have; dpkg-deb refuses what a stricter one makes
	os.Exit(m.Run())
}

// handOver asks the test to do what the program would.
func handOver(socket string) int {
	dir, err := os.Getwd()
	c := call{os.Getenv(callMachine), dir, append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)}
	var conn net.Conn
	if err == nil {
		conn, err = net.Dial("unix", socket)
	}
	var a answer
	if err == nil {
		err = errors.Join(json.NewEncoder(conn).Encode(c), json.NewDecoder(conn).Decode(&a))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		return 1
	}
	fmt.Print(a.Said)
	return a.Code
}

func (s *stage) calls() string { return filepath.Join(s.dir, "calls") }

// answerCalls serves the stand-ins until the test ends.
func (s *stage) answerCalls() {
	l, err := net.Listen("unix", s.calls())
	must(s.t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var c call
			if json.NewDecoder(conn).Decode(&c) == nil {
				a := answer{}
				s.calling.Lock()
				if a.Said, err = standIns[c.Argv[0]](s, &c); err != nil {
					a.Code, a.Said = exitOf(err), a.Said+strings.TrimSpace(err.Error())+"\n"
				}
				s.calling.Unlock()
				_ = json.NewEncoder(conn).Encode(a) // the caller sees that it is missing
			}
			_ = conn.Close()
		}
	}()
	s.t.Cleanup(func() { _ = l.Close(); <-ended })
}

func exitOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 1
}

// standIns are what pages run that no test may run as it stands.
var standIns map[string]func(*stage, *call) (string, error)

func init() { // the map's functions use the map
	standIns = map[string]func(*stage, *call) (string, error){
		"touchmark-appliance": (*stage).appliance, "systemctl": (*stage).systemctl, "apt": (*stage).apt,
		"usermod": (*stage).account, "chgrp": (*stage).account, "chown": (*stage).account,
		"in-toto-run": (*stage).inTotoRun, "pacman": (*stage).pacman, "pacman-key": (*stage).pacmanKey, "dnf": (*stage).dnf,
	}
}

// appliance is the board's program, on the board that there is, with an operator who types and touches.
func (s *stage) appliance(c *call) (string, error) {
	switch args := c.Argv[1:]; args[0] {
	case "enroll", "token-key":
		return "", s.Ceremony(s.ctx, append(slices.Clone(args), "--throwaway")...)
	case "run":
		if err := s.RunAppliance(args...); err != nil {
			return "", err
		}
		views := s.Views()
		s.busy.Go(func() { s.attend(views, s.Operator) })
		err := s.Unlock(s.ctx, 0, chosenPIN)
		var halted *world.HaltedError
		if errors.As(err, &halted) { // it goes on running, and says so
			err = nil
		}
		return "", err
	default:
		return s.real(c, append([]string{filepath.Join(s.Bin, "touchmark-appliance-emulated")}, args...)...)
	}
}

// real runs a program where it was called.
func (s *stage) real(c *call, argv ...string) (string, error) {
	cmd := exec.CommandContext(s.ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = c.Dir, append(s.env(c.Who), "HOME="+s.path(c.Who, "home"), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// systemctl does with the daemon what systemd would.
func (s *stage) systemctl(c *call) (string, error) {
	args := slices.DeleteFunc(slices.Clone(c.Argv[1:]), func(a string) bool { return a == "--now" })
	if args[0] == "daemon-reload" {
		return "", nil
	}
	if len(args) != 2 || args[1] != "touchmark-hostd" {
		return "", fmt.Errorf("systemctl %q", c.Argv[1:])
	}
	s.StopHostd()
	if args[0] == "stop" {
		return "", nil
	}
	text, err := os.ReadFile(s.path(c.Who, "etc/touchmark/hostd.toml"))
	if err != nil {
		return "", err
	}
	config := s.path(c.Who, "hostd.toml")
	local := strings.NewReplacer(`"auto"`, `"`+s.Cable.HostPath()+`"`, "/run/touchmark/hostd.sock", s.Socket).Replace(s.local(c.Who, string(text)))
	if err := os.WriteFile(config, []byte(`link_grace = "100ms"`+"\n"+local), 0o644); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	if err := s.RunHostd(ctx, config); err != nil {
		return "", err
	}
	return "", s.Hostd().AwaitLog(ctx, 0, "log verified")
}

// apt unpacks our own packages, with which other tests try dpkg itself (tests/packages, tests/consumers); everything else
// is the real one's, with directories of the machine.
func (s *stage) apt(c *call) (string, error) {
	if len(c.Argv) == 3 && c.Argv[1] == "install" && strings.HasSuffix(c.Argv[2], ".deb") {
		return s.unpack(c, filepath.Join(c.Dir, c.Argv[2]))
	}
	return s.real(c, asRoot(append([]string{"apt-get", "-y", "-q"}, c.Argv[1:]...)...)...)
}

// unpack puts what is in one of our packages onto a machine. That of the host's programs is made of them now.
func (s *stage) unpack(c *call, deb string) (string, error) {
	if _, err := os.Stat(deb); err != nil {
		return "", err
	}
	if strings.HasPrefix(filepath.Base(deb), "touchmark_") {
		install, err := filepath.Abs(filepath.Join(packaging, "install.sh"))
		if err != nil {
			return "", err
		}
		return s.real(c, install, s.Bin, s.path(c.Who, ""))
	}
	if out, err := s.real(c, "dpkg-deb", "-x", deb, s.path(c.Who, "")); err != nil {
		return out, err
	}
	configs, err := filepath.Glob(s.path(c.Who, "etc/apt/apt.conf.d/*"))
	for _, path := range configs {
		text, readErr := os.ReadFile(path)
		err = errors.Join(err, readErr, os.WriteFile(path, []byte(s.local(c.Who, string(text))), 0o644))
	}
	return "", err
}

// inTotoRun is the real one, which waits for gpg as long as a busy machine takes.
func (s *stage) inTotoRun(c *call) (string, error) {
	return s.real(c, append([]string{filepath.Join(s.Bin, "touchmark-wait")}, c.Argv...)...)
}

// account changes users, groups or owners, which nothing here has: the files must be there.
func (s *stage) account(c *call) (string, error) {
	for _, a := range c.Argv[1:] {
		if !strings.Contains(a, "/") {
			continue
		}
		if _, err := os.Stat(a); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (s *stage) pacman(c *call) (string, error) {
	return s.real(c, asRoot(append([]string{"pacman", "--config", s.path(c.Who, "etc/pacman.conf"), "--noconfirm", "--noprogressbar", "--color", "never"}, c.Argv[1:]...)...)...)
}

func (s *stage) pacmanKey(c *call) (string, error) {
	if err := s.master(c.Who); err != nil {
		return "", err
	}
	return s.asPacmanKey(c)
}

// asPacmanKey is the real one, which has the place of keyrings written into it: Debian's another than Arch's.
func (s *stage) asPacmanKey(c *call) (string, error) {
	program, err := exec.LookPath("pacman-key")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	program = s.path(c.Who, "pacman-key")
	text = bytes.ReplaceAll(text, []byte("'/usr/share/keyrings'"), []byte("'"+s.path(c.Who, "usr/share/pacman/keyrings")+"'"))
	if err := os.WriteFile(program, text, 0o755); err != nil {
		return "", err
	}
	return s.real(c, asRoot(append([]string{"bash", program, "--config", s.path(c.Who, "etc/pacman.conf")}, c.Argv[1:]...)...)...)
}

func (s *stage) dnf(c *call) (string, error) {
	return s.real(c, asRoot(append([]string{"dnf", "-y", "--installroot=" + s.path(c.Who, "root"), "--releasever=1", "--setopt=reposdir=" + s.path(c.Who, "etc/yum.repos.d"),
		"--setopt=cachedir=" + s.path(c.Who, "cache"), "--setopt=install_weak_deps=0"}, c.Argv[1:]...)...)...)
}

// asRoot is a command with what makes root of who runs the test.
func asRoot(argv ...string) []string {
	if os.Geteuid() == 0 {
		return argv
	}
	return append([]string{"unshare", "-r", "--"}, argv...)
}
