package policy

import (
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
)

// Open reads a genesis policy from its note: at least the quorum of its own
// administrators must have signed it, and nobody else.
func Open(msg []byte) (*Policy, error) {
	p, err := read(msg)
	if err != nil {
		return nil, err
	}
	if _, err := message.OpenQuorum(msg, p.Administrators.Keys, p.Administrators.Quorum); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return p, nil
}

// Successor reads the policy that shall follow p in a log: the next serial,
// the same origin, every token key of p, signed by a quorum of p's
// administrators and by each administrator who is new in it, which shows that
// they hold their keys, and by nobody else.
func (p *Policy) Successor(msg []byte) (*Policy, error) {
	next, err := read(msg)
	if err != nil {
		return nil, err
	}
	if err := p.Follows(next); err != nil {
		return nil, fmt.Errorf("policy with serial %d: %w", next.Serial, err)
	}
	var added []note.Verifier
	for i, vkey := range next.Administrators.Texts {
		if !slices.Contains(p.Administrators.Texts, vkey) {
			added = append(added, next.Administrators.Keys[i])
		}
	}
	if _, err := message.OpenQuorum(msg, p.Administrators.Keys, p.Administrators.Quorum, added...); err != nil {
		return nil, fmt.Errorf("policy with serial %d: %w", next.Serial, err)
	}
	return next, nil
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
