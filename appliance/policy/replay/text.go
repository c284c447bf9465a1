package replay

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// approvalOf reads what a job asks for, whoever signed it.
func approvalOf(b *ledger.Intent) (message.Approval, error) {
	text, err := message.NoteText(b.Approval)
	if err != nil {
		return message.Approval{}, err
	}
	return message.ParseApproval(text)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// counted is so many of something.
func counted[N ~int | ~uint64](n N, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// Lines are the report for people.
func (r *Report) Lines() []string {
	out := []string{fmt.Sprintf("%d of %s in %s would have been admitted by policy %d of %s.", r.Admitted, counted(r.Jobs, "job", "jobs"), counted(r.Entries, "entry", "entries"), r.Serial, r.Origin)}
	for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
		out = append(out, fmt.Sprintf("  %d refused: %s", r.Codes[code], code))
	}
	for _, j := range r.First {
		out = append(out, fmt.Sprintf("entry %d, %s, class %s, %s: %s: %s", j.Entry, j.Time, j.Class, strings.Join(j.Names, " "), j.Code, j.Text))
	}
	if rest := r.Refused - len(r.First); rest > 0 {
		out = append(out, fmt.Sprintf("and %d more", rest))
	}
	out = append(out, "Fullest windows:")
	for _, w := range r.Windows {
		line := fmt.Sprintf("  %s %s: %d of %d", w.Class, w.Rate, w.Most, w.Allow)
		if w.Most > 0 {
			line += fmt.Sprintf(", up to entry %d, %s", w.Entry, w.End)
		}
		out = append(out, line)
	}
	return out
}
