//go:build imagetest

package image

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/boot"
	"touchmark/appliance/operator"
	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/hostlink/hostd/api"
	"touchmark/image/board"
	imagecard "touchmark/image/card"
	"touchmark/tests/image/qemu"
	"touchmark/tests/serial/initrd"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/tiles"
)

// patience bounds each test that hangs: many times what one takes on a quiet machine (half a minute, updates twice that), and
// more than on one that has ten other things to do. Nothing here waits for time to pass, but for the power cuts' moments.
const patience = 20 * time.Minute

// rig is a board in a virtual machine, and the world around it.
type rig struct {
	*world.World
	t      *testing.T
	ctx    context.Context
	dir    string // of this machine: its disk, its stick, sockets
	golden string // file with the values of this build and command line
	tpm    *swtpm.Server

	machine qemu.Machine
	monitor *qemu.Monitor
	line    *qemu.Line // nil: no serial adapter is in the board

	mu    sync.Mutex // guards what follows
	lines []string   // of the console, that are not the operator's
	more  chan struct{}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	must(r.t, err)
}

// newRig prepares a machine with a card as a build made it, switched off. Each test has one of its own, and most of a test is
// waiting: as many run beside each other as there are processors.
func newRig(t *testing.T, words ...string) *rig {
	t.Helper()
	t.Parallel()
	r := &rig{t: t, more: make(chan struct{})}
	r.machine = qemu.Machine{Image: os.Getenv("TOUCHMARK_IMAGE"), Words: append([]string{"touchmark.operator=lines", "quiet"}, words...)}
	if _, err := os.Stat(r.built("sdcard.img")); err != nil {
		t.Fatalf("TOUCHMARK_IMAGE: %v: run make image-test", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	r.ctx = ctx
	dir, err := os.MkdirTemp("", "tmi-") // sockets need a short path
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r.dir = dir
	m := &r.machine
	m.Card, m.Stick, m.Line, m.Redir, m.Monitor = r.path("card"), r.path("stick"), r.path("line"), r.path("redir"), r.path("monitor")
	r.startTPM()
	w, err := world.New(ctx, world.Config{Dir: filepath.Join(dir, "w"), Bin: os.Getenv("TOUCHMARK_BIN"), TPM: r.tpm, USBRedir: m.Redir})
	must(t, err)
	r.World = w
	t.Cleanup(r.close)
	r.newCard()
	r.writeGolden()
	r.makeStick()
	return r
}

func (r *rig) close() {
	if r.t.Failed() {
		r.mu.Lock()
		r.t.Logf("console:\n%s", strings.Join(r.lines, "\n"))
		r.mu.Unlock()
		if p := r.Appliance(); p != nil {
			views := r.Views().All()
			r.t.Logf("machine: %s\ndisplay: %+v", p.LogTail(), views[max(0, len(views)-3):])
			r.ended(p)
		}
		if p := r.Hostd(); p != nil {
			r.t.Logf("hostd: %s", p.LogTail())
		}
	}
	r.cut()
	r.must(r.Close())
}

// ended says how a machine ended that nobody switched off.
func (r *rig) ended(p *world.Process) {
	select {
	case <-p.Done():
		r.t.Logf("QEMU has ended: %v", cmp.Or(p.Err(), errors.New("in good order")))
	default:
	}
}

// allow gives the test more time.
func (r *rig) allow(more time.Duration) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience+more)
	r.t.Cleanup(cancel)
	r.ctx = ctx
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// built is a file of the build.
func (r *rig) built(name string) string { return filepath.Join(r.machine.Image, name) }

func (r *rig) run(name string, args ...string) string {
	r.t.Helper()
	out, err := exec.CommandContext(r.ctx, name, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %q: %v: %s (run make setup)", name, args, err, out)
	}
	return string(out)
}

// newCard makes the card as the build has it.
func (r *rig) newCard() {
	r.t.Helper()
	r.run("cp", "--sparse=always", r.built("sdcard.img"), r.machine.Card)
}

// startTPM gives the TPM its power: QEMU connects to it.
func (r *rig) startTPM() {
	r.t.Helper()
	tpm, err := swtpm.ForMachine(filepath.Join(r.dir, "tpm"))
	must(r.t, err)
	r.tpm = tpm
}

func (r *rig) stopTPM() {
	if r.tpm != nil {
		must(r.t, r.tpm.Stop())
	}
	r.tpm = nil
}

// commandLine is the kernel's.
func (r *rig) commandLine() string {
	line, err := r.machine.CommandLine()
	r.must(err)
	return line
}

// writeGolden makes the values of this machine: the build's, with its own command line.
func (r *rig) writeGolden() {
	r.t.Helper()
	text, err := os.ReadFile(r.built("golden.txt"))
	r.must(err)
	g, err := golden.Parse(text)
	r.must(err)
	g.Measured.CommandLine = boot.CommandLine(r.commandLine())
	text, err = g.Marshal()
	r.must(err)
	r.golden = r.path("golden")
	r.must(os.WriteFile(r.golden, text, 0o600))
}

// boot switches the machine on; more are arguments of QEMU.
func (r *rig) boot(more ...string) {
	r.t.Helper()
	if r.tpm == nil {
		r.startTPM()
	}
	r.machine.TPM, r.machine.More = r.tpm.Control(), more
	argv, err := r.machine.Command()
	r.must(err)
	calls, err := qemu.Listen(r.machine.Monitor)
	r.must(err)
	r.must(r.StartMachine(argv, r.hear))
	if r.monitor, err = qemu.Answer(r.ctx, calls, r.Appliance().Done()); err != nil {
		r.t.Fatalf("%v: %s", err, r.Appliance().LogTail())
	}
	r.plugLine()
}

// plugLine puts the serial adapter into the board.
func (r *rig) plugLine() {
	r.t.Helper()
	line, err := qemu.Plug(r.machine.Line, r.Cable.BoardPath())
	r.must(err)
	r.line = line
}

// pullLine takes it out.
func (r *rig) pullLine() {
	r.t.Helper()
	r.must(r.line.Pull())
	r.line = nil
}

// withGuest adds package guest to the root, under its names, and has one of them be the first process.
func (r *rig) withGuest(first string) {
	r.t.Helper()
	guest := r.path("guest")
	build := exec.CommandContext(r.ctx, "go", "build", "-o", guest, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	var more initrd.Image
	for _, name := range []string{"guest", first} {
		r.must(more.AddFile(name, guest))
	}
	r.must(more.Write(r.path("more")))
	root, err := os.ReadFile(r.machine.Root())
	r.must(err)
	root = append(root, make([]byte, -len(root)&3)...) // archives begin at multiples of four bytes
	added, err := os.ReadFile(r.path("more"))
	r.must(err)
	r.machine.Initrd = r.path("initrd")
	r.must(os.WriteFile(r.machine.Initrd, append(root, added...), 0o600))
	r.machine.Words = append(r.machine.Words, "rdinit=/"+first)
	r.writeGolden()
}

// off has the operator switch the board off.
func (r *rig) off() {
	r.t.Helper()
	r.must(r.Operator("quit"))
	select {
	case <-r.Appliance().Done():
	case <-r.ctx.Done():
		r.t.Fatal("the board does not switch itself off")
	}
	r.cut()
}

// on switches it on again, and the operator unlocks it.
func (r *rig) on() {
	r.t.Helper()
	start := time.Now()
	r.boot()
	r.seen(0, "that it is up", func(v operator.View) bool { return v.Ask == operator.AskTime })
	r.t.Logf("the display is up %.1f s after the machine was switched on", time.Since(start).Seconds())
	r.must(r.Unlock(r.ctx, 0, world.PIN))
}

// file makes a file to be signed.
func (r *rig) file(name string) string {
	r.t.Helper()
	path := r.path(name)
	r.must(os.WriteFile(path, []byte("content of "+name), 0o600))
	return path
}

// partition is where a partition of the card begins, from its table (MBR).
func (r *rig) partition(number int) int64 {
	r.t.Helper()
	f, err := os.Open(r.path("card"))
	r.must(err)
	defer f.Close()
	entry := make([]byte, 16)
	_, err = f.ReadAt(entry, 446+16*int64(number-1))
	r.must(err)
	return 512 * int64(binary.LittleEndian.Uint32(entry[8:]))
}

// load takes kernel and initramfs out of the boot.img of a slot, as the boot loader does; loaded are QEMU's arguments with them.
// The command line lies beside them.
func (r *rig) load(from update.Slot) (loaded []string) {
	r.t.Helper()
	f, err := os.Open(r.path("card"))
	r.must(err)
	l, err := update.ReadLayout(f)
	r.must(err)
	raw := make([]byte, l.Slot(from).Size)
	_, err = f.ReadAt(raw, l.Slot(from).Offset)
	r.must(err)
	r.must(f.Close())
	slot, image := r.path("slot"), r.path(imagecard.BootFile)
	r.must(os.WriteFile(slot, raw, 0o600))
	r.run("mcopy", "-n", "-o", "-i", slot, "::"+imagecard.BootFile, image)
	for _, name := range []string{board.KernelFile, board.InitramfsFile, board.CommandLineFile} {
		r.run("mcopy", "-n", "-o", "-i", image, "::"+name, r.path(name))
	}
	return []string{"-kernel", r.path(board.KernelFile), "-initrd", r.path(board.InitramfsFile)}
}

// debugfs changes the data partition of a board that is switched off.
func (r *rig) debugfs(command string) string {
	r.t.Helper()
	return r.run("debugfs", "-w", "-R", command, fmt.Sprintf("%s?offset=%d", r.path("card"), r.partition(4)))
}

// cut takes the power from machine and TPM.
func (r *rig) cut() {
	r.t.Helper()
	r.KillAppliance()
	if r.monitor != nil {
		r.must(r.monitor.Close())
		r.monitor = nil
	}
	if r.line != nil {
		r.pullLine()
	}
	r.stopTPM()
}

// state is what the card says.
func (r *rig) state() update.State {
	r.t.Helper()
	c, err := card.Open(durable.OS, r.path("card"))
	r.must(err)
	defer func() { r.must(c.Close()) }()
	return c.State()
}

// hear takes a line of the console.
func (r *rig) hear(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	close(r.more)
	r.more = make(chan struct{})
}

// mark is a position among the console's lines.
func (r *rig) mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lines)
}

