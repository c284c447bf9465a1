package audit

import (
	"cmp"
	"slices"
	"time"
)

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

// Report is the result of an audit.
type Report struct {
	Origin  string `json:"origin"`
	Verdict string `json:"verdict"` // clean, warnings or evidence

	Size    uint64 `json:"size"`    // of the checkpoint
	Root    string `json:"root"`    // of the checkpoint, hex
	Head    string `json:"head"`    // HEAD as replayed, hex
	Pending uint64 `json:"pending"` // leaves beyond the checkpoint

	Boots    uint64            `json:"boots"`
	Commits  uint64            `json:"commits"`
	Intents  uint64            `json:"intents"`
	Items    map[string]uint64 `json:"items"` // outcomes by state
	Refusals uint64            `json:"refusals"`
	Refused  map[string]uint64 `json:"refused"` // of those, by code, as far as the log tells
	First    time.Time         `json:"first"`   // time of the first entry
	Last     time.Time         `json:"last"`

	Findings []Finding `json:"findings"` // gravest first
}

// Verdicts.
const (
	Clean    = "clean"    // nothing above info
	Warnings = "warnings" // nothing above warning
	Tampered = "evidence" // at least one evidence
)

// findings collects by severity and code.
type findings struct {
	list []*Finding
	by   map[string]*Finding
}

func (f *findings) add(n remark) {
	if f.by == nil {
		f.by = map[string]*Finding{}
	}
	key := string(n.severity) + " " + n.code
	have := f.by[key]
	if have == nil {
		have = &Finding{Severity: n.severity, Code: n.code, Explanation: n.text, Entries: []uint64{}}
		f.by[key] = have
		f.list = append(f.list, have)
	}
	have.Count++
	for _, e := range n.entries {
		if len(have.Entries) < maxListed && !slices.Contains(have.Entries, e) {
			have.Entries = append(have.Entries, e)
		}
	}
}

// sorted gives the findings gravest first, then by the earliest entry.
func (f *findings) sorted() []Finding {
	out := make([]Finding, len(f.list))
	for i, p := range f.list {
		slices.Sort(p.Entries)
		out[i] = *p
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	return out
}

func verdict(list []Finding) string {
	if len(list) == 0 {
		return Clean
	}
	switch list[0].Severity {
	case Evidence:
		return Tampered
	case Warning:
		return Warnings
	}
	return Clean
}

// remark is one occurrence of a finding.
type remark struct {
	severity Severity
	code     string
	text     string
	entries  []uint64
}
