package machine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot"
	"touchmark/appliance/enrol/progress"
	"touchmark/appliance/sandbox"
	"touchmark/appliance/update/cardtest"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	return string(b)
}

// The gadget is what the host's finder looks for, and making it twice is making it
// once.
func TestGadget(t *testing.T) {
	g := Gadget{Config: t.TempDir(), UDC: t.TempDir()}
	write(t, filepath.Join(g.UDC, "fe980000.usb"), "")
	ok(t, g.Make())
	ok(t, g.Make())
	dir := filepath.Join(g.Config, "usb_gadget/touchmark")
	for path, want := range map[string]string{
		"idVendor": "0x1d6b", "idProduct": "0x0104", "strings/0x409/product": "Touchmark signing appliance", "UDC": "fe980000.usb", "configs/c.1/MaxPower": "0",
	} {
		if got := read(t, filepath.Join(dir, path)); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "configs/c.1/acm.0")); err != nil || to != filepath.Join(dir, "functions/acm.0") {
		t.Errorf("%q, %v", to, err)
	}
}

// Nodes are given away when they appear, each once, and again when they come again;
// what is no token's is nobody's.
func TestNodes(t *testing.T) {
	n := &Nodes{Sys: t.TempDir(), Dev: t.TempDir()}
	n.Core, n.Link = []string{filepath.Join(n.Dev, "tpmrm0")}, []string{filepath.Join(n.Dev, "ttyGS0")}
	var given []string
	n.Give = func(path string, user int) error {
		given = append(given, fmt.Sprint(strings.TrimPrefix(path, n.Dev+"/"), " ", user))
		return nil
	}
	looked := func(want ...string) {
		t.Helper()
		given = nil
		ok(t, n.Look())
		if slices.Sort(given); !slices.Equal(given, want) {
			t.Errorf("given away: %q, want %q", given, want)
		}
	}
	looked()
	device := func(name, class, number string) {
		at := filepath.Join(n.Sys, "bus/usb/devices")
		write(t, filepath.Join(at, name, "busnum"), "1\n")
		write(t, filepath.Join(at, name, "devnum"), number+"\n")
		write(t, filepath.Join(at, name+":1.0", "bInterfaceClass"), class+"\n")
		write(t, filepath.Join(n.Dev, "bus/usb/001/00"+number), "")
	}
	device("1-1", "0b", "2")
	device("1-2", "08", "3") // a stick
	write(t, filepath.Join(n.Dev, "tpmrm0"), "")
	write(t, filepath.Join(n.Dev, "ttyUSB0"), "")
	looked("bus/usb/001/002 1000", "tpmrm0 1000", "ttyUSB0 1001")
	looked()
	ok(t, os.Remove(filepath.Join(n.Dev, "ttyUSB0")))
	write(t, filepath.Join(n.Dev, "ttyGS0"), "")
	looked("ttyGS0 1001")
	write(t, filepath.Join(n.Dev, "ttyUSB0"), "")
	looked("ttyUSB0 1001")
	n.Give = func(string, int) error { return errors.New("refused") }
	write(t, filepath.Join(n.Dev, "ttyACM0"), "")
	if err := n.Look(); err == nil {
		t.Error("a refusal is not told")
	}
}

func TestEnrolled(t *testing.T) {
	dir := t.TempDir()
	if Enrolled(dir) {
		t.Error("an empty directory is enrolled")
	}
	ok(t, os.Mkdir(filepath.Join(dir, "log"), 0o700))
	if !Enrolled(dir) {
		t.Error("a board with a log is not enrolled")
	}
	write(t, filepath.Join(dir, progress.File), "damaged")
	if !Enrolled(dir) {
		t.Error("what cannot be told keeps the TPM open")
	}
	ok(t, (&progress.State{Time: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), UserID: "x"}).Write(dir))
	if Enrolled(dir) {
		t.Error("a board whose ceremony is under way cannot make HEAD any more")
	}
}

func TestReasonIsSaidOnce(t *testing.T) {
	dir := t.TempDir()
	if got := TakeReason(dir); got != "" {
		t.Error(got)
	}
	ok(t, KeepReason(dir, "it \x1b[2Jended\n"+strings.Repeat("x", 2*maxReason)))
	if got := TakeReason(dir); !strings.HasPrefix(got, "it  [2Jended x") || len(got) > maxReason {
		t.Errorf("%.40q", got)
	}
	if got := TakeReason(dir); got != "" {
		t.Error("said twice")
	}
}

