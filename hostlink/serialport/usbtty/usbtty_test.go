package usbtty_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"touchmark/hostlink/serialport/usbtty"
)

// tree is a sysfs and a /dev as the kernel and udev lay them out.
type tree struct {
	t *testing.T
	usbtty.Finder
}

func newTree(t *testing.T, ids ...usbtty.ID) *tree {
	dir := t.TempDir()
	tr := &tree{t, usbtty.Finder{IDs: ids, Sys: filepath.Join(dir, "sys"), Dev: filepath.Join(dir, "dev")}}
	tr.dir("sys/class/tty/tty0") // a console: no device
	tr.dir("dev")
	tr.link("sys/class/tty/ttyS0/device", tr.dir("sys/devices/platform/serial8250")) // a UART
	return tr
}

func (tr *tree) path(p string) string { return filepath.Join(filepath.Dir(tr.Sys), p) }

func (tr *tree) dir(p string) string {
	if err := os.MkdirAll(tr.path(p), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	return tr.path(p)
}

func (tr *tree) file(p, text string) {
	tr.dir(filepath.Dir(p))
	if err := os.WriteFile(tr.path(p), []byte(text), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) link(p, to string) {
	tr.dir(filepath.Dir(p))
	if err := os.Symlink(to, tr.path(p)); err != nil {
		tr.t.Fatal(err)
	}
}

// plug adds a USB device with a tty: a usb-serial adapter has a port between
// interface and tty, a CDC-ACM device has not.
func (tr *tree) plug(port, tty, id, product, serial string) {
	const bus = "sys/devices/pci0000:00/0000:00:14.0/usb1"
	tr.file(bus+"/idVendor", "1d6b\n") // the root hub
	tr.file(bus+"/idProduct", "0002\n")
	at := bus + "/" + port
	vendor, prod, _ := strings.Cut(id, ":")
	tr.file(at+"/idVendor", vendor+"\n")
	tr.file(at+"/idProduct", prod+"\n")
	if product != "" {
		tr.file(at+"/product", product+"\n")
	}
	if serial != "" {
		tr.file(at+"/serial", serial+"\n")
	}
	of := at + "/" + port + ":1.0"
	if strings.HasPrefix(tty, "ttyUSB") {
		of += "/" + tty
	}
	tr.link(of+"/tty/"+tty+"/device", tr.dir(of))
	tr.link("sys/class/tty/"+tty, tr.path(of+"/tty/"+tty))
	tr.file("dev/"+tty, "")
}

func (tr *tree) unplug(tty string) {
	if err := os.Remove(tr.path("sys/class/tty/" + tty)); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) finds(tty string) usbtty.Device {
	tr.t.Helper()
	d, err := tr.Find()
	if err != nil || d.Path != filepath.Join(tr.Dev, tty) {
		tr.t.Errorf("found %v, %v; want %s", d, err, tty)
	}
	return d
}

func TestTheBoardsGadgetComesFirst(t *testing.T) {
	tr := newTree(t, "0403:6001")
	tr.plug("1-1", "ttyUSB0", "0403:6001", "FT232R USB UART", "A50285BI")
	tr.finds("ttyUSB0")
	tr.plug("1-2", "ttyACM0", "1d6b:0104", "Touchmark", "board1")
	want := usbtty.Device{Path: filepath.Join(tr.Dev, "ttyACM0"), ID: usbtty.Gadget, Product: "Touchmark", Serial: "board1"}
	if got := tr.finds("ttyACM0"); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	tr.unplug("ttyACM0")
	tr.finds("ttyUSB0")
}

func TestAnotherNameAfterReplug(t *testing.T) {
	tr := newTree(t)
	tr.plug("1-2", "ttyACM0", "1d6b:0104", "Touchmark", "")
	tr.finds("ttyACM0")
	tr.unplug("ttyACM0")
	tr.plug("1-4", "ttyACM1", "1d6b:0104", "Touchmark", "")
	tr.finds("ttyACM1")
}

func TestGadgetsOfOthersAreNotTheBoard(t *testing.T) {
	tr := newTree(t)
	tr.plug("1-2", "ttyACM0", "1d6b:0104", "Pico debug probe", "")
	tr.plug("1-3", "ttyACM1", "1d6b:0105", "Touchmark", "")
	var none *usbtty.NoneError
	if _, err := tr.Find(); !errors.As(err, &none) || len(none.Found) != 2 {
		t.Errorf("%v", err)
	}
}

func TestNothingPlugged(t *testing.T) {
	tr := newTree(t, "0403:6001")
	_, err := tr.Find()
	const want = `found no serial device on USB (looked for 1d6b:0104 "Touchmark", 0403:6001): plug the cable in, or write the path of the device`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func TestWhatWasFoundIsSaid(t *testing.T) {
	tr := newTree(t, "1a86:7523")
	tr.plug("1-1", "ttyUSB0", "0403:6001", "evil\x1b[2J\nname", "")
	_, err := tr.Find()
	want := `no serial device on USB is known to lead to the appliance (looked for 1d6b:0104 "Touchmark", 1a86:7523): ` +
		`found DEV/ttyUSB0 (0403:6001 "evil\x1b[2J\nname"); write auto:0403:6001 or the path of the right one`
	if want = strings.Replace(want, "DEV", tr.Dev, 1); err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func TestSeveralFit(t *testing.T) {
	tr := newTree(t, "0403:6001")
	tr.plug("1-1", "ttyUSB0", "0403:6001", "FT232R", "A1")
	tr.plug("1-2", "ttyUSB1", "0403:6001", "FT232R", "A2")
	tr.link("dev/serial/by-id/usb-FTDI_A1-if00-port0", "../../ttyUSB0")
	tr.link("dev/serial/by-id/usb-gone-if00-port0", "../../ttyUSB7")
	_, err := tr.Find()
	want := `more than one serial device on USB may lead to the appliance: ` +
		`DEV/ttyUSB0 (0403:6001 "FT232R", serial "A1") = DEV/serial/by-id/usb-FTDI_A1-if00-port0, DEV/ttyUSB1 (0403:6001 "FT232R", serial "A2"); ` +
		`write the path of the right one, for example DEV/serial/by-id/usb-FTDI_A1-if00-port0`
	var many *usbtty.ManyError
	if want = strings.ReplaceAll(want, "DEV", tr.Dev); !errors.As(err, &many) || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	tr.unplug("ttyUSB0")
	tr.finds("ttyUSB1")
}

// TestTwoBoards: of two boards none is guessed, and no adapter is taken in their place.
func TestTwoBoards(t *testing.T) {
	tr := newTree(t, "0403:6001")
	tr.plug("1-1", "ttyUSB0", "0403:6001", "FT232R", "A1")
	tr.plug("1-2", "ttyACM0", "1d6b:0104", "Touchmark", "")
	tr.plug("1-3", "ttyACM1", "1d6b:0104", "Touchmark", "")
	var many *usbtty.ManyError
	if _, err := tr.Find(); !errors.As(err, &many) || len(many.Fit) != 2 || many.Fit[0].ID != usbtty.Gadget {
		t.Errorf("%v", err)
	}
}

func TestManyDevicesMakeABoundedError(t *testing.T) {
	tr := newTree(t)
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		tr.plug("1-"+string(c), "ttyACM"+string(c), "1d6b:0104", "Touchmark"+strings.Repeat("x", 1<<16), "")
	}
	_, err := tr.Find()
	if err == nil || len(err.Error()) > 16<<10 || !strings.Contains(err.Error(), "and 10 more") {
		t.Errorf("%d bytes", len(err.Error()))
	}
}

func TestNoSysfs(t *testing.T) {
	_, err := usbtty.Finder{Sys: t.TempDir()}.Find()
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestThisMachine: the tree of the kernel that runs the test can be read.
func TestThisMachine(t *testing.T) {
	found, err := usbtty.Finder{}.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		if _, err := usbtty.ParseID(string(d.ID)); err != nil || !strings.HasPrefix(d.Path, "/dev/tty") {
			t.Errorf("%+v", d)
		}
	}
}

func TestParseAuto(t *testing.T) {
	for device, want := range map[string][]usbtty.ID{
		"auto":                     nil,
		"auto:0403:6001":           {"0403:6001"},
		"auto:1A86:7523,0403:6001": {"1a86:7523", "0403:6001"},
	} {
		if ids, auto, err := usbtty.ParseAuto(device); !slices.Equal(ids, want) || !auto || err != nil {
			t.Errorf("%q: %v, %v, %v", device, ids, auto, err)
		}
	}
	for _, path := range []string{"", "/dev/auto", "./auto", "automatic", "Auto", "/dev/ttyUSB0"} {
		if ids, auto, err := usbtty.ParseAuto(path); ids != nil || auto || err != nil {
			t.Errorf("%q: %v, %v, %v", path, ids, auto, err)
		}
	}
	for _, bad := range []string{"auto:", "auto:0403", "auto:0403:600", "auto:0403:60011", "auto:0403:600g", "auto:0403:6001,", "auto: 403:6001", "auto:0403:6001:x"} {
		if _, auto, err := usbtty.ParseAuto(bad); err == nil || !auto {
			t.Errorf("%q: %v, %v", bad, auto, err)
		}
	}
}
