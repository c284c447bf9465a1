package policy

import (
	"errors"
	"fmt"
	"slices"

	"touchmark/hostlink/message"
)

// Refusal says why something may not be signed.
type Refusal struct {
	Code string // one of message.Code...
	Text string // one line: what is wrong and what to do
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Text }

func refuse(code, format string, a ...any) *Refusal {
	return &Refusal{Code: code, Text: fmt.Sprintf(format, a...)}
}

// Request is an authenticated job: every signature on it was verified.
type Request struct {
	Job          message.JobID
	Approval     message.Approval
	ApprovalText []byte
	Submission   message.Submission
	Host         string   // Host.Name of the submitter
	Persons      []string // approvers, sorted, each once
}

// Authenticate verifies both notes of a job: the submission is signed by
// exactly one known host and names this approval; the approval is for this
// policy's origin and signed by nobody but known approvers, one key a person.
// The error is a *Refusal.
func (p *Policy) Authenticate(approvalNote, submissionNote []byte) (*Request, error) {
	text, host, err := p.AuthenticateHost(submissionNote)
	if err != nil {
		return nil, err
	}
	r := &Request{Host: host}
	if r.Submission, err = message.ParseSubmission(text); err != nil {
		return nil, refuse(message.CodeBadMessage, "submission: %v", err)
	}
	if r.ApprovalText, r.Persons, err = p.OpenApproval(approvalNote); err != nil {
		return nil, err
	}
	if r.Approval, err = message.ParseApproval(r.ApprovalText); err != nil {
		return nil, refuse(message.CodeBadMessage, "approval: %v", err)
	}
	if r.Job = message.JobOf(r.ApprovalText); r.Submission.Approval != r.Job {
		return nil, refuse(message.CodeWrongApproval, "the submission is for job %s, the approval is job %s: submit an approval together with its own submission", r.Submission.Approval, r.Job)
	}
	if err := p.CheckOrigin(r.Approval.Origin); err != nil {
		return nil, err
	}
	return r, nil
}

// CheckOrigin refuses a text that is meant for another appliance. The error
// is a *Refusal.
func (p *Policy) CheckOrigin(origin string) error {
	if origin != p.Origin {
		return refuse(message.CodeWrongOrigin, "this is for %s, but this appliance is %s: check the host's trust file", origin, p.Origin)
	}
	return nil
}

// AuthenticateHost verifies a note that exactly one host signed (submission,
// hello, cancel) and returns its text and the host's name. The error is a
// *Refusal.
func (p *Policy) AuthenticateHost(msg []byte) (text []byte, host string, err error) {
	if len(msg) > message.MaxNote {
		return nil, "", refuse(message.CodeBadMessage, "note of %d bytes, at most %d", len(msg), message.MaxNote)
	}
	text, by, err := message.OpenNote(msg, p.HostVerifiers())
	if err != nil {
		return nil, "", noteRefusal(err, message.CodeUnknownHost, "add the host's key to the policy or use the key that is in it")
	}
	switch len(by) {
	case 0:
		return nil, "", refuse(message.CodeBadSignature, "signed by nobody: exactly one host signs")
	case 1:
		return text, p.Hosts[by[0]].Name, nil
	}
	return nil, "", refuse(message.CodeSurplusSignature, "signed by %d host keys: exactly one host signs", len(by))
}

// OpenApproval verifies an approval note: signed by nobody but known approvers,
// one key a person, perhaps by none of them. It returns the text, which may be
// no approval, and the persons, sorted. The error is a *Refusal.
func (p *Policy) OpenApproval(msg []byte) (text []byte, persons []string, err error) {
	if len(msg) > message.MaxNote {
		return nil, nil, refuse(message.CodeBadMessage, "approval note of %d bytes, at most %d", len(msg), message.MaxNote)
	}
	text, by, err := message.OpenNote(msg, p.ApproverVerifiers())
	if err != nil {
		return nil, nil, noteRefusal(err, message.CodeUnknownApprover, "only approvers of the policy sign approvals, a host never does")
	}
	for _, i := range by {
		person := p.Approvers[i].Person
		if slices.Contains(persons, person) {
			return nil, nil, refuse(message.CodeSamePerson, "%s approved twice with different keys: one signature a person", person)
		}
		persons = append(persons, person)
	}
	slices.Sort(persons)
	return text, persons, nil
}

// noteRefusal maps what OpenNote found; unknown is the code and hint for a
// key that the policy does not know.
func noteRefusal(err error, unknown, hint string) *Refusal {
	var ne *message.NoteError
	if !errors.As(err, &ne) {
		return refuse(message.CodeBadMessage, "%v", err)
	}
	switch ne.Problem {
	case message.NoteUnknownKey:
		return refuse(unknown, "%v: %s", ne, hint)
	case message.NoteMalformed, message.NoteTooLarge:
		return refuse(message.CodeBadMessage, "%v", ne)
	case message.NoteDuplicate:
		return refuse(message.CodeSurplusSignature, "%v", ne)
	}
	return refuse(message.CodeBadSignature, "%v", ne)
}
