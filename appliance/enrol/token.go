package enrol

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"touchmark/appliance/enrol/progress"
	"touchmark/appliance/operator"
	"touchmark/appliance/piv"
	"touchmark/appliance/piv/attest"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/tpm/ledger"
)

// key is one of the keys that the ceremony makes.
type key struct {
	policy.Key
	token *piv.Token // that makes it
	state *progress.Key
	made  *piv.Enrolled
	pgp   *signing.Key
}

// assign says which token makes which key.
func (c *ceremony) assign() error {
	for _, k := range c.keys {
		k.token = c.Token
		if slices.Contains(c.BackupKeys, k.Name) {
			k.token = c.BackupToken
		}
	}
	named := func(name string) bool {
		return slices.ContainsFunc(c.keys, func(k *key) bool { return k.Name == name })
	}
	switch i := slices.IndexFunc(c.BackupKeys, func(name string) bool { return !named(name) }); {
	case i >= 0:
		return fmt.Errorf("there is no key %q for the backup token to make", c.BackupKeys[i])
	case (c.BackupToken == nil) != (len(c.BackupKeys) == 0):
		return errors.New("a backup token and the keys that it makes go together")
	case c.BackupToken == nil:
	case c.BackupToken.Info().Serial == c.Token.Info().Serial:
		return errors.New("the backup token is the token itself")
	case !slices.ContainsFunc(c.keys, func(k *key) bool { return k.token == c.Token }):
		return errors.New("no key is left for the token: the backup token makes all of them")
	}
	return nil
}

// tokens are those that make keys.
func (c *ceremony) tokens() []*piv.Token {
	if c.BackupToken == nil {
		return []*piv.Token{c.Token}
	}
	return []*piv.Token{c.Token, c.BackupToken}
}

// emulated reports whether the keys of one of the tokens can be copied.
func (c *ceremony) emulated() bool {
	return slices.ContainsFunc(c.tokens(), func(t *piv.Token) bool { return t.Info().Emulated })
}

// called is what people are told of a token.
func (c *ceremony) called(t *piv.Token) string {
	if c.BackupToken == nil {
		return "the token"
	}
	return fmt.Sprintf("token %d", t.Info().Serial)
}

// makeKeys has the tokens make the signing keys.
func (c *ceremony) makeKeys(ctx context.Context) error {
	for _, k := range c.keys {
		if err := c.makeKey(ctx, k); err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
	}
	return nil
}

// makeKey has the token make a key. What was in the slot before is written down
// first, so that a ceremony cut short right after knows its own key from one
// that was there.
func (c *ceremony) makeKey(ctx context.Context, k *key) error {
	if recorded(k.state.Attestation.Slot) {
		return c.knownKey(k)
	}
	now, err := c.inSlot(k)
	if err != nil {
		return err
	}
	if k.state.Asked && now != [32]byte{} && now != k.state.Before {
		k.made, err = k.token.Enrolled(k.spec()) // made by this ceremony
	} else {
		err = c.newKey(ctx, k, now)
	}
	if err != nil {
		return err
	}
	if f := k.made.Facts; f.EUCLEAK() {
		if err := c.confirm(ctx, fmt.Sprintf("Go on with an elliptic curve on firmware %s? Whoever holds the token for a while can extract key %s (EUCLEAK). Take RSA, or a token with firmware 5.7 or newer.", f.Firmware, k.Name)); err != nil {
			return err
		}
	}
	k.state.Attestation = ledger.TokenAttestation{Slot: k.made.Attestation, Intermediate: k.made.Intermediate}
	c.describeKey(k)
	return c.save()
}

func (k *key) spec() piv.KeySpec { return piv.KeySpec{Slot: k.Slot, Algorithm: k.Algorithm} }

func (c *ceremony) newKey(ctx context.Context, k *key, now [32]byte) (err error) {
	if now != [32]byte{} {
		if !c.Replace {
			return fmt.Errorf("slot %s: %w: --replace-key destroys it", k.Slot, piv.ErrSlotInUse)
		}
		if err := c.confirm(ctx, fmt.Sprintf("Destroy the key in slot %s of token %d? Nobody can bring it back.", k.Slot, k.token.Info().Serial)); err != nil {
			return err
		}
	}
	k.state.Asked, k.state.Before = true, now
	if err := c.save(); err != nil {
		return err
	}
	k.made, err = k.token.Enrol(piv.EnrolConfig{Key: k.spec(), Replace: c.Replace, ManagementKey: c.managed})
	return err
}

