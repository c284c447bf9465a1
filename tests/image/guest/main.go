// Command guest is what the tests of the image add to its root, beside the image's own programs. As the first process it
// tries what a board's kernel must refuse to everybody, root too ("probe"), or, before it becomes the image's own first
// process, starts a copy of itself that joins the host's end of the board's USB gadget with the cable and says what the root
// has ("bridge"), that kills the first process once ("panic"), that has it hang once ("stuck"), or that once has the kernel
// start the machine anew in good order ("restart"); each when a tablet is plugged in. Without the image's first process it
// leaves a watchdog alone ("leave").
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot/machine"
	"touchmark/tpm/ledgerstore/durable"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "probe":
		probe()
	case "bridge":
		become("join")
	case "panic":
		become("kill")
	case "stuck":
		become("hang")
	case "restart":
		become("reboot")
	case "leave":
		leave()
	case "join":
		go func() {
			<-tablet()
			walk("/", "/run", "/media")
		}()
		if err := join("/dev/ttyACM0", "/dev/ttyUSB0"); err != nil {
			fmt.Println("bridge:", err)
		}
	case "kill":
		fmt.Println("panic:", onceAsked(func() error { return unix.Kill(1, unix.SIGABRT) })) // which makes the kernel stop
	case "hang":
		fmt.Println("stuck:", hang())
	case "reboot":
		fmt.Println("restart:", onceAsked(func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) }))
	case "feed":
		feed()
	}
}

// calls are system calls that the kernel is built without: new code in it, ways into its memory or another process's, and
// ways past the rules on files.
var calls = []struct {
	name   string
	number uintptr
}{
	{"init_module", unix.SYS_INIT_MODULE}, {"finit_module", unix.SYS_FINIT_MODULE}, {"delete_module", unix.SYS_DELETE_MODULE},
	{"kexec_load", unix.SYS_KEXEC_LOAD}, {"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD}, {"bpf", unix.SYS_BPF},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN}, {"process_vm_readv", unix.SYS_PROCESS_VM_READV}, {"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV},
	{"kcmp", unix.SYS_KCMP}, {"userfaultfd", unix.SYS_USERFAULTFD}, {"io_uring_setup", unix.SYS_IO_URING_SETUP}, {"add_key", unix.SYS_ADD_KEY},
	{"keyctl", unix.SYS_KEYCTL}, {"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT}, {"fanotify_init", unix.SYS_FANOTIFY_INIT},
	{"mq_open", unix.SYS_MQ_OPEN}, {"shmget", unix.SYS_SHMGET}, {"swapon", unix.SYS_SWAPON}, {"acct", unix.SYS_ACCT}, {"quotactl", unix.SYS_QUOTACTL},
	{"socket", unix.SYS_SOCKET}, {"connect", unix.SYS_CONNECT}, {"sendmsg", unix.SYS_SENDMSG},
}

// probe says of each attempt which error it met.
func probe() {
	_ = os.MkdirAll("/proc", 0o755)
	_ = unix.Mount("proc", "/proc", "proc", 0, "")
	_ = unix.Mount("dev", "/dev", "devtmpfs", 0, "")
	for _, family := range []struct {
		name   string
		number int
	}{{"AF_UNIX", unix.AF_UNIX}, {"AF_INET", unix.AF_INET}, {"AF_INET6", unix.AF_INET6}, {"AF_NETLINK", unix.AF_NETLINK}, {"AF_PACKET", unix.AF_PACKET},
		{"AF_VSOCK", unix.AF_VSOCK}, {"AF_BLUETOOTH", unix.AF_BLUETOOTH}, {"AF_ALG", unix.AF_ALG}} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET} {
			_, err := unix.Socket(family.number, kind, 0)
			say(fmt.Sprintf("socket %s %d", family.name, kind), err)
		}
	}
	_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	say("socketpair", err)
	for _, call := range calls { // a kernel that has the call finds its arguments wrong, or does it
		_, _, errno := unix.Syscall(call.number, 0, 0, 0)
		say(call.name, sure(errno))
	}
	_ = os.MkdirAll("/sys", 0o755)
	_ = unix.Mount("sys", "/sys", "sysfs", 0, "")
	for _, path := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore", "/proc/sysrq-trigger", "/sys/power/disk"} {
		_, err := os.OpenFile(path, os.O_RDWR, 0)
		say(path, err)
	}
	say("ptrace", attach())
	say("a PCI device's registers", overwrite("/sys/bus/pci/devices/0000:00:00.0/config"))
	_ = unix.Mount("security", "/sys/kernel/security", "securityfs", 0, "")
	state, err := os.ReadFile("/sys/kernel/security/lockdown")
	fmt.Printf("lockdown %s, %v\n", strings.TrimSpace(string(state)), err)
	fmt.Println("probe done")
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func sure(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func say(what string, err error) { fmt.Printf("probe %s: %v\n", what, err) }

// attach tries to look into a process of its own.
func attach() error {
	child, err := os.StartProcess("/guest", []string{"join"}, &os.ProcAttr{})
	if err != nil {
		return nil // which is an answer that fails the test
	}
	return unix.PtraceAttach(child.Pid)
}

// overwrite writes to a device's registers what they hold, where a kernel that is locked down lets nobody.
func overwrite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	first := make([]byte, 1)
	_, err = f.ReadAt(first, 0)
	if err == nil {
		_, err = f.WriteAt(first, 0)
	}
	return errors.Join(err, f.Close())
}

