package screen

import (
	"fmt"

	"touchmark/appliance/operator"
)

// Tab is one of the views that the operator turns to with the Tab key. The
// headline stands on each of them: no other view hides what is asked.
type Tab int

// The tabs, in the order in which the key turns them.
const (
	Main    Tab = iota // what is asked now
	History            // what waits, and what came of what was before
	Health             // log, TPM, token, clock
	tabs
)

// tabBlocks is what a tab shows below the headline; mark is the index of the round
// that a key would open, -1 for none.
func tabBlocks(v *operator.View, t Tab, mark, width int) []block {
	switch t {
	case History:
		return historyBlocks(v, mark, width)
	case Health:
		p := &writer{width: width}
		p.health(v)
		return []block{p.lines}
	}
	return body(v, mark, width)
}

func historyBlocks(v *operator.View, mark, width int) (blocks []block) {
	p := &writer{width: width}
	if p.waiting(v); len(v.Waiting) == 0 {
		p.add(Plain, "No request waits.")
	}
	blocks = append(append(blocks, p.lines), roundBlocks(v, mark, width)...)
	if len(v.Recent) == 0 {
		return append(blocks, block{{"Nothing came to its end since the start.", Plain}})
	}
	for i, e := range v.Recent {
		p := &writer{width: width}
		if i == 0 {
			p.gap()
			p.add(Bold, "Before, newest first:")
		}
		p.ended(e, v.Time)
		blocks = append(blocks, p.lines)
	}
	return blocks
}

// health is everything about the board itself, each on a line of its own.
func (p *writer) health(v *operator.View) {
	p.fact("log", fmt.Sprintf("%s of %s", counted(v.LogSize, "entry", "entries"), v.Origin))
	p.fact("sealed", sealed(v))
	if v.Head != "" {
		p.fact("HEAD", "")
		for _, row := range grouped(v.Head, p.width-9) {
			p.add(Plain, "         "+row)
		}
	}
	p.fact("checked", orNone(v.Scrub, "not read since the start yet"))
	p.fact("TPM", v.TPM+suffix(wear(v)))
	p.fact("token", v.Token+orNone(suffix(v.Device), ""))
	p.fact("clock", stamp(v)+", "+vouched(v))
	if !v.LogTime.IsZero() {
		p.fact("", "newest entry "+v.LogTime.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	p.fact("host", v.Host)
	p.fact("state", v.State+orNone(suffix(v.Halt), ""))
	if v.Warning != "" {
		p.text(Bold, "WARNING: "+v.Warning)
	}
}

// fact is a label and its value; what does not fit goes on below the value.
func (p *writer) fact(label, value string) {
	q := &writer{width: max(p.width-7, 3)}
	q.text(Plain, value)
	if len(q.lines) == 0 {
		p.add(Plain, label)
	}
	for i, l := range q.lines {
		if i > 0 {
			label = ""
		}
		p.add(Plain, fmt.Sprintf("%-7s%s", label, l.Text))
	}
}

func counted(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func suffix(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// sealed says how much of the log HEAD has. A board that has halted cannot tell: what
// it has of the log may be what HEAD does not know.
func sealed(v *operator.View) string {
	if v.TPM != operator.TPMReady {
		return "not known while log and TPM are not in agreement"
	}
	return number(v.Sealed) + " are committed to the TPM"
}

// wear says how worn the TPM's memory is, as the log tells it; empty if that may be
// another TPM's log, or not all of it.
func wear(v *operator.View) string {
	if v.TPM != operator.TPMReady {
		return ""
	}
	if v.Days < 0 {
		return number(v.Writes) + " writes of its memory"
	}
	return fmt.Sprintf("%s writes of its memory, lasts %s days or more", number(v.Writes), number(uint64(v.Days)))
}

// vouched says where the time comes from.
func vouched(v *operator.View) string {
	switch v.Clock {
	case "":
		return "NOT confirmed"
	case "operator":
		return "confirmed by the operator"
	case "system":
		return "as the system has it"
	}
	return v.Clock
}
