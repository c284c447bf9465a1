package redir_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
	"touchmark/tests/serial/initrd"
)

// patience bounds every wait. The machine is emulated without KVM, which is not everywhere.
const patience = 3 * time.Minute

// TestTokenInAMachine: a real kernel finds the emulated token on its USB; what the board's driver does there through
// usbfs, unmodified piv-go on top, signs, waits for touches, notices that it is pulled in the middle of a signature, and
// signs again once it is back.
func TestTokenInAMachine(t *testing.T) {
	card, err := pivemu.New(pivemu.Config{Serial: 4711, Touch: pivemu.TouchAsk, TouchTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t)
	m.expect("booted")
	p := front.NewPort(card)
	t.Cleanup(p.Close)
	if err := p.DialUSB(m.redir); err != nil {
		t.Fatal(err)
	}
	m.expect("reader USB 1-1 YubiKey CCID serial 4711")
	m.expect("second true")
	m.touch(card, card.Touch)
	m.expect("touched: signed true, timed out false, removed false")
	m.touch(card, card.TimeOut)
	m.expect("untouched: signed false, timed out true, removed false")
	m.touch(card, p.Pull)
	m.expect("pulled: signed false, timed out false, removed true")
	if err := p.Insert(); err != nil {
		t.Fatal(err)
	}
	m.expect("again: without the PIN true")
	m.touch(card, card.Touch)
	m.expect("again: signed true")
	if err := m.qemu.Wait(); err != nil {
		t.Errorf("the machine ends with %v", err)
	}
	select {
	case <-p.Powered():
	default:
		t.Error("the port does not know that the token was powered")
	}
}

// machine is a running virtual machine whose only process is testdata/guest.
type machine struct {
	t     *testing.T
	qemu  *exec.Cmd
	redir string // where a USB device is connected to
	said  chan string
}

func boot(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "tmr-") // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{t: t, redir: filepath.Join(dir, "redir"), said: make(chan string)}
	words, err := net.Listen("unix", filepath.Join(dir, "words"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { words.Close() })
	console := filepath.Join(dir, "console")
	m.qemu = exec.Command("qemu-system-x86_64",
		"-accel", "tcg", "-machine", "pc", "-cpu", "max", "-m", "192", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", initrd.Kernel(), "-initrd", pack(t, dir),
		"-append", "console=ttyS0 loglevel=4 panic=-1 rdinit=/guest",
		"-serial", "file:"+console, "-chardev", "socket,id=words,path="+filepath.Join(dir, "words"), "-serial", "chardev:words",
		"-device", "qemu-xhci", "-chardev", "socket,id=redir,server=on,wait=off,path="+m.redir, "-device", "usb-redir,chardev=redir")
	var stderr bytes.Buffer
	m.qemu.Stderr = &stderr
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.qemu.Start(); err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	t.Cleanup(func() {
		m.qemu.Process.Kill()
		m.qemu.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(console)
			t.Logf("qemu: %s\nconsole: %s", stderr.String(), text)
		}
	})
	go m.listen(words)
	return m
}

// listen hands on what the guest says until the machine ends.
func (m *machine) listen(words net.Listener) {
	defer close(m.said)
	conn, err := words.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		m.said <- strings.TrimSpace(lines.Text())
	}
}

// pack makes the guest, as the board's program is built, and packs it with the machine's USB driver.
func pack(t *testing.T, dir string) string {
	t.Helper()
	stub, err := filepath.Abs("../../../appliance/pcsc/stub")
	if err != nil {
		t.Fatal(err)
	}
	guest := filepath.Join(dir, "guest")
	build := exec.Command("go", "build", "-trimpath", "-tags", "netgo,osusergo", "-ldflags", `-s -w -linkmode external -extldflags "-static"`, "-o", guest, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=1", "PKG_CONFIG_PATH="+stub, "CGO_CFLAGS=-O2 -g -DPCSC_INPROC")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var image initrd.Image
	err = image.AddFile("guest", guest)
	if err == nil {
		var modules []string
		modules, err = image.AddModules("xhci-pci")
		image.Add("modules/order", []byte(strings.Join(modules, "\n")))
	}
	path := filepath.Join(dir, "initrd")
	if err := errors.Join(err, image.Write(path)); err != nil {
		t.Fatal(err)
	}
	return path
}

func (m *machine) expect(want string) {
	m.t.Helper()
	select {
	case got := <-m.said:
		if got != want {
			m.t.Fatalf("the machine says %q, not %q", got, want)
		}
	case <-time.After(patience):
		m.t.Fatalf("the machine never says %q", want)
	}
}

// touch waits until the machine waits for a touch, and acts.
func (m *machine) touch(card *pivemu.Card, act func() error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := card.WaitTouch(ctx); err != nil {
		m.t.Fatal(err)
	}
	if err := act(); err != nil {
		m.t.Fatal(err)
	}
}