// heard waits for a line of the console with some words.
func (r *rig) heard(mark int, words string) string {
	r.t.Helper()
	for {
		r.mu.Lock()
		at := slices.IndexFunc(r.lines[mark:], func(l string) bool { return strings.Contains(l, words) })
		more := r.more
		r.mu.Unlock()
		if at >= 0 {
			return r.lines[mark+at]
		}
		select {
		case <-more:
		case <-r.Appliance().Done():
			r.t.Fatalf("the machine ended before it said %q", words)
		case <-r.ctx.Done():
			r.t.Fatalf("the machine never said %q", words)
		}
	}
}

// seen waits for the operator's display.
func (r *rig) seen(mark int, what string, want func(operator.View) bool) (operator.View, int) {
	r.t.Helper()
	v, mark, err := r.Views().Wait(r.ctx, mark, want)
	if err != nil {
		all := r.Views().All()
		r.t.Fatalf("the display never shows %s: %v; last: %+v", what, err, all[max(0, len(all)-1):])
	}
	return v, mark
}

// makeStick formats the stick.
func (r *rig) makeStick(files ...string) {
	r.t.Helper()
	_ = os.Remove(r.path("stick"))
	r.run("mkfs.vfat", "-C", r.path("stick"), "32768")
	for _, f := range files {
		r.run("mcopy", "-i", r.path("stick"), f, "::"+filepath.Base(f))
	}
}