func TestSeedIsNewEachTime(t *testing.T) {
	dir, random := t.TempDir(), filepath.Join(t.TempDir(), "random")
	write(t, random, "")
	ok(t, Seed(dir, random))
	first := read(t, filepath.Join(dir, seedFile))
	ok(t, Seed(dir, random))
	if second := read(t, filepath.Join(dir, seedFile)); len(first) != seedSize || len(second) != seedSize || first == second {
		t.Error("the seed is not renewed")
	}
	if mixed := read(t, random); mixed != first {
		t.Error("the kernel was not given what the last start left")
	}
}

func TestCrashesAreKept(t *testing.T) {
	pstore, dir := t.TempDir(), t.TempDir()
	if said, err := KeepWords(filepath.Join(pstore, "none"), dir); said != NoWords || err != nil {
		t.Error(said, err)
	}
	for _, round := range []struct {
		text  string
		files []string
		want  LastWords
	}{
		{"first", []string{"console-ramoops-0", "dmesg-ramoops-0", "dmesg-ramoops-1"}, Stopped},
		{"second", []string{"console-ramoops-0", "dmesg-ramoops-0"}, Stopped},
		{"third", []string{"console-ramoops-0"}, Restarted},
	} {
		for _, name := range round.files {
			write(t, filepath.Join(pstore, name), round.text)
		}
		if said, err := KeepWords(pstore, dir); said != round.want || err != nil {
			t.Errorf("%s: %v, %v", round.text, said, err)
		}
		if left, err := os.ReadDir(pstore); err != nil || len(left) != 0 {
			t.Errorf("%v, %v: they are taken at each start", left, err)
		}
	}
	for name, want := range map[string]string{"crash/00-console-ramoops-0": "second", "crash/01-dmesg-ramoops-0": "second", "restart/00-console-ramoops-0": "third"} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, crashDir)); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: what the one before said is not of this one's end", entries, err)
	}
}

func TestSticks(t *testing.T) {
	dir := t.TempDir()
	if got := stickDevices(filepath.Join(dir, "none")); got != nil {
		t.Error(got)
	}
	for _, name := range []string{"mmcblk0", "mmcblk0p1", "sda", "sda1", "sdb", "vda1", "ram0"} {
		ok(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	if got := stickDevices(dir); !slices.Equal(got, []string{"sda1", "sda", "sdb"}) {
		t.Error(got)
	}
	stick := t.TempDir()
	if s := readStick(stick); !s.Present || s.Ceremony != nil || s.Err != nil {
		t.Errorf("%+v", s)
	}
	write(t, filepath.Join(stick, boot.CeremonyFile), "touchmark/ceremony/v1\nenroll\n")
	if s := readStick(stick); !s.Present || s.Ceremony == nil || s.Err != nil {
		t.Errorf("%+v", s)
	}
	write(t, filepath.Join(stick, boot.CeremonyFile), "rm -rf /\n")
	if s := readStick(stick); !s.Present || s.Ceremony != nil || s.Err == nil {
		t.Errorf("%+v", s)
	}
	write(t, filepath.Join(stick, boot.CeremonyFile), strings.Repeat("x", 2<<20))
	if s := readStick(stick); s.Err == nil {
		t.Errorf("%+v", s)
	}
}

func TestMeasure(t *testing.T) {
	root := t.TempDir()
	var sums strings.Builder
	for _, name := range boot.Files {
		write(t, filepath.Join(root, name), "program "+name)
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256([]byte("program "+name)), name)
	}
	write(t, filepath.Join(root, "proc/cmdline"), "console=x touchmark.link=gadget\n")
	m, err := Measure("/dev/none", 0, root)
	ok(t, err)
	if m.Programs != sha256.Sum256([]byte(sums.String())) || m.CommandLine != sha256.Sum256([]byte("console=x touchmark.link=gadget")) || m.Image != [32]byte{} {
		t.Errorf("%s", m)
	}
	im, slot := cardtest.Image("1", 1)
	write(t, filepath.Join(root, "slot2"), string(slot))
	m, err = Measure(filepath.Join(root, "slot"), 2, root)
	ok(t, err)
	if m.Image != im.Image {
		t.Errorf("the image in the slot: %s", m)
	}
	write(t, filepath.Join(root, "slot3"), string(slot[:len(slot)/2]))
	for part, want := range map[int]string{3: "larger than", 4: "no such file"} {
		if m, err := Measure(filepath.Join(root, "slot"), part, root); err == nil || !strings.Contains(err.Error(), want) || m.Image != [32]byte{} || m.Programs == [32]byte{} {
			t.Errorf("slot %d: %s, %v", part, m, err)
		}
	}
	ok(t, os.Remove(filepath.Join(root, "init")))
	if m, err := Measure("/dev/none", 0, root); err == nil || m.Programs != [32]byte{} {
		t.Errorf("a program is missing: %s, %v", m, err)
	}
}

// TestGiveWay: who gives way is the last to be served, and nobody else is.
func TestGiveWay(t *testing.T) {
	nice := func() int {
		const zero = 20 // what the system call answers for nice 0 (getpriority(2), C library and kernel differences)
		n, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		ok(t, err)
		return zero - n
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, after := nice(), make(chan int)
	go func() { giveWay(); after <- nice() }()
	if got := <-after; got != 19 {
		t.Errorf("nice %d, want 19", got)
	}
	if got := nice(); got != before {
		t.Errorf("the test's own thread has nice %d, it had %d", got, before)
	}
}

// TestMeasuringIsTold: a process is told what was booted when that is known, whether it asked before or after, and the
// next one too.
func TestMeasuringIsTold(t *testing.T) {
	root := t.TempDir()
	for _, name := range boot.Files {
		write(t, filepath.Join(root, name), "program "+name)
	}
	write(t, filepath.Join(root, "proc/cmdline"), "quiet\n")
	want, err := Measure("/dev/none", 0, root)
	ok(t, err)
	finished := StartMeasuring("/dev/none", 0, root, func(wrong string) { t.Error(wrong) })
	early := &Measuring{done: make(chan struct{})}
	var told []*os.File
	for _, m := range []*Measuring{early, early, finished, finished} {
		r, err := m.Tell()
		ok(t, err)
		told = append(told, r)
	}
	early.measured = want
	close(early.done)
	for i, r := range told {
		got, err := io.ReadAll(r)
		ok(t, errors.Join(err, r.Close()))
		if string(got) != want.String() {
			t.Errorf("%d: told %q, want %s", i, got, want)
		}
	}
}

func TestHarden(t *testing.T) {
	sysctl := t.TempDir()
	write(t, filepath.Join(sysctl, "kernel/sysrq"), "438")
	ok(t, Harden(sysctl))
	if got := read(t, filepath.Join(sysctl, "kernel/sysrq")); got != "0" {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(sysctl, "kernel/kptr_restrict")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a setting was made that the kernel does not have")
	}
}

func TestWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "watchdog")
	none, err := OpenWatchdog(path)
	ok(t, err)
	ok(t, none.Feed())
	write(t, path, "")
	w, err := OpenWatchdog(path)
	ok(t, err)
	ok(t, w.Feed())
	if got := read(t, path); got == "" || strings.Contains(got, "V") {
		t.Errorf("fed with %q", got)
	}
}

