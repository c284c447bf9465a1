// Package biglog makes logs of any length, the same bytes each time: a
// software token with a P-256 key, a software TPM (tpm/quote/quotetest) and an
// honest appliance that signs for one host, in rounds of 8 to 16 files, 96
// rounds a day, with a start each morning and a power cut each Sunday night.
//
// Everything in it is what the real programs write and verifies as such; only
// randomness is taken out (RFC 6979 signatures, keys from fixed seeds), so
// that figures measured on it can be compared from one day to the next.
package biglog

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

// Edition names what Generate writes: a change of any byte needs a new one.
const Edition = "v6"

// Origin of every log made here.
const Origin = "touchmark.example/big"

// How an honest day looks.
const (
	perDay   = 96               // rounds
	apart    = 10 * time.Minute // from round to round
	perWeek  = 7 * perDay
	hostName = "repo1"
)

// batches are the sizes of rounds, over and over: 104 files in 8 rounds, so
// that 10^6 signatures are within what the flash of a TPM stands.
var batches = []int{16, 16, 12, 8, 16, 10, 16, 10}

// begin is the time of the genesis entry.
var begin = time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)

// Append is what the appliance writes in one go: entries, and the plan of the
// commit that the last of them ends, if any.
type Append struct {
	Entries [][]byte
	Plan    *anchor.Plan
}

// Facts say what a finished log is.
type Facts struct {
	Trust      []byte // trust note, version 1
	Checkpoint []byte // note of the newest commit
	Earlier    []byte // note of the commit 34 rounds, a good 100 entries, before
	Size       uint64 // that Checkpoint covers
	Entries    uint64 // in all: those beyond Size are pending
	Signatures int    // of files
	Commits    int
	Boots      int
}

// writer is the appliance.
type writer struct {
	sink    func(Append) error
	err     error
	batches []int // sizes of rounds, over and over

	tpm        *quotetest.TPM
	token      *ecdsa.PrivateKey
	key        *signing.Key
	log        note.Signer
	host       note.Signer
	pol        *policy.Policy
	policyNote []byte

	now      time.Time
	tree     ledger.Tree
	pending  [][]byte
	prev, x  [32]byte
	head     uint64 // size of the newest commit
	headRoot [32]byte
	certify  quote.Attestation // of the newest commit
	newest   []commit          // the newest commits, at most rounds + 1
	facts    Facts
	trust    *anchor.Trust
	admin    string // verifier key of the administrator
	sequence uint64
}

// rounds is how many commits Facts.Earlier lies back.
const rounds = 34

// commit is what a checkpoint note is made of.
type commit struct {
	body    []byte
	prev    [32]byte
	certify quote.Attestation
}

// Generate writes a log with this many file signatures; sink must keep no
// entry that it wants to change.
func Generate(signatures int, sink func(Append) error) (*Facts, error) {
	return GenerateIn(batches, signatures, sink)
}

// GenerateIn is Generate with rounds of these sizes, over and over.
func GenerateIn(sizes []int, signatures int, sink func(Append) error) (*Facts, error) {
	w, err := newWriter(sink)
	if err != nil {
		return nil, err
	}
	w.batches = sizes
	w.genesis()
	jobs := w.jobs(signatures)
	for round := 0; w.err == nil; round++ {
		j, ok := <-jobs
		if !ok {
			break
		}
		w.round(round, j)
	}
	for range jobs { // after an error: let the makers end
	}
	w.flush(nil)
	return w.finish()
}

func (w *writer) finish() (*Facts, error) {
	if w.err != nil {
		return nil, w.err
	}
	f := &w.facts
	f.Size, f.Entries = w.head, w.tree.Size()
	var err error
	if f.Checkpoint, err = w.note(w.newest[len(w.newest)-1]); err != nil {
		return nil, err
	}
	if f.Earlier, err = w.note(w.newest[0]); err != nil {
		return nil, err
	}
	f.Trust, err = w.trust.Sign(w.log)
	return f, err
}

func (w *writer) note(c commit) ([]byte, error) {
	note, _, err := anchor.SignCheckpoint(c.body, w.log, *w.trust, c.prev, c.certify)
	return note, err
}

func newWriter(sink func(Append) error) (*writer, error) {
	w := &writer{sink: sink, tpm: quotetest.New(), now: begin}
	w.tpm.Key = p256("ak")
	w.token = p256("token")
	var err error
	if w.key, err = signing.NewKey(&w.token.PublicKey, begin); err != nil {
		return nil, err
	}
	var hostKey, adminKey string
	if w.host, hostKey, err = ed(hostName); err != nil {
		return nil, err
	}
	admin, adminKey, err := ed("admin")
	if err != nil {
		return nil, err
	}
	w.admin = adminKey
	text := strings.NewReplacer("@admin@", adminKey, "@host@", hostKey).Replace(policyText)
	if w.policyNote, err = message.SignNote([]byte(text), admin); err != nil {
		return nil, err
	}
	w.pol, err = policy.Open(w.policyNote)
	return w, err
}

