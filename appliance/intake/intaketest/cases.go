package intaketest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
)

// Case is one way to be refused.
type Case struct {
	Name string
	Code string
	bend func(*Forge, *Request)                  // before it is signed
	edit func(*Forge, *Request, *message.Submit) // afterwards
}

// Make gives the submission and the job whose refusal answers it: the zero job
// when the approval is no note.
func (c Case) Make(f *Forge) (*message.Submit, message.JobID) {
	r := f.Honest("first content", "the second one")
	if c.bend != nil {
		c.bend(f, r)
	}
	m := r.Submit()
	if c.edit != nil {
		c.edit(f, r, m)
	}
	text, err := message.NoteText(m.Approval)
	if err != nil {
		return m, message.JobID{}
	}
	return m, message.JobOf(text)
}

// Cases are all of them.
func Cases() []Case {
	all := append(approvals(), submissions()...)
	all = append(all, notes()...)
	all = append(all, headsAndTimes()...)
	all = append(all, policies()...)
	all = append(all, states()...)
	return append(all, documents()...)
}

// approved asks for the class that demands two persons.
func approved(signers func(*Forge) []note.Signer) func(*Forge, *Request) {
	return func(f *Forge, r *Request) {
		r.Approval.Class, r.Approvers = Approved, signers(f)
	}
}

func approvals() []Case {
	stranger, _ := NewKey("carol")
	impostor := Impostor("alice")
	return []Case{
		{"approved by nobody", message.CodeApprovalsMissing, approved(func(*Forge) []note.Signer { return nil }), nil},
		{"approved by one of two", message.CodeApprovalsMissing, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Bob} }), nil},
		{"one person, two keys", message.CodeSamePerson, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice, f.AliceLaptop} }), nil},
		{"one person, two keys, and another", message.CodeSamePerson, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice, f.Bob, f.AliceLaptop} }), nil},
		{"a host approves", message.CodeUnknownApprover, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice, f.Host} }), nil},
		{"another host approves", message.CodeUnknownApprover, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice, f.Other} }), nil},
		{"a stranger approves", message.CodeUnknownApprover, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice, stranger} }), nil},
		{"an approver too many, unknown", message.CodeUnknownApprover, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice, f.Bob, stranger} }), nil},
		{"a stranger with an approver's name", message.CodeUnknownApprover, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Bob, impostor} }), nil},
		{"a stranger where nobody need approve", message.CodeUnknownApprover, func(_ *Forge, r *Request) { r.Approvers = []note.Signer{stranger} }, nil},
		{"one key twice", message.CodeSurplusSignature, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice} }), func(_ *Forge, _ *Request, m *message.Submit) {
			m.Approval = append(m.Approval, lastLine(m.Approval)...)
		}},
		{"approvals of another request", message.CodeBadSignature, approved(func(f *Forge) []note.Signer { return []note.Signer{f.Alice, f.Bob} }), moved(func(a *message.Approval) { a.Nonce[0]++ })},
		{"approvals for another class", message.CodeBadSignature, func(f *Forge, r *Request) { r.Approvers = []note.Signer{f.Alice, f.Bob} }, moved(func(a *message.Approval) { a.Class = Approved })},
		{"approvals for another appliance", message.CodeBadSignature, func(f *Forge, r *Request) {
			r.Approval.Class, r.Approval.Origin, r.Approvers = Approved, "other.example/log", []note.Signer{f.Alice, f.Bob}
		}, func(f *Forge, r *Request, m *message.Submit) {
			moved(func(a *message.Approval) { a.Origin = f.Origin })(f, r, m)
		}},
	}
}

// moved puts the approvers' signatures under a changed approval, with a
// submission of its own.
func moved(change func(*message.Approval)) func(*Forge, *Request, *message.Submit) {
	return func(_ *Forge, r *Request, m *message.Submit) {
		other, old := *r, m.Approval
		change(&other.Approval)
		*m = *other.Submit()
		m.Approval = append(append(other.Approval.Marshal(), '\n'), signatures(old)...)
	}
}