// TestStartInSandbox: a program is started as its user and in its sandbox from its first instruction, with what it inherits.
func TestStartInSandbox(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start it as another user")
	}
	master, path := terminal(t)
	slave, err := OpenConsole(path, false)
	ok(t, err)
	r, w, err := os.Pipe()
	ok(t, err)
	var c Children
	child, err := c.Start(Program{Argv: []string{"/bin/cat", "/proc/self/status", "/etc/passwd"}, Terminal: slave, Errors: w, User: CoreID,
		Sandbox: &sandbox.Profile{Read: []string{"/proc"}, User: &sandbox.User{UID: CoreID, GID: CoreID}}, Env: []string{"LC_ALL=C"}})
	ok(t, errors.Join(err, w.Close(), slave.Close()))
	shown := make(chan string)
	go func() { b, _ := io.ReadAll(master); shown <- string(b) }() // a terminal that nobody has open any more is an error
	said, err := io.ReadAll(r)
	ok(t, err)
	text := <-shown
	for _, want := range []string{"NoNewPrivs:\t1", fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d", CoreID), "Groups:\t \r"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if !strings.Contains(string(said), "/etc/passwd: Permission denied") && landlock() {
		t.Errorf("it reads what it was not given: %s%s", said, text)
	}
	if _, err := syscall.Wait4(child.PID, nil, 0, nil); err != nil {
		t.Error(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil || !strings.Contains(string(status), "NoNewPrivs:\t0") {
		t.Errorf("who starts it has lost something: %v\n%s", err, status)
	}
}

// landlock tells whether this machine's kernel has it.
func landlock() bool {
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0
}

// TestHaveChildren: the end of the machine waits for processes, not for the kernel's threads.
func TestHaveChildren(t *testing.T) {
	r, w, err := os.Pipe()
	ok(t, err)
	pid, err := syscall.ForkExec("/bin/cat", []string{"cat"}, &syscall.ProcAttr{Files: []uintptr{r.Fd(), w.Fd(), w.Fd()}})
	ok(t, err)
	if !haveChildren() {
		t.Error("one runs")
	}
	ok(t, syscall.Kill(pid, syscall.SIGKILL))
	ok(t, unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	if !haveChildren() {
		t.Error("one had ended, and was to be reaped")
	}
	if haveChildren() {
		t.Error("none is left")
	}
	ok(t, errors.Join(r.Close(), w.Close()))
}
