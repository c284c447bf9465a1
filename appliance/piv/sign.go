package piv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/go-piv/piv-go/v2/piv"
)

// Sign has the token sign a digest with the key in the slot ("9c"), whose
// public half is pub. It blocks until the touch, or the end of the token's
// touch window: ErrTouchTimeout. The result is ASN.1 DER for ECDSA, PKCS #1
// v1.5 for RSA, 64 bytes for Ed25519, which signs the digest as its message, or
// with no hash (0) a message that is none. It is not verified here.
//
// For ECDSA a longer digest is cut to the curve's size and a shorter one padded
// on the left, as FIPS 186-5 §6.4.1 has it.
func (t *Token) Sign(slot string, pub crypto.PublicKey, digest []byte, h crypto.Hash) ([]byte, error) {
	s, err := parseSlot(slot)
	if err != nil {
		return nil, err
	}
	if err := signable(pub, digest, h); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.gone:
		return nil, fmt.Errorf("signing: %w", ErrRemoved)
	case !t.verified:
		return nil, fmt.Errorf("signing: %w", ErrPINRequired)
	}
	signer, opts, err := t.signer(s, pub, h)
	if err != nil {
		return nil, err
	}
	if ec, ok := pub.(*ecdsa.PublicKey); ok {
		digest = fit(digest, (ec.Curve.Params().BitSize+7)/8)
	}
	var sig []byte
	start := time.Now()
	err = t.do("signing", func() (err error) {
		sig, err = signer.Sign(nil, digest, opts)
		return err
	})
	if statusOf(err) == swSecurityStatus {
		return nil, t.whyRefused(err, time.Since(start))
	}
	return sig, err
}

// signable refuses what the token could not sign, or signs as something else.
func signable(pub crypto.PublicKey, digest []byte, h crypto.Hash) error {
	_, ed := pub.(ed25519.PublicKey)
	switch {
	case h == 0 && ed && len(digest) <= maxMessage:
		return nil
	case h == 0:
		return fmt.Errorf("a key of type %T signs digests, and Ed25519 messages of at most %d bytes", pub, maxMessage)
	case h != crypto.SHA256 && h != crypto.SHA384 && h != crypto.SHA512 || h.Size() != len(digest):
		return fmt.Errorf("%d bytes are no digest of %v the token signs", len(digest), h)
	}
	return nil
}

func (t *Token) signer(s piv.Slot, pub crypto.PublicKey, h crypto.Hash) (crypto.Signer, crypto.SignerOpts, error) {
	opts := crypto.SignerOpts(h)
	switch pub.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey:
	case ed25519.PublicKey:
		opts = crypto.Hash(0) // the message is the digest
	default:
		return nil, nil, fmt.Errorf("token can not sign with a key of type %T", pub)
	}
	// The key's policy is PIN once. Telling piv-go "never" keeps it from asking
	// the token before each signature whether the PIN is verified: it was, and
	// if not, the token refuses.
	key, err := t.yk.PrivateKey(s, pub, piv.KeyAuth{PINPolicy: piv.PINPolicyNever})
	if err != nil {
		return nil, nil, &TokenError{Op: "signing", Err: err}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, &TokenError{Op: "signing", Err: errors.New("piv-go gives no signer")}
	}
	return signer, opts, nil
}

// whyRefused tells the two meanings of status 6982 apart: the PIN is not
// verified, or the touch did not come.
func (t *Token) whyRefused(refusal error, after time.Duration) error {
	verified, _, err := t.pinState()
	if err != nil {
		return err
	}
	t.verified = verified
	if verified || after >= touchFloor {
		return fmt.Errorf("%w (%.1f s; %w)", ErrTouchTimeout, after.Seconds(), refusal)
	}
	return fmt.Errorf("%w (%w)", ErrPINRequired, refusal)
}

// fit makes a digest as long as the curve's order.
func fit(digest []byte, size int) []byte {
	if len(digest) >= size {
		return digest[:size]
	}
	return append(make([]byte, size-len(digest)), digest...)
}
