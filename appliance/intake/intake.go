// Package intake decides whether what a host asks for may be put before a
// person: everything about a submission or a cancellation that can be checked
// before anybody looks at it.
//
// The order is: signatures and origin (policy.Authenticate), whether this very
// submission has had its answer (Ended), its time (policy.Fresh), what the
// policy gives (policy.Admit), the host's head against the log, the hash states
// and documents against the approved digests. The first that does not hold refuses, with a
// code of docs/spec/message.md section 6.
//
// Guarantees: what comes out of Admit is signed by one known host and as many
// persons as its class demands, commits to a true prefix of this log, and each
// of its states is one that a file with the approved digest leaves behind. What
// a document means was read from the bytes that have the approved digest.
// Nothing is remembered of what is refused but bounded counts (Tally) and, of
// what was once taken, its end (Ended).
//
// The package is pure: time and the log are passed in.
package intake

import (
	"errors"
	"fmt"
	"time"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/document"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/message"
)

// Log is what intake needs of the board's log: RFC 6962 roots of its prefixes,
// entries that are not committed yet included.
type Log interface {
	Size() uint64
	Root(size uint64) ([32]byte, error)
}

// Artifact is what an item of an admitted request is to be made of.
type Artifact struct {
	State   hashstate.State // of what its format is over
	Meaning []string        // what its document says, in lines for people; nil if it came without
}

// Admit checks everything of an authenticated request but its signatures:
// contents are what came with it, now is the board's time. It gives what the
// policy grants and the artifacts, one for each item. The error is a
// *policy.Refusal.
func Admit(p *policy.Policy, log Log, rates *policy.History, req *policy.Request, contents []message.Content, now time.Time) (*policy.Grant, []Artifact, error) {
	if err := p.Fresh(req, now); err != nil {
		return nil, nil, err
	}
	grant, err := p.Admit(req, rates, now)
	if err != nil {
		return nil, nil, err
	}
	if err := checkHead(log, req.Submission); err != nil {
		return nil, nil, err
	}
	class, _ := p.Class(grant.Class) // it is there: it grants
	artifacts, err := checkContents(class, req.Approval.Items, contents, now)
	if err != nil {
		return nil, nil, err
	}
	return grant, artifacts, nil
}

// checkHead holds the host's view of the log against ours: any true prefix
// will do. So each job is also the host's commitment to this log.
func checkHead(log Log, sub message.Submission) error {
	size := log.Size()
	if sub.HeadSize > size {
		return Refuse(message.CodeUnknownHead, "the host has seen %d log entries, this board holds %d: the board's storage was rolled back or replaced", sub.HeadSize, size)
	}
	if old := size - sub.HeadSize; old > MaxHeadAge {
		return Refuse(message.CodeStaleHead, "the host's view of the log is %d entries old: fetch the log and ask again", old)
	}
	root, err := log.Root(sub.HeadSize)
	if err != nil {
		return Refuse(message.CodeInternal, "reading the log: %v", err)
	}
	if root != sub.HeadRoot {
		return Refuse(message.CodeForkedHead, "the host's log of %d entries is not the beginning of this board's log", sub.HeadSize)
	}
	return nil
}

// checkContents reads what came of each item.
func checkContents(class *policy.Class, items []message.Item, contents []message.Content, now time.Time) (artifacts []Artifact, err error) {
	if len(contents) != len(items) {
		return nil, Refuse(message.CodeBadState, "%d hash states and documents for %d items", len(contents), len(items))
	}
	for i, it := range items {
		var a Artifact
		if contents[i].Document != nil {
			a, err = readDocument(it, contents[i].Document, now)
		} else {
			a.State, err = checkState(class, it, contents[i].State)
		}
		if err != nil {
			return nil, inItem(i, err)
		}
		artifacts = append(artifacts, a)
	}
	return artifacts, nil
}

// inItem says which item a refusal is about.
func inItem(i int, err error) error {
	var r *policy.Refusal
	if errors.As(err, &r) {
		return Refuse(r.Code, "item %d: %s", i+1, r.Text)
	}
	return err
}

