package screen

import (
	"slices"
	"strconv"
	"strings"
)

// Colour says what a terminal can show beside words.
type Colour int

// What terminals can show.
const (
	Words Colour = iota // nothing but words
	Mono                // bold and reverse (ECMA-48 SGR 1 and 7)
	Full                // colours too
)

// ColourOf reads the environment: a dumb terminal has words only, an old one or a
// person who wants none (no-color.org) no colours.
func ColourOf(term, noColor string) Colour {
	switch {
	case term == "dumb":
		return Words
	case noColor != "" || term == "" || strings.HasPrefix(term, "vt1") || strings.HasPrefix(term, "vt2") || strings.HasSuffix(term, "-m") || strings.HasSuffix(term, "-mono"):
		return Mono
	}
	return Full
}

var attributes = [...]map[Style]string{
	Words: {},
	Mono:  {Bold: "\x1b[1m", Banner: "\x1b[7m", Alert: "\x1b[1;7m"},
	Full:  {Bold: "\x1b[1m", Banner: "\x1b[1;30;42m", Alert: "\x1b[1;37;41m"},
}

// Painter turns frames into what is written to a terminal: only lines that
// changed. It needs of the terminal what every one since the VT100 understands,
// and no description of it.
type Painter struct {
	Colour Colour
	Width  int  // of the display, in cells
	VT     bool // it is the kernel's own terminal (console_codes(4))

	last  []Line
	renew bool
}

// Reset makes the next Paint write everything, on a cleared terminal.
func (p *Painter) Reset() { p.last = nil }

// Renew makes the next Paint write everything, over what is there.
func (p *Painter) Renew() { p.renew = true }

const (
	// begin undoes what the terminal was left in by somebody else: attributes,
	// scroll region, character set; and switches the cursor and line wrap off.
	begin = "\x1b[0m\x1b[r\x1b(B\x0f\x1b[?25l\x1b[?7l"
	erase = "\x1b[2J"
	// awake keeps the kernel's terminal from going dark: what it asks must be seen
	// by whoever comes by.
	awake = "\x1b[9;0]\x1b[14;0]"
	// unblank lights it if it is dark already.
	unblank = "\x1b[13]"
	bell    = "\a"
	// End gives the terminal back below what it shows: no terminal has that many lines.
	End = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[999;1H\r\n"
)

// Paint answers the bytes that bring the terminal from the frame before to this
// one. Lines are filled up with spaces, so that nothing of what they cover is
// left.
func (p *Painter) Paint(f Frame) []byte {
	var b []byte
	if len(p.last) != len(f.Lines) {
		b, p.renew = append(b, erase...), true
	}
	if p.renew {
		b, p.renew = append(p.begin(), b...), false
		p.last = slices.Repeat([]Line{{Style: -1}}, len(f.Lines)) // as no line is
	}
	for i, l := range f.Lines {
		if l == p.last[i] {
			continue
		}
		b = append(b, "\x1b["+strconv.Itoa(i+1)+";1H"...)
		on := attributes[p.Colour][l.Style]
		b = append(append(b, on...), l.Text...)
		b = append(b, strings.Repeat(" ", max(0, p.Width-len(l.Text)))...)
		if on != "" {
			b = append(b, "\x1b[0m"...)
		}
	}
	p.last = slices.Clone(f.Lines)
	if f.Ring {
		b = append(b, bell...)
	}
	return b
}

func (p *Painter) begin() []byte {
	if p.VT {
		return []byte(begin + awake + unblank)
	}
	return []byte(begin)
}