func submissions() []Case {
	stranger, _ := NewKey("repo9")
	impostor := Impostor("repo1")
	by := func(signers func(*Forge) []note.Signer) func(*Forge, *Request) {
		return func(f *Forge, r *Request) { r.Hosts = signers(f) }
	}
	return []Case{
		{"submitted by nobody", message.CodeBadSignature, by(func(*Forge) []note.Signer { return nil }), nil},
		{"submitted by a stranger", message.CodeUnknownHost, by(func(*Forge) []note.Signer { return []note.Signer{stranger} }), nil},
		{"submitted by a stranger with a host's name", message.CodeUnknownHost, by(func(*Forge) []note.Signer { return []note.Signer{impostor} }), nil},
		{"submitted by an approver", message.CodeUnknownHost, by(func(f *Forge) []note.Signer { return []note.Signer{f.Alice} }), nil},
		{"submitted by two hosts", message.CodeSurplusSignature, by(func(f *Forge) []note.Signer { return []note.Signer{f.Host, f.Other} }), nil},
		{"submitted by a host and a stranger", message.CodeUnknownHost, by(func(f *Forge) []note.Signer { return []note.Signer{f.Host, stranger} }), nil},
		{"submitted twice by one key", message.CodeSurplusSignature, nil, func(_ *Forge, _ *Request, m *message.Submit) {
			m.Submission = append(m.Submission, lastLine(m.Submission)...)
		}},
		{"a host that may not", message.CodeHostForbidden, by(func(f *Forge) []note.Signer { return []note.Signer{f.Other} }), nil},
		{"submission changed by a bit", message.CodeBadSignature, nil, func(_ *Forge, _ *Request, m *message.Submit) {
			i := bytes.Index(m.Submission, []byte("host-time 20")) + len("host-time 20") // the tens of the year
			m.Submission[i] ^= 1
		}},
		{"submission of another approval", message.CodeWrongApproval, func(f *Forge, r *Request) {
			r.Submission.Approval, r.FixedApproval = f.Honest("another").Job(), true
		}, nil},
		{"a hello for a submission", message.CodeBadMessage, nil, func(f *Forge, _ *Request, m *message.Submit) {
			h := message.Hello{Origin: f.Origin, HostTime: f.Now()}
			m.Submission = Sign(h.Marshal(), f.Host)
		}},
		{"a submission for an approval", message.CodeBadMessage, nil, func(f *Forge, r *Request, m *message.Submit) {
			m.Approval = Sign(r.Submission.Marshal())
		}},
		{"approval and submission swapped", message.CodeBadSignature, nil, func(_ *Forge, _ *Request, m *message.Submit) {
			m.Approval, m.Submission = m.Submission, m.Approval
		}},
	}
}

// notes are those whose form is wrong.
func notes() []Case {
	return []Case{
		{"approval without its empty line", message.CodeBadMessage, nil, func(_ *Forge, r *Request, m *message.Submit) {
			m.Approval = r.Approval.Marshal()
		}},
		{"approval with a surplus line", message.CodeBadMessage, nil, func(f *Forge, r *Request, m *message.Submit) {
			text := append(r.Approval.Marshal(), "urgent yes\n"...)
			m.Approval = Sign(text)
		}},
		{"approval of a later version", message.CodeBadMessage, nil, func(f *Forge, r *Request, m *message.Submit) {
			m.Approval = Sign(bytes.Replace(r.Approval.Marshal(), []byte("/v1"), []byte("/v2"), 1))
		}},
		{"approval of nothing", message.CodeBadMessage, func(_ *Forge, r *Request) { r.Approval.Items, r.Contents = nil, r.Contents[:1] }, nil},
		{"approval of two items with one name", message.CodeBadMessage, func(_ *Forge, r *Request) { r.Approval.Items[1].Name = r.Approval.Items[0].Name }, nil},
		{"a name that leaves its folder", message.CodeBadMessage, func(_ *Forge, r *Request) { r.Approval.Items[0].Name = "../x.db" }, nil},
		{"a name that is an option", message.CodeBadMessage, func(_ *Forge, r *Request) { r.Approval.Items[0].Name = "-x.db" }, nil},
		{"submission with a surplus line", message.CodeBadMessage, nil, func(f *Forge, r *Request, m *message.Submit) {
			m.Submission = Sign(append(r.Submission.Marshal(), "urgent yes\n"...), f.Host)
		}},
		{"signature that is not base64", message.CodeBadMessage, nil, func(_ *Forge, _ *Request, m *message.Submit) {
			m.Submission[len(m.Submission)-3] = '*'
		}},
	}
}