// inSlot names the key in the slot of a key by the hash of its public half;
// zero if there is none.
func (c *ceremony) inSlot(k *key) (h [32]byte, err error) {
	pub, err := k.token.Public(k.Slot)
	if errors.Is(err, piv.ErrEmptySlot) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	return sha256.Sum256(spki), err
}

// knownKey goes on with the key that the token made before.
func (c *ceremony) knownKey(k *key) error {
	a := k.state.Attestation
	facts, err := attest.Verify(a.Slot, a.Intermediate, nil)
	if err != nil {
		return err
	}
	pub, err := k.token.Public(k.Slot)
	if err != nil {
		return err
	}
	if p, ok := facts.Public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(pub) {
		return fmt.Errorf("this is not the token whose key was made before, number %d, or that key is gone", facts.Serial)
	}
	k.made = &piv.Enrolled{Public: pub, Attestation: a.Slot, Intermediate: a.Intermediate, Facts: facts}
	c.describeKey(k)
	return nil
}

func (c *ceremony) describeKey(k *key) {
	f := k.made.Facts
	c.words.Once("token       number %d, firmware %s%s", f.Serial, f.Firmware, emulated(f.Emulated))
	c.words.Once("key         %s: slot %s, %s, a touch for each signature, made in the token", k.Name, k.Slot, k.Algorithm)
	c.words.Once("            attestation SHA-256 %x", sha256.Sum256(k.made.Attestation))
	if f.EUCLEAK() {
		c.words.Once("WARNING     firmware %s: whoever holds the token for a while can extract its key %s, which is on an elliptic curve (EUCLEAK, Yubico YSA-2024-03). Take RSA, or a token with firmware 5.7 or newer", f.Firmware, k.Name)
	}
}

// attestations are those of all keys, for the TPM to vouch for.
func (c *ceremony) attestations() []ledger.TokenAttestation {
	var all []ledger.TokenAttestation
	for _, k := range c.keys {
		all = append(all, k.state.Attestation)
	}
	return all
}

func emulated(yes bool) string {
	if yes {
		return " (EMULATED: its attestation does not lead to Yubico)"
	}
	return ""
}

// certify makes the OpenPGP certificates. A key's creation time is part of its
// fingerprint: it is that of the ceremony, once and for all.
func (c *ceremony) certify(ctx context.Context) error {
	for _, k := range c.keys {
		var err error
		if k.pgp, err = signing.NewKey(k.made.Public, c.Now); err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
		if sigformat.Certified(k.Family, k.Algorithm) {
			c.words.Once("certificate %s: %s, expires %s", k.Name, c.UserID, expiry(c.Expires))
		} else {
			k.state.Cert = certificate.NewBare(k.pgp) // it certifies nothing, not even itself
			c.words.Once("no OpenPGP  %s: for %s signatures only", k.Name, k.Family)
		}
		c.words.Once("            fingerprint %X", k.pgp.Fingerprint())
		if recorded(k.state.Cert) {
			continue
		}
		if err := c.unlock(ctx, k.token); err != nil {
			return err
		}
		if err := c.certifyKey(k); err != nil {
			return fmt.Errorf("key %s: %w", k.Name, err)
		}
	}
	return nil
}

// sign has the token sign a digest with the key, by a touch.
func (k *key) sign(digest []byte, h crypto.Hash) ([]byte, error) {
	return k.token.Sign(k.Slot, k.made.Public, digest, h)
}

func (c *ceremony) certifyKey(k *key) (err error) {
	c.ask("touch", operator.AskTouch, "Touch "+c.called(k.token)+": its key "+k.Name+" signs its own certificate, for "+c.UserID+".")
	k.state.Cert, err = certificate.NewWithTerms(k.pgp, c.UserID, certificate.Terms{Expires: c.Expires, Family: k.Family, Origin: c.policy.Origin}, k.sign)
	if err != nil {
		return err
	}
	return c.save()
}
