package first

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
	"touchmark/appliance/boot/machine"
)

const appliance = "/bin/touchmark-appliance"

// coreArgs are the core's. It is started as root and becomes two users.
func (b *board) coreArgs() []string {
	o := b.options
	args := []string{
		appliance, "run", "--dir=" + machine.BoardDir, "--tpm=" + machine.TPM, "--run-dir=" + machine.RunDir, "--orders=" + machine.StickDir,
		"--device=" + o.LinkDevice(), fmt.Sprintf("--baud=%d", o.Baud), "--operator=" + o.Operator, "--clock=" + o.Clock,
		fmt.Sprintf("--user=%d:%d", machine.CoreID, machine.CoreID), fmt.Sprintf("--link-user=%d:%d", machine.LinkID, machine.LinkID),
		"--measured=" + b.measured.String(),
	}
	if o.Buttons != "" {
		args = append(args, "--buttons="+o.Buttons)
	}
	if o.Board != "" {
		args = append(args, "--card="+o.Card(), "--board="+o.Board, "--slot="+boot.SlotName(b.slot))
	}
	if len(b.notices) > 0 {
		args = append(args, "--notice="+strings.Join(b.notices, " "))
	}
	return args
}

// hold holds a ceremony: the appliance as the core's user, with the stick to write to.
func (b *board) hold(c *boot.Ceremony) {
	if err := b.sticks.Writable(true); err != nil {
		kernelLog(err.Error()) // what the ceremony cannot write it says itself
	}
	operator := b.options.Operator
	if operator == "none" {
		operator = "console"
	}
	args := c.Args(machine.StickDir, boot.Board{Dir: machine.BoardDir, TPM: machine.TPM, Operator: operator})
	b.start(append([]string{appliance}, args...), machine.CoreID, true)
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
func (b *board) start(argv []string, user int, ceremony bool) {
	c := &child{ceremony: ceremony, started: time.Now(), logged: make(chan struct{})}
	b.child = c
	r, err := b.startOn(c, argv, user)
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
func (b *board) startOn(c *child, argv []string, user int) (r *os.File, err error) {
	console, err := openConsole(b.options)
	if err != nil {
		return nil, err
	}
	defer func() { _ = console.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Close() }()
	if c.Child, err = b.children.Start(argv, console, w, user); err != nil {
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

// openConsole opens the operator's terminal: the one that is named, or the
// kernel's own. It is opened for each use: the end of a child, whose terminal it was, hangs it up. With the operator as lines it repeats nothing that is typed there: a PIN is.
func openConsole(o boot.Options) (*os.File, error) {
	path := o.Console
	if path == "" {
		path = kernelConsole()
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("the operator's terminal: %w", err)
	}
	if o.Operator == "lines" {
		if err := quiet(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// kernelConsole is the terminal behind /dev/console, which itself cannot be a
// process's terminal: the last one in the list.
func kernelConsole() string {
	b, err := os.ReadFile("/sys/class/tty/console/active")
	names := strings.Fields(string(b))
	if err != nil || len(names) == 0 {
		return "/dev/console"
	}
	return "/dev/" + names[len(names)-1]
}

func quiet(f *os.File) error {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return fmt.Errorf("the operator's terminal: %w", err)
	}
	t.Lflag &^= unix.ECHO | unix.ISIG
	t.Oflag &^= unix.OPOST
	return unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

// say writes to the operator's terminal, which no child uses now.
func (b *board) say(text string) {
	kernelLog(text)
	console, err := openConsole(b.options)
	if err != nil {
		kernelLog(err.Error())
		return
	}
	defer func() { _ = console.Close() }()
	_, _ = fmt.Fprintf(console, "\r\nTouchmark: %s\r\n", strings.ReplaceAll(text, "\n", "\r\n           "))
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
