// Package challenge holds the two texts by which an auditor asks a board for
// something that no older copy of a log contains: its TPM's word on HEAD and
// PCR over a nonce, and, if asked, a secret that only the TPM with a certain
// endorsement key and this attestation key can tell. The files are carried by
// hand; docs/spec/audit.md draws them.
//
// A challenge is a canonical text (package canon):
//
//	touchmark/challenge/v1
//	origin O
//	time T                       the auditor's clock
//	nonce hex32
//	credential base64 base64     or "- -": TPMS_ID_OBJECT, encrypted seed
//
// and so are the answer and what the auditor keeps to compare its secret with.
// Parsing and marshalling again gives the same bytes; anything else is
// refused. The package is pure: randomness is passed in. What an answer is
// worth is for package audit to say.
package challenge

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"time"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// The first lines of the three texts.
const (
	Domain       = "touchmark/challenge/v1"
	SecretDomain = "touchmark/challenge-secret/v1"
	AnswerDomain = "touchmark/answer/v1"
)

// Bounds, in bytes.
const (
	// MaxText bounds each text: an answer holds a checkpoint note.
	MaxText = 16 << 10
	// maxBlob bounds the two parts of a credential: an RSA-2048 endorsement
	// key needs 256.
	maxBlob = 1 << 10
	// SecretSize is that of the credential's secret and of the nonce.
	SecretSize = 32
)

// Challenge is what the board is asked.
type Challenge struct {
	Origin     string
	Time       time.Time // of the auditor's clock, whole seconds
	Nonce      [SecretSize]byte
	Credential *Credential // nil: freshness only
}

// Credential is what TPM2_ActivateCredential takes (TPM 2.0 part 3).
type Credential struct {
	Blob   []byte // TPMS_ID_OBJECT: TPM2B_ID_OBJECT without its size
	Secret []byte // TPM2B_ENCRYPTED_SECRET without its size
}

// New makes a challenge; random gives its nonce.
func New(origin string, now time.Time, random io.Reader) (*Challenge, error) {
	c := &Challenge{Origin: origin, Time: now.UTC().Truncate(time.Second)}
	if _, err := io.ReadFull(random, c.Nonce[:]); err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	return c, nil
}

// Marshal encodes the challenge.
func (c *Challenge) Marshal() ([]byte, error) {
	w := canon.NewWriter(Domain)
	w.Line("origin", c.Origin)
	w.Line("time", canon.Time(c.Time))
	w.Line("nonce", canon.Hex(c.Nonce[:]))
	blob, secret := "-", "-"
	if c.Credential != nil {
		blob, secret = canon.Base64(c.Credential.Blob), canon.Base64(c.Credential.Secret)
	}
	w.Line("credential", blob, secret)
	return checked(w, func(text []byte) error { _, err := Parse(text); return err })
}

