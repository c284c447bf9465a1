package screen

import (
	"fmt"
	"strings"
	"time"

	"touchmark/appliance/operator"
)

// body is what stands below the headline, in blocks.
func body(v *operator.View, mark, width int) (blocks []block) {
	add := func(f func(*writer)) {
		p := &writer{width: width}
		if f(p); len(p.lines) > 0 {
			blocks = append(blocks, p.lines)
		}
	}
	if v.Ask == operator.AskTouch && v.Job != nil { // what it is for stands first
		blocks = jobBlocks(v.Job, width)
		blocks[0] = blocks[0][1:] // no gap above it
		add(func(p *writer) { p.gap(); p.words(v) })
		return blocks
	}
	add(func(p *writer) { p.words(v) })
	switch {
	case v.Order != nil:
		blocks = append(blocks, orderBlocks(v.Order, width)...)
	case v.Job != nil:
		blocks = append(blocks, jobBlocks(v.Job, width)...)
	default:
		add(func(p *writer) { p.waiting(v) })
	}
	if restful(v) {
		blocks = append(blocks, roundBlocks(v, mark, width)...)
	}
	if v.Job == nil && v.Order == nil {
		add(func(p *writer) { p.recent(v, 3) })
	}
	return blocks
}

// words are the sentences: alarm, halt, message, warning.
func (p *writer) words(v *operator.View) {
	message := v.Message
	if v.Alarm != "" {
		p.text(Alert, "ALARM: "+v.Alarm)
		message = strings.TrimSpace(strings.TrimPrefix(message, v.Alarm))
	}
	if v.Halted != "" {
		p.text(Bold, "HALTED: "+v.Halted)
	}
	p.text(Bold, message)
	if v.Ask == operator.AskTime && !strings.Contains(message, operator.TimeQuestion) { // something else was told since
		p.text(Bold, operator.TimeQuestion)
	}
	if v.Warning != "" {
		p.text(Plain, "WARNING: "+v.Warning)
	}
	if v.Ask == operator.AskTime {
		p.text(Plain, sinceLast(v))
	}
}

// sinceLast is what the time to be confirmed can be held against.
func sinceLast(v *operator.View) string {
	if v.LogTime.IsZero() {
		return "The log is empty: there is no time to compare it with."
	}
	d := v.Time.Sub(v.LogTime)
	last := "The log's newest entry was made " + v.LogTime.UTC().Format("2006-01-02 15:04 UTC")
	switch days := int(d.Hours() / 24); {
	case d < 0:
		return last + ", LATER than this time. The board will not start with it."
	case days > 0:
		return fmt.Sprintf("%s, %s days before. Is that how long the board was off?", last, number(uint64(days)))
	default:
		return fmt.Sprintf("%s, %d h %d min before.", last, int(d.Hours()), int(d.Minutes())%60)
	}
}

// jobBlocks are the request as a whole and its items; while the token waits for a
// touch, the item that it would sign stands before the others.
func jobBlocks(j *operator.Job, width int) []block {
	p := &writer{width: width}
	p.job(j)
	var items []block
	for i := range j.Items {
		items = append(items, itemBlock(j, i, width))
	}
	if n := j.Touch - 1; n >= 0 && n < len(items) {
		items = append([]block{items[n]}, append(items[:n:n], items[n+1:]...)...)
		return append(items, append(block{{}}, p.lines...))
	}
	return append([]block{p.lines}, items...)
}

func (p *writer) job(j *operator.Job) {
	facts := []string{"job " + short(j.ID), "class " + j.Class, "key " + j.Key, counted(uint64(len(j.Items)), "item", "items")}
	for _, l := range packed(facts, p.width) {
		p.add(Bold, l)
	}
	who := "asked by " + j.Host
	if len(j.Approvers) > 0 {
		who += ", approved by " + strings.Join(j.Approvers, ", ")
	} else {
		who += ", NOT approved by anyone else"
	}
	p.flush(who)
	if j.Rate != "" {
		p.flush("rate: " + j.Rate)
	}
}

// flush wraps a sentence without indenting it.
func (p *writer) flush(s string) {
	q := &writer{width: p.width + 2}
	q.text(Plain, s)
	for _, l := range q.lines {
		p.add(Plain, strings.TrimPrefix(l.Text, "  "))
	}
}

