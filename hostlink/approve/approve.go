// Package approve holds a request for approval, which came from a repository
// host, against what an approver has himself: his own copies of the files, and
// the log and class that he means. It is what stands between a host that was
// taken over and a signature, so it believes nothing of the request.
//
// A request is an approval text (message.md §3) as a note, with the signatures
// of those who approved already. The package is pure.
package approve

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"touchmark/hostlink/message"
)

// Request is what is to be approved.
type Request struct {
	Approval message.Approval
	Job      message.JobID
	Note     []byte
}

// Read takes a request apart. It verifies no signature: whoever collects
// approvals does.
func Read(note []byte) (*Request, error) {
	text, err := message.NoteText(note)
	if err != nil {
		return nil, fmt.Errorf("this is no request for approval: %w", err)
	}
	a, err := message.ParseApproval(text)
	if err != nil {
		return nil, fmt.Errorf("this is no request for approval: %w", err)
	}
	return &Request{a, message.JobOf(text), note}, nil
}

// Meant is what an approver wants to approve, said by himself.
type Meant struct {
	Origin string
	Class  string
	Now    time.Time
}

// Check says why a request is not what is meant.
func (r *Request) Check(m Meant) error {
	switch a := &r.Approval; {
	case a.Origin != m.Origin:
		return fmt.Errorf("the request is for the log %s, not %s: it asks another appliance", a.Origin, m.Origin)
	case a.Class != m.Class:
		return fmt.Errorf("the request is for class %s, not %s: other rules, perhaps another key", a.Class, m.Class)
	case m.Now.After(a.NotAfter):
		return fmt.Errorf("the request was good until %s, it is %s: ask for another", stamp(a.NotAfter), stamp(m.Now))
	}
	return nil
}

// Own gives digest and size of an approver's own copy of an artifact, as the
// item's format and hash have it.
type Own func(it message.Item) (message.Digest, uint64, error)

// ErrDiffers says that an approver's own copy is not what the host wants signed.
var ErrDiffers = errors.New("differs from what the host wants signed")

// Compare holds own copies, by name, against every item of the request. There
// must be one for each and none besides.
func (r *Request) Compare(own map[string]Own) error {
	names := map[string]bool{}
	for _, it := range r.Approval.Items {
		names[it.Name] = true
		o, ok := own[it.Name]
		if !ok {
			return fmt.Errorf("the request has %s too: name your own copy of it", it.Name)
		}
		if err := compare(it, o); err != nil {
			return err
		}
	}
	for name := range own {
		if !names[name] {
			return fmt.Errorf("the request has no %s, but %s", name, strings.Join(r.names(), ", "))
		}
	}
	return nil
}

func compare(it message.Item, own Own) error {
	sum, size, err := own(it)
	if err != nil {
		return err
	}
	if size == it.Size && sum.Equal(it.Digest) {
		return nil
	}
	return fmt.Errorf("%s %w: yours is %s of %d bytes, the host's %s of %d bytes. DO NOT APPROVE: find out which is right", it.Name, ErrDiffers, sum, size, it.Digest, it.Size)
}

func (r *Request) names() (names []string) {
	for _, it := range r.Approval.Items {
		names = append(names, it.Name)
	}
	return names
}

// Lines say what a request asks for, for people.
func (r *Request) Lines() []string {
	a := &r.Approval
	out := []string{
		fmt.Sprintf("job %s", r.Job),
		fmt.Sprintf("log %s, class %s, good until %s", a.Origin, a.Class, stamp(a.NotAfter)),
	}
	for _, it := range a.Items {
		out = append(out, fmt.Sprintf("  %s as %s, %d bytes, %s", it.Name, it.Format, it.Size, it.Digest))
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
