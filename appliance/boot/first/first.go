// Package first is the board's first process: it brings the machine up in order,
// then does what a boot.Conductor says, until the board ends.
//
// Order: the kernel's file systems; the command line; the watchdog; the data
// partition; the first act of an image on trial; what was booted, which is measured beside
// all that follows; the gadget, the device nodes; then the platform's
// authorization of the TPM, as the first command of any process to it, behind the kernel's own (unless the board is
// to be enrolled, which needs it empty), and the core. Whatever fails is said to the
// operator, on the display of the core or, where no core can run, on the same
// terminal; nothing but the kernel's own file systems and the data partition keeps the
// core from being started, because the core is who can show it.
//
// Guarantees: it never returns; what it starts is reaped; a first process that
// crashes stops the kernel, which starts the board anew.
package first

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
	"touchmark/appliance/boot/machine"
	"touchmark/appliance/update/card"
	"touchmark/tpm/device"
)

// lookEvery is how often the machine is looked at for what was plugged in or out.
const lookEvery = 100 * time.Millisecond

// board is the machine while it runs. One goroutine owns it.
type board struct {
	options  boot.Options
	notices  []string // for the operator, as long as the board runs
	data     machine.Data
	slot     int // number of the partition that was booted, 0 if it is not known
	measured *machine.Measuring
	nodes    *machine.Nodes
	sticks   machine.Sticks
	watchdog *machine.Watchdog
	children machine.Children
	conduct  boot.Conductor
	child    *child   // nil when none runs
	remount  *remount // nil when nothing is asked of the stick
}

// Run is the first process.
func Run() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) // from a keyboard nobody starts it anew
	b := &board{watchdog: &machine.Watchdog{}}
	if err := machine.MountBasics(); err != nil {
		b.end(boot.Reset, "the kernel's file systems: "+err.Error())
	}
	reaped := make(chan os.Signal, 1)
	signal.Notify(reaped, syscall.SIGCHLD)
	go b.children.Reap(reaped)
	var err error
	b.watchdog, err = machine.OpenWatchdog("/dev/watchdog")
	b.note(err)
	b.within(startLimit, "coming up", b.prepare)
	b.serve()
}

const (
	// startLimit is what a start may take until there is a core: a large journal that is
	// replayed, a card or a port that is not there (ten seconds each), randomness that
	// has to be gathered.
	startLimit = 3 * time.Minute

	// lockLimit is what a TPM may take for the few commands of LockTPM.
	lockLimit = time.Minute
)

// within does what may take longer than the watchdog waits, or hang, and feeds the watchdog
// meanwhile. A board that it takes more than limit starts anew.
func (b *board) within(limit time.Duration, what string, do func()) {
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	feed := time.NewTicker(lookEvery)
	defer feed.Stop()
	for end := time.After(limit); ; {
		_ = b.watchdog.Feed() // that it cannot be fed, look says
		select {
		case <-done:
			return
		case <-feed.C:
		case <-end:
			b.end(boot.Reset, fmt.Sprintf("%s took over %v", what, limit))
		}
	}
}

// prepare brings everything up that the core needs.
func (b *board) prepare() {
	b.note(machine.Harden("/proc/sys"))
	line, err := os.ReadFile("/proc/cmdline")
	b.note(err)
	if b.options, err = boot.ParseOptions(string(line)); err != nil {
		b.refuse(err)
		return
	}
	b.mountData()
	seeded := b.seed()
	defer func() { b.note(<-seeded) }()
	from := ""
	if b.options.Board != "" { // before anything that a new image may fail or hang in
		from = b.options.Card()
		b.note(firstAct(from))
	}
	if b.slot, err = machine.BootedSlot(b.options.Slot); err != nil {
		kernelLog(err.Error())
	}
	b.measured = machine.StartMeasuring(b.options.Slots, b.slot, "/", kernelLog)
	if !b.options.Adapter() {
		b.note(machine.BoardGadget.Make())
	}
	b.nodes = machine.BoardNodes(b.options.LinkDevice(), b.options.Buttons, from)
	b.note(b.nodes.Look())
}

// refuse starts nothing: the board would come up otherwise than its image says. If that image
// is on trial, the next start is of the old one.
func (b *board) refuse(wrong error) {
	if err := firstAct(b.options.Card()); err != nil {
		kernelLog(err.Error()) // a card without slots has no trial
	}
	b.note(fmt.Errorf("%w: nothing is started. Switch the board off and on to go back from an image that is tried, or write the card anew (docs/image/recovery.md)", wrong))
}

// firstAct has the next start be of the old image again, if this one is a trial: whatever
// becomes of it from here on (docs/image/update.md).
func firstAct(path string) error {
	c, _, _, err := card.Begin(path)
	if err == nil {
		err = c.Close()
	}
	return err
}

// mountData mounts the data partition and takes up what the last start has left there.
func (b *board) mountData() {
	b.data = machine.MountData(b.options.Data)
	b.tell(b.data.Notice)
	if !b.data.Writable {
		return
	}
	b.note(machine.MakeBoardDir())
	if reason := machine.TakeReason(machine.DataDir); reason != "" {
		b.tell("Before this start: " + reason)
	}
	said, err := machine.KeepWords("/sys/fs/pstore", machine.DataDir)
	b.note(err)
	b.tell(lastWords[said])
}

