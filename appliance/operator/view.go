// Package operator is the board's face: what the person who touches the token
// sees, and the few things that person can say.
//
// The station describes the whole display as one View each time something
// changes; a Panel shows it and hands back Commands. Two panels exist: Console
// (a terminal: HDMI, serial console or the demo) and Lines (one JSON object a
// line out, one command a line in: headless boards, scripts and tests). Both
// show the same View, so nothing is visible on one and hidden on the other.
//
// Everything in a View was computed by the appliance, but for artifact names,
// which are the host's claims and are marked so.
package operator

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ask is what the board wants of the operator now.
type Ask string

// What can be asked.
const (
	AskNothing Ask = ""
	AskTime    Ask = "confirm-time" // is the time shown right?
	AskConfirm Ask = "confirm"      // shall what the message says be done? It cannot be undone
	AskPIN     Ask = "pin"          // type the token's PIN
	AskArm     Ask = "arm"          // arm or deny the job shown
	AskTouch   Ask = "touch"        // touch the token now
	AskNoTouch Ask = "do-not-touch" // leave it alone until it stops blinking
)

// View is the whole display. Event names what changed last ("update" for a
// change of no consequence); the words are listed in docs/operator-guide.md.
type View struct {
	Event    string    `json:"event"`
	Ask      Ask       `json:"ask,omitempty"`
	Origin   string    `json:"origin,omitempty"`
	Time     time.Time `json:"time"`
	Emulated bool      `json:"emulated"`  // the token or TPM is not the real thing
	Token    string    `json:"token"`     // missing, wrong, pin-needed or ready
	LogSize  uint64    `json:"log_size"`  // leaves, those not committed yet included
	Scrub    string    `json:"log_check"` // how far reading the whole log since the start has come, or what it found
	Host     string    `json:"host"`      // link state: down, up, or the name the host proved
	Queue    int       `json:"queue"`     // jobs waiting behind the one shown
	Job      *Job      `json:"job,omitempty"`
	Order    *Order    `json:"order,omitempty"`   // never beside a job
	Message  string    `json:"message,omitempty"` // one line for the operator: what happened, what to do
	State    string    `json:"state"`             // ready, halted, or what it is busy with, as hosts are told
	Halt     string    `json:"halt,omitempty"`    // the halt state (docs/spec/anchor.md §5)
	Halted   string    `json:"halted,omitempty"`  // why the board refuses to go on, and what to do
	Warning  string    `json:"warning,omitempty"` // what does not stop the board and must not be forgotten
	Writes   uint64    `json:"nv_writes"`         // how often the TPM's memory was written
	Days     int       `json:"nv_days"`           // until that may be worn out at the present rate, -1 when nobody can tell
}

// Job is the one request on display.
type Job struct {
	ID        string   `json:"id"` // SHA-256 of the approval text, hex
	Class     string   `json:"class"`
	Key       string   `json:"key"`
	Host      string   `json:"host"`
	Approvers []string `json:"approvers"`
	Items     []Item   `json:"items"`
	Rate      string   `json:"rate,omitempty"` // what remains of the class's rate
	State     string   `json:"state"`          // the ceremony's phase
	Touch     int      `json:"touch"`          // from 1: which touch is awaited, 0 when none
}

// Item is one artifact of a job.
type Item struct {
	Claimed string `json:"claimed"` // the artifact's name: the host's claim
	Format  string `json:"format"`
	Digest  string `json:"digest"` // of the artifact, algorithm:hex
	Size    uint64 `json:"size"`   // bytes, proved by the hash state
	Outcome string `json:"outcome,omitempty"`
}

// Verb is what the operator says.
type Verb string

// The operator's verbs.
const (
	Arm     Verb = "arm"     // go on with the job shown
	Deny    Verb = "deny"    // refuse the job shown
	PIN     Verb = "pin"     // the token's PIN
	Time    Verb = "time"    // the time shown is right
	Confirm Verb = "confirm" // do what cannot be undone
	Quit    Verb = "quit"    // stop the appliance in good order
)