func (r *rig) plug() {
	r.t.Helper()
	r.do("device_add", map[string]any{"driver": "usb-storage", "id": "stick", "drive": "stick", "bus": "usb.0"})
}

func (r *rig) unplug() {
	r.t.Helper()
	r.do("device_del", map[string]any{"id": "stick"})
}

var wholeCeremony = regexp.MustCompile("(?s)\n```text whole\n(.*?)```\n")

// ceremony puts a key ceremony on the stick, docs/image/boot.md's; call it before boot. Nobody sets the token's PIN: these tests
// are not about what an operator types (tests/guides sets it).
func (r *rig) ceremony() {
	r.t.Helper()
	policy, err := r.SignedPolicy(r.ctx)
	r.must(err)
	recipient, err := r.Recipient()
	r.must(err)
	page, err := os.ReadFile("../../docs/image/boot.md")
	r.must(err)
	text := wholeCeremony.FindSubmatch(page)
	if text == nil {
		r.t.Fatal("docs/image/boot.md has no whole ceremony")
	}
	given := strings.NewReplacer("Example Packages <packages@example.org>", world.UserID, "NONCE", strings.Repeat("5a", 32), "set-pin", "throwaway",
		"age1FIRST", recipient, "age1SECOND", recipient, "age1AUDITOR", recipient)
	ceremony := r.path(boot.CeremonyFile)
	r.must(os.WriteFile(ceremony, []byte(given.Replace(string(text[1]))), 0o600))
	r.makeStick(ceremony, policy)
}

