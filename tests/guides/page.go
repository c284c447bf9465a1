// Package guides holds the pages of docs/guides to what they say. Its test runs every command of a page, in the order of
// the page, on the machines that the page names — programs, daemon, TPM, cable and judges are the real ones, token and
// TPM emulated —, and compares what a page says that a command prints or that the board shows.
//
// A page is Markdown. What its fences hold is known by the words behind the ticks:
//
//	sh MACHINE   commands, run by bash on that machine; its files, directory and variables stay from block to block.
//	             A command behind which "# exit code N" stands has to end with that code, every other with 0
//	text         lines that the commands before printed, in this order, among others
//	display      lines that the board has shown since the commands before began
//
// In lines of text and display … stands for anything, and a run of spaces for any other. A comment <!-- hands: … --> says
// what people do from there on; the prose says it in its own words. Paths are those of a machine: each has a directory of
// its own, into which they are rewritten. Programs that would change the machine itself (apt, systemctl, usermod, …) have
// stand-ins that do the same to that directory.
package guides

import (
	"fmt"
	"regexp"
	"strings"
)

// kind says what a step of a page is.
type kind int

const (
	commands kind = iota // run on a machine
	printed              // what they printed
	display              // what the board shows
	hands                // what people do from here on
)

// step is one of a page, in its order.
type step struct {
	kind kind
	who  string // the machine of commands
	text string
	line int // where it begins in the page, from 1
}

var fenceKinds = map[string]kind{"sh": commands, "text": printed, "display": display}

var handsComment = regexp.MustCompile(`^<!-- hands: (.*) -->$`)

// parse takes a page apart. A fence of any other kind is an error, so that nothing stands in one that no test reads.
func parse(page string) ([]step, error) {
	var steps []step
	inside := false
	for n, line := range strings.Split(page, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && inside:
			inside = false
		case fence:
			words := strings.Fields(info + " ?")
			k, known := fenceKinds[words[0]]
			if !known || (k == commands) != (len(words) == 3) {
				return nil, fmt.Errorf("line %d: %q is no kind of fence", n+1, line)
			}
			inside, steps = true, append(steps, step{kind: k, who: words[1], line: n + 1})
		case inside:
			steps[len(steps)-1].text += line + "\n"
		default:
			if m := handsComment.FindStringSubmatch(line); m != nil {
				steps = append(steps, step{kind: hands, text: m[1], line: n + 1})
			}
		}
	}
	if inside {
		return nil, fmt.Errorf("line %d: the fence has no end", steps[len(steps)-1].line)
	}
	return steps, nil
}

// exitCode is a command that shall end with a code.
var exitCode = regexp.MustCompile(`(?m)^(.*\S) +# exit code ([0-9]+)$`)

// script is what bash runs of the commands of a step.
func (s *step) script() string {
	return exitCode.ReplaceAllString(s.text, `code=0; $1 || code=$$?; [ "$$code" = $2 ] || { echo "exit code $$code in place of $2"; exit 99; }`)
}

// spaces are as good as one.
var spaces = regexp.MustCompile(`\s+`)

// missing is the first line of a step that is not in text behind those before it; "" if all are. Those of a display
// may come in any order.
func (s *step) missing(text string, ordered bool) string {
	text = spaces.ReplaceAllString(text, " ")
	for line := range strings.Lines(s.text) {
		want := spaces.ReplaceAllString(strings.TrimSpace(line), " ")
		at := regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*?")).FindStringIndex(text)
		if at == nil {
			return want
		}
		if ordered {
			text = text[at[1]:]
		}
	}
	return ""
}
