package message

import (
	"time"

	"touchmark/hostlink/message/canon"
)

// Domains of the texts that hosts and approvers sign.
const (
	ApprovalDomain   = "touchmark/approval/v1"
	SubmissionDomain = "touchmark/submission/v1"
)

// Item is one artifact to be signed.
type Item struct {
	Format string // signature format, for example "openpgp-binary"
	Digest Digest // of the artifact's bytes
	Size   uint64 // in bytes, at most MaxItemSize
	Name   string // the host's claim; see ValidName
}

// Approval is what is asked to be signed. Its text identifies the job; who
// approves signs the text as a note.
type Approval struct {
	Origin   string    // the log this is meant for; see ValidOrigin
	Class    string    // policy class; see ValidToken
	Nonce    [16]byte  // random, makes two requests for the same artifact two jobs
	NotAfter time.Time // whole seconds; later the job is refused
	Items    []Item    // 1 to MaxItems, no two of the same name and format
}

// Marshal gives the approval text, nil if a field has no canonical form.
// ParseApproval of the result says whether the approval is valid.
func (a Approval) Marshal() []byte {
	w := canon.NewWriter(ApprovalDomain)
	w.Line("origin", a.Origin)
	w.Line("class", a.Class)
	w.Line("nonce", canon.Hex(a.Nonce[:]))
	w.Line("not-after", canon.Time(a.NotAfter))
	for _, it := range a.Items {
		w.Line("item", it.Format, it.Digest.String(), canon.Uint(it.Size), it.Name)
	}
	return w.Bytes()
}

// ParseApproval reads an approval text; Marshal of the result gives text.
func ParseApproval(text []byte) (Approval, error) {
	r := canon.NewReaderMax(text, ApprovalDomain, MaxText)
	a := Approval{Origin: readOrigin(r), Class: readToken(r, "class")}
	a.Nonce = [16]byte(r.Hex(r.Line("nonce", 1)[0], 16))
	a.NotAfter = r.Time(r.Line("not-after", 1)[0])
	for len(a.Items) == 0 || r.Peek() == "item" {
		if len(a.Items) == MaxItems {
			r.Failf("more than %d items: split the batch", MaxItems)
		}
		a.Items = append(a.Items, readItem(r, a.Items))
	}
	if err := r.Close(); err != nil {
		return Approval{}, err
	}
	return a, nil
}

func readItem(r *canon.Reader, before []Item) Item {
	f := r.Line("item", 4)
	it := Item{Format: checkFormat(r, f[0]), Digest: readDigest(r, f[1]), Size: r.Uint(f[2], MaxItemSize), Name: f[3]}
	if r.Err() != nil {
		return Item{}
	}
	if err := ValidName(it.Name); err != nil {
		r.Failf("%v", err)
	}
	for _, b := range before {
		if b.Name == it.Name && b.Format == it.Format {
			r.Failf("two items are called %s: give each artifact its own name", it.Name)
		}
	}
	return it
}

// Submission is a host's request to sign the artifacts of an approval and, at
// the same time, its commitment to the log as it knows it.
type Submission struct {
	Approval JobID     // which approval
	HeadSize uint64    // size of the log the host last verified
	HeadRoot [32]byte  // and its root
	HostTime time.Time // the host's clock, whole seconds
}

// Marshal gives the submission text.
func (s Submission) Marshal() []byte {
	w := canon.NewWriter(SubmissionDomain)
	w.Line("approval", s.Approval.String())
	w.Line("head", canon.Uint(s.HeadSize), canon.Hex(s.HeadRoot[:]))
	w.Line("host-time", canon.Time(s.HostTime))
	return w.Bytes()
}

// ParseSubmission reads a submission text; Marshal of the result gives text.
func ParseSubmission(text []byte) (Submission, error) {
	r := canon.NewReaderMax(text, SubmissionDomain, MaxText)
	s := Submission{Approval: readJob(r, "approval")}
	s.HeadSize, s.HeadRoot = readHead(r, "head")
	s.HostTime = r.Time(r.Line("host-time", 1)[0])
	if err := r.Close(); err != nil {
		return Submission{}, err
	}
	return s, nil
}