// lastWords say what a kernel has left.
var lastWords = map[machine.LastWords]string{
	machine.Restarted: "The board was started anew without losing its power; what its kernel said before is kept on the data partition (docs/image/recovery.md).",
	machine.Stopped:   "The kernel had stopped; what it said is kept on the data partition (docs/image/recovery.md).",
}

// seed stirs the kernel's randomness while the rest is prepared: nothing that needs any is started before it answers.
func (b *board) seed() <-chan error {
	done := make(chan error, 1)
	if !b.data.Writable {
		done <- nil
		return done
	}
	go func() { done <- machine.Seed(machine.DataDir, "/dev/urandom") }()
	return done
}

// enrolled tells whether there is a log. A board whose data cannot be written has
// nothing to enrol.
func (b *board) enrolled() bool { return !b.data.Writable || machine.Enrolled(machine.BoardDir) }

// note keeps an error for the operator.
func (b *board) note(err error) {
	if err != nil {
		b.tell(strings.ReplaceAll(err.Error(), "\n", "; ") + ".")
	}
}

func (b *board) tell(notice string) {
	if notice != "" {
		b.notices = append(b.notices, notice)
		kernelLog(notice)
	}
}

// serve does what the conductor says, until the machine ends. Nothing here waits for anybody:
// who feeds the watchdog is this loop.
func (b *board) serve() {
	if b.data.Mounted {
		b.do(b.conduct.Begin(b.enrolled()))
	} else {
		b.say(strings.Join(b.notices, "\n"))
	}
	for look := time.NewTicker(lookEvery); ; {
		select {
		case now := <-look.C:
			b.look(now)
		case code := <-b.child.ending():
			b.ended(code)
		case err := <-b.remounted():
			b.afterRemount(err)
		}
	}
}

// look looks at what time and people changed.
func (b *board) look(now time.Time) {
	if err := b.watchdog.Feed(); err != nil {
		kernelLog("the watchdog: " + err.Error())
	}
	if !b.data.Mounted {
		return // nothing runs that devices could be for
	}
	if err := b.nodes.Look(); err != nil {
		kernelLog("device nodes: " + err.Error())
	}
	if b.remount != nil && now.After(b.remount.until) {
		b.afterRemount(errSlowStick)
	}
	b.do(b.conduct.Plugged(b.sticks.Look()))
	b.do(b.conduct.Tick(now))
}

// ended is the end of the child.
func (b *board) ended(code int) {
	c, ran := b.child, time.Since(b.child.started)
	b.child = nil
	if !c.ceremony {
		if code != 0 {
			b.keepReason(fmt.Sprintf("the signer ended with code %d: %s", code, c.last()))
		}
		b.do(b.conduct.Ended(time.Now(), code, ran, b.enrolled()))
		return
	}
	b.remount = &remount{b.sticks.Writable(false), time.Now().Add(stickLimit), func(err error) {
		text := c.last() + "\n" + outcome(code)
		if err != nil {
			text += "\nWhat it wrote may be missing on the stick: " + err.Error() + "."
		}
		b.say(text)
		b.do(b.conduct.Ended(time.Now(), code, ran, b.enrolled()))
	}}
}

func outcome(code int) string {
	if code == 0 {
		return "The ceremony is done."
	}
	return fmt.Sprintf("The ceremony ended with code %d. The same stick goes on where it was.", code)
}

// keepReason keeps why something ended, for the next start and for the core's display.
func (b *board) keepReason(text string) {
	kernelLog(text)
	if b.data.Writable {
		if err := machine.KeepReason(machine.DataDir, text); err != nil {
			kernelLog(err.Error())
		}
	}
}

// do does what the conductor says.
func (b *board) do(acts []boot.Act) {
	for _, act := range acts {
		switch a := act.(type) {
		case boot.LockTPM:
			b.within(lockLimit, "replacing the TPM's platform authorization", b.lockTPM)
		case boot.StartCore:
			b.startCore()
		case boot.StopCore:
			b.child.stop()
		case boot.Hold:
			b.hold(a.Ceremony)
		case boot.Say:
			b.say(a.Text)
		case boot.End:
			b.end(a.Next, "the signer does not stay up")
		}
	}
}

// lockTPM is before anything else that is asked of the TPM. Where it fails the core tries again, and signs nothing before.
func (b *board) lockTPM() {
	err := machine.LockTPM()
	switch {
	case errors.Is(err, device.ErrPlatformLocked):
		b.tell("the TPM's platform authorization is not this start's: the TPM was not reset as the board started, or somebody else was quicker. Switching the board off and on ends that.")
	case err != nil:
		b.note(fmt.Errorf("the TPM's platform authorization could not be replaced at once, only later, by the core: %w", err))
	}
}

// reasonLimit is what the data partition has to take a reason, when it may be the reason.
const reasonLimit = 2 * time.Second

// end ends the board. It does not return.
func (b *board) end(next boot.Next, why string) {
	if next == boot.Reset {
		kernelLog(why)
		machine.Within(reasonLimit, func() { _ = machine.KeepReason(machine.DataDir, why) }) // where there is no data, it is lost
	}
	_ = b.watchdog.Feed()
	if err := machine.End(next == boot.Finish); err != nil {
		panic(err) // which stops the kernel, which then starts the board anew
	}
}
