// Package boot is what the board's first process decides, without doing any of
// it: what the kernel's command line asks for, what state the data partition is
// in, what a stick with a ceremony wants done, and what follows when the core
// ends. Package machine does it, package first puts it in order.
//
// # Formats
//
// The command line (docs/image/boot.md): words touchmark.KEY=VALUE, each key at
// most once; a key that is not known is an error, because a board must not come
// up otherwise than its image says. Other words are the kernel's.
//
// The ceremony file of a stick: see ParseCeremony.
//
// Everything that is parsed here may be hostile but for the command line, which
// is part of the signed image; all of it is bounded and refused as a whole.
package boot

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Options are what the command line says.
type Options struct {
	Data     string // block device of the data partition
	Slots    string // the boot partitions' devices without their numbers
	Slot     int    // number of the one that was booted; 0: the boot loader says
	Link     string // Gadget, or what touchmark-link takes for a device
	Baud     int
	Console  string // the operator's terminal; "": the kernel's own
	Operator string // console, lines or none
	Buttons  string // pins, as touchmark-appliance takes them; "": none
	Clock    string // ask or system
	Board    string // kind of the board, for updates of its image; "": it replaces none
}

// Gadget is the link over the board's own USB port.
const Gadget = "gadget"

// option is a key of the command line.
type option struct {
	is  func(string) error
	set func(*Options, string)
}

func text(of func(*Options) *string, is func(string) error) option {
	return option{is, func(o *Options, v string) { *of(o) = v }}
}

func number(of func(*Options) *int, least, most int) option {
	return option{between(least, most), func(o *Options, v string) { *of(o), _ = strconv.Atoi(v) }}
}

var options = map[string]option{
	"data":     text(func(o *Options) *string { return &o.Data }, isDevice),
	"slots":    text(func(o *Options) *string { return &o.Slots }, isDevice),
	"slot":     number(func(o *Options) *int { return &o.Slot }, 1, 15),
	"link":     text(func(o *Options) *string { return &o.Link }, isLink),
	"baud":     number(func(o *Options) *int { return &o.Baud }, 1200, 4_000_000),
	"console":  text(func(o *Options) *string { return &o.Console }, isDevice),
	"operator": text(func(o *Options) *string { return &o.Operator }, oneOf("console", "lines", "none")),
	"buttons":  text(func(o *Options) *string { return &o.Buttons }, isText),
	"board":    text(func(o *Options) *string { return &o.Board }, isText),
	"clock":    text(func(o *Options) *string { return &o.Clock }, oneOf("ask", "system")),
}

// prefix marks the words that are ours.
const prefix = "touchmark."

// ParseOptions reads the kernel's command line. With an error, what it answers is what
// the words say that can be understood: a board starts nothing then, and says so there.
func ParseOptions(commandLine string) (Options, error) {
	o := Options{Data: "/dev/mmcblk0p4", Slots: "/dev/mmcblk0p", Link: Gadget, Baud: 115200, Operator: "console", Clock: "ask"}
	if len(commandLine) > maxCommandLine {
		return o, fmt.Errorf("the command line has %d bytes, over %d", len(commandLine), maxCommandLine)
	}
	var wrong error
	seen := map[string]bool{}
	for word := range strings.FieldsSeq(commandLine) {
		if word, ours := strings.CutPrefix(word, prefix); ours {
			wrong = cmp.Or(wrong, o.set(word, seen))
		}
	}
	if wrong == nil && o.Operator == "none" && (o.Clock != "system" || o.Buttons == "") {
		wrong = errors.New("the command line's touchmark.operator=none needs touchmark.buttons and touchmark.clock=system")
	}
	return o, wrong
}

// set takes one word, without its prefix.
func (o *Options) set(word string, seen map[string]bool) error {
	key, value, _ := strings.Cut(word, "=")
	known, ok := options[key]
	switch {
	case !ok:
		return fmt.Errorf("the command line's %s%.40q is not known", prefix, key)
	case seen[key]:
		return fmt.Errorf("the command line says %s%s twice", prefix, key)
	}
	if err := known.is(value); err != nil {
		return fmt.Errorf("the command line's %s%s: %w", prefix, key, err)
	}
	seen[key] = true
	known.set(o, value)
	return nil
}

// Adapter tells whether the link is a serial port that is not the board's own
// USB port.
func (o Options) Adapter() bool { return o.Link != Gadget }

// Card is the device that the board is started from: that of its slots.
func (o Options) Card() string {
	card := o.Slots
	if last := len(card) - 1; card[last] == 'p' && last > 0 && card[last-1] >= '0' && card[last-1] <= '9' {
		card = card[:last] // mmcblk0p2 is of mmcblk0
	}
	return card
}

// LinkDevice is what touchmark-link is given.
func (o Options) LinkDevice() string {
	if o.Link == Gadget {
		return "/dev/ttyGS0"
	}
	return o.Link
}

func isDevice(s string) error {
	name, ok := strings.CutPrefix(s, "/dev/")
	if !ok || name == "" || strings.Trim(name, letters+"/") != "" || strings.Contains(name, "..") {
		return fmt.Errorf("%.80q is no device", s)
	}
	return nil
}

// letters are those of a device's name.
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

func isLink(s string) error {
	if s == Gadget || s == "auto" || strings.HasPrefix(s, "auto:") {
		return isText(s)
	}
	return isDevice(s)
}

func isText(s string) error {
	if s == "" || strings.Trim(s, letters+"/:,=") != "" {
		return fmt.Errorf("%.80q has characters that it cannot have", s)
	}
	return nil
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		for _, w := range words {
			if s == w {
				return nil
			}
		}
		return fmt.Errorf("%.40q is none of %s", s, strings.Join(words, ", "))
	}
}

func between(least, most int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most || strconv.Itoa(n) != s {
			return fmt.Errorf("%.20q is no number from %d to %d", s, least, most)
		}
		return nil
	}
}
