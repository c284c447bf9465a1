package enrol

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"touchmark/appliance/operator"
	"touchmark/appliance/piv"
	"touchmark/appliance/piv/attest"
	"touchmark/appliance/sigformat"
	"touchmark/tpm/ledger"
)

// makeKey has the token make the signing key. What was in the slot before is
// written down first, so that a ceremony cut short right after knows its own
// key from one that was there.
func (c *ceremony) makeKey(ctx context.Context) error {
	if recorded(c.state.Attestation.Slot) {
		return c.knownKey()
	}
	now, err := c.inSlot()
	if err != nil {
		return err
	}
	if c.state.Asked && now != [32]byte{} && now != c.state.Before {
		c.made, err = c.Token.Enrolled(c.keySpec()) // made by this ceremony
	} else {
		err = c.newKey(ctx, now)
	}
	if err != nil {
		return err
	}
	c.state.Attestation = ledger.TokenAttestation{Slot: c.made.Attestation, Intermediate: c.made.Intermediate}
	c.describeKey()
	return c.save()
}

func (c *ceremony) keySpec() piv.KeySpec {
	return piv.KeySpec{Slot: c.key.Slot, Algorithm: c.key.Algorithm}
}

func (c *ceremony) newKey(ctx context.Context, now [32]byte) (err error) {
	if now != [32]byte{} {
		if !c.Replace {
			return fmt.Errorf("slot %s: %w: --replace-key destroys it", c.key.Slot, piv.ErrSlotInUse)
		}
		if err := c.confirm(ctx, fmt.Sprintf("Destroy the key in slot %s of token %d? Nobody can bring it back.", c.key.Slot, c.Token.Info().Serial)); err != nil {
			return err
		}
	}
	c.state.Asked, c.state.Before = true, now
	if err := c.save(); err != nil {
		return err
	}
	c.made, err = c.Token.Enrol(piv.EnrolConfig{Key: c.keySpec(), Replace: c.Replace})
	return err
}

// inSlot names the key in the token's slot by the hash of its public half;
// zero if there is none.
func (c *ceremony) inSlot() (h [32]byte, err error) {
	pub, err := c.Token.Public(c.key.Slot)
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
func (c *ceremony) knownKey() error {
	a := c.state.Attestation
	facts, err := attest.Verify(a.Slot, a.Intermediate, nil)
	if err != nil {
		return err
	}
	pub, err := c.Token.Public(c.key.Slot)
	if err != nil {
		return err
	}
	if key, ok := facts.Public.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(pub) {
		return fmt.Errorf("this is not the token whose key was made before, number %d, or that key is gone", facts.Serial)
	}
	c.made = &piv.Enrolled{Public: pub, Attestation: a.Slot, Intermediate: a.Intermediate, Facts: facts}
	c.describeKey()
	return nil
}

func (c *ceremony) describeKey() {
	f := c.made.Facts
	c.words.Once("token       number %d, firmware %s%s", f.Serial, f.Firmware, emulated(f.Emulated))
	c.words.Once("key         slot %s, %s, a touch for each signature, made in the token", c.key.Slot, c.key.Algorithm)
	c.words.Once("            attestation SHA-256 %x", sha256.Sum256(c.made.Attestation))
}

func emulated(yes bool) string {
	if yes {
		return " (EMULATED: its attestation does not lead to Yubico)"
	}
	return ""
}

func (c *ceremony) setManagementKey(context.Context) error {
	if c.NewManage == nil {
		c.words.Once("management key of the token: left as it was")
		return nil
	}
	if err := c.Token.SetManagementKey(nil, c.NewManage); err != nil {
		return err
	}
	c.words.Once("management key of the token: set to a random one")
	return nil
}

// unlock asks for the PIN until it is right, refused for good, or the operator
// leaves.
func (c *ceremony) unlock(ctx context.Context) error {
	event, text := "pin-needed", "Type the token's PIN."
	for {
		c.ask(event, operator.AskPIN, text)
		cmd, err := c.command(ctx)
		if err != nil {
			return err
		}
		if cmd.Verb != operator.PIN {
			continue
		}
		err = c.Token.VerifyPIN(cmd.PIN)
		clear(cmd.PIN)
		if err == nil || errors.Is(err, piv.ErrLastTry) {
			return err
		}
		event, text = "pin-wrong", err.Error()
	}
}

// certify makes the OpenPGP certificate. The key's creation time is part of
// its fingerprint: it is that of the ceremony, once and for all.
func (c *ceremony) certify(ctx context.Context) (err error) {
	if c.pgp, err = sigformat.NewKey(c.made.Public, c.Now); err != nil {
		return err
	}
	c.words.Once("certificate %s", c.UserID)
	c.words.Once("            fingerprint %X", c.pgp.Fingerprint())
	if recorded(c.state.Cert) {
		return nil
	}
	if err := c.unlock(ctx); err != nil {
		return err
	}
	c.ask("touch", operator.AskTouch, "Touch the token: it signs its own certificate, for "+c.UserID+".")
	c.state.Cert, err = sigformat.NewCertificate(c.pgp, c.UserID, func(digest []byte, h crypto.Hash) ([]byte, error) {
		return c.Token.Sign(c.key.Slot, c.made.Public, digest, h)
	})
	if err != nil {
		return err
	}
	return c.save()
}
