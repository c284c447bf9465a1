package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/hostlink/serialport"
)

const nonblock = unix.O_NONBLOCK | unix.O_NOCTTY

// mountAll makes the kernel's file systems visible.
func mountAll() error {
	for _, m := range []struct{ kind, at string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := mount(m.kind, m.at); err != nil {
			return err
		}
	}
	return nil
}

func mount(kind, at string) error {
	if err := unix.Mount(kind, at, kind, 0, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", kind, err)
	}
	return nil
}

func powerOff() { unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }

func loadModule(name string) error {
	f, err := os.Open("/modules/" + name + ".ko")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// The gadget is what a board's USB port will be: composite gadget 1d6b:0104 named Touchmark with one CDC-ACM function.
// Its host is in the same kernel: dummy_hcd joins the two as a cable would.
const (
	configfs = "/sys/kernel/config"
	gadget   = configfs + "/usb_gadget/touchmark"
	dummyUDC = "dummy_udc.0"
)

func makeGadget() error {
	if err := mount("configfs", configfs); err != nil {
		return err
	}
	for _, d := range []string{gadget, gadget + "/strings/0x409", gadget + "/configs/c.1", gadget + "/functions/acm.0"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	for _, a := range [][2]string{
		{"idVendor", "0x1d6b"}, {"idProduct", "0x0104"},
		{"strings/0x409/product", "Touchmark"}, {"strings/0x409/serialnumber", "board1"},
	} {
		if err := os.WriteFile(filepath.Join(gadget, a[0]), []byte(a[1]), 0); err != nil {
			return err
		}
	}
	return os.Symlink(gadget+"/functions/acm.0", gadget+"/configs/c.1/acm.0")
}

// bindGadget plugs the gadget into a controller, or with "" pulls it out.
func bindGadget(udc string) error {
	return os.WriteFile(gadget+"/UDC", []byte(udc+"\n"), 0)
}

// await returns when a device is there.
func await(path string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CREATE); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		if _, err := unix.Read(fd, make([]byte, 4096)); err != nil {
			return err
		}
	}
}

// rates opens a device at many rates and says what became of each: "115200" or, where it is refused, "!921600".
func rates(device string) (string, error) {
	var said []string
	for _, baud := range []int{1200, 9600, 31250, 115200, 230400, 250000, 921600, 1234567, 3000000, serialport.MaxBaud} {
		p, err := serialport.Open(device, baud)
		var rate *serialport.RateError
		switch {
		case err == nil:
			said = append(said, fmt.Sprint(baud))
			p.Close()
		case errors.As(err, &rate):
			said = append(said, fmt.Sprintf("!%d", rate.Want))
		default:
			return "", err
		}
	}
	return strings.Join(said, " "), nil
}

// stuck writes into a device that nobody empties until it blocks, and closes it.
func stuck(device string) (string, error) {
	p, err := serialport.Open(device, serialport.DefaultBaud)
	if err != nil {
		return "", err
	}
	p.SetWriteDeadline(time.Now().Add(time.Second))
	buf, n := make([]byte, 64<<10), 0
	for err == nil {
		var m int
		m, err = p.Write(buf)
		n += m
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return "", fmt.Errorf("after %d bytes: %w", n, err)
	}
	begin := time.Now()
	err = p.Close()
	return fmt.Sprintf("wrote %d closed %d", n, time.Since(begin).Milliseconds()), err
}
