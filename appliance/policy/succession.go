package policy

import (
	"fmt"
	"reflect"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
)

// Open reads a genesis policy from its note: at least the quorum of its own
// administrators and every key of recovery must have signed it, and nobody else.
func Open(msg []byte) (*Policy, error) {
	p, err := read(msg)
	if err != nil {
		return nil, err
	}
	if _, err := message.OpenQuorum(msg, p.Administrators.Keys, p.Administrators.Quorum, p.Recovery.Keys...); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return p, nil
}

// Successor reads the policy that shall follow p in a log: the next serial,
// the same origin, every token key of p, signed by a quorum of p's
// administrators and by each administrator and key of recovery that is new in
// it, which shows that somebody holds their keys, and by nobody else.
//
// If one of p's recovery keys signed, a quorum of those stands for that of the
// administrators, and nothing but the administrators may differ: Recovered
// tells of it.
func (p *Policy) Successor(msg []byte) (*Policy, error) {
	next, err := read(msg)
	if err != nil {
		return nil, err
	}
	if err := p.Follows(next); err != nil {
		return nil, fmt.Errorf("policy with serial %d: %w", next.Serial, err)
	}
	added := append(next.Administrators.beside(&p.Administrators), next.Recovery.beside(&p.Recovery)...)
	who := &p.Administrators
	if message.NoteNames(msg, p.Recovery.Keys) {
		who, next.Recovered = &p.Recovery, true
		if err := p.recovers(next); err != nil {
			return nil, fmt.Errorf("policy with serial %d: %w", next.Serial, err)
		}
	}
	if _, err := message.OpenQuorum(msg, who.Keys, who.Quorum, added...); err != nil {
		return nil, fmt.Errorf("policy with serial %d: %w", next.Serial, err)
	}
	return next, nil
}

// beside are the keys of a that before has not.
func (a *Administrators) beside(before *Administrators) (added []note.Verifier) {
	for i, vkey := range a.Texts {
		if !slices.Contains(before.Texts, vkey) {
			added = append(added, a.Keys[i])
		}
	}
	return added
}

// recovers says why recovery may not make next follow p: it replaces
// administrators, everything else is theirs to change.
func (p *Policy) recovers(next *Policy) error {
	for _, part := range []struct {
		what string
		same bool
	}{
		{"max_skew", p.MaxSkew == next.MaxSkew},
		{"max_validity", p.MaxValidity == next.MaxValidity},
		{"[recovery]", p.Recovery.Quorum == next.Recovery.Quorum && slices.Equal(p.Recovery.Texts, next.Recovery.Texts)},
		{"[[host]]", slices.EqualFunc(p.Hosts, next.Hosts, func(a, b Host) bool { return a.Name == b.Name && a.Text == b.Text })},
		{"[[approver]]", slices.EqualFunc(p.Approvers, next.Approvers, func(a, b Approver) bool { return a.Person == b.Person && a.Text == b.Text })},
		{"[[key]]", slices.Equal(p.Keys, next.Keys)},
		{"[[class]]", reflect.DeepEqual(p.Classes, next.Classes)},
	} {
		if !part.same {
			return fmt.Errorf("signed by a recovery key, and those may change [administrators] only: keep %s as it is", part.what)
		}
	}
	return nil
}

// Follows compares what a policy must have of the one before, whoever signs it:
// an error says what to write.
func (p *Policy) Follows(next *Policy) error {
	switch {
	case next.Origin != p.Origin:
		return fmt.Errorf("it is for %s, this log is %s", next.Origin, p.Origin)
	case next.Serial != p.Serial+1:
		return fmt.Errorf("serial %d is in force: write serial = %d", p.Serial, p.Serial+1)
	case next.Previous != p.Hash:
		return fmt.Errorf("previous is not the hash of the policy in force: write previous = \"%x\"", p.Hash)
	}
	for _, k := range p.Keys {
		if have, ok := next.Key(k.Name); !ok || *have != k {
			return fmt.Errorf("the log goes on with key %q: keep its [[key]] table as it is", k.Name)
		}
	}
	return nil
}

func read(msg []byte) (*Policy, error) {
	text, err := message.NoteText(msg)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return Parse(text)
}
