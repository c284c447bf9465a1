// Command guest is what the tests of the image add to its root, beside the image's own programs. As the first process it
// tries what a board's kernel must refuse to everybody, root too ("probe"), or, before it becomes the image's own first
// process, starts a copy of itself that joins the host's end of the board's USB gadget with the cable ("bridge").
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "probe":
		probe()
	case "bridge":
		become()
	default:
		if err := join("/dev/ttyACM0", "/dev/ttyUSB0"); err != nil {
			fmt.Println("bridge:", err)
		}
	}
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
	say("init_module", unix.InitModule(make([]byte, 64), ""))
	say("finit_module", unix.FinitModule(0, "", 0))
	_, _, errno := unix.Syscall(unix.SYS_KEXEC_LOAD, 0, 0, 0)
	say("kexec_load", sure(errno))
	_, _, errno = unix.Syscall(unix.SYS_BPF, 0, 0, 0)
	say("bpf", sure(errno))
	_, _, errno = unix.Syscall(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0)
	say("perf_event_open", sure(errno))
	for _, path := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore", "/proc/sysrq-trigger"} {
		_, err := os.OpenFile(path, os.O_RDWR, 0)
		say(path, err)
	}
	say("ptrace", attach())
	say("hibernation", sleepToDisk())
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
	child, err := os.StartProcess("/guest", []string{"/guest"}, &os.ProcAttr{})
	if err != nil {
		return nil // which is an answer that fails the test
	}
	return unix.PtraceAttach(child.Pid)
}

func sleepToDisk() error {
	_ = os.MkdirAll("/sys", 0o755)
	_ = unix.Mount("sys", "/sys", "sysfs", 0, "")
	return os.WriteFile("/sys/power/disk", []byte("platform"), 0)
}

// become starts the bridge, and becomes the image's first process.
func become() {
	_, err := os.StartProcess("/guest", []string{"/guest"}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	fmt.Println("bridge started:", err)
	fmt.Println("bridge:", syscall.Exec("/init", []string{"/init"}, nil))
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