const indent = "     "

// itemBlock is one artifact: what the appliance computed of it, and below a label
// of its own what the host calls it.
func itemBlock(j *operator.Job, i, width int) block {
	it := &j.Items[i]
	p := &writer{width: width}
	mark := "  "
	if j.Touch == i+1 {
		mark = "> "
	}
	end := ""
	if it.Outcome != "" {
		end = "   [" + it.Outcome + "]"
	}
	p.gap()
	p.add(Bold, fmt.Sprintf("%s%d. %s, %s%s", mark, i+1, it.Format, size(it.Size), end))
	p.name(it.Claimed)
	p.digest(it.Digest)
	for _, m := range it.Meaning {
		p.said(m)
	}
	return p.lines
}

// said shows a line of what a document says, all of it, behind a bar that no line
// of the display's own has; the rows after its first stand further in. So nothing
// in a document can look like the display's word or like another line.
func (p *writer) said(line string) { p.behind(indent+"| ", line) }

// behind writes a line like that, with what is left of the bar in its first row.
func (p *writer) behind(prefix, line string) {
	for first := true; first || line != ""; first = false {
		n := min(len(line), max(1, p.width-len(prefix)))
		if n < len(line) {
			if i := strings.LastIndexByte(line[:n+1], ' '); i > 0 {
				n = i + 1 // between words
			}
		}
		p.add(Plain, prefix+line[:n])
		line, prefix = line[n:], indent+"|    "
	}
}

// name shows a claimed name whole. The rows after the first begin with a mark, so
// that the rest of a long name cannot look like a line of the display's own.
func (p *writer) name(name string) {
	prefix := indent + "claimed name: "
	for first := true; first || name != ""; first = false {
		n := min(len(name), max(1, p.width-len(prefix)))
		p.add(Plain, prefix+name[:n])
		name, prefix = name[n:], indent+"+ "
	}
}

func (p *writer) digest(digest string) {
	alg, sum, _ := strings.Cut(digest, ":")
	label := indent + alg + " "
	if p.width < len(label)+35 { // four groups
		p.add(Plain, indent+alg)
		label = indent
	}
	if p.width < len(label)+35 {
		label = " "
	}
	for _, row := range grouped(sum, p.width-len(label)) {
		p.add(Plain, label+row)
		label = strings.Repeat(" ", len(label))
	}
}

// orderBlocks are what an order says, each line in one piece.
func orderBlocks(o *operator.Order, width int) []block {
	p := &writer{width: width}
	p.add(Bold, fmt.Sprintf("ADMINISTRATORS' ORDER %s   %s", short(o.ID), o.Kind))
	if o.Unmirrored {
		p.flush("NO HOST holds it yet: what only this board has can be lost with it")
	}
	blocks := []block{p.lines}
	for _, l := range o.Lines {
		p := &writer{width: width}
		p.text(Plain, l)
		blocks = append(blocks, p.lines)
	}
	return blocks
}

// waiting lists the requests behind the one on display.
func (p *writer) waiting(v *operator.View) {
	if len(v.Waiting) == 0 {
		return
	}
	p.gap()
	p.add(Bold, "Waiting:")
	for i, w := range v.Waiting {
		p.add(Plain, fmt.Sprintf("  %2d. %s  %s, %s, asked by %s", i+1, short(w.ID), w.Class, counted(uint64(w.Items), "item", "items"), w.Host))
	}
}

// recent lists how the requests before ended, at most n of them.
func (p *writer) recent(v *operator.View, n int) {
	if len(v.Recent) == 0 {
		return
	}
	p.gap()
	p.add(Bold, "Before:")
	for _, e := range v.Recent[:min(n, len(v.Recent))] {
		p.ended(e, v.Time)
	}
}

// ended is what came of a request; now is when, for the year if it is another.
func (p *writer) ended(e operator.Ended, now time.Time) {
	p.add(Plain, fmt.Sprintf("  %s:%02d  %s  %s, asked by %s", nearTime(e.Time, now), e.Time.Second(), short(e.ID), e.Class, e.Host))
	p.text(Plain, e.End)
}
