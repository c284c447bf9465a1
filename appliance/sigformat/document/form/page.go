package form

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Page collects lines.
type Page struct {
	Lines   []string
	Expires time.Time // of the document, zero if it says nothing of that
}

// Long reports whether there are too many lines; who shows it may add one.
func (p *Page) Long() bool { return len(p.Lines) >= MaxLines }

// indent is one level.
const indent = "  "

// continued begins the rest of a line that was too long: no line of a page begins
// so otherwise.
const continued = "| "

// Say adds a line, broken where it is too long. All text in it went through Show.
func (p *Page) Say(depth int, format string, a ...any) {
	lead, text := strings.Repeat(indent, depth), fmt.Sprintf(format, a...)
	for {
		most := MaxColumns - len(lead)
		if len(text) <= most {
			p.Lines = append(p.Lines, lead+text)
			return
		}
		// A blank must not stand where nobody sees it: at the end of a line.
		cut := most
		for cut > 1 && text[cut-1] == ' ' {
			cut--
		}
		p.Lines = append(p.Lines, lead+text[:cut])
		lead, text = strings.Repeat(indent, depth+1)+continued, text[cut:]
	}
}

// Show is a string as it may stand among words: as it is, or quoted and escaped
// where it is empty, has blanks, quotes, or anything but printable ASCII.
func Show(s string) string {
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

// Clip is Show of the first most bytes, and says how many are left out.
func Clip(s string, most int) string {
	if len(s) <= most {
		return Show(s)
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return fmt.Sprintf("%s (and %d more bytes)", Show(s[:most]), len(s)-most)
}

// Shorten cuts what is fit to be shown already, and says how much.
func Shorten(text string) string {
	if len(text) <= MaxFree {
		return text
	}
	return fmt.Sprintf("%s (and %d more characters)", text[:MaxFree], len(text)-MaxFree)
}

// Words are several, told apart by blanks.
func Words(list []string) string {
	shown := make([]string, len(list))
	for i, s := range list {
		shown[i] = Show(s)
	}
	return strings.Join(shown, " ")
}

// Count is a number with its noun.
func Count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
