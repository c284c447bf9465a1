// Package finding holds what an audit has to say: findings of three
// severities, by code, each with the entries that prove it, and the verdict
// that follows from them. docs/spec/audit.md lists the codes and what each
// member means. The package is pure.
//
// Compatibility: codes and members are added, never changed.
package finding

import (
	"cmp"
	"slices"
)

// maxListed bounds the entries listed with one finding; its count goes on.
const maxListed = 100

// Severity says what a finding means.
type Severity string

// Severities, gravest first.
const (
	// Evidence: an honest appliance with an honest TPM does not produce this.
	Evidence Severity = "evidence"
	// Warning: not proof of anything, but nobody should live with it.
	Warning Severity = "warning"
	// Info: worth knowing; a healthy log has some.
	Info Severity = "info"
)

func (s Severity) rank() int {
	return slices.Index([]Severity{Evidence, Warning, Info}, s)
}

// Finding is what the audit has to say on one subject.
type Finding struct {
	Severity    Severity `json:"severity"`
	Code        string   `json:"code"`
	Explanation string   `json:"explanation"` // of its first occurrence
	Count       uint64   `json:"count"`       // occurrences
	Entries     []uint64 `json:"entries"`     // that prove it, rising, at most 100
}

// Remark is one occurrence of a finding.
type Remark struct {
	Severity Severity
	Code     string
	Text     string
	Entries  []uint64
}

// Of makes a remark.
func Of(s Severity, code, text string, entries []uint64) Remark {
	return Remark{Severity: s, Code: code, Text: text, Entries: entries}
}

// List collects remarks by severity and code. The zero value is empty.
type List struct {
	list []*Finding
	by   map[string]*Finding
}

// Add takes a remark.
func (l *List) Add(r Remark) {
	if l.by == nil {
		l.by = map[string]*Finding{}
	}
	at := key(r.Severity, r.Code)
	have := l.by[at]
	if have == nil {
		have = &Finding{Severity: r.Severity, Code: r.Code, Explanation: r.Text, Entries: []uint64{}}
		l.by[at] = have
		l.list = append(l.list, have)
	}
	have.Count++
	for _, e := range r.Entries {
		if len(have.Entries) < maxListed && !slices.Contains(have.Entries, e) {
			have.Entries = append(have.Entries, e)
		}
	}
}

// Join takes all that another list has.
func (l *List) Join(other *List) {
	for _, f := range other.list {
		l.Add(Of(f.Severity, f.Code, f.Explanation, f.Entries))
		l.by[key(f.Severity, f.Code)].Count += f.Count - 1
	}
}

func key(s Severity, code string) string { return string(s) + " " + code }

// Sorted gives the findings, gravest first.
func (l *List) Sorted() []Finding {
	out := make([]Finding, len(l.list))
	for i, p := range l.list {
		slices.Sort(p.Entries)
		out[i] = *p
	}
	return Merge(nil, out)
}

// Merge puts two lists into one, gravest first.
func Merge(a, b []Finding) []Finding {
	out := slices.Concat(a, b)
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	return out
}

// Verdicts.
const (
	Clean    = "clean"    // nothing above info
	Warnings = "warnings" // nothing above warning
	Tampered = "evidence" // at least one evidence
)

// Verdict follows from sorted findings.
func Verdict(sorted []Finding) string {
	if len(sorted) == 0 {
		return Clean
	}
	switch sorted[0].Severity {
	case Evidence:
		return Tampered
	case Warning:
		return Warnings
	}
	return Clean
}
