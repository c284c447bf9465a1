package serial

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"touchmark/hostlink/serialport"
	"touchmark/tests/serial/initrd"
)

// patience bounds every wait. The machine is emulated without KVM, which is not everywhere and costs two seconds here.
const patience = 3 * time.Minute

// The machine's devices: the test's own lines on the first port of a PCI card with two 16550 UARTs, the link on the
// second; a UART whose other end is never read; a USB host port for the adapter.
const (
	guestControl = "/dev/ttyS1"
	guestUART    = "/dev/ttyS2"
	guestStuck   = "/dev/ttyS3"
)

// drivers of the machine, by module; what they depend on is loaded before them.
var drivers = []string{"xhci-pci", "ftdi_sio", "cdc-acm", "dummy_hcd", "usb_f_acm"}

// machine is a running virtual machine with package guest in it.
type machine struct {
	t       *testing.T
	uart    string // QEMU's end of the UART: a pty
	adapter *adapter
	events  chan string // "name text"
	said    chan string // answers
	ctl     net.Conn
	done    map[string]bool // couriers that have said so
	seen    []string        // events
}

// boot starts the machine and its drivers.
func boot(t *testing.T) *machine {
	dir, err := os.MkdirTemp("", "tmq-") // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	image, modules := makeInitrd(t, dir)
	ctl := socket(t, filepath.Join(dir, "ctl"))
	socket(t, filepath.Join(dir, "stuck"))
	m := &machine{t: t, events: make(chan string, 1<<16), said: make(chan string), done: map[string]bool{}}
	m.adapter = &adapter{path: filepath.Join(dir, "adapter")}
	m.uart = start(t, filepath.Join(dir, "console"),
		"-accel", "tcg", "-machine", "pc", "-cpu", "max", "-m", "192", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", initrd.Kernel(), "-initrd", image,
		"-append", "console=ttyS0 loglevel=4 panic=-1 rdinit=/guest TOUCHMARK_CONTROL="+guestControl,
		"-serial", "file:"+filepath.Join(dir, "console"),
		"-chardev", "socket,id=ctl,path="+filepath.Join(dir, "ctl"), "-chardev", "pty,id=uart", "-chardev", "socket,id=adapter,server=on,wait=off,path="+m.adapter.path,
		"-chardev", "socket,id=stuck,path="+filepath.Join(dir, "stuck"),
		"-device", "pci-serial-2x,chardev1=ctl,chardev2=uart", "-device", "pci-serial,chardev=stuck", "-device", "qemu-xhci", "-device", "usb-serial,chardev=adapter")
	m.ctl = ctl()
	go m.listen()
	if got := m.answer("booting"); got != "ready" {
		t.Fatalf("the machine says %q", got)
	}
	for _, name := range modules {
		m.do("load", name)
	}
	return m
}

// start runs QEMU until the test ends and returns the path of its one pty. Its own words and the console's are told if
// the test fails.
func start(t *testing.T, console string, args ...string) (pty string) {
	t.Helper()
	cmd := exec.Command("qemu-system-x86_64", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(console)
			t.Logf("%v\nqemu: %s\nconsole: %s", cmd.ProcessState, stderr.String(), text)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if _, scan := fmt.Sscanf(line, "char device redirected to %s", &pty); scan != nil {
		t.Fatalf("QEMU says %q, %v", line, err)
	}
	return pty
}

// socket listens where QEMU will connect to, and returns what gives the connection.
func socket(t *testing.T, path string) (accept func() net.Conn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return func() net.Conn {
		t.Helper()
		l.SetDeadline(time.Now().Add(patience))
		c, err := l.Accept()
		if err != nil {
			t.Fatalf("QEMU does not connect: %v", err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// listen sorts what the guest says until it ends.
func (m *machine) listen() {
	defer close(m.said)
	lines := bufio.NewScanner(m.ctl)
	for lines.Scan() {
		kind, text, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "*":
			m.events <- text
		case "=":
			m.said <- text
		default:
			m.said <- "! " + text
		}
	}
}

// do has the guest obey a command and returns its answer.
func (m *machine) do(words ...string) string {
	m.t.Helper()
	if _, err := fmt.Fprintln(m.ctl, strings.Join(words, " ")); err != nil {
		m.t.Fatal(err)
	}
	return m.answer(words...)
}

func (m *machine) answer(words ...string) string {
	m.t.Helper()
	select {
	case s, ok := <-m.said:
		if !ok || strings.HasPrefix(s, "! ") {
			m.t.Fatalf("%q: the machine says %q", words, s)
		}
		return s
	case <-time.After(patience):
		m.t.Fatalf("%q: no answer", words)
		return ""
	}
}

// until returns the next event of a courier that begins with what is given; that one failed ends the test.
func (m *machine) until(name, begin string) string {
	m.t.Helper()
	for {
		ev := m.next(name + " " + begin)
		if text, ok := strings.CutPrefix(ev, name+" "); ok && strings.HasPrefix(text, begin) {
			return text
		}
	}
}

// finish waits until couriers have sent and received everything.
func (m *machine) finish(names ...string) {
	m.t.Helper()
	for _, name := range names {
		for !m.done[name] {
			m.next(name + " done")
		}
		delete(m.done, name)
	}
}

func (m *machine) next(awaited string) string {
	m.t.Helper()
	select {
	case ev := <-m.events:
		name, text, _ := strings.Cut(ev, " ")
		if strings.HasPrefix(text, "failed: ") {
			m.t.Fatalf("waiting for %q: %s", awaited, ev)
		}
		m.seen = append(m.seen, ev)
		if text == "done" {
			m.done[name] = true
		}
		return ev
	case <-time.After(patience):
		m.t.Fatalf("no event %q after %q", awaited, m.seen)
		return ""
	}
}

// makeInitrd packs the guest's programs and modules; the answer names the modules in the order of loading.
func makeInitrd(t *testing.T, dir string) (path string, modules []string) {
	t.Helper()
	guest := filepath.Join(dir, "guest")
	build := exec.Command("go", "build", "-o", guest, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var image initrd.Image
	path = filepath.Join(dir, "initrd")
	err := errors.Join(image.AddFile("guest", guest),
		image.AddFile("touchmark-link", filepath.Join(os.Getenv("TOUCHMARK_BIN"), "touchmark-link")))
	if err == nil {
		modules, err = image.AddModules(drivers...)
	}
	if err := errors.Join(err, image.Write(path)); err != nil {
		t.Fatal(err)
	}
	return path, modules
}

// adapter is the cable end of the machine's USB adapter (0403:6001, FTDI). QEMU has the adapter plugged in while somebody
// is connected to its socket: to disconnect is to pull it out of the machine.
type adapter struct {
	path string

	mu     sync.Mutex // guards what follows
	pulled bool
	conn   net.Conn
}

// Open connects a board's end with the adapter, unless it is pulled.
func (a *adapter) Open(path string, _ int) (serialport.Port, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pulled {
		return nil, &serialport.OpenError{Path: path, Err: serialport.ErrAbsent}
	}
	c, err := net.Dial("unix", a.path)
	if err != nil {
		return nil, &serialport.OpenError{Path: path, Err: err}
	}
	a.conn = c
	return c, nil
}

func (a *adapter) unplug() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pulled = true
	a.conn.Close()
}

func (a *adapter) plug() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pulled = false
}
