package gpio

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"touchmark/appliance/operator/panel"
)

func TestParsePins(t *testing.T) {
	p, err := ParsePins("/dev/gpiochip0:arm=17,deny=27,green=22,red=23")
	if err != nil || p.Chip != "/dev/gpiochip0" || p.Arm != 17 || p.Deny != 27 || p.Green != 22 || p.Red != 23 || !p.hasLamps {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := ParsePins("/dev/gpiochip1:deny=0,arm=1023"); err != nil || p.hasLamps || p.Arm != 1023 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, s := range []string{"", ":", "/dev/gpiochip0", "/dev/gpiochip0:", ":arm=1,deny=2", "c:arm=1", "c:arm=1,deny=1", "c:arm=1,deny=2,arm=3",
		"c:arm=1,deny=2,green=3", "c:arm=1,deny=2,blue=3,red=4", "c:arm=-1,deny=2", "c:arm=1024,deny=2", "c:arm=1,deny=2,", "c:arm=1 ,deny=2", "c:arm=0x1,deny=2"} {
		if p, err := ParsePins(s); err == nil || !strings.Contains(err.Error(), "CHIP:arm=N") {
			t.Errorf("%q: %+v, %v", s, p, err)
		}
	}
}

// events is a file that a test writes what the kernel would.
func events(t *testing.T) (*Fittings, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return &Fittings{pins: Pins{Arm: 17, Deny: 27}, buttons: r, down: map[uint32]uint64{}}, w
}

func send(t *testing.T, w *os.File, offset, id uint32, at time.Duration) {
	t.Helper()
	e := unix.GPIOV2LineEvent{Timestamp_ns: uint64(at), Id: id, Offset: offset}
	if _, err := w.Write(unsafe.Slice((*byte)(unsafe.Pointer(&e)), eventSize)); err != nil {
		t.Fatal(err)
	}
}

const (
	down = unix.GPIO_V2_LINE_EVENT_RISING_EDGE
	up   = unix.GPIO_V2_LINE_EVENT_FALLING_EDGE
)

func TestPresses(t *testing.T) {
	f, kernel := events(t)
	send(t, kernel, 17, up, time.Second) // was held when the program began
	send(t, kernel, 99, down, time.Second)
	send(t, kernel, 99, up, time.Second)
	send(t, kernel, 27, down, 3*time.Second)
	send(t, kernel, 27, up, 2*time.Second) // time does not go backwards
	send(t, kernel, 17, down, 4*time.Second)
	send(t, kernel, 27, down, 5*time.Second)
	send(t, kernel, 27, up, 5*time.Second+time.Millisecond)
	send(t, kernel, 17, up, 6*time.Second)
	send(t, kernel, 17, up, 7*time.Second)
	for _, want := range []panel.Press{{Button: panel.DenyButton, Held: time.Millisecond}, {Button: panel.ArmButton, Held: 2 * time.Second}} {
		if got, err := f.Press(); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	ended := make(chan error, 1)
	go func() { _, err := f.Press(); ended <- err }()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("a press on closed buttons")
	}
}

func TestHalfAnEventIsAnError(t *testing.T) {
	f, kernel := events(t)
	if _, err := kernel.Write(make([]byte, eventSize-1)); err != nil {
		t.Fatal(err)
	}
	if p, err := f.Press(); err == nil {
		t.Errorf("%+v", p)
	}
}

func TestWhatIsNoChipIsAnError(t *testing.T) {
	for _, chip := range []string{os.DevNull, filepath.Join(t.TempDir(), "gpiochip0")} {
		p, err := ParsePins(chip + ":arm=1,deny=2,green=3,red=4")
		if err != nil {
			t.Fatal(err)
		}
		if f, err := Open(p); err == nil {
			t.Errorf("%s: %+v", chip, f)
		}
	}
	if f, err := Open(Pins{}); err == nil {
		t.Errorf("%+v", f)
	}
}

// What is asked of the kernel is laid out as its own header says: a C program
// writes the same requests, and numbers.
func TestRequestsAgreeWithTheKernelsHeader(t *testing.T) {
	const program = `
#include <linux/gpio.h>
#include <stdio.h>
#include <string.h>
static void dump(void *p, size_t n) { for (size_t i = 0; i < n; i++) printf("%02x", ((unsigned char *)p)[i]); printf("\n"); }
int main(void) {
	struct gpio_v2_line_request b, l;
	memset(&b, 0, sizeof b);
	b.offsets[0] = 17; b.offsets[1] = 27; b.num_lines = 2;
	strcpy(b.consumer, "touchmark");
	b.config.flags = GPIO_V2_LINE_FLAG_INPUT | GPIO_V2_LINE_FLAG_ACTIVE_LOW | GPIO_V2_LINE_FLAG_BIAS_PULL_UP | GPIO_V2_LINE_FLAG_EDGE_RISING | GPIO_V2_LINE_FLAG_EDGE_FALLING;
	b.config.num_attrs = 1;
	b.config.attrs[0].attr.id = GPIO_V2_LINE_ATTR_ID_DEBOUNCE;
	b.config.attrs[0].attr.debounce_period_us = 10000;
	b.config.attrs[0].mask = 3;
	dump(&b, sizeof b);
	memset(&l, 0, sizeof l);
	l.offsets[0] = 22; l.offsets[1] = 23; l.num_lines = 2;
	strcpy(l.consumer, "touchmark");
	l.config.flags = GPIO_V2_LINE_FLAG_OUTPUT;
	dump(&l, sizeof l);
	printf("%lx %lx %zu %zu %d %d\n", (unsigned long)GPIO_V2_GET_LINE_IOCTL, (unsigned long)GPIO_V2_LINE_SET_VALUES_IOCTL,
		sizeof(struct gpio_v2_line_event), sizeof(struct gpio_v2_line_values), GPIO_V2_LINE_EVENT_RISING_EDGE, GPIO_V2_LINE_EVENT_FALLING_EDGE);
}`
	dir := t.TempDir()
	source, bin := filepath.Join(dir, "gpio.c"), filepath.Join(dir, "gpio")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-o", bin, source).CombinedOutput(); err != nil {
		t.Fatalf("%v (run make setup)\n%s", err, out)
	}
	want, err := exec.Command(bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	p := Pins{Arm: 17, Deny: 27, Green: 22, Red: 23}
	got := dump(buttonRequest(p)) + dump(lampRequest(p)) + fmt.Sprintf("%x %x %d %d %d %d\n", unix.GPIO_V2_GET_LINE_IOCTL, unix.GPIO_V2_LINE_SET_VALUES_IOCTL,
		eventSize, unsafe.Sizeof(unix.GPIOV2LineValues{}), down, up)
	if got != string(want) {
		t.Errorf("ours:\n%s\nthe kernel's:\n%s", got, want)
	}
}

func dump(r *unix.GPIOV2LineRequest) string {
	return fmt.Sprintf("%x\n", unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r)))
}