// become starts a copy of itself to do something else, and becomes the image's first process.
func become(other string) {
	_, err := os.StartProcess("/guest", []string{other}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	fmt.Println(other, "started:", err)
	fmt.Println("the image's first process:", syscall.Exec("/init", []string{"/init"}, nil))
}

// onceAsked does something when a tablet is plugged in, once in a board's life.
func onceAsked(do func() error) error {
	const once = machine.DataDir + "/done"
	<-tablet()
	if _, err := os.Stat(once); err == nil {
		return nil
	}
	return errors.Join(durable.WriteFile(once, nil, 0o600), do())
}

// tablet is closed when one is plugged in, and the data partition is there.
func tablet() <-chan struct{} {
	there := make(chan struct{})
	go func() {
		defer close(there)
		for range time.Tick(look) {
			if _, err := os.Stat(machine.DataDir + "/seed"); err != nil {
				continue
			}
			products, _ := filepath.Glob("/sys/bus/usb/devices/*/product")
			for _, p := range products {
				if what, _ := os.ReadFile(p); strings.Contains(string(what), "Tablet") {
					return
				}
			}
		}
	}()
	return there
}

// walk says what file systems have, without those that are mounted on them: mode, owner, group and name of each file.
func walk(roots ...string) {
	for _, root := range roots {
		var on unix.Stat_t
		err := unix.Stat(root, &on)
		err = errors.Join(err, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			var s unix.Stat_t
			if err = errors.Join(err, unix.Lstat(path, &s)); errors.Is(err, fs.ErrNotExist) {
				return nil // replaced meanwhile
			} else if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			fmt.Println("root:", info.Mode(), s.Uid, s.Gid, path)
			if s.Dev != on.Dev && e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}))
		fmt.Println("walked", root, err)
	}
}

// look is the pause between two looks for a device, which the image's first process is still to make.
const look = 20 * time.Millisecond

// join passes on what comes from either device to the other.
func join(a, b string) error {
	one, err := open(a)
	if err != nil {
		return err
	}
	other, err := open(b)
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	for _, d := range [][2]*os.File{{one, other}, {other, one}} {
		go func() {
			_, err := io.Copy(d[0], d[1])
			ended <- err
		}()
	}
	return <-ended
}

// open opens a serial line as a plain one.
func open(path string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			<-time.After(look)
			continue
		}
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return nil, err
		}
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		return os.NewFile(uintptr(fd), path), unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
}
