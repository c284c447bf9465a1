package hostd

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

const (
	testOrigin = "touchmark.example/test"
	patience   = 20 * time.Second // bound of every wait in these tests
)

var (
	born = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
)

// board is an appliance in memory, at the level of messages: its log, its TPM
// and its keys are real; what it says and when is up to the test.
type board struct {
	t    *testing.T
	tpm  *quotetest.TPM
	log  note.Signer
	priv *ecdsa.PrivateKey
	key  *sigformat.Key

	hostKey  string // private note key of the host
	host     note.Verifier
	trust    anchor.Trust
	policy   *policy.Policy
	entries  [][]byte
	note     []byte // newest checkpoint
	sequence uint64
	noAttest bool

	in     chan any // what the host sent
	events chan serialport.Event
	up     bool
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func noteKey(name string) (string, string) {
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		panic(err)
	}
	return skey, vkey
}

const policyTOML = `version = 1
origin = %q
serial = 1
previous = ""
max_skew = "10m"
max_validity = "24h"
[administrators]
quorum = 1
keys = [%q]
[[host]]
name = "repo1"
key = %q
[[key]]
name = "packages"
slot = "9c"
family = "openpgp-data"
algorithm = "p256"
[[class]]
name = "pacman-db"
key = "packages"
hosts = ["repo1"]
names = ["*.db"]
formats = ["openpgp-binary"]
max_size = "1GiB"
rates = ["60/1h"]
approvals = 0
batch = 16
[[class]]
name = "iso"
key = "packages"
hosts = ["repo1"]
names = ["*.iso"]
formats = ["openpgp-binary"]
max_size = "1GiB"
rates = ["60/1h"]
approvals = 0
batch = 16
`

func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{t: t, tpm: quotetest.New(), in: make(chan any, 64), events: make(chan serialport.Event, 64)}
	skey, vkey := noteKey(testOrigin)
	b.log = must(note.NewSigner(skey))
	b.priv = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	b.key = must(sigformat.NewKey(b.priv.Public(), born))
	b.genesis(vkey)
	return b
}

func (b *board) genesis(logKey string) {
	admin, adminPublic := noteKey("admin")
	hostKey, hostPublic := noteKey("repo1")
	b.hostKey, b.host = hostKey, must(message.ParseKey(hostPublic))
	text := fmt.Sprintf(policyTOML, testOrigin, adminPublic, hostPublic)
	policyNote := must(message.SignNote([]byte(text), must(note.NewSigner(admin))))
	b.policy = must(policy.Open(policyNote))
	cert := must(sigformat.Certificate(b.key, "Test <test@touchmark.example>", b.token))
	g := &ledger.Genesis{
		Origin: testOrigin, LogKey: logKey, AK: b.tpm.Public(), Creation: b.tpm.Creation(make([]byte, 32)),
		Head: b.tpm.HeadIndex, HeadName: b.tpm.HeadName(), PCR: b.tpm.PCRIndex,
		Token: ledger.TokenInfo{Serial: 1, Firmware: "5.7.1", Emulated: true},
		Key: ledger.TokenKey{Name: "packages", Slot: "9c", Family: "openpgp-data", Algorithm: "p256",
			Fingerprint: b.key.Fingerprint(), SPKI: must(x509.MarshalPKIXPublicKey(b.priv.Public()))},
		Attestation: ledger.TokenAttestation{Slot: []byte("slot"), Intermediate: []byte("intermediate")},
		Cert:        cert, Policy: policyNote,
	}
	b.append(noon, g)
	b.trust = *anchor.TrustOf(b.entries[0], g)
	b.commit()
}

// token signs as the token would.
func (b *board) token(digest []byte, h crypto.Hash) ([]byte, error) {
	return b.priv.Sign(rand.Reader, digest, h)
}

// append adds an entry, uncommitted, and returns its index.
func (b *board) append(at time.Time, body any) uint64 {
	i := uint64(len(b.entries))
	b.entries = append(b.entries, must(ledger.Marshal(ledger.Header{Index: i, Time: at}, body)))
	return i
}

func rootOf(entries [][]byte) [32]byte {
	var t ledger.Tree
	for _, e := range entries {
		t.Add(ledger.LeafHash(e))
	}
	return t.Root()
}

func (b *board) body(n int) []byte {
	return ledger.CheckpointBody(testOrigin, uint64(n), rootOf(b.entries[:n]))
}

// extend commits all entries to the TPM, without signing a checkpoint yet.
func (b *board) extend() (prev, x [32]byte) {
	prev, x = b.tpm.Head, ledger.X(b.body(len(b.entries)))
	b.tpm.ExtendHead(x)
	return prev, x
}

// commit commits all entries.
func (b *board) commit() {
	n := len(b.entries)
	prev, x := b.extend()
	b.note = must(anchor.SignCheckpoint(b.body(n), b.log, b.trust, prev, b.tpm.CertifyHead(quote.CertifyTag(x))))
}

// Link's methods.

func (b *board) Send(_ context.Context, _ int, msg []byte) error {
	m, err := message.Parse(msg)
	if err != nil {
		b.t.Errorf("the host sent a malformed message: %v\n%q", err, msg)
		return nil
	}
	if !b.up {
		return session.ErrDown
	}
	b.in <- m
	return nil
}

func (b *board) Events() <-chan serialport.Event { return b.events }
func (b *board) Close() error                    { return nil }

// say sends a message to the host.
func (b *board) say(m interface{ Marshal() []byte }) {
	b.t.Helper()
	body := m.Marshal()
	if body == nil {
		b.t.Fatalf("%T does not marshal", m)
	}
	b.events <- serialport.Event{Kind: serialport.Message, Body: body}
}

