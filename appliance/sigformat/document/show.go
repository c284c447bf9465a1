package document

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// page collects lines.
type page struct {
	lines   []string
	expires time.Time
}

// long reports whether there are too many lines; At may add one.
func (p *page) long() bool { return len(p.lines) >= MaxLines }

// indent is one level.
const indent = "  "

// continued begins the rest of a line that was too long: no line of a page begins
// so otherwise.
const continued = "| "

// say adds a line, broken where it is too long. All text in it went through show.
func (p *page) say(depth int, format string, a ...any) {
	lead, text := strings.Repeat(indent, depth), fmt.Sprintf(format, a...)
	for {
		most := MaxColumns - len(lead)
		if len(text) <= most {
			p.lines = append(p.lines, lead+text)
			return
		}
		// A blank must not stand where nobody sees it: at the end of a line.
		cut := most
		for cut > 1 && text[cut-1] == ' ' {
			cut--
		}
		p.lines = append(p.lines, lead+text[:cut])
		lead, text = strings.Repeat(indent, depth+1)+continued, text[cut:]
	}
}

// show is a string as it may stand among words: as it is, or quoted and escaped
// where it is empty, has blanks, quotes, or anything but printable ASCII.
func show(s string) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			return strconv.QuoteToASCII(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}

// clip is show of the first most bytes, and says how many are left out.
func clip(s string, most int) string {
	if len(s) <= most {
		return show(s)
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return fmt.Sprintf("%s (and %d more bytes)", show(s[:most]), len(s)-most)
}

// shorten cuts what is fit to be shown already, and says how much.
func shorten(text string) string {
	if len(text) <= maxFree {
		return text
	}
	return fmt.Sprintf("%s (and %d more characters)", text[:maxFree], len(text)-maxFree)
}

// words are several, told apart by blanks.
func words(list []string) string {
	shown := make([]string, len(list))
	for i, s := range list {
		shown[i] = show(s)
	}
	return strings.Join(shown, " ")
}

// count is a number with its noun.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
