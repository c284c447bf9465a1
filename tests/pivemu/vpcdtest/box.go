package vpcdtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// killAfter is how long the inside may take to end once it was asked to; it
// takes an instant.
const killAfter = 5 * time.Second

// Box is an inside that stays for any number of commands, until Close.
type Box struct {
	o     Options
	inner *exec.Cmd
	ended chan error
}

// Open starts pcscd and the token and returns once pcscd has powered it. When
// ctx is done the inside is killed with everything in it.
func Open(ctx context.Context, o Options) (*Box, error) {
	inner, err := command(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	var complaint strings.Builder
	inner.Stderr = &complaint
	out, err := inner.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := inner.Start(); err != nil {
		return nil, fmt.Errorf("vpcdtest: %w (namespaces need root, or a kernel that allows them to users)", err)
	}
	b := &Box{o: o, inner: inner, ended: make(chan error, 1)}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func() { b.ended <- inner.Wait() }()
	if err != nil || strings.TrimSpace(line) != readyLine {
		err = errors.Join(errors.New("vpcdtest: the reader does not start"), err, b.Close())
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return b, nil
}

// Close ends the inside and everything that was started in it.
func (b *Box) Close() error {
	_ = b.inner.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(killAfter, func() { _ = b.inner.Process.Kill() })
	defer timer.Stop()
	return <-b.ended
}

// Environ is what a program outside needs to reach the reader: libpcsclite
// takes pcscd's socket from PCSCLITE_CSOCK_NAME.
func (b *Box) Environ() []string {
	return append(b.names(), "PCSCLITE_CSOCK_NAME="+filepath.Join(b.o.Dir, runDir, filepath.Base(commSocket)))
}

// names are the variables that programs inside and outside share.
func (b *Box) names() []string {
	return []string{"PIVEMU_READER=" + Reader, "PIVEMU_CONTROL=" + b.Control()}
}

// Control is the path of the token's control socket.
func (b *Box) Control() string { return filepath.Join(b.o.Dir, controlSocket) }

// Command prepares argv to be run inside, in the directory dir. Its processes
// end with the box at the latest.
func (b *Box) Command(ctx context.Context, dir string, argv ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(b.inner.Process.Pid), "--mount", "--net", "--pid"}
	if os.Geteuid() != 0 {
		enter = append(enter, "--user", "--preserve-credentials")
	}
	// Entering the mounts leads to their root directory.
	enter = append(enter, "--", "sh", "-c", `cd "$0" && exec "$@"`, dir)
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, argv...)...)
	cmd.Env = append(append(os.Environ(), "VPCD_ADDR="+VPCDAddr), b.names()...)
	cmd.WaitDelay = killAfter
	return cmd
}
