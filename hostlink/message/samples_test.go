package message

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message/canon"
)

// pair is a signer with its verifier, made from a fixed seed: SHA-256 of
// "touchmark test key " and the name.
type pair struct {
	note.Signer
	note.Verifier
	vkey string
}

func testKey(name string) pair {
	seed := sha256.Sum256([]byte("touchmark test key " + name))
	public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		panic(err)
	}
	v, err := ParseKey(vkey)
	if err != nil {
		panic(err)
	}
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, v.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	s, err := note.NewSigner(skey)
	if err != nil {
		panic(err)
	}
	return pair{s, v, vkey}
}

var (
	repo1, repo2, alice = testKey("repo1"), testKey("repo2"), testKey("alice")

	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

	sampleApproval = Approval{
		Origin: "touchmark.example/demo", Class: "pacman-db",
		Nonce:    [16]byte{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf},
		NotAfter: noon.Add(time.Hour),
		Items: []Item{
			{"openpgp-binary", digestOf(SHA256, "database"), 12345, "demo.db.tar.gz"},
			{"openpgp-binary", digestOf(SHA512, "files"), 67890, "demo.files.tar.gz"},
		},
	}
	sampleJob  = JobOf(sampleApproval.Marshal())
	sampleRoot = sha256.Sum256([]byte("a root"))
)

func digestOf(alg Alg, s string) Digest {
	h := alg.Hash().New()
	h.Write([]byte(s))
	return Digest{alg, h.Sum(nil)}
}

func signed(text []byte, signers ...note.Signer) []byte {
	n, err := SignNote(text, signers...)
	if err != nil {
		panic(err)
	}
	return n
}

// samples are one of every signed text and message, by the name under which
// docs/spec/message.md shows it.
func samples() map[string][]byte {
	hello := &Hello{sampleApproval.Origin, [16]byte{1, 2, 3}, noon, 42, sampleRoot}
	cancel := &Cancel{sampleApproval.Origin, sampleJob, noon.Add(time.Minute)}
	sub := Submission{sampleJob, 42, sampleRoot, noon.Add(time.Second)}
	checkpoint := signed([]byte("touchmark.example/demo\n42\n"+canon.Base64(sampleRoot[:])+"\n"), testKey("touchmark.example/demo").Signer)
	entry := []byte("touchmark/entry/v1\nkind example\n")
	approvalNote := signed(sampleApproval.Marshal(), alice.Signer)
	submissionNote := signed(sub.Marshal(), repo1.Signer)
	challenge := []byte("touchmark/challenge/v1\norigin touchmark.example/demo\ntime 2026-11-21T12:00:00Z\nnonce " + canon.Hex(sampleRoot[:]) + "\ncredential - -\n")
	answer := fmt.Appendf(nil, "touchmark/answer/v1\norigin touchmark.example/demo\nnonce %x\nsecret -\ncertify %[2]s %[3]s\nquote %[2]s %[3]s\ncheckpoint %[4]d\n%[5]s",
		sampleRoot, canon.Base64([]byte("an attestation")), canon.Base64([]byte("its signature")), len(checkpoint), checkpoint)
	state := append(bytes.Repeat([]byte{0x5a}, 32), 0, 0, 0, 0, 0, 0, 0, 64)
	return map[string][]byte{
		"approval":   approvalNote,
		"submission": submissionNote,
		"hello":      signed(hello.Marshal(), repo1.Signer),
		"cancel":     signed(cancel.Marshal(), repo1.Signer),
		"rounds": signed((&Rounds{sampleApproval.Origin, noon, []Round{
			{"core", 2, RoundWaiting, noon.Add(-3 * time.Hour), noon.Add(6 * time.Hour)},
			{"extra", 40, RoundOpen, noon.Add(-time.Hour), time.Time{}},
		}, 1}).Marshal(), repo1.Signer),
		"open-round":     (&OpenRound{"core"}).Marshal(),
		"submit":         (&Submit{approvalNote, submissionNote, []Content{{State: state}, {State: state}}}).Marshal(),
		"mirrored":       (&Mirrored{44, sampleRoot}).Marshal(),
		"fetch":          (&Fetch{42}).Marshal(),
		"order":          (&Order{signed([]byte("touchmark/order-note/v1\norigin touchmark.example/demo\nafter 42 "+canon.Hex(sampleRoot[:])+"\nreason "+canon.Base64([]byte("moved to rack 7"))+"\n"), alice.Signer)}).Marshal(),
		"challenge-text": (&Challenge{challenge}).Marshal(),
		"answer-text":    (&Answer{answer}).Marshal(),
		"welcome": (&Welcome{
			Nonce: hello.Nonce, Origin: hello.Origin, Firmware: "touchmark-0.1.0", Policy: sha256.Sum256([]byte("a policy")),
			Time: noon, State: StateReady, Writes: 1234, Days: 2190, Total: 44, Attest: []byte("an attestation"), Sig: []byte("its signature"), Checkpoint: checkpoint,
		}).Marshal(),
		"entries":         (&Entries{42, 44, [][]byte{entry, entry}}).Marshal(),
		"checkpoint-note": (&Checkpoint{checkpoint}).Marshal(),
		"event":           (&Event{sampleJob, "touch", 1, 15}).Marshal(),
		"refused":         (&Refused{sampleJob, CodeNameForbidden, "demo.iso: class pacman-db signs only *.db.tar.gz"}).Marshal(),
		"done":            (&Done{sampleJob, 42, 43}).Marshal(),
	}
}

// wire are the samples that are session messages: all but the two notes that
// travel inside a submit.
func wire() map[string][]byte {
	m := samples()
	delete(m, "approval")
	delete(m, "submission")
	return m
}

// remarshal parses one sample of any kind and writes it again.
func remarshal(b []byte) ([]byte, error) {
	switch canon.Domain(b) {
	case ApprovalDomain:
		return renote(b, func(text []byte) ([]byte, error) {
			a, err := ParseApproval(text)
			return a.Marshal(), err
		}, alice)
	case SubmissionDomain:
		return renote(b, func(text []byte) ([]byte, error) {
			s, err := ParseSubmission(text)
			return s.Marshal(), err
		}, repo1)
	}
	m, err := Parse(b)
	if err != nil {
		return nil, err
	}
	return m.(interface{ Marshal() []byte }).Marshal(), nil
}

func renote(b []byte, again func([]byte) ([]byte, error), p pair) ([]byte, error) {
	text, by, err := OpenNote(b, []note.Verifier{p.Verifier})
	if err != nil {
		return nil, err
	}
	if text, err = again(text); err != nil {
		return nil, err
	}
	if len(by) == 0 {
		return SignNote(text)
	}
	return SignNote(text, p.Signer)
}

func mustParse[T any](t *testing.T, b []byte) T {
	t.Helper()
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	typed, ok := m.(T)
	if !ok {
		t.Fatalf("got %T", m)
	}
	return typed
}
