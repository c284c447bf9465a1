// Package verify decides whether a signature over a file is this log's: the
// one check behind hostd, before it releases anything, "touchmark sign",
// before it writes anything, and "touchmark verify".
//
// It needs the file's hash state, the signature, the proof and what is pinned
// in the trust text, and nothing from the network or the log. The package is
// pure; everything it is given but the trust may come from an attacker.
package verify

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// Trust is a pinned log with its keys decoded.
type Trust struct {
	*anchor.Trust
	AttestKey *quote.AK
	Keys      certificate.Keyring

	note []byte             // of a checkpoint that was verified before, nil if there is none
	cp   *anchor.Checkpoint // what it says
}

// Knowing tells t of a checkpoint that was verified by t's keys before, and is met again in
// proofs.
func (t *Trust) Knowing(note []byte, cp *anchor.Checkpoint) { t.note, t.cp = note, cp }

// OpenCheckpoint is that of anchor.Trust; of the checkpoint that t knows, byte for byte, it
// says what is known.
func (t *Trust) OpenCheckpoint(note []byte) (*anchor.Checkpoint, error) {
	if t.cp != nil && bytes.Equal(t.note, note) {
		return t.cp, nil
	}
	return t.Trust.OpenCheckpoint(note)
}

// ParseTrust opens a trust note (docs/spec/trust.md).
func ParseTrust(text []byte) (*Trust, error) {
	tr, err := anchor.OpenTrust(text)
	if err != nil {
		return nil, err
	}
	return decoded(tr)
}

// Next opens the version of the trust note that follows t, signed by a quorum of
// t's administrators.
func (t *Trust) Next(text []byte) (*Trust, error) {
	next, err := t.Successor(text)
	if err != nil {
		return nil, err
	}
	return decoded(next)
}

func decoded(tr *anchor.Trust) (*Trust, error) {
	ak, err := quote.ParseAK(tr.AK)
	if err != nil {
		return nil, err
	}
	keys, err := certificate.ParseKeyring(tr.Certs)
	if err != nil {
		return nil, err
	}
	return &Trust{Trust: tr, AttestKey: ak, Keys: keys}, nil
}

// Intent is a proven intent: an entry of the pinned log that the TPM took
// before the token was asked.
type Intent struct {
	*ledger.Intent
	Header   ledger.Header
	Approval message.Approval
	Size     uint64 // of the checkpoint that covers it

	trust *Trust
	cert  *certificate.Certificate // of its key, as pinned
}

// OpenProof verifies a proof down to the TPM's attestation and takes its
// intent apart.
func (t *Trust) OpenProof(proof []byte) (*Intent, error) {
	p, err := ledger.ParseProof(proof)
	if err != nil {
		return nil, err
	}
	in, h, err := anchor.VerifyProof(p, t.Origin, t.OpenCheckpoint)
	if err != nil {
		return nil, err
	}
	a, err := t.OpenIntent(in)
	if err != nil {
		return nil, err
	}
	return &Intent{Intent: in, Header: h, Approval: *a, Size: p.Size, trust: t, cert: t.Keys.Find(in.Key)}, nil
}

// OpenIntent checks an intent's own consistency: its approval is for this log,
// is the job it names, and has one digest per item; the key is a pinned one.
func (t *Trust) OpenIntent(in *ledger.Intent) (*message.Approval, error) {
	text, err := message.NoteText(in.Approval)
	if err != nil {
		return nil, fmt.Errorf("intent: %w", err)
	}
	a, err := message.ParseApproval(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("intent: %w", err)
	case message.JobOf(text) != in.Job:
		return nil, errors.New("intent: the approval in it is another job's")
	case a.Origin != t.Origin:
		return nil, fmt.Errorf("intent: the approval is for log %q", a.Origin)
	case t.Keys.Find(in.Key) == nil:
		return nil, fmt.Errorf("intent: key %X is none of the trust file's: if the administrators added it, get the next version of that from them", in.Key)
	case len(in.SignDigests) != len(a.Items):
		return nil, fmt.Errorf("intent: %d digests for %d items", len(in.SignDigests), len(a.Items))
	}
	return &a, nil
}

