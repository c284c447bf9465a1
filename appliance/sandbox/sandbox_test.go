package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A probe tries something from inside. In the profile of the tests it must fail
// with one of these errors; without a sandbox it must succeed, so that a probe
// that cannot succeed is no probe.
type probe struct {
	try  func(dir string) error
	want []error
}

var denied = []error{unix.EPERM, unix.EACCES}

var probes = map[string]probe{
	"execute a program":            {func(string) error { return exec.Command("/bin/true").Run() }, denied},
	"fork":                         {func(string) error { return forks() }, denied},
	"open /etc/passwd for writing": {func(string) error { return opens("/etc/passwd", os.O_WRONLY) }, denied},
	"read /etc/passwd":             {func(string) error { return opens("/etc/passwd", os.O_RDONLY) }, denied},
	"list /":                       {func(string) error { _, err := os.ReadDir("/"); return err }, denied},
	"write beside what is read":    {func(d string) error { return opens(filepath.Join(d, "read", "f"), os.O_RDWR) }, denied},
	"make a file out of bounds":    {func(d string) error { return opens(filepath.Join(d, "new"), os.O_CREATE|os.O_WRONLY) }, denied},
	"make a device":                {func(d string) error { return unix.Mknod(filepath.Join(d, "write", "null"), unix.S_IFCHR, 1<<8|3) }, denied},
	"make a link out":              {func(d string) error { return os.Symlink("/etc", filepath.Join(d, "write", "etc")) }, denied},
	"mount":                        {func(d string) error { return mounts(filepath.Join(d, "write")) }, denied},
	"trace its parent":             {func(string) error { return traces() }, denied},
	"read its parent's memory":     {func(string) error { return peeks() }, denied},
	"signal its parent":            {func(string) error { return unix.Kill(os.Getppid(), unix.SIGCONT) }, denied},
	"a TCP socket":                 {func(string) error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); return err }, denied},
	"a netlink socket":             {func(string) error { _, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0); return err }, denied},
	"connect to a unix socket":     {func(d string) error { return connects(filepath.Join(d, "s")) }, denied},
	"executable memory":            {func(string) error { return executable() }, denied},
	"become another user":          {func(string) error { return unix.Setuid(os.Getuid()) }, denied},
	"a user namespace":             {func(string) error { return unix.Unshare(unix.CLONE_NEWNS) }, denied},
	"allow core dumps":             {func(string) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }, denied},
	"raise its limits":             {func(string) error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 0, Max: 0}) }, denied},
	"type for the terminal's user": {func(d string) error { return typesIn() }, denied},
}

// openIn is what the report calls that which only a newer Landlock keeps a process
// from: on a kernel that has it the report is silent and the probe must fail.
var openIn = map[string]string{
	"signal its parent":            "signals to other processes",
	"type for the terminal's user": "ioctls of devices",
}

