package machine

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Children starts processes and reaps all that end: those of others too, whose
// parents ended before them, because this is the first process.
type Children struct {
	mu    sync.Mutex // guards what follows, and a start: nobody is reaped before it is known
	known map[int]chan<- int
}

// Reap reaps until the process ends. wake is told of each signal SIGCHLD.
func (c *Children) Reap(wake <-chan os.Signal) {
	for range wake {
		c.reapAll()
	}
}

func (c *Children) reapAll() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		c.mu.Lock()
		ended, ours := c.known[pid]
		delete(c.known, pid)
		c.mu.Unlock()
		if ours {
			ended <- exitCode(status)
		}
	}
}

// exitCode is that of a shell: 128 and the signal, for one that a signal ended.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// Child is a process that was started.
type Child struct {
	PID   int
	Ended <-chan int // its exit code, once
}

// Start starts a program on a terminal, as a user (0: root stays root), with
// nothing inherited but the terminal, where its errors go, and more: descriptors from 3 on.
func (c *Children) Start(argv []string, terminal, errors *os.File, user int, more ...*os.File) (*Child, error) {
	attr := &syscall.ProcAttr{
		Env:   []string{"TERM=vt100", "HOME=/", "PATH=/bin"},
		Files: []uintptr{terminal.Fd(), terminal.Fd(), errors.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	}
	for _, f := range more {
		attr.Files = append(attr.Files, f.Fd())
	}
	if user != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	if c.known == nil {
		c.known = map[int]chan<- int{}
	}
	ended := make(chan int, 1)
	c.known[pid] = ended
	return &Child{pid, ended}, nil
}

// Stop tells it to end in good order.
func (c *Child) Stop() {
	if c.PID > 0 { // else it never started, and the signal would be for this process's group
		_ = unix.Kill(c.PID, unix.SIGTERM)
	}
}
