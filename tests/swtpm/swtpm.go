// Package swtpm runs the TPM emulator swtpm for tests and for the demo: a
// process with its own state directory and unix sockets, power cycles, and a
// proxy in front that makes chosen commands fail. Several run side by side.
//
// Nothing polls or sleeps: swtpm inherits a listening control socket, and its
// first answer there says that it serves.
package swtpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// patience bounds every wait for swtpm; a loaded machine may need a while
	// to make a new TPM.
	patience = 2 * time.Minute
	// maxSocketPath is safely below sockaddr_un's 108 bytes, ".ctrl" included.
	maxSocketPath = 100
)

// Server is a running swtpm.
type Server struct {
	state   string // directory of what survives a power cut
	dir     string // sockets: "tpm" (front, only with a proxy), "raw", "raw.ctrl"
	ownDir  bool   // dir is ours to remove
	process *os.Process
	done    chan struct{} // closed when the process has ended
	proxy   *proxy        // nil without fault injection
	machine *machine      // nil but for a virtual machine's
}

// Start runs a new TPM with a proxy in front of it until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return startIn(t, t.TempDir())
}

func startIn(t testing.TB, state string) *Server {
	t.Helper()
	s, err := start(state, "")
	if err == nil {
		s.proxy, err = newProxy(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(state, "swtpm.log"))
			t.Logf("swtpm said:\n%s", strings.ReplaceAll(string(log), "Data client disconnected\n", ""))
		}
	})
	return s
}

// StartDir runs a TPM whose state and log are kept in dir (made if missing),
// without a proxy, until Stop or the end of this process. If dir is too deep
// for unix sockets they are put into a temporary directory; Spec knows.
func StartDir(dir string) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sockets := dir
	if len(filepath.Join(dir, "raw.ctrl")) > maxSocketPath {
		sockets = ""
	}
	return start(dir, sockets)
}

// Spec is what device.Open takes.
func (s *Server) Spec() string {
	if s.proxy != nil {
		return "swtpm:" + s.path("tpm")
	}
	return s.Direct()
}

// Direct is Spec around the proxy, for measurements.
func (s *Server) Direct() string { return "swtpm:" + s.path("raw") }

// Pid is swtpm's process id.
func (s *Server) Pid() int { return s.process.Pid }

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// start runs swtpm on a state directory. With sockets empty it makes a short
// directory for them. swtpm dies with this process, however that dies.
func start(state, sockets string) (*Server, error) {
	s := &Server{state: state, dir: sockets, done: make(chan struct{})}
	if sockets == "" {
		dir, err := os.MkdirTemp("", "swtpm")
		if err != nil {
			return nil, err
		}
		s.dir, s.ownDir = dir, true
	}
	if err := s.vacant(); err != nil {
		return nil, err
	}
	if err := s.launch(state, "startup-clear"); err != nil {
		s.removeSockets()
		return nil, fmt.Errorf("swtpm: cannot start: %w", err)
	}
	if err := s.ready(); err != nil {
		return nil, errors.Join(fmt.Errorf("swtpm: started but does not serve (see %s/swtpm.log): %w", state, err), s.Stop())
	}
	return s, nil
}

// vacant refuses to take the sockets of one that is still running, whose state
// two would then write.
func (s *Server) vacant() error {
	conn, err := net.Dial("unix", s.path("raw.ctrl"))
	if err != nil {
		return nil // nobody listens
	}
	conn.Close()
	return fmt.Errorf("swtpm: one serves %s already: stop it first", s.dir)
}

// launch runs swtpm; power says how it begins (swtpm(8), --flags).
func (s *Server) launch(state, power string) error {
	binary, err := exec.LookPath("swtpm")
	if err != nil {
		return fmt.Errorf("%w: run make setup", err)
	}
	s.removeSockets()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	control, err := listenFile(s.path("raw.ctrl"))
	if err != nil {
		return err
	}
	defer control.Close()
	cmd := exec.Command(binary, "socket", "--tpm2",
		"--tpmstate", "dir="+state,
		"--server", "type=unixio,path="+s.path("raw"),
		"--ctrl", "type=unixio,fd=3",
		"--flags", power,
		"--log", "level=1,truncate,file="+filepath.Join(state, "swtpm.log"))
	cmd.ExtraFiles = []*os.File{control}
	// Ctrl-C is not for it; the death of this process is.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return s.supervise(cmd)
}

// supervise starts cmd and reaps it, on a thread of its own: Pdeathsig is
// about the death of the thread, not of the process.
func (s *Server) supervise(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		s.process = cmd.Process
		started <- nil
		_ = cmd.Wait() // killed or not, it is gone
		close(s.done)
	}()
	return <-started
}

// listenFile makes a listening unix socket to be inherited.
func listenFile(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	return l.File()
}

// Commands of the control channel (swtpm's tpm_ioctl.h).
const (
	ctrlGetCapability = 1
	ctrlInit          = 2
	ctrlStop          = 14
)