// readDocument hashes a document, confirms that it is the approved one, and says
// what it means now.
func readDocument(it message.Item, doc []byte, now time.Time) (a Artifact, err error) {
	h := hashstate.New(it.Digest.Alg)
	_, _ = h.Write(doc) // a hash never fails
	a.State = h.State()
	if err := matches(it, a.State, "document"); err != nil {
		return a, err
	}
	d, err := document.Parse(it.Format, doc)
	if err != nil {
		return a, Refuse(message.CodeBadDocument, "%v", err)
	}
	a.Meaning = d.At(now)
	return a, nil
}

// checkState confirms that a hash state is one that a file of the approved size
// with the approved digest leaves behind, and that a state will do.
func checkState(class *policy.Class, it message.Item, b []byte) (st hashstate.State, err error) {
	if class.Demands(it.Format) {
		return st, Refuse(message.CodeDocumentMissing, "what class %s signs as %s must come as a document, so that the operator is shown what it says", class.Name, it.Format)
	}
	if st, err = hashstate.Parse(it.Digest.Alg, b); err != nil {
		return st, Refuse(message.CodeBadState, "%v", err)
	}
	return st, matches(it, st, "hash state")
}

// matches confirms that a state, of what it is called, is the approved one.
func matches(it message.Item, st hashstate.State, what string) error {
	if st.Count() != it.Size {
		return Refuse(message.CodeStateMismatch, "the %s is of %d bytes, the approval of %d", what, st.Count(), it.Size)
	}
	if !it.Digest.Equal(message.Digest{Alg: it.Digest.Alg, Sum: st.Digest()}) {
		return Refuse(message.CodeStateMismatch, "the %s is of another file than the digest", what)
	}
	return nil
}

// OpenCancel verifies a cancellation: signed by one known host, for this
// appliance, made now, give or take the policy's max_skew. The error is a
// *policy.Refusal.
func OpenCancel(p *policy.Policy, note []byte, now time.Time) (*message.Cancel, string, error) {
	return open(p, note, "cancellation", message.ParseCancel, func(c *message.Cancel) (string, time.Time) { return c.Origin, c.HostTime }, now)
}

// OpenRounds verifies an announcement of rounds in the same way.
func OpenRounds(p *policy.Policy, note []byte, now time.Time) (*message.Rounds, string, error) {
	return open(p, note, "announcement", message.ParseRounds, func(r *message.Rounds) (string, time.Time) { return r.Origin, r.HostTime }, now)
}

// open verifies what a host signed by itself: by one known host, for this
// appliance, made now.
func open[T any](p *policy.Policy, note []byte, what string, parse func([]byte) (*T, error), head func(*T) (origin string, at time.Time), now time.Time) (m *T, host string, err error) {
	text, host, err := p.AuthenticateHost(note)
	if err != nil {
		return nil, "", err
	}
	if m, err = parse(text); err != nil {
		return nil, "", Refuse(message.CodeBadMessage, "%s: %v", what, err)
	}
	origin, at := head(m)
	if err := p.CheckOrigin(origin); err != nil {
		return nil, "", err
	}
	if off := at.Sub(now).Abs(); off > p.MaxSkew {
		return nil, "", Refuse(message.CodeClockSkew, "the %s was made at %s, it is %s, more than %s apart: it is a replay, or a clock is wrong",
			what, at.Format(time.RFC3339), now.UTC().Format(time.RFC3339), p.MaxSkew)
	}
	return m, host, nil
}

// RefusalOf gives the refusal that err is or wraps. Any other error is the board's
// own, and the host is told so.
func RefusalOf(err error) policy.Refusal {
	var r *policy.Refusal
	if errors.As(err, &r) {
		return *r
	}
	return policy.Refusal{Code: message.CodeInternal, Text: "the appliance failed at it: " + err.Error()}
}

// Refuse makes a *policy.Refusal.
func Refuse(code, format string, a ...any) error {
	return &policy.Refusal{Code: code, Text: fmt.Sprintf(format, a...)}
}