// Command is one act of the operator. Job, the identity of a job or order,
// binds Arm, Deny and Unmirrored to what was on display when the operator decided, so that a job that came up in between is
// never armed by accident. It is the whole identity: two jobs whose identities
// begin alike are easily made.
type Command struct {
	Verb Verb
	Job  string
	PIN  []byte // the receiver zeroes it
}

// Panel shows views and passes on commands. Show never blocks for long and
// keeps nothing it was given; Commands is closed when the operator is gone.
type Panel interface {
	Show(View)
	Commands() <-chan Command
}

// Render lays a view out for a terminal of the given size in character cells:
// at most height lines of at most width cells, ASCII only. A job with more
// items than fit is laid out in pages, counted from 0; pages tells how many.
func Render(v View, width, height, n int) (lines []string, pages int) {
	lines, layout := render(v, width, height, n)
	return lines, max(1, len(layout))
}

// render also tells how many items are on each page.
func render(v View, width, height, n int) (lines []string, layout []int) {
	head := &page{width: width}
	head.header(v)
	foot := &page{width: width}
	var blocks [][]string
	if v.Halted != "" && v.Order != nil {
		head.section("*** HALTED ***")
		head.text(v.Halted)
	}
	switch {
	case v.Order != nil:
		head.order(v.Order)
		blocks = orderLines(v.Order, width)
		foot.section(orderPrompt(v))
	case v.Halted != "":
		head.section("*** HALTED: nothing will be signed ***")
		head.text(v.Halted)
	case v.Job != nil:
		head.job(v.Job)
		blocks = items(v.Job, width)
		foot.section(prompt(v))
	default:
		head.section("No request.")
	}
	if v.Message != "" {
		foot.section("")
		foot.text(v.Message)
	}
	foot.section(help(v))
	layout = paginate(blocks, height-len(head.lines)-len(foot.lines)-1)
	pages := len(layout)
	n = max(0, min(n, pages-1))
	for first, i := 0, 0; i < pages; first, i = first+layout[i], i+1 {
		if i == n {
			head.lines = append(head.lines, slices.Concat(blocks[first:first+layout[i]]...)...)
		}
	}
	if pages > 1 {
		foot.lines = append([]string{fmt.Sprintf("  -- page %d of %d: space = next page; arm only after the last --", n+1, pages)}, foot.lines...)
	}
	lines = append(head.lines, foot.lines...)
	return lines[:min(len(lines), height)], layout
}

// paginate packs blocks of lines into pages of at most room lines and answers
// how many blocks are on each.
func paginate(blocks [][]string, room int) (layout []int) {
	used := 0
	for i, b := range blocks {
		if i == 0 || used+len(b) > room {
			layout, used = append(layout, 0), 0
		}
		layout[len(layout)-1]++
		used += len(b)
	}
	return layout
}

func items(j *Job, width int) (blocks [][]string) {
	for i, it := range j.Items {
		p := &page{width: width}
		p.item(i, it, j)
		blocks = append(blocks, p.lines)
	}
	return blocks
}

type page struct {
	width int
	lines []string
}

// add puts one line, cut to the width, and only printable ASCII: a display
// cannot be fooled by what it does not print.
func (p *page) add(s string) {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	if len(s) > p.width {
		s = s[:p.width]
	}
	p.lines = append(p.lines, s)
}

func (p *page) section(s string) { p.add(""); p.add(s) }

// text wraps a message at word boundaries.
func (p *page) text(s string) {
	line := "  "
	for w := range strings.FieldsSeq(s) {
		if len(line)+len(w)+1 > p.width && len(line) > 2 {
			p.add(line)
			line = "  "
		}
		line += w + " "
	}
	p.add(strings.TrimRight(line, " "))
}

func (p *page) header(v View) {
	p.add(fmt.Sprintf("TOUCHMARK  %s  %s", v.Origin, v.Time.UTC().Format("2006-01-02 15:04:05 UTC")))
	p.add(fmt.Sprintf("log %d   token %s   host %s   waiting %d", v.LogSize, v.Token, v.Host, v.Queue))
	if v.Scrub != "" || v.Writes > 0 {
		p.add("log check: " + orNone(v.Scrub) + "   TPM: " + wear(v))
	}
	if v.Warning != "" {
		p.text("WARNING: " + v.Warning)
	}
	if v.Emulated {
		p.add("EMULATED TOKEN: for tests only, its signatures prove nothing")
	}
	p.add(strings.Repeat("-", p.width))
}

