package first

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"touchmark/appliance/boot"
	"touchmark/appliance/boot/machine"
	"touchmark/appliance/update"
)

const appliance = "/" + boot.Appliance

// startCore starts the core, and tells it what was booted as soon as that is known.
func (b *board) startCore() {
	measured, err := b.measured.Tell()
	if err != nil {
		kernelLog(err.Error()) // what cannot have this pipe cannot have those that a core needs either: it ends, and another one is started
	}
	defer func() { _ = measured.Close() }()
	b.start(b.coreArgs(), 0, false, measured)
}

// measuredAt is the descriptor that the core is told on what was booted.
const measuredAt = 3

// coreArgs are the core's. It is started as root and becomes two users.
func (b *board) coreArgs() []string {
	o := b.options
	args := []string{
		appliance, "run", "--dir=" + machine.BoardDir, "--tpm=" + machine.TPM, "--run-dir=" + machine.RunDir, "--orders=" + machine.StickDir,
		"--device=" + o.LinkDevice(), fmt.Sprintf("--baud=%d", o.Baud), "--operator=" + o.Operator, "--clock=" + o.Clock,
		fmt.Sprintf("--user=%d:%d", machine.CoreID, machine.CoreID), fmt.Sprintf("--link-user=%d:%d", machine.LinkID, machine.LinkID),
		fmt.Sprintf("--measured=%d", measuredAt),
	}
	if o.Buttons != "" {
		args = append(args, "--buttons="+o.Buttons)
	}
	if o.Board != "" {
		args = append(args, "--card="+o.Card(), "--board="+o.Board)
		if s := update.Slot(b.slot); slices.Contains(update.Slots, s) {
			args = append(args, "--slot="+s.String())
		}
	}
	if len(b.notices) > 0 {
		args = append(args, "--notice="+strings.Join(b.notices, " "))
	}
	return args
}

// hold holds a ceremony: the appliance as the core's user, with the stick to write to.
func (b *board) hold(c *boot.Ceremony) {
	b.remount = &remount{b.sticks.Writable(true), time.Now().Add(stickLimit), func(err error) {
		if err != nil {
			kernelLog(err.Error()) // what the ceremony cannot write it says itself
		}
		b.attend(c)
	}}
}

func (b *board) attend(c *boot.Ceremony) {
	operator := b.options.Operator
	if operator == "none" {
		operator = "console"
	}
	args := c.Args(machine.StickDir, boot.Board{Dir: machine.BoardDir, TPM: machine.TPM, Operator: operator})
	b.start(append([]string{appliance}, args...), machine.CoreID, true)
}

// remount is a stick that is to be written, or no longer, and what follows.
type remount struct {
	answer <-chan error
	until  time.Time
	then   func(error)
}

// stickLimit is what a stick has to take what was written to it; a bad one takes minutes, or for ever.
const stickLimit = time.Minute

var errSlowStick = fmt.Errorf("the stick does not take what is written to it within %v", stickLimit)

// remounted gives the stick's answer; while nothing is asked of it, nothing ever.
func (b *board) remounted() <-chan error {
	if b.remount == nil {
		return nil
	}
	return b.remount.answer
}

// afterRemount goes on after the stick's answer, or without one.
func (b *board) afterRemount(err error) {
	r := b.remount
	b.remount = nil
	r.then(err)
}

// child is what runs: the core or a ceremony.
type child struct {
	*machine.Child
	ceremony bool
	started  time.Time
	logged   chan struct{} // closed when nothing more comes from it

	mu    sync.Mutex // guards lines
	lines []string
}

// ending gives the exit code; of no child, nothing ever.
func (c *child) ending() <-chan int {
	if c == nil {
		return nil
	}
	return c.Ended
}

func (c *child) stop() {
	if c != nil {
		c.Stop()
	}
}

// start starts the appliance. That it cannot be started is its end.
func (b *board) start(argv []string, user int, ceremony bool, more ...*os.File) {
	c := &child{ceremony: ceremony, started: time.Now(), logged: make(chan struct{})}
	b.child = c
	r, err := b.startOn(c, argv, user, more)
	if err != nil {
		ended := make(chan int, 1)
		ended <- 1
		c.Child, c.lines = &machine.Child{Ended: ended}, []string{err.Error()}
		close(c.logged)
		return
	}
	go c.follow(r)
}

// startOn starts it on the operator's terminal; r is what it says on standard error.
func (b *board) startOn(c *child, argv []string, user int, more []*os.File) (r *os.File, err error) {
	console, err := b.console()
	if err != nil {
		return nil, err
	}
	defer func() { _ = console.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	if c.Child, err = b.children.Start(argv, console, w, user, more...); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

const (
	maxLine  = 1000
	keptLine = 5
)

// follow passes on what the child says on standard error, and keeps its last words.
func (c *child) follow(r io.ReadCloser) {
	defer close(c.logged)
	defer func() { _ = r.Close() }()
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, more, err := in.ReadLine()
		if err != nil {
			return
		}
		if more || len(line) == 0 {
			continue // of a line that is too long, its end
		}
		kernelLog(string(line))
		c.mu.Lock()
		c.lines = append(c.lines[max(0, len(c.lines)-keptLine+1):], string(line))
		c.mu.Unlock()
	}
}

// last are the child's last words.
func (c *child) last() string {
	select {
	case <-c.logged:
	case <-time.After(time.Second): // a process that it left behind holds the pipe
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

// say writes to the operator's terminal, which no child uses now.
func (b *board) say(text string) {
	kernelLog(text)
	console, err := b.console()
	if err == nil {
		err = machine.Say(console, text)
	}
	if err != nil {
		kernelLog(err.Error())
	}
}

func (b *board) console() (*os.File, error) {
	return machine.OpenConsole(b.options.Console, b.options.Operator == "lines")
}

// kernelLog writes to the kernel's log, where a crash keeps it (pstore).
func kernelLog(text string) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	for line := range strings.Lines(text) {
		_, _ = fmt.Fprintf(f, "<6>touchmark-init: %.900s\n", strings.TrimRight(line, "\n"))
	}
}
