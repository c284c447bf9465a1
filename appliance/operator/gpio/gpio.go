// Package gpio has buttons and lamps on the pins of a board: the kernel's GPIO
// character device (/dev/gpiochipN), version 2 of its interface (Linux 5.10,
// include/uapi/linux/gpio.h).
//
// A button closes its pin to ground; the pin's own pull-up holds it up otherwise.
// A lamp is lit by its pin going high. The kernel debounces. All lines are taken
// for this process alone until Close; the kernel gives them back when it dies.
package gpio

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"touchmark/appliance/operator/panel"
)

// Pins are the line offsets of a chip.
type Pins struct {
	Chip            string // its device
	Arm, Deny       uint32 // buttons
	Green, Red      uint32 // lamps
	hasLamps, known bool
}

// maxLine bounds offsets: chips have some dozens of lines.
const maxLine = 1023

// ParsePins reads "/dev/gpiochip0:arm=17,deny=27,green=22,red=23". The lamps may
// be left out, both or none.
func ParsePins(s string) (Pins, error) {
	chip, list, ok := strings.Cut(s, ":")
	p := Pins{Chip: chip}
	at := map[string]*uint32{"arm": &p.Arm, "deny": &p.Deny, "green": &p.Green, "red": &p.Red}
	seen, used := map[string]bool{}, map[uint32]bool{}
	for word := range strings.SplitSeq(list, ",") {
		name, number, _ := strings.Cut(word, "=")
		n, err := strconv.ParseUint(number, 10, 32)
		line := uint32(n)
		if at[name] == nil || seen[name] || err != nil || n > maxLine || used[line] {
			return Pins{}, fmt.Errorf("buttons %q: %q is not a pin of its own: %w", s, word, errPins)
		}
		*at[name], seen[name], used[line] = line, true, true
	}
	if !ok || chip == "" || !seen["arm"] || !seen["deny"] || seen["green"] != seen["red"] {
		return Pins{}, fmt.Errorf("buttons %q: %w", s, errPins)
	}
	p.hasLamps, p.known = seen["green"], true
	return p, nil
}

var errPins = errors.New("write CHIP:arm=N,deny=N,green=N,red=N, such as /dev/gpiochip0:arm=17,deny=27,green=22,red=23")

// Fittings are open lines; it implements panel.Fittings.
type Fittings struct {
	pins    Pins
	buttons *os.File
	lamps   *os.File // nil if there are none
	down    map[uint32]uint64
}

const (
	consumer = "touchmark"
	// debounce swallows the chatter of a contact.
	debounce = 10 * time.Millisecond
)

// The flags of include/uapi/linux/gpio.h (enum gpio_v2_line_flag).
const (
	flagActiveLow  = 1 << 1
	flagInput      = 1 << 2
	flagOutput     = 1 << 3
	flagRising     = 1 << 4
	flagFalling    = 1 << 5
	flagBiasPullUp = 1 << 8
)

// Open takes the lines.
func Open(p Pins) (*Fittings, error) {
	if !p.known {
		return nil, errPins
	}
	chip, err := os.OpenFile(p.Chip, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("buttons: %w", err)
	}
	defer chip.Close()
	f := &Fittings{pins: p, down: map[uint32]uint64{}}
	if f.buttons, err = request(chip, buttonRequest(p)); err != nil {
		return nil, fmt.Errorf("buttons on lines %d and %d of %s: %w", p.Arm, p.Deny, p.Chip, err)
	}
	if !p.hasLamps {
		return f, nil
	}
	if f.lamps, err = request(chip, lampRequest(p)); err != nil {
		return nil, errors.Join(fmt.Errorf("lamps on lines %d and %d of %s: %w", p.Green, p.Red, p.Chip, err), f.Close())
	}
	return f, nil
}

func buttonRequest(p Pins) *unix.GPIOV2LineRequest {
	r := newRequest(flagInput|flagActiveLow|flagBiasPullUp|flagRising|flagFalling, p.Arm, p.Deny)
	r.Config.Num_attrs = 1
	// The kernel reads a union: the period is its first four bytes.
	*(*uint32)(unsafe.Pointer(&r.Config.Attrs[0].Attr.Flags)) = uint32(debounce.Microseconds())
	r.Config.Attrs[0].Attr.Id = unix.GPIO_V2_LINE_ATTR_ID_DEBOUNCE
	r.Config.Attrs[0].Mask = 0b11
	return r
}

func lampRequest(p Pins) *unix.GPIOV2LineRequest { return newRequest(flagOutput, p.Green, p.Red) }

func newRequest(flags uint64, lines ...uint32) *unix.GPIOV2LineRequest {
	r := &unix.GPIOV2LineRequest{Num_lines: uint32(len(lines))}
	copy(r.Offsets[:], lines)
	copy(r.Consumer[:], consumer)
	r.Config.Flags = flags
	return r
}

// request turns a request into a file, which can be read with the runtime's poller
// so that Close ends a read.
func request(chip *os.File, r *unix.GPIOV2LineRequest) (*os.File, error) {
	if err := ioctl(chip.Fd(), unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(r)); err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(int(r.Fd), true); err != nil {
		return nil, errors.Join(err, unix.Close(int(r.Fd)))
	}
	return os.NewFile(uintptr(r.Fd), chip.Name()+" lines"), nil
}

func ioctl(fd uintptr, op uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(op), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// eventSize is that of struct gpio_v2_line_event.
const eventSize = int(unsafe.Sizeof(unix.GPIOV2LineEvent{}))

// Press waits for a button that is let go.
func (f *Fittings) Press() (panel.Press, error) {
	var e unix.GPIOV2LineEvent
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&e)), eventSize)
	for {
		n, err := f.buttons.Read(raw)
		if err != nil {
			return panel.Press{}, err
		}
		if n != eventSize { // the kernel gives whole events
			return panel.Press{}, fmt.Errorf("%s gave %d bytes for an event of %d", f.buttons.Name(), n, eventSize)
		}
		if p, ok := f.event(&e); ok {
			return p, nil
		}
	}
}

// event follows a button; the time between its edges is the kernel's.
func (f *Fittings) event(e *unix.GPIOV2LineEvent) (panel.Press, bool) {
	which, known := map[uint32]panel.Button{f.pins.Arm: panel.ArmButton, f.pins.Deny: panel.DenyButton}[e.Offset]
	if !known {
		return panel.Press{}, false
	}
	if e.Id == unix.GPIO_V2_LINE_EVENT_RISING_EDGE {
		f.down[e.Offset] = e.Timestamp_ns
		return panel.Press{}, false
	}
	begun, was := f.down[e.Offset]
	delete(f.down, e.Offset)
	if !was || e.Timestamp_ns < begun {
		return panel.Press{}, false // its begin was lost: nobody knows what was meant
	}
	return panel.Press{Button: which, Held: time.Duration(e.Timestamp_ns - begun)}, true
}

// Light sets the lamps, if there are any.
func (f *Fittings) Light(green, red bool) error {
	if f.lamps == nil {
		return nil
	}
	v := unix.GPIOV2LineValues{Mask: 0b11}
	if green {
		v.Bits |= 0b01
	}
	if red {
		v.Bits |= 0b10
	}
	raw, err := f.lamps.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = ioctl(fd, unix.GPIO_V2_LINE_SET_VALUES_IOCTL, unsafe.Pointer(&v)) })
	return errors.Join(err, failed)
}

// Close gives the lines back; a Press that waits ends.
func (f *Fittings) Close() error {
	err := f.buttons.Close()
	if f.lamps != nil {
		err = errors.Join(err, f.lamps.Close())
	}
	return err
}