func headsAndTimes() []Case {
	return []Case{
		{"forked head", message.CodeForkedHead, func(_ *Forge, r *Request) { r.Submission.HeadRoot[5] ^= 1 }, nil},
		{"forked head of size 0", message.CodeForkedHead, func(_ *Forge, r *Request) { r.Submission.HeadSize = 0 }, nil},
		{"head beyond the log", message.CodeUnknownHead, func(_ *Forge, r *Request) { r.Submission.HeadSize++ }, nil},
		{"head far beyond the log", message.CodeUnknownHead, func(_ *Forge, r *Request) { r.Submission.HeadSize = message.MaxTreeSize }, nil},
		{"host's clock ahead", message.CodeClockSkew, func(_ *Forge, r *Request) {
			r.Submission.HostTime = r.Submission.HostTime.Add(MaxSkew + time.Minute)
		}, nil},
		{"host's clock behind, or an old submission", message.CodeClockSkew, func(_ *Forge, r *Request) {
			r.Submission.HostTime = r.Submission.HostTime.Add(-MaxSkew - time.Minute)
		}, nil},
		{"an old approval with a new submission", message.CodeExpired, func(_ *Forge, r *Request) {
			r.Approval.NotAfter = r.Approval.NotAfter.Add(-2 * time.Hour)
		}, nil},
		{"an approval for ever", message.CodeNotAfterTooFar, func(_ *Forge, r *Request) {
			r.Approval.NotAfter = r.Approval.NotAfter.Add(MaxValidity)
		}, nil},
	}
}

func policies() []Case {
	return []Case{
		{"another origin", message.CodeWrongOrigin, func(_ *Forge, r *Request) { r.Approval.Origin = "other.example/log" }, nil},
		{"an origin below ours", message.CodeWrongOrigin, func(f *Forge, r *Request) { r.Approval.Origin = f.Origin + "/x" }, nil},
		{"unknown class", message.CodeUnknownClass, func(_ *Forge, r *Request) { r.Approval.Class = "nothing" }, nil},
		{"a name of no pattern", message.CodeNameForbidden, approvedTwice(func(r *Request) { r.Approval.Items[1].Name = "evil.iso" }), nil},
		{"another format", message.CodeFormatForbidden, func(_ *Forge, r *Request) { r.Approval.Items[1].Format = "sshsig" }, nil},
		{"a size beyond the class's", message.CodeTooLarge, approvedTwice(func(r *Request) { r.Approval.Items[0].Size = 2 << 20 }), nil},
		{"too many at once", message.CodeBatchTooLarge, approvedTwice(func(r *Request) {
			for _, name := range []string{"c.db", "d.db", "e.db"} {
				it, state := Item(message.SHA256, name, name)
				r.Approval.Items, r.Contents = append(r.Approval.Items, it), append(r.Contents, state)
			}
		}), nil},
	}
}

// approvedTwice bends what two persons have approved.
func approvedTwice(bend func(*Request)) func(*Forge, *Request) {
	return func(f *Forge, r *Request) {
		r.Approval.Class, r.Approvers = Approved, []note.Signer{f.Alice, f.Bob}
		bend(r)
	}
}