// hear waits for a message of type T; one of another type is a failure, but
// for acknowledgements, which are checked and skipped.
func hear[T any](b *board) T {
	b.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		select {
		case m := <-b.in:
			if v, ok := m.(T); ok {
				return v
			}
			ack, ok := m.(*message.Mirrored)
			if !ok {
				b.t.Fatalf("heard %T, want %T", m, *new(T))
			}
			b.checkAck(ack)
		case <-deadline.C:
			b.t.Fatalf("heard nothing, want %T", *new(T))
		}
	}
}

func (b *board) checkAck(m *message.Mirrored) {
	b.t.Helper()
	if m.Size > uint64(len(b.entries)) || rootOf(b.entries[:m.Size]) != m.Root {
		b.t.Fatalf("the host acknowledges %d entries it cannot have", m.Size)
	}
}

// acked waits until the host says it holds everything.
func (b *board) acked() {
	b.t.Helper()
	for {
		m := hear[*message.Mirrored](b)
		b.checkAck(m)
		if m.Size == uint64(len(b.entries)) {
			return
		}
	}
}

// connect brings a session up and greets, without serving entries.
func (b *board) connect() *message.HelloNote {
	b.t.Helper()
	b.up = true
	b.events <- serialport.Event{Kind: serialport.Up, SID: 1}
	return b.hello()
}

func (b *board) hello() *message.HelloNote {
	b.t.Helper()
	h := hear[*message.HelloNote](b)
	if _, by, err := message.OpenNote(h.Note, []note.Verifier{b.host}); err != nil || len(by) != 1 {
		b.t.Fatalf("hello is not signed by the host: %v", err)
	}
	return h
}

func (b *board) welcome(nonce [16]byte) *message.Welcome {
	w := &message.Welcome{
		Nonce: nonce, Origin: testOrigin, Firmware: "test", Policy: b.policy.Hash, Time: noon, State: message.StateReady,
		Total: uint64(len(b.entries)), Checkpoint: b.note,
	}
	if !b.noAttest {
		a := b.tpm.CertifyHead(quote.HelloTag(nonce[:]))
		w.Attest, w.Sig = a.Attest, a.Sig
	}
	return w
}

// meet connects and lets the host fetch everything it lacks.
func (b *board) meet() {
	b.t.Helper()
	h := b.connect()
	b.say(b.welcome(h.Hello.Nonce))
	if h.Hello.HeadSize < uint64(len(b.entries)) {
		b.serve()
	}
}

// serve answers fetches until the host has everything.
func (b *board) serve() {
	b.t.Helper()
	for {
		f := hear[*message.Fetch](b)
		to := min(f.From+3, uint64(len(b.entries))) // small answers, so that the host asks again
		b.say(&message.Entries{Start: f.From, Total: uint64(len(b.entries)), Entries: b.entries[f.From:to]})
		if to == uint64(len(b.entries)) {
			b.acked()
			return
		}
	}
}

func (b *board) drop() {
	b.up = false
	b.events <- serialport.Event{Kind: serialport.Down, SID: 1, Err: session.ReasonSilent}
}

// push sends the entries from an index on.
func (b *board) push(from uint64) {
	b.t.Helper()
	b.say(&message.Entries{Start: from, Total: uint64(len(b.entries)), Entries: b.entries[from:]})
}

// request is a submission that the policy admits, opened.
type request struct {
	*policy.Request
	submit *message.Submit
	states []sigformat.State
}

// submitted waits for a submission and checks it as a board does.
func (b *board) submitted() *request {
	b.t.Helper()
	m := hear[*message.Submit](b)
	r, err := b.policy.Authenticate(m.Approval, m.Submission)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.policy.Admit(r, policy.NewHistory(), noon); err != nil {
		b.t.Fatal(err)
	}
	if n := r.Submission.HeadSize; n == 0 || n > uint64(len(b.entries)) || rootOf(b.entries[:n]) != r.Submission.HeadRoot {
		b.t.Fatalf("the submission commits to a head of %d that is not ours", n)
	}
	req := &request{Request: r, submit: m}
	for i, s := range m.States {
		req.states = append(req.states, must(sigformat.ParseState(r.Approval.Items[i].Digest.Alg, s)))
	}
	return req
}

// intent appends the intent of a request and makes its signatures.
func (b *board) intent(r *request) (uint64, []ledger.ItemResult) {
	b.sequence++
	in := &ledger.Intent{Sequence: b.sequence, Policy: b.policy.Hash, Key: b.key.Fingerprint(), Job: r.Job,
		Approval: r.submit.Approval, Submission: r.submit.Submission}
	var items []ledger.ItemResult
	for _, s := range r.states {
		p := must(sigformat.PlanOpenPGP(b.key, s, noon, testOrigin, r.Job))
		in.SignDigests = append(in.SignDigests, message.Digest{Alg: p.Alg, Sum: p.Digest})
		sig := must(p.Finish(must(b.token(p.Digest, p.Alg.Hash()))))
		items = append(items, ledger.ItemResult{State: ledger.Signed, Signature: sig})
	}
	return b.append(noon, in), items
}

// run carries a request through: intent, commit, outcome, checkpoint, done.
func (b *board) run(r *request, change func(items []ledger.ItemResult)) {
	b.t.Helper()
	from := uint64(len(b.entries))
	i, items := b.intent(r)
	b.push(from)
	b.acked()
	b.commit()
	if change != nil {
		change(items)
	}
	out := b.append(noon, &ledger.Outcome{Intent: i, Job: r.Job, Items: items})
	b.push(out)
	b.say(&message.Checkpoint{Note: b.note})
	b.say(&message.Done{Job: r.Job, Intent: i, Outcome: out})
}
