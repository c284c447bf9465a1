package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a program may take to end in good order before its whole group is killed. The slowest good end is
// the appliance's: a token that is waiting for a touch is waited for, which takes its touch window.
const stopGrace = 20 * time.Second

// Process is one program of the world: in a process group of its own (so that its children go with it), killed by the
// kernel should we die, its stderr in a file and in a history.
type Process struct {
	Name string
	PID  int
	Log  *Lines // stderr

	cmd  *exec.Cmd
	file *os.File
	done chan struct{} // closed once the program has ended and its log is complete
	err  error         // valid after done
}

// startProcess starts argv. stderr goes to logDir/NAME.log; prepare, if given, sets what else the program needs (pipes, a
// terminal) and must not start it.
func startProcess(logDir, name string, argv []string, prepare func(*exec.Cmd) error) (*Process, error) {
	file, err := os.OpenFile(filepath.Join(logDir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{Name: name, cmd: cmd, Log: newHistory[string](), file: file, done: make(chan struct{})}
	if prepare != nil {
		err = prepare(cmd)
	}
	if err == nil {
		started := make(chan error)
		go p.supervise(started)
		err = <-started
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), file.Close())
	}
	return p, nil
}

// supervise starts the program, follows its log and reaps it, on a thread that does nothing else: Pdeathsig fires when
// the starting thread ends, and a thread shared with other goroutines may be ended by one of them. Children that outlive
// the program are ended with it.
func (p *Process) supervise(started chan<- error) {
	runtime.LockOSThread()
	stderr, theirs, err := os.Pipe()
	if err != nil {
		started <- err
		return
	}
	p.cmd.Stderr = theirs
	if err := errors.Join(p.cmd.Start(), theirs.Close()); err != nil {
		started <- errors.Join(err, stderr.Close())
		return
	}
	p.PID = p.cmd.Process.Pid
	started <- nil
	logged := make(chan error, 1)
	go func() { logged <- followLog(stderr, p.file, p.Log) }()
	err = p.cmd.Wait()
	_ = syscall.Kill(-p.PID, syscall.SIGKILL) // usually there is nobody left
	p.err = errors.Join(err, <-logged, stderr.Close(), p.file.Close())
	close(p.done)
}

// Done is closed when the program has ended, by itself or not.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended; it waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Stop has the program end itself and its children in good order, or ends them by force after stopGrace, and waits until
// they are gone.
func (p *Process) Stop() {
	_ = syscall.Kill(p.PID, syscall.SIGTERM) // gone already is as good
	select {
	case <-p.done:
	case <-time.After(stopGrace):
	}
	p.Kill()
}

// Kill ends the program and its children at once, as a power cut would, and waits until it is gone.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.PID, syscall.SIGKILL) // gone already is as good
	<-p.done
}

// AwaitLog waits for a line with all the given words, from mark on.
func (p *Process) AwaitLog(ctx context.Context, mark int, words ...string) error {
	_, _, err := p.Log.Wait(ctx, mark, func(line string) bool {
		for _, w := range words {
			if !strings.Contains(line, w) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("%s: %q: %w", p.Name, words, err)
	}
	return nil
}

// LogTail is the end of the program's log, for error messages.
func (p *Process) LogTail() string {
	const most = 20
	lines := p.Log.All()
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// RSS is the program's resident memory in bytes, with that of its children.
func (p *Process) RSS() (uint64, error) { return groupRSS(p.PID) }

// groupRSS adds up the resident sets of every process whose group is pgid.
func groupRSS(pgid int) (uint64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var total uint64
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it ended between the listing and now
		}
		pages, group := parseStat(string(b))
		if group == pgid {
			total += pages * uint64(os.Getpagesize())
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("process group %d is gone", pgid)
	}
	return total, nil
}

// parseStat takes resident pages (field 24) and process group (field 5) from a line of proc(5)'s stat. Field 2, the
// program's name, may hold anything; the fields are counted from its closing parenthesis.
func parseStat(line string) (rssPages uint64, pgid int) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 22 {
		return 0, 0
	}
	_, err1 := fmt.Sscan(fields[2], &pgid)
	_, err2 := fmt.Sscan(fields[21], &rssPages)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return rssPages, pgid
}
