// Package vpcdtest runs a command beside a real pcscd with vsmartcard's vpcd
// and an emulated token in it, all in Linux namespaces of their own: vpcd
// listens on every address with a fixed port, pcscd on a fixed path, and a
// client such as ykman kills other people's processes. So any number of these
// run at once, and nothing survives the command.
//
// The program that uses it must call [Main] first thing (a test in TestMain),
// because the inside of the namespaces is the same program started again.
package vpcdtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Options describe the inside. Paths must be absolute.
type Options struct {
	Dir     string        // for sockets, logs and, by default, the token's state; must exist
	NoToken bool          // no token of ours: the command brings one to $VPCD_ADDR
	Profile string        // firmware, "" is 5.7.1
	Serial  uint32        // 0 is 12345678
	State   string        // state file, "" is Dir/token.json
	Touch   string        // auto (the default), never, ask
	Timeout time.Duration // touch window, 0 is the real one
}

const (
	innerEnv = "PIVEMU_WITH_PCSCD"
	// runDir, below Options.Dir, is where pcscd's socket is seen from outside.
	runDir = "run"
	// controlSocket, below Options.Dir, is the token's control socket.
	controlSocket = "control"
	// readyLine is what an inside without a command prints once it is ready.
	readyLine = "ready"
	// VPCDAddr is where vpcd listens inside; the command finds it in
	// $VPCD_ADDR, and the token's control socket in $PIVEMU_CONTROL.
	VPCDAddr = "127.0.0.1:35963"
	// Reader is the token's reader; the command finds it in $PIVEMU_READER.
	// vpcd always has a second, empty one, which ends in 01.
	Reader  = "Yubico YubiKey CCID 00 00"
	vpcdLib = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
)

// ErrMissing says that a program or driver is not installed.
var ErrMissing = errors.New(`not installed: run "make setup"`)

// Command prepares argv to be run inside. The caller sets Stdin, Stdout and
// Stderr as usual; the exit status is that of argv.
func Command(ctx context.Context, o Options, argv ...string) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, errors.New("vpcdtest: a command is needed")
	}
	return command(ctx, o, argv)
}

// command is [Command]; without argv the inside says readyLine and waits for a
// signal to end.
func command(ctx context.Context, o Options, argv []string) (*exec.Cmd, error) {
	if err := installed(); err != nil {
		return nil, err
	}
	if o.Dir == "" || !filepath.IsAbs(o.Dir) {
		return nil, errors.New("vpcdtest: an absolute directory is needed")
	}
	if _, err := os.Stat(o.Dir); err != nil {
		return nil, err
	}
	if o.Serial == 0 {
		o.Serial = 12345678
	}
	if o.State == "" {
		o.State = filepath.Join(o.Dir, "token.json")
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = append([]string{os.Args[0]}, argv...)
	cmd.Env = append(os.Environ(), innerEnv+"="+string(text))
	cmd.SysProcAttr = namespaces()
	return cmd, nil
}

// installed checks what the Debian packages pcscd and vsmartcard-vpcd bring.
func installed() error {
	if _, err := os.Stat(vpcdLib); err != nil {
		return fmt.Errorf("vsmartcard-vpcd is %w", ErrMissing)
	}
	if _, err := pcscdPath(); err != nil {
		return fmt.Errorf("pcscd is %w", ErrMissing)
	}
	return nil
}

// pcscdPath also looks where a user's PATH does not reach.
func pcscdPath() (string, error) {
	if path, err := exec.LookPath("pcscd"); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/pcscd")
}

// namespaces: mounts, network and processes of its own; without root also
// users, where the caller counts as root. The inside dies with its parent.
func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	return attr
}

// Main does nothing, except in the process that [Command] starts: there it runs
// the inside and exits.
func Main() {
	text, ok := os.LookupEnv(innerEnv)
	if !ok {
		return
	}
	_ = os.Unsetenv(innerEnv)
	var o Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		fail(err)
	}
	code, err := inside(o, os.Args[1:])
	if err != nil {
		fail(err)
	}
	os.Exit(code)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "pivemu with-pcscd:", err)
	os.Exit(125)
}
