// Package report is what an audit comes to: counts, findings, verdict, and what
// two such reports say of logs that follow each other. docs/spec/audit.md
// section 4 describes the JSON. The package is pure.
//
// Compatibility: members are added, never changed.
package report

import (
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
)

// Report is the result of an audit.
type Report struct {
	Origin  string `json:"origin"`
	Verdict string `json:"verdict"` // clean, warnings or evidence

	Since   uint64 `json:"since"`   // size audited before: all counts and times are from there on
	Size    uint64 `json:"size"`    // of the checkpoint
	Root    string `json:"root"`    // of the checkpoint, hex
	Head    string `json:"head"`    // HEAD as replayed, hex
	Base    string `json:"base"`    // HEAD before the first commit, hex
	Pending uint64 `json:"pending"` // leaves beyond the checkpoint

	Boots    uint64            `json:"boots"`
	Commits  uint64            `json:"commits"`
	Intents  uint64            `json:"intents"`
	Items    map[string]uint64 `json:"items"` // outcomes by state
	Refusals uint64            `json:"refusals"`
	Refused  map[string]uint64 `json:"refused"` // of those, by code, as far as the log tells
	First    time.Time         `json:"first"`   // time of the first entry
	Last     time.Time         `json:"last"`

	Genesis     string `json:"genesis"`     // leaf hash of entry 0, as pinned
	Predecessor LogID  `json:"predecessor"` // that entry 0 names, empty for none
	Closed      bool   `json:"closed"`
	Successor   LogID  `json:"successor"` // that the close entry names, empty for none

	Certificates []Certificate `json:"certificates"` // of the keys, as this log leaves them

	Findings []finding.Finding `json:"findings"` // gravest first
}

// Certificate is the OpenPGP certificate of a key, in force at the end of a log.
type Certificate struct {
	Key     string     `json:"key"`     // its name
	OpenPGP []byte     `json:"openpgp"` // binary, base64 in JSON; null if the log's does not parse
	Expires *time.Time `json:"expires"` // null: never
	Revoked bool       `json:"revoked"`
	Binding []byte     `json:"binding"` // request to the primary that the key agreed to last, base64 in JSON; null for none
}

// CertificateOf tells of a key's certificate, which may be nil.
func CertificateOf(key string, c *certificate.Certificate) Certificate {
	out := Certificate{Key: key}
	if c == nil {
		return out
	}
	out.OpenPGP, out.Revoked = c.Bytes(), c.Revoked
	if !c.Expires.IsZero() {
		out.Expires = &c.Expires
	}
	if c.Bound != nil {
		out.Binding = c.Bound.Bytes()
	}
	return out
}

// LogID names a log.
type LogID struct {
	Origin  string `json:"origin"`
	Genesis string `json:"genesis"` // leaf hash of entry 0, hex
}

// IDOf names a log.
func IDOf(id ledger.LogID) LogID {
	if id.Origin == "" {
		return LogID{}
	}
	return LogID{id.Origin, canon.Hex(id.Genesis[:])}
}
