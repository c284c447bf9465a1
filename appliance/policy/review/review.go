// Package review looks at a policy before it is signed or brought to the board:
// whether it is good and follows the one in force, who signed it, what is odd
// about it, and what it means in sentences.
//
// It decides nothing: what a policy admits is package policy's to say. The
// package is pure.
package review

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
)

// Candidate is a policy as somebody hands it over.
type Candidate struct {
	Policy *policy.Policy
	Raw    []byte // the TOML text, or the note
	IsNote bool
}

// sigStart is how the signatures of a note begin (C2SP signed-note).
const sigStart = "\n\n\u2014 "

// Read takes a policy's TOML text, or its note if it has signatures. The error
// is a policy.Errors if it is about the text.
func Read(b []byte) (*Candidate, error) {
	c := &Candidate{Raw: b, IsNote: bytes.Contains(b, []byte(sigStart))}
	text := b
	if c.IsNote {
		var err error
		if text, err = message.NoteText(b); err != nil {
			return nil, err
		}
	}
	var err error
	c.Policy, err = policy.Parse(text)
	return c, err
}

// Follows says why the candidate cannot come after another; after nil, the
// first of a log may be any with serial 1.
func (c *Candidate) Follows(inForce *Candidate) error {
	if inForce == nil {
		return nil
	}
	return inForce.Policy.Follows(c.Policy)
}

// ErrUnsigned says that a policy is a text without signatures.
var ErrUnsigned = errors.New("not signed yet")

// Signed says why the candidate is not signed as it must be: by a quorum of the
// administrators in force or, in force being nil, of its own. Recovered then
// tells whether recovery keys stood in for them.
func (c *Candidate) Signed(inForce *Candidate) (recovered bool, err error) {
	switch {
	case !c.IsNote:
		return false, ErrUnsigned
	case inForce == nil && c.Policy.Serial > 1:
		return false, fmt.Errorf("serial %d is signed by the administrators of the policy before: name that one with --in-force", c.Policy.Serial)
	case inForce == nil:
		_, err = policy.Open(c.Raw)
		return false, err
	}
	next, err := inForce.Policy.Successor(c.Raw)
	return err == nil && next.Recovered, err
}

// Names reports whether the policy names the holder of a key as an administrator, or
// as one of those who may replace them. Of no policy nobody is.
func (c *Candidate) Names(s note.Signer) bool {
	return c != nil && slices.ContainsFunc(slices.Concat(c.Policy.Administrators.Keys, c.Policy.Recovery.Keys), func(k note.Verifier) bool {
		return k.Name() == s.Name() && k.KeyHash() == s.KeyHash()
	})
}

// Sign gives the policy as a note, with a signature by s beside those that it has.
func (c *Candidate) Sign(s note.Signer) ([]byte, error) {
	if c.IsNote {
		return message.CosignNote(c.Raw, s)
	}
	return message.SignNote(c.Raw, s)
}
