// Package approvals judges what approvers send to a repository host for a
// request that waits for them: notes over the approval's text (message.md §3),
// signed on other machines. The host needs no trust in whoever carries them.
//
// It says with the policy's own functions what the appliance would say later,
// so that a wrong one is named when it comes, and not after the operator was
// asked. The package is pure.
package approvals

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
)

// Count says who approved a request, and how many must.
type Count struct {
	Persons []string // sorted, each once
	Need    int
}

// Enough reports whether nobody else need approve.
func (c Count) Enough() bool { return len(c.Persons) >= c.Need }

// String is such as "1 of 2 approved: alice".
func (c Count) String() string {
	s := fmt.Sprintf("%d of %d approved", len(c.Persons), c.Need)
	if len(c.Persons) > 0 {
		s += ": " + strings.Join(c.Persons, ", ")
	}
	return s
}

// Of counts what a request has. A request that the policy in force refuses for
// another reason needs none: the appliance says why.
func Of(p *policy.Policy, class string, note []byte) Count {
	c, ok := p.Class(class)
	if !ok || c.Approvals == 0 {
		return Count{}
	}
	_, persons, err := p.OpenApproval(note)
	if err != nil {
		return Count{}
	}
	return Count{persons, c.Approvals}
}

// Job reads which request a note approves, and checks that it could: it is an
// approval for this log, somebody signed it, and it has not expired. The error
// is a *policy.Refusal if the policy, and not the form, is against it.
func Job(p *policy.Policy, note []byte, now time.Time) (message.JobID, error) {
	text, err := message.NoteText(note)
	if err != nil {
		return message.JobID{}, fmt.Errorf("this is no approval: %w", err)
	}
	a, err := message.ParseApproval(text)
	if err != nil {
		return message.JobID{}, fmt.Errorf("this is no approval: %w", err)
	}
	if err := p.CheckOrigin(a.Origin); err != nil {
		return message.JobID{}, err
	}
	if now.After(a.NotAfter) {
		return message.JobID{}, &policy.Refusal{Code: message.CodeExpired, Text: fmt.Sprintf("the approval was good until %s: make another request", a.NotAfter.UTC().Format(time.RFC3339))}
	}
	_, persons, err := p.OpenApproval(note)
	if err != nil {
		return message.JobID{}, err
	}
	if len(persons) == 0 {
		return message.JobID{}, errors.New("nobody has signed this: it is the request itself, approve it with touchmark approve")
	}
	return message.JobOf(text), nil
}

// Add puts the signatures of a note, which Job found to be for it, to those that
// a request has. added are the persons who were not among them. Errors are as of
// Job.
func Add(p *policy.Policy, have, more []byte) (joined []byte, added []string, err error) {
	if joined, err = message.JoinNotes(have, more); err != nil {
		return nil, nil, err
	}
	_, before, err := p.OpenApproval(have)
	if err != nil {
		return nil, nil, err
	}
	_, after, err := p.OpenApproval(joined)
	if err != nil {
		return nil, nil, err
	}
	added = slices.DeleteFunc(after, func(s string) bool { return slices.Contains(before, s) })
	return joined, added, nil
}
