// Package policy says who may have what signed, by which token key, how much
// of it and how often.
//
// A policy is a TOML text (a narrow profile of it, docs/spec/policy.md) inside
// a C2SP signed note by administrators; its hash is SHA-256 of the text as it
// stands. Parse accepts a policy only after everything in it was checked, so
// that admission can be a plain walk.
//
// Authenticate and Admit are pure: the appliance calls them before it shows
// and before it arms a job, the auditor calls them again with the times of the
// log, and both get the same answer. Every refusal is a *Refusal with a stable
// code; every error of Parse is an *Error with line, column and what to write
// instead.
package policy

import (
	"path"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
)

// Policy is a checked policy. It must not be changed.
type Policy struct {
	Hash     [32]byte // SHA-256 of Text
	Text     []byte   // the TOML text, verbatim
	Origin   string
	Serial   uint64
	Previous [32]byte // Hash of the policy before, zero when Serial is 1

	MaxSkew     time.Duration // host time against board time
	MaxValidity time.Duration // longest not-after

	Administrators Administrators
	Recovery       Administrators // who may replace them if they cannot sign; no keys, nobody
	Recovered      bool           // set by Successor: Recovery signed it in their place
	Hosts          []Host
	Approvers      []Approver
	Keys           []Key
	Classes        []Class
}

// Administrators are the keys that sign policies; Quorum of them must.
type Administrators struct {
	Quorum int
	Keys   []note.Verifier
	Texts  []string // the same keys as written
}

// Host may submit jobs with its key.
type Host struct {
	Name string
	Key  note.Verifier
	Text string // the same key as written
}

// Approver approves jobs. A person may have several keys and counts once.
type Approver struct {
	Person string
	Key    note.Verifier
	Text   string // the same key as written
}

// Key is a key on the token. It serves one signature family only.
type Key struct {
	Name      string
	Slot      string // PIV slot, lowercase hex: "9c"
	Family    string // "openpgp-data", ...
	Algorithm string // "p256", "rsa2048", ...
}

// Class is what a kind of artifact is allowed.
type Class struct {
	Name      string
	Keys      []string // Key.Name, the one to be preferred first
	Hosts     []string // Host.Name
	Names     []string // patterns over artifact names: '*' and '?' never match '/'
	Formats   []string
	MaxSize   uint64 // bytes
	Rates     []Rate
	Approvals int  // approving persons needed
	Batch     int  // most items in one approval
	Documents bool // everything comes as a document, whose meaning the operator is shown
}

// Demands reports whether an item of this format must come as a document: because
// the class says so, or the format.
func (c *Class) Demands(format string) bool {
	f, known := sigformat.FormatOf(format)
	return c.Documents || known && f.Document() == sigformat.Demanded
}

// Rate allows at most Count items within Window.
type Rate struct {
	Count  int
	Window time.Duration
	Text   string // as written, "60/1h"
}

// Class returns the class of this name.
func (p *Policy) Class(name string) (*Class, bool) {
	return find(p.Classes, func(c *Class) bool { return c.Name == name })
}

// Key returns the token key of this name.
func (p *Policy) Key(name string) (*Key, bool) {
	return find(p.Keys, func(k *Key) bool { return k.Name == name })
}

// keysOf are the token keys of a class; one of each name is there, Parse saw to
// that.
func (p *Policy) keysOf(c *Class) ([]Key, bool) {
	keys := make([]Key, 0, len(c.Keys))
	for _, name := range c.Keys {
		k, ok := p.Key(name)
		if !ok {
			return nil, false
		}
		keys = append(keys, *k)
	}
	return keys, len(keys) > 0
}

func find[T any](list []T, is func(*T) bool) (*T, bool) {
	for i := range list {
		if is(&list[i]) {
			return &list[i], true
		}
	}
	return nil, false
}

// ClassesFor names the classes in which host may have an artifact of this
// name signed in this format, in the order of the policy.
func (p *Policy) ClassesFor(host, format, name string) []string {
	var out []string
	for i := range p.Classes {
		c := &p.Classes[i]
		if slices.Contains(c.Hosts, host) && slices.Contains(c.Formats, format) && c.matches(name) {
			out = append(out, c.Name)
		}
	}
	return out
}

func (c *Class) matches(name string) bool {
	return slices.ContainsFunc(c.Names, func(pattern string) bool {
		// The pattern was checked when the policy was parsed.
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// LongestWindow is the longest rate window of any class: history older than
// that decides nothing.
func (p *Policy) LongestWindow() time.Duration {
	var longest time.Duration
	for _, c := range p.Classes {
		for _, r := range c.Rates {
			longest = max(longest, r.Window)
		}
	}
	return longest
}

// HostVerifiers are the host keys, in the order of Hosts.
func (p *Policy) HostVerifiers() []note.Verifier {
	return verifiers(p.Hosts, func(h Host) note.Verifier { return h.Key })
}

// ApproverVerifiers are the approver keys, in the order of Approvers.
func (p *Policy) ApproverVerifiers() []note.Verifier {
	return verifiers(p.Approvers, func(a Approver) note.Verifier { return a.Key })
}

func verifiers[T any](list []T, key func(T) note.Verifier) []note.Verifier {
	out := make([]note.Verifier, len(list))
	for i, e := range list {
		out[i] = key(e)
	}
	return out
}