// states are hash states that lie. SHA-256: 32 bytes of chaining value, 8 of
// count, then the tail.
func states() []Case {
	on := func(change func(state []byte) []byte) func(*Forge, *Request) {
		return func(_ *Forge, r *Request) { r.Contents[0].State = change(bytes.Clone(r.Contents[0].State)) }
	}
	count := func(n uint64) func(*Forge, *Request) {
		return on(func(s []byte) []byte { binary.BigEndian.PutUint64(s[32:], n); return s })
	}
	long := string(bytes.Repeat([]byte("block"), 100)) // 500 bytes: 7 blocks and 52 bytes
	return []Case{
		{"no state for the second item", message.CodeBadState, func(_ *Forge, r *Request) { r.Contents = r.Contents[:1] }, nil},
		{"a state too many", message.CodeBadState, func(_ *Forge, r *Request) { r.Contents = append(r.Contents, r.Contents[0]) }, nil},
		{"states swapped", message.CodeStateMismatch, func(_ *Forge, r *Request) { r.Contents[0], r.Contents[1] = r.Contents[1], r.Contents[0] }, nil},
		{"a state without its count", message.CodeBadState, on(func(s []byte) []byte { return s[:32] }), nil},
		{"a tail that is too short", message.CodeBadState, on(func(s []byte) []byte { return s[:len(s)-1] }), nil},
		{"a tail that is too long", message.CodeBadState, on(func(s []byte) []byte { return append(s, 0) }), nil},
		{"a tail of a whole block", message.CodeBadState, on(func(s []byte) []byte { return append(s[:40], make([]byte, 64)...) }), nil},
		{"another tail", message.CodeStateMismatch, on(func(s []byte) []byte { s[len(s)-1] ^= 1; return s }), nil},
		{"a count that lies by one", message.CodeBadState, count(uint64(len("first content") + 1)), nil},
		{"a count that lies by a block", message.CodeStateMismatch, count(uint64(len("first content") + 64)), nil},
		{"a count beyond all files", message.CodeBadState, count(1<<61 - 4096 + uint64(len("first content"))%64), nil},
		{"the largest count there is", message.CodeBadState, count(1<<64 - 64 + uint64(len("first content"))), nil},
		{"a chosen chaining value on short input", message.CodeBadState, on(func(s []byte) []byte { s[0] ^= 1; return s }), nil},
		{"a chosen chaining value on long input", message.CodeStateMismatch, func(_ *Forge, r *Request) {
			r.Approval.Items[0], r.Contents[0] = Item(message.SHA256, "long.db", long)
			r.Contents[0].State[0] ^= 1
		}, nil},
		{"a state of another algorithm", message.CodeBadState, func(_ *Forge, r *Request) {
			_, r.Contents[0] = Item(message.SHA512, "x.db", "first content")
		}, nil},
		{"an approved digest of another file", message.CodeStateMismatch, func(_ *Forge, r *Request) {
			other, _ := Item(message.SHA256, "x.db", "other content") // as long as the first
			r.Approval.Items[0].Digest = other.Digest
		}, nil},
		{"an approved size that lies", message.CodeStateMismatch, func(_ *Forge, r *Request) { r.Approval.Items[0].Size++ }, nil},
	}
}

// Release is a document that a format of files may come as.
const Release = "Suite: stable\nDate: Sat, 21 Nov 2026 12:00:00 UTC\nSHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/Packages\n"

// documents are those that lie, or say two things.
func documents() []Case {
	sent := func(approved, document string) func(*Forge, *Request) {
		return func(_ *Forge, r *Request) {
			r.Approval.Items[0], _ = Item(message.SHA256, "file0.db", approved)
			r.Contents[0] = message.Content{Document: []byte(document)}
		}
	}
	said := func(document string) func(*Forge, *Request) { return sent(document, document) }
	changed := func(old, new string) func(*Forge, *Request) { return said(strings.Replace(Release, old, new, 1)) }
	return []Case{
		{"a document of another file than the digest", message.CodeStateMismatch, sent(Release, strings.Replace(Release, "stable", "sid", 1)), nil},
		{"a document with a byte behind it", message.CodeStateMismatch, sent(Release, Release+"\n"), nil},
		{"a document without its last byte", message.CodeStateMismatch, sent(Release, Release[:len(Release)-1]), nil},
		{"a document and another one's digest in the second item", message.CodeStateMismatch, func(_ *Forge, r *Request) {
			r.Contents[1] = message.Content{Document: []byte(Release)}
		}, nil},
		{"a document that is none", message.CodeBadDocument, said("first content"), nil},
		{"a field twice", message.CodeBadDocument, changed("Date:", "suite: evil\nDate:"), nil},
		{"a second paragraph", message.CodeBadDocument, said(Release + "\nSuite: evil\n"), nil},
		{"a text that seems to be signed", message.CodeBadDocument, said("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + Release), nil},
		{"an escape sequence", message.CodeBadDocument, changed("stable", "stable\x1b[2J"), nil},
		{"a carriage return", message.CodeBadDocument, changed("stable", "evil\rstable"), nil},
		{"a document without its last line end", message.CodeBadDocument, said(Release[:len(Release)-1]), nil},
		{"a file of two sizes", message.CodeBadDocument, said(Release + "MD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 1 main/Packages\n"), nil},
		{"more lines than a person reads", message.CodeBadDocument, said(Release + manyFields(300)), nil},
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-Field-%d: value\n", i)
	}
	return b.String()
}

// signatures is what stands behind a note's last empty line.
func signatures(n []byte) []byte { return n[bytes.LastIndex(n, []byte("\n\n"))+2:] }

// lastLine is a note's last signature line.
func lastLine(n []byte) []byte {
	return bytes.Clone(n[bytes.LastIndexByte(n[:len(n)-1], '\n')+1:])
}