// round is one ceremony, with the start before it where a day begins.
func (w *writer) round(n int, j *job) {
	w.fail(j.err)
	w.wait(j.time.Sub(w.now))
	if n%perDay == 0 {
		if n > 0 && n%perWeek == 0 {
			w.tpm.PowerCycle()
		}
		w.boot()
	}
	intent := w.intent(j)
	index := w.add(intent)
	w.commit()
	w.add(&ledger.Attest{Size: w.head, Certify: w.certify, Quote: w.tpm.QuotePCR(quote.QuoteTag(w.x))})
	outcome := &ledger.Outcome{Intent: index, Job: j.id}
	for _, sig := range j.signatures {
		outcome.Items = append(outcome.Items, ledger.ItemResult{State: ledger.Signed, Signature: sig})
	}
	w.facts.Signatures += len(j.signatures)
	w.add(outcome)
}

func (w *writer) wait(d time.Duration) {
	w.now = w.now.Add(d)
	w.tpm.Clock.Millis += uint64(d / time.Millisecond)
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// add appends an entry with the present time.
func (w *writer) add(body any) uint64 {
	index := w.tree.Size()
	e, err := ledger.Marshal(ledger.Header{Index: index, Time: w.now}, body)
	if err != nil {
		w.fail(err)
		return index
	}
	w.tree.Add(ledger.LeafHash(e))
	w.pending = append(w.pending, e)
	return index
}

// commit extends HEAD and PCR by all entries so far and certifies HEAD.
func (w *writer) commit() {
	w.head, w.headRoot, w.prev = w.tree.Size(), w.tree.Root(), w.tpm.Head
	body := ledger.CheckpointBody(Origin, w.head, w.headRoot)
	w.x = ledger.X(body)
	w.flush(&anchor.Plan{Size: w.head, X: w.x, Prev: w.prev})
	w.tpm.ExtendHead(w.x)
	w.tpm.ExtendPCR(w.x)
	w.certify = w.tpm.CertifyHead(quote.CertifyTag(w.x))
	if w.facts.Commits++; len(w.newest) > rounds {
		w.newest = w.newest[1:]
	}
	w.newest = append(w.newest, commit{body, w.prev, w.certify})
}

func (w *writer) flush(plan *anchor.Plan) {
	if w.err == nil && len(w.pending) > 0 {
		w.fail(w.sink(Append{w.pending, plan}))
	}
	w.pending = nil
}

func (w *writer) boot() {
	w.facts.Boots++
	tag := quote.BootTag(w.x)
	w.add(&ledger.Boot{Number: uint64(w.facts.Boots), Firmware: "1.0", Clock: ledger.ClockOperator, Policy: w.pol.Hash, Committed: w.head,
		Head: w.tpm.Head, PCR: w.tpm.PCR, Certify: w.tpm.CertifyHead(tag), Quote: w.tpm.QuotePCR(tag), Recovery: "clean"})
}

func (w *writer) intent(j *job) *ledger.Intent {
	w.sequence++
	sub := message.Submission{Approval: j.id, HeadSize: w.head, HeadRoot: w.headRoot, HostTime: w.now}
	submission, err := message.SignNote(sub.Marshal(), w.host)
	w.fail(err)
	return &ledger.Intent{Sequence: w.sequence, Policy: w.pol.Hash, Key: w.key.Fingerprint(), Job: j.id,
		Approval: j.approval, Submission: submission, SignDigests: j.digests}
}

// p256 is a key from a seed; a hash of a name is a valid scalar but with
// probability 2^-32, and the names here are ones for which it is.
func p256(name string) *ecdsa.PrivateKey {
	seed := sha256.Sum256([]byte("biglog " + name))
	k, err := ecdsa.ParseRawPrivateKey(curve, seed[:])
	if err != nil {
		panic(err)
	}
	return k
}

// ed is a note signer and its verifier key, from a seed.
func ed(name string) (note.Signer, string, error) {
	seed := sha256.Sum256([]byte("biglog " + name))
	vkey, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", err
	}
	hash := strings.Split(vkey[len(name):], "+")[1]
	s, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	return s, vkey, err
}

func (w *writer) sign(digest []byte, h crypto.Hash) ([]byte, error) {
	return w.token.Sign(nil, digest, h) // RFC 6979
}

// artifact is the content of one file.
func artifact(round, item int) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(round))
	return fmt.Appendf(b, "artifact %d of round %d", item, round)
}