// permitted are what the profile of the tests allows.
var permitted = map[string]func(dir string) error{
	"read":            func(d string) error { return opens(filepath.Join(d, "read", "f"), os.O_RDONLY) },
	"make and rename": writes,
	"list":            func(d string) error { _, err := os.ReadDir(filepath.Join(d, "write")); return err },
	"a device":        func(string) error { return opens("/dev/null", os.O_RDWR) },
	"threads":         func(string) error { return threads() },
	"pipes":           func(string) error { r, w, err := os.Pipe(); return errors.Join(err, r.Close(), w.Close()) },
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "probe" {
		inside(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// inside is a process that tries everything in a place, from within the sandbox
// or, if the place ends so, without it, and then waits for the end of its input.
func inside(dir string) {
	dir, free := strings.CutSuffix(dir, ":free")
	if !free {
		if strings.HasSuffix(dir, started) && !Entered() {
			fmt.Println("the sandbox\tit executes itself all the same")
			return
		}
		r, err := Enter(profile(dir))
		if err != nil {
			fmt.Println("the sandbox\t" + err.Error())
			return
		}
		dir, _ = strings.CutSuffix(dir, started)
		dir, _ = strings.CutSuffix(dir, ":nobody")
		fmt.Println("missing\t" + r.String())
	}
	for name, try := range permitted {
		said(name, try(dir))
	}
	for name, p := range probes {
		said(name, p.try(dir))
	}
	hold := make(chan struct{})
	holdThreads(hold)
	fmt.Println("waits\t")
	_, err := io.Copy(io.Discard, os.Stdin)
	close(hold)
	said("the end", err)
}

func said(name string, err error) {
	if err == nil {
		err = errDone
	}
	fmt.Printf("%s\t%v\n", name, err)
}

var errDone = errors.New("done")

// held is how many threads there are at least.
const held = 8

func holdThreads(until <-chan struct{}) {
	var there sync.WaitGroup
	for range held {
		there.Add(1)
		go func() {
			runtime.LockOSThread()
			there.Done()
			<-until
		}()
	}
	there.Wait()
}

// nobody is somebody else than root.
var nobody = User{UID: 65534, GID: 65534, Groups: []int{65533}}

func profile(dir string) Profile {
	dir, _ = strings.CutSuffix(dir, started)
	dir, other := strings.CutSuffix(dir, ":nobody")
	p := Profile{Read: []string{filepath.Join(dir, "read")}, Write: []string{filepath.Join(dir, "write")}, Devices: []string{"/dev/null"}, LockMemory: true}
	if other && os.Geteuid() == 0 {
		p.User = &nobody
	}
	return p
}

// common is a directory that every user gets to, whatever TMPDIR and umask are.
func common(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sandbox")
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ok(t, os.Chmod(dir, 0o755))
	return dir
}

// place is a directory as the profile has it, which is anybody's.
func place(t *testing.T) string {
	t.Helper()
	dir := common(t)
	file := filepath.Join(dir, "read", "f")
	for _, d := range []string{"read", "write"} {
		ok(t, os.Mkdir(filepath.Join(dir, d), 0o755))
		ok(t, os.Chmod(filepath.Join(dir, d), 0o777))
	}
	ok(t, os.WriteFile(file, []byte("x"), 0o644))
	ok(t, os.Chmod(file, 0o644))
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	ok(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return dir
}

// program is this one, where every user can execute it. It is copied by another
// process: a file that this one has open for writing might not be executed.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(common(t), "probe")
	out, err := exec.Command("install", "-m", "755", os.Args[0], path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// child is a process that tried everything and waits.
type child struct {
	pid  int
	said map[string]string
	end  func()
}

func start(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(program(t), "probe", dir)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector's exit takes a second else
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, begin(cmd, dir))
	c := &child{pid: cmd.Process.Pid, said: map[string]string{}}
	c.end = func() { ok(t, errors.Join(in.Close(), cmd.Wait())) }
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), "\t")
		c.said[name] = text
		if name == "waits" {
			return c
		}
	}
	c.end()
	t.Fatalf("it ended: %v, %v", c.said, lines.Err())
	return nil
}

// started, at the end of a place, is a process that is started in the sandbox.
const started = ":started"

// begin starts it.
func begin(cmd *exec.Cmd, dir string) error {
	if !strings.HasSuffix(dir, started) {
		return cmd.Start()
	}
	return Command(profile(dir), cmd)
}

// Without a sandbox each probe succeeds: else it would be none.
func TestWithout(t *testing.T) {
	c := start(t, place(t)+":free")
	defer c.end()
	for name := range probes {
		if c.said[name] != "done" && capable(t, name) {
			t.Errorf("%s: %s", name, c.said[name])
		}
	}
}

// needs are the capabilities (capabilities(7)) without which a probe fails anyway:
// an ordinary user's, or a container's.
var needs = map[string]int{
	"open /etc/passwd for writing": unix.CAP_DAC_OVERRIDE,
	"mount":                        unix.CAP_SYS_ADMIN,
	"a user namespace":             unix.CAP_SYS_ADMIN,
	"make a device":                unix.CAP_MKNOD,
	"trace its parent":             unix.CAP_SYS_PTRACE,
	"read its parent's memory":     unix.CAP_SYS_PTRACE,
}

func capable(t *testing.T, probe string) bool {
	t.Helper()
	c, needed := needs[probe]
	var have [2]unix.CapUserData
	ok(t, unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0]))
	return !needed || have[c/32].Effective&(1<<(c%32)) != 0
}

func TestWithin(t *testing.T) {
	for _, who := range []string{"", ":nobody", started, ":nobody" + started} {
		t.Run("as"+who, func(t *testing.T) {
			c := start(t, place(t)+who)
			defer c.end()
			t.Logf("missing: %s", c.said["missing"])
			for name, p := range probes {
				if open := openIn[name]; open != "" && strings.Contains(c.said["missing"], open) {
					continue // an older kernel, and the report says what it lacks
				}
				if !slices.ContainsFunc(p.want, func(err error) bool { return strings.HasSuffix(c.said[name], err.Error()) }) {
					t.Errorf("%s: %s", name, c.said[name])
				}
			}
			for name := range permitted {
				if c.said[name] != "done" {
					t.Errorf("%s: %s", name, c.said[name])
				}
			}
			other := strings.HasPrefix(who, ":nobody") && os.Geteuid() == 0
			everyThread(t, c.pid, other)
			leavesNoCore(t, c.pid, other)
		})
	}
}