// ready waits until swtpm answers its control channel.
func (s *Server) ready() error {
	_, err := s.control(8, ctrlGetCapability)
	return err
}

// control sends 32-bit words and reads n bytes.
func (s *Server) control(n int, words ...uint32) ([]byte, error) {
	conn, err := net.Dial("unix", s.path("raw.ctrl"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var request []byte
	for _, w := range words {
		request = binary.BigEndian.AppendUint32(request, w)
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	response := make([]byte, n)
	_, err = io.ReadFull(conn, response)
	return response, err
}

// PowerCycle takes the power away (without TPM2_Shutdown) and gives it back:
// what `swtpm_ioctl -i` does, then TPM2_Startup(CLEAR), a TPM Reset.
func (s *Server) PowerCycle() error {
	if s.proxy != nil {
		s.proxy.mu.Lock()
		defer s.proxy.mu.Unlock()
	}
	return s.powerOn()
}

// Flash is what the TPM keeps without power, to be given back by Restore. Nobody
// may use the TPM meanwhile.
func (s *Server) Flash() ([]byte, error) { return os.ReadFile(s.flash()) }

// flash is where swtpm 0.7 and later keep it.
func (s *Server) flash() string { return filepath.Join(s.state, "tpm2-00.permall") }

// Restore takes the power away, puts back what Flash answered, and gives the
// power again: a TPM Reset of another time.
func (s *Server) Restore(flash []byte) error {
	if s.proxy != nil {
		s.proxy.mu.Lock()
		defer s.proxy.mu.Unlock()
	}
	if err := s.order("power off", ctrlStop); err != nil {
		return err
	}
	if err := os.WriteFile(s.flash(), flash, 0o600); err != nil {
		return err
	}
	return s.powerOn()
}

// order sends words over the control channel and wants the answer 0.
func (s *Server) order(what string, words ...uint32) error {
	response, err := s.control(4, words...)
	if err != nil {
		return fmt.Errorf("swtpm: %s: %w", what, err)
	}
	if code := binary.BigEndian.Uint32(response); code != 0 {
		return fmt.Errorf("swtpm: %s failed with %#x", what, code)
	}
	return nil
}

func (s *Server) powerOn() error {
	if err := s.order("power cycle", ctrlInit, 0); err != nil {
		return err
	}
	return s.say("startup", 0x144, suClear)
}

// Tool runs one of the tpm2-tools (or any command that obeys TPM2TOOLS_TCTI)
// on this TPM, around the proxy, and returns what it wrote.
func (s *Server) Tool(name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: run make setup", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI=swtpm:path="+s.path("raw"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// PlatformLocked is an error unless the platform's authorization is set: whoever reaches the TPM, around the
// proxy, takes it where it is empty. It must not be called by what the TPM's proxy calls.
func (s *Server) PlatformLocked() error {
	const badAuth = "9A2" // TPM_RC_BAD_AUTH of session 1 (TPM 2.0 Part 2, 6.6)
	return s.Beside(func() error {
		out, err := s.Tool("tpm2_changeauth", "--object-context=platform", "taken")
		if err == nil || !strings.Contains(strings.ToUpper(err.Error()), badAuth) {
			return fmt.Errorf("swtpm: the platform's authorization is there for the taking: %w\n%s", err, out)
		}
		return nil
	})
}

// LockedFirst is an error unless what was recorded has, behind each startup of the TPM, the platform's lock before
// any other command but these, and the platform is locked now.
func (s *Server) LockedFirst(but ...uint32) error {
	open, all := false, s.Recorded()
	for i, r := range all {
		switch {
		case r.Code == Startup && r.RC == 0:
			open = true
		case r.Code == HierarchyChangeAuth && r.RC == 0:
			open = false
		case open && !slices.Contains(but, r.Code):
			return fmt.Errorf("swtpm: command %d, %#x, is before the platform is locked: %x", i, r.Code, all)
		}
	}
	if open {
		return fmt.Errorf("swtpm: the platform is never locked: %x", all)
	}
	return s.PlatformLocked()
}

var stopping sync.Mutex // Stop may be called twice, also at once

// Stop ends swtpm and removes its sockets. The state stays.
func (s *Server) Stop() error {
	stopping.Lock()
	defer stopping.Unlock()
	defer s.removeSockets()
	if s.proxy != nil {
		s.proxy.close()
	}
	if s.machine != nil {
		s.machine.close()
	}
	if err := s.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("swtpm: %w", err)
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("swtpm: does not end by itself"), s.process.Kill())
	}
}

func (s *Server) removeSockets() {
	for _, name := range []string{"tpm", "raw", "raw.ctrl", "machine"} {
		_ = os.Remove(s.path(name)) // missing is fine, and swtpm reports the rest
	}
	if s.ownDir {
		_ = os.Remove(s.dir)
	}
}
