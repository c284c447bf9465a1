// Package logtest is an appliance's log made of software, for tests of the
// host's side: real keys, entries, checkpoints and proofs, and a TPM in memory
// (tpm/quote/quotetest). It writes whatever a test wants, honest or not.
// Production code never imports it.
package logtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/policy"
	"touchmark/appliance/policy/policytest"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

// Origin of every log made here.
const Origin = "touchmark.example/test"

// Noon is the time of every entry, and so of every signature.
var Noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// Log has exported state: a test may change any of it.
type Log struct {
	TPM     *quotetest.TPM
	Signer  note.Signer // the log key
	Priv    *ecdsa.PrivateKey
	Key     *signing.Key // its public half, in OpenPGP form
	Trust   anchor.Trust
	Entries [][]byte
	Note    []byte // newest checkpoint

	intents uint64
}

// Must returns v; in tests an error that cannot happen may panic.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// NewKey makes a note key: private and public half.
func NewKey(name string) (private, public string) {
	private, public, err := note.GenerateKey(rand.Reader, name)
	return Must(private, err), public
}

// Parties are the people of a log: its administrator and its host.
type Parties struct {
	Admin   note.Signer
	HostKey string // private
	Policy  []byte // note in force

	serial      int
	admin, host string // public halves
}

// NewParties makes a policy that knows the administrator "admin", the host
// "repo1" and the classes "pacman-db" (*.db) and "iso" (*.iso), and "package"
// (*.pkg), for which two of the persons of ApproverKey must approve.
func NewParties() *Parties {
	p := new(Parties)
	var admin string
	admin, p.admin = NewKey("admin")
	p.HostKey, p.host = NewKey("repo1")
	p.Admin = Must(note.NewSigner(admin))
	p.Policy = p.NextPolicy("", "")
	return p
}

// NextPolicy makes the policy that follows the one in force, signed, with one
// piece of its text replaced.
func (p *Parties) NextPolicy(old, new string) []byte {
	previous := ""
	if p.serial++; p.serial > 1 {
		previous = fmt.Sprintf("%x", sha256.Sum256(Must(message.NoteText(p.Policy))))
	}
	text := policytest.Policy{Origin: Origin, Serial: p.serial, Previous: previous, Admin: p.admin, Host: p.host, Classes: []policytest.Class{
		{Name: "pacman-db", Names: "*.db", MaxSize: "1GiB", Rate: "60/1h", Batch: 16},
		{Name: "iso", Names: "*.iso", MaxSize: "1GiB", Rate: "60/1h", Batch: 16},
		{Name: "package", Names: "*.pkg", MaxSize: "1GiB", Rate: "60/1h", Batch: 16},
	}}.Text()
	text = strings.TrimSuffix(text, "approvals = 0\nbatch = 16\n") + "approvals = 2\nbatch = 16\n"
	for _, a := range [][2]string{{"alice", "alice"}, {"alice", "laptop"}, {"bob", "bob"}, {"carol", "carol"}} {
		_, key := intaketest.NewKey(a[1])
		text += fmt.Sprintf("[[approver]]\nperson = %q\nkey = %q\n", a[0], key)
	}
	p.Policy = Must(message.SignNote([]byte(strings.Replace(text, old, new, 1)), p.Admin))
	return p.Policy
}

// ApproverKey is the key of alice, bob or carol, or alice's other one, laptop.
func ApproverKey(name string) note.Signer {
	s, _ := intaketest.NewKey(name)
	return s
}

