package audit

import (
	"time"

	"touchmark/tpm/audit/finding"
)

// Report is the result of an audit.
type Report struct {
	Origin  string `json:"origin"`
	Verdict string `json:"verdict"` // clean, warnings or evidence

	Since   uint64 `json:"since"`   // size audited before: all counts and times are from there on
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

	Findings []finding.Finding `json:"findings"` // gravest first
}
