// Package sandbox takes from a process what it does not need once it has started.
// The board's two long-lived programs enter it: core (touchmark-appliance run) and
// the link process, which reads what a hostile host sends.
//
// What is taken, for all threads, for good:
//
//   - gaining privileges (PR_SET_NO_NEW_PRIVS) and, if asked, the user (root);
//   - files but those of the Profile, and with them every program to execute
//     (Landlock, Linux 5.13; docs: userspace-api/landlock);
//   - all system calls but those of a list: no execve, no new process, no ptrace,
//     no socket, no executable memory, no other process's signals (seccomp,
//     Linux 3.17; docs: userspace-api/seccomp_filter);
//   - core dumps and attaching debuggers; where allowed, leaving memory for swap.
//
// Landlock binds one thread and what is started from it, so Enter restricts the
// thread that it is called on and executes the program anew in it: all threads of the second
// stage have it, in programs with cgo too. The process id stays. Who starts such a process can spare it
// that: Start does the first stage's work before, on a thread that is thrown away, and Enter finds it done.
//
// What a kernel lacks is no error: the board signs all the same. It is told in
// the Report, which the display shows. A kernel without CONFIG_NET has no seccomp
// filters either (they depend on it), and no sockets to keep from anybody.
package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Profile is what a process needs once it has started. What does not exist yet is
// granted with the directory that it is to appear in, which the Report says.
type Profile struct {
	Read    []string // files, and directories with all below them, that it reads
	Write   []string // directories below which it makes, writes and removes files
	Devices []string // device nodes, and directories of them, that it reads, writes and sets up
	Execute []string // programs; needs Children
	User    *User    // whom it becomes; nil: it stays who it is

	UnixSockets bool // connects to unix sockets, of emulated hardware
	Children    bool // starts processes: then no list of system calls
	LockMemory  bool // holds secrets: they must not reach a swap device
}

// Report is what could not be taken from the process, in sentences for people.
type Report struct {
	Missing []string `json:"missing,omitempty"`
}

func (r *Report) miss(format string, a ...any) {
	r.Missing = append(r.Missing, fmt.Sprintf(format, a...))
}

// String is all of it in one line, "" if nothing is missing.
func (r Report) String() string { return strings.Join(r.Missing, " ") }

// marker in the environment holds the first stage's report.
const marker = "TOUCHMARK_SANDBOX"

// Entered tells whether this is the second stage.
func Entered() bool {
	_, marked := os.LookupEnv(marker)
	have, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return marked && err == nil && have == 1
}

// Enter puts the process into the sandbox. Call it in main, before anything reads
// what is hostile, in both stages with the same profile: in the first it does not
// return but for an error, in the second it says what is missing. Files that are
// to stay open have no FD_CLOEXEC.
func Enter(p Profile) (Report, error) {
	if !Entered() {
		return Report{}, fmt.Errorf("entering the sandbox: %w", firstStage(p))
	}
	var r Report
	err := json.Unmarshal([]byte(os.Getenv(marker)), &r)
	if err = errors.Join(err, os.Unsetenv(marker), NoDumps()); err != nil {
		return r, fmt.Errorf("in the sandbox: %w", err)
	}
	if p.LockMemory {
		lockMemory(&r)
	}
	if !p.Children {
		if err := restrictCalls(p.UnixSockets); err != nil {
			r.miss("The kernel filters no system calls (%v).", err)
		}
	}
	return r, nil
}

// firstStage restricts this thread and executes the program anew.
func firstStage(p Profile) error {
	runtime.LockOSThread() // for good: this thread is what the program is executed in
	var r Report
	rules := newRuleset(p, self, &r)
	if p.LockMemory {
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &noLimit) // the second stage looks
	}
	if p.User != nil {
		if err := p.User.become(); err != nil {
			return err
		}
	}
	mark, err := rules.bind(p, r)
	if err != nil {
		return err
	}
	return executeAgain(mark)
}

var noLimit = unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}

// bind takes from this thread what a profile has taken, but for the user, and is what says so in the
// environment of the second stage.
func (s ruleset) bind(p Profile, r Report) (mark string, err error) {
	if p.User == nil && os.Geteuid() == 0 {
		r.miss("It runs as root: nothing but Landlock keeps it from root's files.")
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return "", fmt.Errorf("giving up new privileges: %w", err)
	}
	if err := s.restrict(); err != nil {
		return "", err
	}
	report, err := json.Marshal(r)
	return marker + "=" + string(report), err
}

// executeAgain executes this program by its name, which is then the process's
// too, or, if that is another file by now or out of reach, what the name was.
func executeAgain(mark string) error {
	env := append(os.Environ(), mark)
	if name, err := os.Executable(); err == nil {
		_ = syscall.Exec(name, os.Args, env) // it returns to fail only
	}
	return fmt.Errorf("executing this program again: %w", syscall.Exec(self, os.Args, env))
}

// self is this program, whatever became of its name.
const self = "/proc/self/exe"

// NoDumps keeps what a process knows out of core dumps, and away from debuggers
// of other processes of its user.
func NoDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("switching core dumps off: %w", err)
	}
	return nil
}
