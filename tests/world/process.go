package world

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a program may take to end in good order before its whole group is killed. The slowest good end is
// the appliance's: one fsync and the closing of its pipes.
const stopGrace = 5 * time.Second

// Process is one program of the world: in a process group of its own (so that its children go with it), killed by the
// kernel should we die, its stderr in a file.
type Process struct {
	Name string
	PID  int

	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed once the program has ended
	err  error         // valid after done
}

// startProcess starts argv. stderr goes to logDir/NAME.log; prepare, if given, sets what else the program needs (pipes, a
// terminal) and must not start it.
func startProcess(logDir, name string, argv []string, prepare func(*exec.Cmd) error) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(logDir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if prepare != nil {
		err = prepare(cmd)
	}
	p := &Process{Name: name, cmd: cmd, log: log, done: make(chan struct{})}
	if err == nil {
		started := make(chan error)
		go p.supervise(started)
		err = <-started
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	return p, nil
}

// supervise starts the program and reaps it on a thread that does nothing else: Pdeathsig fires when the starting thread
// ends, and a thread shared with other goroutines may be ended by one of them.
func (p *Process) supervise(started chan<- error) {
	runtime.LockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	p.PID = p.cmd.Process.Pid
	started <- nil
	p.err = errors.Join(p.cmd.Wait(), p.log.Close())
	close(p.done)
}

// Done is closed when the program has ended, by itself or not.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended; it waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Stop ends the program in good order, or by force after stopGrace, and waits until it is gone.
func (p *Process) Stop() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
	}
	p.Kill()
}

// Kill ends the program and its children at once, as a power cut would, and waits until it is gone.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// signal reaches the whole group; that the group is gone already is no error.
func (p *Process) signal(s syscall.Signal) { _ = syscall.Kill(-p.PID, s) }

// Log is what the program wrote to its log so far, for error messages: its last lines only.
func (p *Process) Log() string { return tail(p.log.Name()) }

// RSS is the program's resident memory in bytes, with that of its children.
func (p *Process) RSS() (uint64, error) { return groupRSS(p.PID) }

// tail returns a file's last kilobytes, whole lines.
func tail(path string) string {
	const most = 4096
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, err = f.Seek(-most, io.SeekEnd)
		if err != nil {
			return err.Error()
		}
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

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
