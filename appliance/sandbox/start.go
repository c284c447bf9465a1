package sandbox

import (
	"fmt"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start has a process begin in the sandbox of its profile, which it would else execute itself anew for: a program is loaded
// once and not twice. start is called once, on a thread that is bound already and lives no longer than the call; it starts the
// program from there, without changing to another goroutine, with mark in its environment, and as the profile's user if it
// has one. The program calls Enter with the same profile.
func Start(p Profile, program string, start func(mark string) error) error {
	answer := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and for good: the thread ends with this function
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread() // the first thread does not end: it is kept from being taken while another one is
			answer <- Start(p, program, start)
			return
		}
		answer <- startBound(p, program, start)
	}()
	return <-answer
}

// Command starts a command like Start, as the profile's user. Its standard streams must be given: what would be opened for
// them is out of reach.
func Command(p Profile, cmd *exec.Cmd) error {
	return Start(p, cmd.Path, func(mark string) error {
		cmd.Env = append(cmd.Environ(), mark)
		if p.User != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.User.Credential()}
		}
		return cmd.Start()
	})
}

func startBound(p Profile, program string, start func(mark string) error) error {
	var r Report
	rules := newRuleset(p, program, &r)
	if p.LockMemory {
		restore, err := unlimited()
		if err != nil {
			return err
		}
		defer restore()
	}
	mark, err := rules.bind(p, r)
	if err != nil {
		return fmt.Errorf("the sandbox of %s: %w", program, err)
	}
	return start(mark)
}

// unlimited lets what is started lock as much memory as it likes, until restored; who may not allow that leaves it, and the
// process says so.
func unlimited() (restore func(), err error) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
		return nil, fmt.Errorf("reading the limit of locked memory: %w", err)
	}
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &noLimit)
	return func() { _ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &before) }, nil
}