// enrol holds it, at a board that was just switched on, and gives the host what it pins. A ceremony that was cut short goes on
// when the stick comes again, as its display says: on a busy machine the TPM may be too slow for the kernel once.
func (r *rig) enrol() {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	var attending sync.WaitGroup
	attending.Go(func() { r.Attend(ctx) })
	var mark int
	for done := false; !done; {
		at := r.mark()
		r.heard(0, "not enrolled")
		r.plug()
		end := r.heard(at, "The ceremony ")
		done = strings.Contains(end, "The ceremony is done.")
		r.t.Log(strings.TrimSpace(end))
		r.heard(at, "Take the stick out")
		if done {
			stop()
			attending.Wait()
			mark = r.Views().Mark()
		}
		at = r.mark()
		r.unplug()
		if !done {
			r.heard(at, "not enrolled")
		}
	}
	r.must(r.Unlock(r.ctx, mark, world.PIN))
	r.must(os.MkdirAll(r.Trust, 0o755))
	r.run("mcopy", "-s", "-n", "-i", r.path("stick"), "::trust/*", r.Trust)
}

// host starts the board's host, until it has verified the log: World.StartHostd, with a machine's patience.
func (r *rig) host() {
	r.t.Helper()
	r.must(r.LaunchHostd(r.ctx, "repo1"))
	r.must(r.Hostd().AwaitLog(r.ctx, 0, "log verified"))
}

// up is a board that is enrolled and ready, with its host.
func up(t *testing.T, words ...string) *rig {
	t.Helper()
	r := newRig(t, words...)
	r.ceremony()
	r.boot()
	r.enrol()
	r.host()
	return r
}

// ask has the host ask for signatures, until a board has answered: on a busy machine the daemon's patience may end before it and
// the board have found each other.
func (r *rig) ask(files ...string) <-chan world.Result {
	done := make(chan world.Result, 1)
	go func() {
		for {
			res, err := r.Run(r.ctx, r.dir, "touchmark", append([]string{"sign"}, files...)...)
			if err != nil {
				res = world.Result{Code: -1, Stderr: err.Error()}
			}
			if res.Code != api.LinkDown || r.ctx.Err() != nil {
				done <- res
				return
			}
		}
	}()
	return done
}