func orNone(s string) string {
	if s == "" {
		return "not yet"
	}
	return s
}

// wear says how worn the TPM's memory is.
func wear(v View) string {
	if v.Days < 0 {
		return fmt.Sprintf("%d writes", v.Writes)
	}
	return fmt.Sprintf("%d writes, lasts %d days or more", v.Writes, v.Days)
}

func (p *page) job(j *Job) {
	p.add(fmt.Sprintf("job %s   class %s   key %s", short(j.ID), j.Class, j.Key))
	who := "asked by " + j.Host
	if len(j.Approvers) > 0 {
		who += ", approved by " + strings.Join(j.Approvers, ", ")
	} else {
		who += ", NOT approved by anyone else"
	}
	p.add(who)
	if j.Rate != "" {
		p.add("rate: " + j.Rate)
	}
}

func (p *page) item(i int, it Item, j *Job) {
	mark := "  "
	if j.Touch == i+1 {
		mark = "> "
	}
	end := ""
	if it.Outcome != "" {
		end = "   [" + it.Outcome + "]"
	}
	p.section(fmt.Sprintf("%s%d. %s, %d bytes%s", mark, i+1, it.Format, it.Size, end))
	label, name := "     claimed name: ", it.Claimed
	for room := max(1, p.width-len(label)); len(name) > room; name = name[room:] {
		p.add(label + name[:room])
		label = strings.Repeat(" ", len(label))
	}
	p.add(label + name)
	alg, sum, _ := strings.Cut(it.Digest, ":")
	for n, row := range rows(sum) {
		label = "     " + strings.Repeat(" ", len(alg)+1)
		if n == 0 {
			label = "     " + alg + " "
		}
		p.add(label + row)
	}
}

// rows breaks a digest into groups of eight hex digits, four groups a row, so
// that two people can compare it aloud.
func rows(sum string) []string {
	var out []string
	for len(sum) > 0 {
		n := min(32, len(sum))
		row := sum[:n]
		sum = sum[n:]
		var groups []string
		for len(row) > 0 {
			g := min(8, len(row))
			groups = append(groups, row[:g])
			row = row[g:]
		}
		out = append(out, strings.Join(groups, " "))
	}
	return out
}

// prompt is the one thing the operator is asked or told about the job now.
func prompt(v View) string {
	j := v.Job
	switch v.Ask {
	case AskNoTouch:
		return "DO NOT TOUCH the token until it stops blinking. It was denied."
	case AskTouch:
		return fmt.Sprintf(">>> TOUCH THE TOKEN NOW: touch %d of %d <<<", j.Touch, len(j.Items))
	case AskArm:
		return "Arm it, or deny it?"
	}
	if j.over() {
		return "Done."
	}
	return "Working: " + j.State + "."
}

// over reports that the ceremony has ended and is still on display.
func (j *Job) over() bool {
	return j.State == "released" || j.State == "refused" || j.State == "halted"
}

// help names the keys that do something now.
func help(v View) string {
	keys := map[Ask]string{
		AskTime:    "y = the time above is right   Ctrl-C = stop, and set the clock",
		AskConfirm: "y = do it: it cannot be undone   Ctrl-C = stop",
		AskPIN:     "type the PIN, then Enter   d = deny",
		AskArm:     "a = arm   d = deny",

		AskUnmirrored: "u = go on unmirrored   d = deny",
	}
	if k, ok := keys[v.Ask]; ok {
		return k
	}
	if v.Order != nil && v.Ask != AskTouch {
		return ""
	}
	if v.Order != nil {
		return "d = deny"
	}
	if v.Job != nil && !v.Job.over() {
		return "d = deny"
	}
	return ""
}

func short(id string) string { return id[:min(8, len(id))] }