// Facts is what a good signature with its proof says.
type Facts struct {
	Origin      string
	Key         [20]byte
	UserID      string
	Class       string
	Format      string
	Name        string // what the requesting host called the file
	Digest      message.Digest
	Size        uint64 // bytes
	Job         message.JobID
	Created     time.Time
	Index       uint64 // of the intent entry
	Checkpoint  uint64 // size of the log that the proof's checkpoint names
	Emulated    bool   // the token's attestation chain is not Yubico's
	SubmittedBy string // key name in the submission, "" if it has none

	// Cert is the signer's certificate as it is pinned now; it may be revoked or have
	// expired since.
	Cert *certificate.Certificate
}

// Signer is the key that the intent announced.
func (in *Intent) Signer() *signing.Key { return in.cert.Key }

// Check verifies that sig is the signature in this format that this intent
// announced for the file with state s. If several items have that digest, the one
// called name is reported.
func (in *Intent) Check(name string, f sigformat.Format, s hashstate.State, sig []byte) (*Facts, error) {
	i, err := in.Find(name, f, s)
	if err != nil {
		return nil, err
	}
	return in.CheckItem(i, s, sig)
}

// Find picks the item that speaks of the file with state s in a format; name
// decides between items of the same bytes.
func (in *Intent) Find(name string, f sigformat.Format, s hashstate.State) (int, error) {
	want, found := message.Digest{Alg: s.Alg(), Sum: s.Digest()}, -1
	for i, it := range in.Approval.Items {
		same := it.Format == f.Name && it.Digest.Equal(want) && it.Size == s.Count()
		if same && (found < 0 || it.Name == name) {
			found = i
		}
	}
	if found < 0 {
		return 0, fmt.Errorf("the proof is for other data than this file (it covers %s): the file was changed, or the proof belongs to another file",
			in.names())
	}
	return found, nil
}

// Item is the job's item of a name, or its first.
func (in *Intent) Item(name string) message.Item {
	items := in.Approval.Items
	return items[max(0, slices.IndexFunc(items, func(it message.Item) bool { return it.Name == name }))]
}

func (in *Intent) names() string {
	var b bytes.Buffer
	for i, it := range in.Approval.Items {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(it.Name)
	}
	return b.String()
}

// CheckItem is Check for the item at index i.
func (in *Intent) CheckItem(i int, s hashstate.State, sig []byte) (*Facts, error) {
	it := in.Approval.Items[i]
	format, ok := sigformat.FormatOf(it.Format)
	if !ok || it.Size != s.Count() || !it.Digest.Equal(message.Digest{Alg: s.Alg(), Sum: s.Digest()}) {
		return nil, fmt.Errorf("%s: the intent is for other data", it.Name)
	}
	if err := in.cert.Fits(format.Family); err != nil {
		return nil, fmt.Errorf("%s: %w", it.Name, err)
	}
	plan, err := format.Plan(in.cert.Key, s, in.Header.Time, in.trust.Origin, in.Job)
	if err != nil {
		return nil, err
	}
	if !in.SignDigests[i].Equal(message.Digest{Alg: plan.Alg, Sum: plan.Digest}) {
		return nil, fmt.Errorf("%s: the intent announced another signature", it.Name)
	}
	if err := format.Check(in.cert.Key, it.Digest, in.SignDigests[i], sig, in.Header.Time, in.trust.Origin, in.Job); err != nil {
		return nil, fmt.Errorf("%s: %w", it.Name, err)
	}
	return in.facts(it), nil
}

func (in *Intent) facts(it message.Item) *Facts {
	return &Facts{
		Origin: in.trust.Origin, Key: in.Key, UserID: in.cert.UserID, Class: in.Approval.Class, Format: it.Format, Name: it.Name,
		Digest: it.Digest, Size: it.Size, Job: in.Job, Created: in.Header.Time, Index: in.Header.Index,
		Checkpoint: in.Size, Emulated: in.trust.Emulated, SubmittedBy: signerName(in.Submission), Cert: in.cert,
	}
}

// signerName is the name in a note's last signature line. It is informative:
// the auditor verifies the submission against the policy.
func signerName(note []byte) string {
	const dash = "\u2014 "
	i := bytes.LastIndex(note, []byte("\n"+dash))
	if i < 0 {
		return ""
	}
	name, _, _ := bytes.Cut(note[i+1+len(dash):], []byte(" "))
	return string(name)
}
