package first

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"touchmark/appliance/boot"
	"touchmark/appliance/boot/machine"
	"touchmark/appliance/keeper"
	"touchmark/appliance/sandbox"
	"touchmark/appliance/sandbox/profiles"
	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
)

const appliance = "/" + boot.Appliance

// startCore starts the core, and tells it what was booted as soon as that is known.
func (b *board) startCore() {
	measured, err := b.measured.Tell()
	if err != nil {
		kernelLog(err.Error()) // what cannot have this pipe cannot have those that a core needs either: it ends, and another one is started
	}
	defer func() { _ = measured.Close() }()
	core := b.coreProfile()
	b.start(machine.Program{Argv: b.coreArgs(), User: machine.CoreID, Sandbox: &core, More: []*os.File{measured}}, false)
}

// measuredAt is the descriptor that the core is told on what was booted; behind it are the pipes to its keeper.
const measuredAt = 3

// coreProfile is what the core needs once it runs; it is started with no more.
func (b *board) coreProfile() sandbox.Profile {
	c := profiles.Core{Dir: machine.BoardDir, RunDir: machine.RunDir, TPM: machine.TPM, Orders: machine.StickDir, USB: true}
	c.Buttons, _, _ = strings.Cut(b.options.Buttons, ":")
	if b.options.Board != "" {
		c.Card, c.BootID = b.options.Card(), card.BootID
	}
	p := c.Profile()
	p.User = &sandbox.User{UID: machine.CoreID, GID: machine.CoreID}
	return p
}

// keep starts the keeper of the core's link process, and says so to the core: core itself executes nothing.
func (b *board) keep(p *machine.Program) (ends [3]*os.File) {
	device := b.options.LinkDevice()
	begin := func(cmd *exec.Cmd) error { return sandbox.Command(profiles.Keeper(device), cmd) }
	ends, err := keeper.Start(begin, p.Errors, "/"+boot.Link, "--keep", "--device", device, "--baud", strconv.Itoa(b.options.Baud),
		"--user", fmt.Sprintf("%d:%d", machine.LinkID, machine.LinkID))
	if err != nil { // the board comes up all the same, and says so
		p.Env = append(p.Env, keeper.None+"="+err.Error())
		return ends
	}
	p.Env = append(p.Env, keeper.PipesTo+"="+string(keeper.Numbered(measuredAt+len(p.More))))
	p.More = append(p.More, ends[:]...)
	return ends
}

// coreArgs are the core's.
func (b *board) coreArgs() []string {
	o := b.options
	args := []string{
		appliance, "run", "--dir=" + machine.BoardDir, "--tpm=" + machine.TPM, "--run-dir=" + machine.RunDir, "--orders=" + machine.StickDir,
		"--device=" + o.LinkDevice(), fmt.Sprintf("--baud=%d", o.Baud), "--operator=" + o.Operator, "--clock=" + o.Clock,
		fmt.Sprintf("--measured=%d", measuredAt), "--lock-platform",
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
	b.start(machine.Program{Argv: append([]string{appliance}, args...), User: machine.CoreID}, true)
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
func (b *board) start(p machine.Program, ceremony bool) {
	c := &child{ceremony: ceremony, started: time.Now(), logged: make(chan struct{})}
	b.child = c
	r, err := b.startOn(c, p)
	if err != nil {
		ended := make(chan int, 1)
		ended <- 1
		c.Child, c.lines = &machine.Child{Ended: ended}, []string{err.Error()}
		close(c.logged)
		return
	}
	go c.follow(r)
}

// startOn starts it on the operator's terminal, a core with its keeper; r is what they say on standard error.
func (b *board) startOn(c *child, p machine.Program) (r *os.File, err error) {
	if p.Terminal, err = b.console(); err != nil {
		return nil, err
	}
	defer func() { _ = p.Terminal.Close() }()
	if r, p.Errors, err = os.Pipe(); err != nil {
		return nil, err
	}
	defer func() { _ = p.Errors.Close() }()
	if !c.ceremony {
		for _, end := range b.keep(&p) {
			defer func() { _ = end.Close() }() // the keeper ends when core does, who has them now
		}
	}
	if c.Child, err = b.children.Start(p); err != nil {
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
