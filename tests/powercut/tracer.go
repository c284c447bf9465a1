// Package powercut lets every system call on files fail in turn, in the real
// programs: the appliance over its data directory, while it signs, obeys orders,
// is led out of halts and is enrolled, the host daemon over its mirror, over what it
// publishes, and over rounds: the queue, the jobs it keeps, staging and the
// repository. After each fault the programs are started again and the auditor has
// the last word.
//
// The fault is made by a tracer (ptrace(2)) that the world starts in the
// program's place: it counts the calls on files below a directory over all
// threads, and at the chosen one has the kernel not carry it out, or reports
// one that was carried out as failed, or tears a write, or kills the program.
package powercut

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// tracer follows one program.
type tracer struct {
	order   Order
	pid     int
	report  *os.File
	count   int
	hit     bool
	threads map[int]*thread
}

// thread is one thread of the program; inside a call when its next stop is
// the call's end.
type thread struct {
	inside bool
	errno  int // to answer with at the end of the call, 0: leave it
	kept   bool
}

// Trace runs argv under an order and answers its exit code, or 128 and the
// signal that ended it.
func Trace(o Order, argv []string) (code int, err error) {
	runtime.LockOSThread() // ptrace is between threads
	report, err := os.OpenFile(o.Report, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, errors.Join(err, report.Close())
	}
	t := &tracer{order: o, pid: cmd.Process.Pid, report: report, threads: map[int]*thread{}}
	stop := t.forward()
	defer stop()
	code, err = t.run()
	return code, errors.Join(err, report.Close())
}

// forward passes on the signals that end a program in good order.
func (t *tracer) forward() (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	go func() {
		for s := range signals {
			_ = unix.Kill(t.pid, s.(syscall.Signal)) // it may have ended
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}

func (t *tracer) run() (int, error) {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, 0, nil); err != nil {
		return 0, fmt.Errorf("waiting for the program to begin: %w", err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return 0, fmt.Errorf("ptrace: %w: this test needs to trace its own children", err)
	}
	t.threads[t.pid] = &thread{}
	if err := unix.PtraceSyscall(t.pid, 0); err != nil {
		return 0, err
	}
	for {
		tid, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case tid == t.pid && ws.Exited():
			return ws.ExitStatus(), nil
		case tid == t.pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case ws.Stopped():
			t.stopped(tid, ws)
		}
	}
}

// stopped deals with one stop of a thread and lets it go on. A thread that a
// SIGKILL has ended meanwhile answers ESRCH to everything; its end is reported
// by Wait4.
func (t *tracer) stopped(tid int, ws unix.WaitStatus) {
	th, known := t.threads[tid]
	if !known {
		th = &thread{}
		t.threads[tid] = th
	}
	pass := 0
	switch sig := ws.StopSignal(); {
	case sig == unix.SIGTRAP|0x80:
		t.stoppedAtCall(tid, th)
	case sig == unix.SIGTRAP && ws.TrapCause() == unix.PTRACE_EVENT_EXEC:
		t.threads = map[int]*thread{tid: {inside: true}} // the others are gone; the call's end comes
	case sig == unix.SIGTRAP: // another event of ptrace's
	case sig == unix.SIGSTOP && !known: // a new thread
	default:
		pass = int(sig)
	}
	_ = unix.PtraceSyscall(tid, pass)
}

func (t *tracer) stoppedAtCall(tid int, th *thread) {
	var r unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &r) != nil {
		return
	}
	if th.inside = !th.inside; th.inside {
		t.enter(tid, th, &r)
		return
	}
	if th.errno != 0 && (th.kept || result(&r) >= 0) {
		_ = answer(tid, &r, th.errno)
	}
	th.errno, th.kept = 0, false
}

// enter looks at a call that is about to be made.
func (t *tracer) enter(tid int, th *thread, r *unix.PtraceRegs) {
	c, ok := watched[number(r)]
	if !ok {
		return
	}
	path := c.path(t.pid, r)
	if !t.order.below(path) {
		return
	}
	t.count++
	now := t.count == t.order.Call || t.order.Mode == Freeze && t.hit && c.changing(r)
	if t.order.Mode == Freeze && !c.changing(r) {
		now = false
		if t.count == t.order.Call {
			t.order.Call++ // the next one that changes anything
		}
	}
	mark := ""
	if now && t.order.Mode != Count {
		mark, t.hit = " HIT", true
	}
	_, _ = fmt.Fprintf(t.report, "%s %s%s\n", c.name, path, mark)
	if mark != "" {
		t.strike(tid, th, c, r)
	}
}

// strike makes the fault.
func (t *tracer) strike(tid int, th *thread, c call, r *unix.PtraceRegs) {
	th.errno = t.order.Errno
	switch t.order.Mode {
	case Kill:
		_ = unix.Kill(t.pid, unix.SIGKILL)
	case Fail, Freeze:
		th.kept = true
		_ = skip(tid, r)
	case Torn:
		if slices.Contains([]string{"write", "pwrite"}, c.name) {
			_ = shorten(tid, r)
		}
	}
}