// New makes a log whose genesis entry holds this policy note, and commits it.
func New(policyNote []byte) *Log {
	l := &Log{TPM: quotetest.New(), Priv: Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	private, public := NewKey(Origin)
	l.Signer = Must(note.NewSigner(private))
	l.Key = Must(signing.NewKey(l.Priv.Public(), Noon.Add(-24*time.Hour)))
	att := ledger.TokenAttestation{Slot: []byte("slot"), Intermediate: []byte("intermediate")}
	g := &ledger.Genesis{
		Origin: Origin, LogKey: public, AK: l.TPM.Public(), Creation: l.TPM.Creation(ledger.OutsideInfo(Origin, []ledger.TokenAttestation{att}, [32]byte{})),
		Head: l.TPM.HeadIndex, HeadName: l.TPM.HeadName(), PCR: l.TPM.PCRIndex,
		Keys: []ledger.TokenKey{{Name: "packages", Slot: "9c", Family: "openpgp-data", Algorithm: "p256",
			Fingerprint: l.Key.Fingerprint(), SPKI: Must(x509.MarshalPKIXPublicKey(l.Priv.Public())),
			Token: ledger.TokenInfo{Serial: 1, Firmware: "5.7.1", Emulated: true}, Attestation: att,
			Cert: Must(certificate.New(l.Key, "Test <test@touchmark.example>", l.Token))}},
		Policy: policyNote,
	}
	l.Append(g)
	l.Trust = *anchor.TrustOf(l.Entries[0], g)
	l.Trust.Quorum, l.Trust.Administrators = administrators(policyNote)
	l.Commit()
	return l
}

// administrators are those of the policy, or somebody if the note is none.
func administrators(policyNote []byte) (quorum int, keys []string) {
	if p, err := policy.Open(policyNote); err == nil {
		return p.Administrators.Quorum, p.Administrators.Texts
	}
	_, admin := NewKey("admin")
	return 1, []string{admin}
}

// TrustText is what a host pins of this log.
func (l *Log) TrustText() []byte { return Must(l.Trust.Sign(l.Signer)) }

// Token signs as the token would.
func (l *Log) Token(digest []byte, h crypto.Hash) ([]byte, error) {
	return l.Priv.Sign(rand.Reader, digest, h)
}

// Revoked is the certificate of the trust file after the token revoked itself.
func (l *Log) Revoked(code certificate.Reason) []byte {
	c, x := Must(certificate.Parse(l.Trust.Certs[0])), certificate.Certification{Created: Noon, Revoke: true, Code: code, Origin: Origin}
	p := Must(c.Plan(x))
	return Must(c.With(x, Must(p.Finish(Must(l.Token(p.Digest, p.Alg.Hash())))))).Bytes()
}

// Append adds an entry, uncommitted, and returns its index.
func (l *Log) Append(body any) uint64 { return l.AppendAt(Noon, body) }

// AppendAt is Append with another time.
func (l *Log) AppendAt(at time.Time, body any) uint64 {
	i := uint64(len(l.Entries))
	l.Entries = append(l.Entries, Must(ledger.Marshal(ledger.Header{Index: i, Time: at}, body)))
	return i
}

// Size is the number of entries, committed or not.
func (l *Log) Size() uint64 { return uint64(len(l.Entries)) }

// Root is the root of the first n entries.
func (l *Log) Root(n uint64) [32]byte { return root(l.leaves()[:n]) }

func (l *Log) leaves() [][32]byte {
	out := make([][32]byte, len(l.Entries))
	for i, e := range l.Entries {
		out[i] = ledger.LeafHash(e)
	}
	return out
}

// Extend commits all entries to the TPM without signing a checkpoint.
func (l *Log) Extend() (body []byte, prev, x [32]byte) {
	body = ledger.CheckpointBody(Origin, l.Size(), l.Root(l.Size()))
	prev, x = l.TPM.Head, ledger.X(body)
	l.TPM.ExtendHead(x)
	return body, prev, x
}

// Commit commits all entries and signs the checkpoint.
func (l *Log) Commit() {
	body, prev, x := l.Extend()
	note, _, err := anchor.SignCheckpoint(body, l.Signer, l.Trust, prev, l.TPM.CertifyHead(quote.CertifyTag(x)))
	l.Note = Must(note, err)
}

// Intent appends the intent of a job and makes its signatures.
func (l *Log) Intent(approval, submission []byte, states []hashstate.State) (uint64, []ledger.ItemResult) {
	l.intents++
	text := Must(message.NoteText(approval))
	job, asked := message.JobOf(text), Must(message.ParseApproval(text)).Items
	in := &ledger.Intent{Sequence: l.intents, Key: l.Key.Fingerprint(), Job: job, Approval: approval, Submission: submission}
	var items []ledger.ItemResult
	for i, s := range states {
		format, _ := sigformat.FormatOf(asked[i].Format)
		p := Must(format.Plan(l.Key, s, Noon, Origin, job))
		in.SignDigests = append(in.SignDigests, message.Digest{Alg: p.Alg, Sum: p.Digest})
		sig := Must(p.Finish(Must(l.Token(p.Digest, p.Alg.Hash()))))
		items = append(items, ledger.ItemResult{State: ledger.Signed, Signature: sig})
	}
	return l.Append(in), items
}

// Order makes the note of an order over the log as it is, signed by these.
func (l *Log) Order(a order.Action, by ...note.Signer) []byte {
	o := &order.Order{Origin: Origin, After: order.State{Size: l.Size(), Root: l.Root(l.Size())}, Action: a, Reason: "for a test"}
	return Must(message.SignNote(Must(o.Marshal()), by...))
}

// Decree appends the administrators' entry of a note, which follows the one at
// an index; it has effect if the next commit ends with it.
func (l *Log) Decree(kind string, previous uint64, note []byte) uint64 {
	return l.Append(&ledger.Order{Action: kind, Mirrored: true, Previous: previous, Note: note})
}

// Rotate makes a new log key, has the administrator order it, and signs the
// commit that ends with that by it. It returns the entry's index.
func (l *Log) Rotate(previous uint64, admin note.Signer) uint64 {
	private, public := NewKey(Origin)
	next := Must(note.NewSigner(private))
	i := l.Decree(ledger.KindKey, previous, l.Order(&order.Key{LogKey: public}, admin, next))
	l.Signer, l.Trust.OldLogKeys, l.Trust.LogKey = next, append([]string{l.Trust.LogKey}, l.Trust.OldLogKeys...), public
	l.Commit()
	return i
}

// Attest appends what follows a commit, of all that is there.
func (l *Log) Attest() uint64 {
	return l.Append(&ledger.Attest{Size: l.Size(), Certify: l.TPM.CertifyHead([32]byte{})})
}

// Filler appends an entry that says nothing about any job.
func (l *Log) Filler(at time.Time) uint64 {
	return l.AppendAt(at, &ledger.Attest{Size: 1, Certify: l.TPM.CertifyHead([32]byte{})})
}

// Proof proves entry i under the newest checkpoint, which covers all entries.
func (l *Log) Proof(i uint64) []byte {
	p := ledger.Proof{Origin: Origin, Index: i, Size: l.Size(), Intent: l.Entries[i], Path: auditPath(l.leaves(), i), Checkpoint: l.Note}
	return Must(p.Marshal())
}

// auditPath is PATH(m, D[n]) of RFC 6962 section 2.1.1, as it is written there.
func auditPath(d [][32]byte, m uint64) [][32]byte {
	if len(d) <= 1 {
		return nil
	}
	k := uint64(1)
	for 2*k < uint64(len(d)) {
		k *= 2
	}
	if m < k {
		return append(auditPath(d[:k], m), root(d[k:]))
	}
	return append(auditPath(d[k:], m-k), root(d[:k]))
}

func root(d [][32]byte) [32]byte {
	var t ledger.Tree
	for _, h := range d {
		t.Add(h)
	}
	return t.Root()
}