// arm arms the request that comes on display.
func (r *rig) arm(mark int, done <-chan world.Result) {
	r.t.Helper()
	r.must(r.Operator("arm " + r.asked(mark, done)))
}

// asked waits for the request on display, from mark on, and answers its job; one that ends before is an error.
func (r *rig) asked(mark int, done <-chan world.Result) (job string) {
	r.t.Helper()
	ctx, stop := context.WithCancelCause(r.ctx)
	shown := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case res := <-done:
			stop(fmt.Errorf("the request ended with code %d: %s%s", res.Code, res.Stdout, res.Stderr))
		case <-shown:
		}
	})
	v, _, err := r.Views().Wait(ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm })
	close(shown)
	watching.Wait()
	if err != nil {
		r.t.Fatalf("no request to be armed: %v", cmp.Or(context.Cause(ctx), err))
	}
	return v.Job.ID
}

// sign has files signed with the operator's help.
func (r *rig) sign(files ...string) {
	r.t.Helper()
	mark := r.Views().Mark()
	done := r.ask(files...)
	r.arm(mark, done)
	for range files {
		r.must(r.Token.Touch(r.ctx))
	}
	if res := <-done; res.Code != 0 {
		r.t.Fatalf("touchmark sign: exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
}

// publish brings the published log up to date.
func (r *rig) publish() {
	r.t.Helper()
	if res, err := r.Run(r.ctx, r.dir, "touchmark", "publish"); err != nil || res.Code != 0 {
		r.t.Fatalf("touchmark publish: %v: exit code %d\n%s%s", err, res.Code, res.Stdout, res.Stderr)
	}
}

// clean has the auditor judge what is published now, and answers how many starts there were.
func (r *rig) clean() (boots int) {
	r.t.Helper()
	r.publish()
	return r.judge()
}

// judge has the auditor judge what was published, with the build's values for each start.
func (r *rig) judge() (boots int) {
	r.t.Helper()
	res, err := r.Run(r.ctx, r.dir, "touchmark-audit", "verify", r.Mirror, "--trust", r.Trust, "--golden", r.golden, "--json")
	r.must(err)
	var report struct {
		Verdict  string
		Boots    int
		Findings []struct{ Severity, Code, Explanation string }
	}
	r.must(json.Unmarshal([]byte(res.Stdout), &report))
	for _, f := range report.Findings {
		if f.Severity != "info" || strings.HasPrefix(f.Code, "boot-") && f.Code != "boot-recovered" {
			r.t.Errorf("%s %s: %s", f.Severity, f.Code, f.Explanation)
		}
	}
	if res.Code != 0 || report.Boots == 0 {
		r.t.Errorf("touchmark-audit: exit code %d, %s, %d boots: %s", res.Code, report.Verdict, report.Boots, res.Stderr)
	}
	return report.Boots
}

// entry is one of the log.
type entry struct {
	index uint64
	body  any
}

// entries are those of the published log, with what no commit covers yet.
func (r *rig) entries() (all []entry) {
	r.t.Helper()
	published, err := tiles.Open(r.Mirror)
	r.must(err)
	pending, err := published.Pending()
	r.must(err)
	take := func(text []byte) {
		h, body, err := ledger.Parse(text)
		r.must(err)
		if h.Index == uint64(len(all)) { // what is pending may have been committed meanwhile
			all = append(all, entry{h.Index, body})
		}
	}
	for text, err := range published.Entries(0) {
		r.must(err)
		take(text)
	}
	for _, text := range pending {
		take(text)
	}
	return all
}

// tokenLog is what the token has written down.
func (r *rig) tokenLog() string {
	r.t.Helper()
	b, err := os.ReadFile(r.TokenLog())
	r.must(err)
	return string(b)
}

// do gives QEMU's monitor a command.
func (r *rig) do(command string, arguments map[string]any) {
	r.t.Helper()
	_, err := r.monitor.Do(command, arguments)
	r.must(err)
}