// Parse decodes a challenge.
func Parse(text []byte) (*Challenge, error) {
	r, err := reader(text, Domain)
	if err != nil {
		return nil, err
	}
	c := &Challenge{Origin: readOrigin(r), Time: r.Time(r.Line("time", 1)[0]), Nonce: [SecretSize]byte(r.Hex(r.Line("nonce", 1)[0], SecretSize))}
	f := r.Line("credential", 2)
	blob, secret := r.Base64(f[0], maxBlob), r.Base64(f[1], maxBlob)
	switch {
	case r.Err() != nil:
	case (len(blob) == 0) != (len(secret) == 0):
		r.Failf("a credential has two parts or none")
	case len(blob) > 0:
		c.Credential = &Credential{blob, secret}
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	return c, nil
}

// Secret is what the auditor keeps while the challenge is under way.
type Secret struct {
	Challenge [32]byte // SHA-256 of its text
	Value     [SecretSize]byte
	EK        []byte // certificate of the endorsement key it was encrypted for, X.509 DER; nil if none is known
}

// Marshal encodes the secret; it belongs in a file that nobody else reads.
func (s *Secret) Marshal() ([]byte, error) {
	w := canon.NewWriter(SecretDomain)
	w.Line("challenge", canon.Hex(s.Challenge[:]))
	w.Line("secret", canon.Hex(s.Value[:]))
	w.Line("ek", canon.Base64(s.EK))
	return checked(w, func(text []byte) error { _, err := ParseSecret(text); return err })
}

// ParseSecret decodes it.
func ParseSecret(text []byte) (*Secret, error) {
	r, err := reader(text, SecretDomain)
	if err != nil {
		return nil, err
	}
	s := &Secret{Challenge: [32]byte(r.Hex(r.Line("challenge", 1)[0], 32)), Value: [SecretSize]byte(r.Hex(r.Line("secret", 1)[0], SecretSize))}
	s.EK = r.Base64(r.Line("ek", 1)[0], ledger.MaxCert)
	if err := r.Close(); err != nil {
		return nil, err
	}
	return s, nil
}

// Answer is what the board says.
type Answer struct {
	Origin     string
	Nonce      [SecretSize]byte
	Secret     []byte            // from TPM2_ActivateCredential, 32 bytes; nil if none was asked for
	Certify    quote.Attestation // NV_Certify of HEAD, quote.ChallengeTag of the nonce
	Quote      quote.Attestation // Quote of the PCR, likewise
	Checkpoint []byte            // newest checkpoint note
}

// Marshal encodes the answer.
func (a *Answer) Marshal() ([]byte, error) {
	w := canon.NewWriter(AnswerDomain)
	w.Line("origin", a.Origin)
	w.Line("nonce", canon.Hex(a.Nonce[:]))
	secret := "-"
	if a.Secret != nil {
		secret = canon.Hex(a.Secret)
	}
	w.Line("secret", secret)
	w.Line("certify", canon.Base64(a.Certify.Attest), canon.Base64(a.Certify.Sig))
	w.Line("quote", canon.Base64(a.Quote.Attest), canon.Base64(a.Quote.Sig))
	w.Block("checkpoint", a.Checkpoint)
	return checked(w, func(text []byte) error { _, err := ParseAnswer(text); return err })
}

// ParseAnswer decodes an answer.
func ParseAnswer(text []byte) (*Answer, error) {
	r, err := reader(text, AnswerDomain)
	if err != nil {
		return nil, err
	}
	a := &Answer{Origin: readOrigin(r), Nonce: [SecretSize]byte(r.Hex(r.Line("nonce", 1)[0], SecretSize))}
	if f := r.Line("secret", 1)[0]; f != "-" {
		a.Secret = r.Hex(f, SecretSize)
	}
	a.Certify, a.Quote = readAttestation(r, "certify"), readAttestation(r, "quote")
	a.Checkpoint = r.Block("checkpoint", ledger.MaxCheckpoint)
	if err := r.Close(); err != nil {
		return nil, err
	}
	return a, nil
}

// Check verifies that an answer belongs to this challenge, and, if one was
// asked for, that its secret is the one kept: then the attestation key is in
// the TPM whose endorsement key the credential was made for.
func (c *Challenge) Check(a *Answer, kept *Secret) error {
	text, err := c.Marshal()
	if err != nil {
		return err
	}
	switch {
	case a.Origin != c.Origin:
		return fmt.Errorf("the answer is from log %q, asked was %q", a.Origin, c.Origin)
	case a.Nonce != c.Nonce:
		return errors.New("the answer is to another challenge: its nonce differs")
	case c.Credential == nil || kept == nil:
		return nil
	case kept.Challenge != sha256.Sum256(text):
		return errors.New("the secret kept is that of another challenge")
	case a.Secret == nil:
		return errors.New("the answer has no secret: the board did not activate the credential")
	case subtle.ConstantTimeCompare(a.Secret, kept.Value[:]) != 1:
		return errors.New("the answer's secret is not the one in the credential: the TPM that answered does not hold both keys")
	}
	return nil
}

func reader(text []byte, domain string) (*canon.Reader, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("%s of %d bytes, at most %d", domain, len(text), MaxText)
	}
	return canon.NewReader(text, domain), nil
}

func readOrigin(r *canon.Reader) string {
	s := r.Line("origin", 1)[0]
	if err := message.ValidOrigin(s); r.Err() == nil && err != nil {
		r.Failf("%v", err)
	}
	return s
}

func readAttestation(r *canon.Reader, key string) quote.Attestation {
	f := r.Line(key, 2)
	a := quote.Attestation{Attest: r.Base64(f[0], ledger.MaxAttest), Sig: r.Base64(f[1], ledger.MaxSig)}
	if r.Err() == nil && (len(a.Attest) == 0 || len(a.Sig) == 0) {
		r.Failf("%s is empty", key)
	}
	return a
}

// checked gives the text that was written, if it parses.
func checked(w *canon.Writer, parse func([]byte) error) ([]byte, error) {
	text := w.Bytes()
	if text == nil {
		return nil, w.Err()
	}
	return text, parse(text)
}
