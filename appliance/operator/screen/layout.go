package screen

import (
	"fmt"
	"strings"

	"touchmark/appliance/operator"
)

const (
	// LeastWidth holds four digits groups of a digest in a row; LeastHeight leaves
	// room for some lines between headline and keys.
	LeastWidth, LeastHeight = 40, 12
	// leastBody is the room below which nothing sensible can be paged.
	leastBody = 3
	// bigFrom is the height from which there is room for big letters.
	bigFrom = 18
)

// Frame is one picture of a display.
type Frame struct {
	Lines []Line // as many as the display is high
	Page  int    // which page of the tab, from 0
	Pages int    // of how many; 0 if the display is too small to show anything
	Ring  bool   // it asks something that the frames before did not

	tab    Tab
	layout []int // lines on each page
	number int   // of what Face had on display
}

// state is what the operator has made of the display.
type state struct {
	tab   Tab
	page  int
	rule  string // of the round that is marked, "" for the one that waits longest
	mark  bool   // the page is to be the one with the mark
	left  int    // seconds
	typed int    // characters of the PIN
	keys  string // what the keys do now
}

// marked is the index of the round that a key would open, -1 for none.
func (s *state) marked(v *operator.View) int {
	if !openable(v, s.tab) {
		return -1
	}
	return marked(v, s.rule)
}

// layout makes the frame of a view for a display of the given size in cells.
func layout(v *operator.View, s state, width, height int) Frame {
	h := headlineOf(v, s.left)
	if width < LeastWidth || height < LeastHeight {
		return tooSmall(h, width, height)
	}
	if v.Ask == operator.AskPIN {
		h.text += strings.Repeat("*", s.typed)
	}
	head := header(v, width, height)
	blocks := tabBlocks(v, s.tab, s.marked(v), width)
	room := height - len(head) - 2 // banner, and the line of keys
	pages := paginate(blocks, room)
	if b := big(h.word, width, h.style()); b != nil && height >= bigFrom {
		smaller := paginate(blocks, room-len(b)-1)
		if urgent := v.Ask == operator.AskTouch || v.Ask == operator.AskNoTouch; urgent || len(smaller) == len(pages) {
			head = append(append(head, unemphasized(b)...), Line{})
			pages, room = smaller, room-len(b)-1
		}
	}
	if room < leastBody {
		return tooSmall(h, width, height)
	}
	if s.mark {
		s.page = pageOf(pages)
	}
	f := Frame{Page: min(s.page, len(pages)-1), Pages: len(pages), tab: s.tab}
	for _, p := range pages {
		f.layout = append(f.layout, len(p))
	}
	f.Lines = append(head, h.banner(width))
	f.Lines = append(f.Lines, pages[f.Page]...)
	for len(f.Lines) < height-1 {
		f.Lines = append(f.Lines, Line{})
	}
	f.Lines = append(f.Lines, Line{clean(keyLine(pageNote(f)+s.keys, width), width), Bold})
	return f
}

// keyLine leaves out, from the end, the keys that there is no room for: they still
// do what they do, and half a word says nothing.
func keyLine(keys string, width int) string {
	for i := len(keys); i > 0; i = strings.LastIndex(keys[:i], "  ") {
		if i <= width {
			return keys[:i]
		}
	}
	return keys
}

// unemphasized takes the bars of colour from behind big letters: they speak for
// themselves.
func unemphasized(b block) block {
	for i := range b {
		b[i].Style = Bold
	}
	return b
}

func pageNote(f Frame) string {
	if f.Pages < 2 {
		return ""
	}
	return fmt.Sprintf("page %d/%d  ", f.Page+1, f.Pages)
}

// tooSmall is all there is on a display that cannot show a request: what it would be
// about, above all whether to touch the token or not.
func tooSmall(h headline, width, height int) Frame {
	p := &writer{width: max(width, 1)}
	p.text(h.style(), orNone(h.short, h.text))
	p.text(Bold, fmt.Sprintf("Make this terminal %d by %d at least.", LeastWidth, LeastHeight))
	for len(p.lines) < height {
		p.gap()
	}
	return Frame{Lines: p.lines[:max(0, min(height, len(p.lines)))]}
}

// header is the top of the display: which board this is, its time, how it is.
func header(v *operator.View, width, height int) block {
	p := &writer{width: width}
	title, clock := "TOUCHMARK "+v.Origin, stamp(v)
	if v.Ask == operator.AskTime {
		clock += " ?"
	}
	if gap := width - len(title) - len(clock); gap >= 1 {
		p.add(Bold, title+strings.Repeat(" ", gap)+clock)
	} else {
		p.add(Bold, title)
		p.add(Plain, clock)
	}
	lines := packed(facts(v), width)
	if height < bigFrom {
		lines = lines[:1]
	}
	for _, l := range lines {
		p.add(Plain, l)
	}
	if v.Emulated {
		p.add(Bold, "EMULATED: its signatures prove nothing")
	}
	return p.lines
}

// facts are the board's health in short, what an operator acts on first.
func facts(v *operator.View) []string {
	f := []string{"token " + v.Token, "host " + v.Host, fmt.Sprintf("waiting %d", v.Queue), "log " + number(v.LogSize)}
	if v.TPM != "" {
		f = append(f, "TPM "+v.TPM)
	}
	if v.Scrub == "damaged" {
		f = append([]string{"LOG DAMAGED"}, f...)
	}
	if v.Warning != "" {
		f = append(f, "WARNING")
	}
	return f
}

// paginate packs blocks into pages of at most room lines. A block longer than a
// page is split. There is always a page.
func paginate(blocks []block, room int) (pages []block) {
	room = max(room, 1)
	page := block{}
	for _, b := range blocks {
		if len(page) > 0 && len(page)+len(b) > room {
			pages, page = append(pages, page), block{}
		}
		if len(page) == 0 && len(b) > 1 && b[0].Text == "" {
			b = b[1:] // no gap at the top
		}
		for len(b) > room {
			pages, b = append(pages, b[:room]), b[room:]
		}
		page = append(page, b...)
	}
	return append(pages, page)
}

// Text is everything a view says, for a place without pages.
func Text(v operator.View, width int) (lines []string) {
	blocks := []block{header(&v, width, bigFrom), {headlineOf(&v, v.Left).banner(width)}}
	for t := range tabs {
		if t == History && len(v.Waiting)+len(v.Recent) == 0 {
			continue
		}
		blocks = append(append(blocks, block{{}}), tabBlocks(&v, t, -1, width)...)
	}
	for _, b := range blocks {
		for _, l := range b {
			lines = append(lines, strings.TrimRight(l.Text, " "))
		}
	}
	return lines
}
