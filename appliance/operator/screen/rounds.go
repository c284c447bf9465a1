package screen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
)

// openable reports whether rounds that wait are on a tab, and one of them can be
// opened: nothing is asked, and nothing that is under way stands there.
func openable(v *operator.View, t Tab) bool {
	idle := v.Ask == operator.AskNothing && v.Halted == "" && v.Event != "stopped"
	return idle && len(v.Rounds) > 0 && (t == History || t == Main && restful(v))
}

// restful reports whether the display has room for what nobody asks: it asks
// nothing, and there is no request or order, or its end is shown.
func restful(v *operator.View) bool {
	return v.Ask == operator.AskNothing && v.Halted == "" && v.Order == nil && (v.Job == nil || v.Job.Over())
}

// marked is the index of the round that would be opened: the one of that rule, or
// the first that is not opened yet.
func marked(v *operator.View, rule string) int {
	if i := slices.IndexFunc(v.Rounds, func(r operator.Round) bool { return r.Rule == rule }); i >= 0 {
		return i
	}
	return max(0, slices.IndexFunc(v.Rounds, waits))
}

func waits(r operator.Round) bool { return r.State == message.RoundWaiting }

// roundBlocks are the rounds that the host says wait, behind the bar of what is not
// the display's own word. mark is the one that can be opened, -1 for none.
func roundBlocks(v *operator.View, mark, width int) (blocks []block) {
	if len(v.Rounds) == 0 {
		return nil
	}
	p := &writer{width: width}
	p.gap()
	p.add(Bold, "Rounds that wait. The host says:")
	for i, r := range v.Rounds {
		sign := " "
		if i == mark {
			sign = ">"
		}
		p.behind(fmt.Sprintf("%s%2d. | ", sign, i+1), roundText(r, v.Time))
		blocks, p = append(blocks, p.lines), &writer{width: width}
	}
	if v.MoreRounds > 0 {
		p.behind(indent+"| ", fmt.Sprintf("and %s", counted(uint64(v.MoreRounds), "more", "more")))
		blocks = append(blocks, p.lines)
	}
	return blocks
}

// roundText is a round in a line; now is when.
func roundText(r operator.Round, now time.Time) string {
	text := fmt.Sprintf("%s: %s since %s UTC", r.Rule, counted(uint64(max(0, r.Files)), "file", "files"), nearTime(r.Since, now))
	switch {
	case r.State == operator.RoundAsked:
		text += ", asked to open"
	case r.State == message.RoundUrgent:
		text += ", OPEN, urgent"
	case r.State == message.RoundOpen:
		text += ", open"
	case r.State != message.RoundWaiting:
		text += ", " + r.State
	}
	if !r.Next.IsZero() {
		text += ", next round " + nearTime(r.Next, now) + " UTC"
	}
	return text
}

// nearTime is a time to the minute, with its year if that is not this one.
func nearTime(t, now time.Time) string {
	layout := "01-02 15:04"
	if t.UTC().Year() != now.UTC().Year() {
		layout = "2006-" + layout
	}
	return t.UTC().Format(layout)
}

// pageOf finds the page on which the mark stands.
func pageOf(pages []block) int {
	return max(0, slices.IndexFunc(pages, func(p block) bool {
		return slices.ContainsFunc(p, func(l Line) bool { return strings.HasPrefix(l.Text, ">") && strings.Contains(l.Text, ". | ") })
	}))
}

// roundKey takes a key about rounds: o opens the one that is marked, n marks the
// next. A face without a screen opens what waits longest.
func (f *Face) roundKey(key byte, now time.Time) (operator.Command, bool) {
	v := f.View(now)
	if !openable(&v, f.tab) {
		return operator.Command{}, false
	}
	i := marked(&v, f.rule)
	if key == 'n' {
		f.rule, f.follow = v.Rounds[(i+1)%len(v.Rounds)].Rule, true
		return operator.Command{}, false
	}
	f.rule = ""
	return operator.Command{Verb: operator.Open, Rule: v.Rounds[i].Rule}, true
}

// roundHelp names the keys about rounds.
func (f *Face) roundHelp() string {
	if !openable(&f.view, f.tab) {
		return ""
	}
	help := fmt.Sprintf("o = open round %d  ", marked(&f.view, f.rule)+1)
	if len(f.view.Rounds) > 1 {
		help += "n = next  "
	}
	return help
}
