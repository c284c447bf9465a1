package machine

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"touchmark/appliance/sandbox"
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

// Program is what is to be started: on a terminal, with nothing inherited but that, where its errors go, and more:
// descriptors from 3 on.
type Program struct {
	Argv             []string
	Terminal, Errors *os.File
	User             int              // 0: root stays root
	Sandbox          *sandbox.Profile // it is started in; nil: it sees to that itself, or is in none
	Env              []string         // of what every program has more
	More             []*os.File
}

// Start starts a program.
func (c *Children) Start(p Program) (*Child, error) {
	attr := &syscall.ProcAttr{
		Env:   append([]string{"TERM=vt100", "HOME=/", "PATH=/bin"}, p.Env...),
		Files: []uintptr{p.Terminal.Fd(), p.Terminal.Fd(), p.Errors.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	}
	for _, f := range p.More {
		attr.Files = append(attr.Files, f.Fd())
	}
	if p.User != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(p.User), Gid: uint32(p.User)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := fork(p, attr)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Argv[0], err)
	}
	if c.known == nil {
		c.known = map[int]chan<- int{}
	}
	ended := make(chan int, 1)
	c.known[pid] = ended
	return &Child{pid, ended}, nil
}

// fork starts a process, in its sandbox if it has one.
func fork(p Program, attr *syscall.ProcAttr) (pid int, err error) {
	if p.Sandbox == nil {
		return syscall.ForkExec(p.Argv[0], p.Argv, attr)
	}
	err = sandbox.Start(*p.Sandbox, p.Argv[0], func(mark string) (err error) {
		attr.Env = append(attr.Env, mark)
		pid, err = syscall.ForkExec(p.Argv[0], p.Argv, attr)
		return err
	})
	return pid, err
}

// Stop tells it to end in good order.
func (c *Child) Stop() {
	if c.PID > 0 { // else it never started, and the signal would be for this process's group
		_ = unix.Kill(c.PID, unix.SIGTERM)
	}
}