// leavesNoCore: the limit is zero for good, and the process is marked as one that
// is not to be dumped or traced, so that its files in /proc are root's (proc(5)).
func leavesNoCore(t *testing.T, pid int, nobodys bool) {
	t.Helper()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("%v\n%s", err, limits)
	}
	var st unix.Stat_t
	ok(t, unix.Stat(fmt.Sprintf("/proc/%d/environ", pid), &st))
	if nobodys && st.Uid != 0 {
		t.Errorf("its files in /proc are those of user %d", st.Uid)
	}
}

// everyThread: whatever thread there is, it is in the sandbox, and maybe somebody
// else's.
func everyThread(t *testing.T, pid int, nobodys bool) {
	t.Helper()
	want := []string{"NoNewPrivs:\t1", "Seccomp:\t2"}
	if nobodys {
		want = append(want, "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t65533 \n", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000")
	}
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(all) < held {
		t.Errorf("%d threads, %v", len(all), err)
	}
	for _, path := range all {
		status, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		for _, w := range want {
			if err != nil || !strings.Contains(string(status), w) {
				t.Errorf("%s lacks %q: %v\n%s", path, w, err, status)
			}
		}
	}
}

func opens(path string, flag int) error {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func writes(dir string) error {
	a, b := filepath.Join(dir, "write", "a"), filepath.Join(dir, "write", "b")
	return errors.Join(os.WriteFile(a, []byte("x"), 0o600), os.Truncate(a, 0), os.Rename(a, b), os.Remove(b))
}

// threads are as many as block at a time.
func threads() error {
	const n = 32
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // not earlier, as the collector would
	fd := int(r.Fd())                // blocking from here on: each reader holds a thread
	got := make(chan error, n)
	for range n {
		go func() { _, err := unix.Read(fd, make([]byte, 1)); got <- err }()
	}
	_, err = w.Write(make([]byte, n))
	for range n {
		err = errors.Join(err, <-got)
	}
	return err
}

func forks() error {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

// traces looks at the parent's memory as a debugger does. PTRACE_SEIZE stops
// nothing by itself, but each signal from then on does, until the tracer, which is
// a thread, ends: so one does it that ends at once, and not the program's first,
// which the runtime keeps.
func traces() error {
	const seize = 0x4206
	result := make(chan error, 1)
	var try func()
	try = func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			next := make(chan struct{})
			go func() { defer close(next); try() }() // on another thread, as this one is held
			<-next
			return
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, seize, uintptr(os.Getppid()), 0, 0, 0, 0)
		if errno != 0 {
			result <- errno
			return
		}
		result <- nil
	}
	go try()
	return <-result
}

func peeks() error {
	_, err := unix.ProcessVMReadv(os.Getppid(), nil, nil, 0)
	return err
}

func mounts(dir string) error {
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	return unix.Unmount(dir, 0)
}

func connects(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return c.Close()
}

func executable() error {
	m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	return unix.Munmap(m)
}

// typesIn asks for what needs a terminal: without one it is another error than
// that of the filter.
func typesIn() error {
	err := unix.IoctlSetPointerInt(0, unix.TIOCSTI, 'x')
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EIO) {
		return nil
	}
	return err
}

// What is not there yet is granted with what it is to appear in, and that is said.
func TestThere(t *testing.T) {
	dir := t.TempDir()
	var r Report
	if got := there(dir, &r); got != dir || len(r.Missing) != 0 {
		t.Errorf("%s, %q", got, r.Missing)
	}
	if got := there(filepath.Join(dir, "a", "b"), &r); got != dir || !strings.Contains(r.String(), "a/b is not there yet: all of "+dir) {
		t.Errorf("%s, %q", got, r.Missing)
	}
}

