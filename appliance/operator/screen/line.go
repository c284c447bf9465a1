// Package screen lays out what the operator sees on a terminal, and minds what
// the operator may consent to.
//
// Layout turns a View into a Frame: exactly as many lines as the display is
// high, none wider than it, printable ASCII only, so that nothing a host claims
// can move the cursor or look like a letter that it is not. What does not fit is
// on further pages. Nothing depends on colour: each state has its own words, and
// the same words stand on a display without any attribute.
//
// Face adds the operator's side: which page and which view is on, and the rule
// that nothing can be armed before all of it was on the screen for a moment. It
// is a state machine without clock or terminal; whoever owns one passes both in.
package screen

import (
	"strconv"
	"strings"
)

// Style is how a line is emphasized. A display that cannot show it shows the
// same words.
type Style int

// The styles. All but Plain are also told by the words of the line.
const (
	Plain  Style = iota
	Bold         // what to look at
	Banner       // the one thing that is asked or told now
	Alert        // the same, where a mistake hurts
)

// Line is one line of a display.
type Line struct {
	Text  string
	Style Style
}

// clean keeps printable ASCII only, cut to the width: a display cannot be fooled
// by what it does not print.
func clean(s string, width int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), max(0, width))]
}

// block is lines that belong together: they are kept on one page if they fit one.
type block []Line

// writer lays out lines of one width.
type writer struct {
	width int
	lines block
}

func (p *writer) add(style Style, s string) {
	p.lines = append(p.lines, Line{clean(s, p.width), style})
}

func (p *writer) gap() { p.add(Plain, "") }

// text wraps a message at word boundaries, indented by two; a word longer than a
// line is broken.
func (p *writer) text(style Style, s string) {
	room := max(1, p.width-2)
	line := ""
	for w := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(w) > room {
			p.add(style, "  "+line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		for line += w; len(line) > room; line = line[room:] {
			p.add(style, "  "+line[:room])
		}
	}
	if line != "" {
		p.add(style, "  "+line)
	}
}

// packed puts short facts side by side, as many to a line as fit.
func packed(facts []string, width int) (lines []string) {
	line := ""
	for _, f := range facts {
		switch {
		case line == "":
			line = f
		case len(line)+3+len(f) > width:
			lines, line = append(lines, line), f
		default:
			line += "   " + f
		}
	}
	return append(lines, line)
}

// number writes a count in groups of three digits.
func number(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size is a count of bytes, exact, and in a unit that people can compare.
func size(n uint64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	if n < 1024 {
		return number(n) + " bytes"
	}
	f, i := float64(n)/1024, 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return number(n) + " bytes (" + strconv.FormatFloat(f, 'f', 1, 64) + " " + units[i] + ")"
}

// grouped breaks hex digits into groups of eight, so that two people can compare
// them aloud, as many to a row as fit into the width: at most four, an even number
// if more than one.
func grouped(sum string, width int) (rows []string) {
	per := 4
	for per > 1 && per*9-1 > width {
		per /= 2
	}
	for len(sum) > 0 {
		var groups []string
		for range per {
			n := min(8, len(sum))
			if n > 0 {
				groups = append(groups, sum[:n])
			}
			sum = sum[n:]
		}
		rows = append(rows, strings.Join(groups, " "))
	}
	return rows
}

func short(id string) string { return id[:min(8, len(id))] }
