// Package intaketest makes honest requests and bends them into every kind of
// request that a board must refuse, each with the code that it must be refused
// with. The same table is held against package intake, against a station with
// its log and display, and against the real appliance over the line.
package intaketest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/message"
)

// Forge holds the keys of everybody that a hostile host can be or pretend to
// be, and what it must know of the board.
type Forge struct {
	Origin string
	Host   note.Signer // repo1

	// Those of Tables.
	Other                   note.Signer // a host that may use no class of ours
	Alice, AliceLaptop, Bob note.Signer // approvers; the first two are one person
	vkeys                   map[string]string

	// Head is the size and root of the board's log, Now the time of host and
	// board.
	Head func() (uint64, [32]byte)
	Now  func() time.Time
}

// Plain and Approved are the classes that Tables adds: the host may have any
// *.db up to 1 MiB in them, 4 at once; the second demands two approvers.
const (
	Plain    = "plain"
	Approved = "approved"
)

// MaxSkew and MaxValidity are what the policy must say.
const (
	MaxSkew     = 10 * time.Minute
	MaxValidity = 24 * time.Hour
)

// New makes the keys that no test's policy has by itself.
func New(origin string) *Forge {
	f := &Forge{Origin: origin, vkeys: map[string]string{}}
	f.Other, f.Alice, f.AliceLaptop, f.Bob = f.key("repo2"), f.key("alice"), f.key("alice-laptop"), f.key("bob")
	return f
}

func (f *Forge) key(name string) note.Signer {
	s, vkey := NewKey(name)
	f.vkeys[name] = vkey
	return s
}

// NewKey makes the key of a name: the same each time, so that what a fuzz
// target finds can be found again.
func NewKey(name string) (note.Signer, string) { return keyFrom(name, name) }

// Impostor makes another key of that name.
func Impostor(name string) note.Signer {
	s, _ := keyFrom(name, "impostor of "+name)
	return s
}

func keyFrom(name, seed string) (note.Signer, string) {
	sum := sha256.Sum256([]byte("touchmark intake test key " + seed))
	secret, vkey, err := note.GenerateKey(bytes.NewReader(sum[:]), name)
	if err != nil {
		panic(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		panic(err)
	}
	return s, vkey
}

// Tables is TOML to be put at the end of a policy that has a host repo1 and a
// token key of the name given.
func (f *Forge) Tables(tokenKey string) string {
	return fmt.Sprintf(`
[[host]]
name = "repo2"
key = %q
[[approver]]
person = "alice"
key = %q
[[approver]]
person = "alice"
key = %q
[[approver]]
person = "bob"
key = %q
`, f.vkeys["repo2"], f.vkeys["alice"], f.vkeys["alice-laptop"], f.vkeys["bob"]) +
		classTable(Plain, tokenKey, 0) + classTable(Approved, tokenKey, 2)
}

func classTable(name, tokenKey string, approvals int) string {
	return fmt.Sprintf(`[[class]]
name = %q
keys = [%q]
hosts = ["repo1"]
names = ["*.db"]
formats = ["openpgp-binary"]
max_size = "1MiB"
rates = ["20/1h"]
approvals = %d
batch = 4
`, name, tokenKey, approvals)
}

// Request is a submission in the making.
type Request struct {
	Approval   message.Approval
	Submission message.Submission
	Contents   []message.Content
	Approvers  []note.Signer
	Hosts      []note.Signer

	// FixedApproval keeps the submission for another job than the approval's.
	FixedApproval bool
}

// Honest makes a request that is granted, for files of the given contents.
func (f *Forge) Honest(contents ...string) *Request {
	r := &Request{Hosts: []note.Signer{f.Host}}
	r.Approval = message.Approval{Origin: f.Origin, Class: Plain, NotAfter: f.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	_, _ = rand.Read(r.Approval.Nonce[:]) // never fails
	for i, c := range contents {
		it, state := Item(message.SHA256, fmt.Sprintf("file%d.db", i), c)
		r.Approval.Items = append(r.Approval.Items, it)
		r.Contents = append(r.Contents, state)
	}
	r.Submission.HeadSize, r.Submission.HeadRoot = f.Head()
	r.Submission.HostTime = f.Now().UTC().Truncate(time.Second)
	return r
}

// Item hashes a content.
func Item(alg message.Alg, name, content string) (message.Item, message.Content) {
	h := hashstate.New(alg)
	_, _ = h.Write([]byte(content)) // never fails
	st := h.State()
	return message.Item{Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: alg, Sum: st.Digest()}, Size: st.Count(), Name: name}, message.Content{State: st.Bytes()}
}

// Job is the request's identity.
func (r *Request) Job() message.JobID { return message.JobOf(r.Approval.Marshal()) }

// Submit signs it.
func (r *Request) Submit() *message.Submit {
	if !r.FixedApproval {
		r.Submission.Approval = r.Job()
	}
	return &message.Submit{Approval: Sign(r.Approval.Marshal(), r.Approvers...), Submission: Sign(r.Submission.Marshal(), r.Hosts...), Contents: r.Contents}
}

// Sign makes a note; a text that cannot be signed is a mistake of the test.
func Sign(text []byte, signers ...note.Signer) []byte {
	n, err := message.SignNote(text, signers...)
	if err != nil {
		panic(err)
	}
	return n
}

// Cancel withdraws a job at a time.
func (f *Forge) Cancel(by note.Signer, job message.JobID, at time.Time) []byte {
	c := message.Cancel{Origin: f.Origin, Job: job, HostTime: at}
	return Sign(c.Marshal(), by)
}