func TestParseUser(t *testing.T) {
	if os.Geteuid() == 0 {
		u, err := ParseUser("65534:65534,65533")
		ok(t, err)
		if u.UID != nobody.UID || u.GID != nobody.GID || !slices.Equal(u.Groups, nobody.Groups) {
			t.Errorf("%+v", u)
		}
		if u, err = ParseUser("nobody"); err != nil || u.UID != 65534 {
			t.Errorf("%+v, %v", u, err)
		}
	}
	for _, bad := range []string{"", ":", "root", "0:5", "5", "5:", "5:x", "5:5,", "-1:5", "5:5:5", "4294967296:1", "no such user"} {
		if u, err := ParseUser(bad); err == nil {
			t.Errorf("%q is %+v", bad, u)
		}
	}
}

func TestSwapping(t *testing.T) {
	list := filepath.Join(t.TempDir(), "swaps")
	if !swapping(list) {
		t.Error("without a list there is no swap")
	}
	for text, want := range map[string]bool{
		"Filename\tType\tSize\tUsed\tPriority\n":                             false,
		"Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n": true,
	} {
		ok(t, os.WriteFile(list, []byte(text), 0o600))
		if got := swapping(list); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Kernels of every age: what Landlock cannot limit is said.
func TestGenerations(t *testing.T) {
	last := 0
	var files uint64
	for _, g := range generations {
		if g.abi != last+1 || g.files&files != 0 {
			t.Errorf("generation %d after %d: %+v", g.abi, last, g)
		}
		last, files = g.abi, files|g.files
	}
	for _, granted := range []uint64{readAccess, writeAccess, deviceAccess, executeAccess} {
		if granted&^files != 0 {
			t.Errorf("%#x grants what no generation handles", granted)
		}
	}
}

// FuzzFilter: whatever the call, the filter ends with one of its answers and
// never allows a call that is not on the list.
func FuzzFilter(f *testing.F) {
	f.Add(uint32(arch), uint32(unix.SYS_EXECVE), uint64(0), uint64(0), uint64(0))
	f.Add(uint32(arch), uint32(unix.SYS_CLONE), uint64(unix.SIGCHLD), uint64(0), uint64(0))
	f.Add(uint32(arch), uint32(unix.SYS_CLONE), uint64(unix.CLONE_THREAD), uint64(0), uint64(0))
	f.Add(uint32(arch), uint32(unix.SYS_PRLIMIT64), uint64(0), uint64(0), uint64(1)<<32)
	f.Add(uint32(arch), uint32(unix.SYS_MMAP), uint64(0), uint64(0), uint64(unix.PROT_EXEC))
	f.Add(uint32(arch), uint32(unix.SYS_IOCTL), uint64(0), uint64(unix.TIOCSTI)|1<<40, uint64(0))
	f.Add(uint32(0x40000003), uint32(unix.SYS_READ), uint64(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, machine, number uint32, a, b, c uint64) {
		const pid = 77
		got := decide(t, newFilter(pid, false), machine, number, [3]uint64{a, b, c})
		if want := decision(pid, machine, number, [3]uint64{a, b, c}); got != want {
			t.Errorf("call %d of machine %#x with %#x: %#x, not %#x", number, machine, []uint64{a, b, c}, got, want)
		}
	})
}

// decision is what the filter is to do, said in another way.
func decision(pid, machine, number uint32, args [3]uint64) uint32 {
	if machine != arch {
		return kill
	}
	if slices.Contains(calls, number) || slices.Contains(archCalls, number) {
		return allow
	}
	good := map[uint32]bool{
		unix.SYS_CLONE:     args[0]&unix.CLONE_THREAD != 0,
		unix.SYS_MMAP:      args[2]&unix.PROT_EXEC == 0,
		unix.SYS_MPROTECT:  args[2]&unix.PROT_EXEC == 0,
		unix.SYS_IOCTL:     uint32(args[1]) != unix.TIOCSTI && uint32(args[1]) != unix.TIOCLINUX,
		unix.SYS_TGKILL:    uint32(args[0]) == pid,
		unix.SYS_PRLIMIT64: args[2] == 0,
	}
	switch {
	case number == unix.SYS_CLONE3:
		return absent
	case good[number]:
		return allow
	}
	return refuse
}

// decide runs the filter as the kernel would.
func decide(t *testing.T, f []unix.SockFilter, machine, number uint32, args [3]uint64) uint32 {
	words := map[uint32]uint32{atNumber: number, atArch: machine}
	for i, v := range args {
		words[low(i)], words[high(i)] = uint32(v), uint32(v>>32)
	}
	var acc uint32
	for pc := 0; pc < len(f); pc++ {
		switch in := f[pc]; in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = words[in.K]
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if acc == in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: %#x", pc, in.Code)
		}
	}
	t.Fatal("it ends without an answer")
	return 0
}
