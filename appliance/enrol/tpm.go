package enrol

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// checkTPM refuses a TPM and a token that cannot serve before anything is made.
func (c *ceremony) checkTPM(ctx context.Context) error {
	if err := c.TPM.Capable(ctx); err != nil {
		return err
	}
	maker, err := c.TPM.Maker()
	if err != nil {
		return err
	}
	if !c.Throwaway && maker.Simulated() {
		return fmt.Errorf("a TPM by %q is a program: %w", maker.Manufacturer, ErrThrowaway)
	}
	if !c.Throwaway && c.emulated() {
		return fmt.Errorf("the token's attestation does not lead to Yubico: %w", ErrThrowaway)
	}
	if recorded(c.state.AK) {
		return c.knownAK()
	}
	c.words.Once("TPM         %s %s, firmware %s", maker.Manufacturer, maker.Vendor, maker.Firmware)
	return c.newTPM()
}

// knownAK refuses to go on with another TPM.
func (c *ceremony) knownAK() error {
	ak, err := c.TPM.AK()
	if err != nil {
		return err
	}
	if !bytes.Equal(ak.Marshal(), c.state.AK) {
		return errors.New("the attestation key is not the one this ceremony made: is it another TPM?")
	}
	return nil
}

// newTPM looks at a TPM that nothing was made in yet.
func (c *ceremony) newTPM() error {
	if set, err := c.TPM.AuthSet(device.Hierarchies()...); err != nil {
		return err
	} else if set {
		return fmt.Errorf("an authorization of a hierarchy is set: clear the TPM first (tpm2_clear, with the lockout authorization from --hierarchy-auth-out of the enrolment before): %w", device.ErrAuthSet)
	}
	if err := c.foreignAuths(); err != nil {
		return err
	}
	if err := c.checkHead(); err != nil {
		return err
	}
	pcr, err := c.TPM.PCR()
	if err != nil {
		return err
	}
	if pcr != [32]byte{} {
		return fmt.Errorf("PCR %d has been extended since the TPM was reset: switch the board off and on, and enrol before anything else uses it", c.TPM.Config().PCR)
	}
	return nil
}

// checkHead takes note of HEAD as the ceremony finds it.
func (c *ceremony) checkHead() error {
	head, err := c.TPM.Head()
	if err != nil && !errors.Is(err, device.ErrNoHead) {
		return err
	}
	used := head != [32]byte{}
	switch {
	case used && !c.SameHead:
		return fmt.Errorf("%w; a log that goes on from the one before, after TPM2_Clear, takes --same-head with --predecessor", device.ErrHeadExists)
	case c.SameHead && c.Predecessor == nil:
		return errors.New("--same-head needs --predecessor, the trust directory of the log before")
	case c.SameHead && !used:
		return errors.New("--same-head: this TPM has no HEAD that a log used: it is not the predecessor's")
	case c.SameHead && c.Predecessor.Head != c.TPM.Config().Head:
		return fmt.Errorf("--same-head: the predecessor's HEAD is index %#08x, this board uses %#08x", c.Predecessor.Head, c.TPM.Config().Head)
	}
	c.state.Base = head
	return nil
}

// readEK takes the endorsement key's certificate, if the TPM's maker gave it
// one.
func (c *ceremony) readEK(context.Context) (err error) {
	if c.state.EKRead {
		c.describeEK()
		return nil
	}
	var foreign *device.ForeignEKError
	if c.state.EK, err = c.TPM.EK(nil); errors.As(err, &foreign) {
		c.words.Add("WARNING     %v", err)
		err = nil
	}
	if err != nil {
		return err
	}
	c.describeEK()
	c.state.EKRead = true
	return c.save()
}

func (c *ceremony) describeEK() {
	if c.state.EK == nil {
		c.words.Once("WARNING     the TPM holds no certificate of its endorsement key: nobody can tell later whether it is a real one")
	} else {
		c.words.Once("EK          certificate SHA-256 %x", sha256.Sum256(c.state.EK))
	}
}

// makeAK makes the attestation key. One that this ceremony asked for and was
// not told of has no proof of its creation any more: it is removed.
func (c *ceremony) makeAK(context.Context) error {
	if recorded(c.state.AK) {
		return c.describeAK()
	}
	if c.state.AKAsked {
		if err := c.TPM.RemoveAK(); err != nil {
			return err
		}
	} else if err := c.noAK(); err != nil {
		return err
	}
	c.state.AKAsked = true
	if err := c.save(); err != nil {
		return err
	}
	e, err := c.TPM.MakeAK(ledger.OutsideInfo(c.policy.Origin, c.attestations(), c.Nonce))
	if err != nil {
		return err
	}
	c.state.AK, c.state.Creation = e.AK, e.Creation
	if err := c.save(); err != nil {
		return err
	}
	return c.describeAK()
}

func (c *ceremony) describeAK() error {
	ak, err := quote.ParseAK(c.state.AK)
	if err == nil {
		c.words.Once("AK          Name %x", ak.Name())
	}
	return err
}

func (c *ceremony) noAK() error {
	var foreign *device.ForeignAKError
	_, err := c.TPM.AK()
	switch {
	case errors.Is(err, device.ErrNoAK):
		return nil
	case err == nil || errors.As(err, &foreign):
		return device.ErrAKExists
	}
	return err
}

// makeHead makes HEAD, once the operator agreed.
func (c *ceremony) makeHead(ctx context.Context) error {
	cfg := c.TPM.Config()
	if !c.state.HeadAsked {
		text := fmt.Sprintf("Make HEAD, index %#08x? It and the counter of image serials beside it can NEVER be removed from this TPM, which then serves this log, %s, for its lifetime.", cfg.Head, c.policy.Origin)
		if c.SameHead {
			text = fmt.Sprintf("Begin the log %s on the HEAD that %s left? No entry of that log can follow any more.", c.policy.Origin, c.Predecessor.Origin)
		}
		if err := c.confirm(ctx, text); err != nil {
			return err
		}
		c.state.HeadAsked = true
		if err := c.save(); err != nil {
			return err
		}
	}
	if err := c.TPM.MakeHead(); err != nil {
		return err
	}
	c.words.Once("HEAD        index %#08x, Name %x, PCR %d", cfg.Head, quote.HeadName(cfg.Head), cfg.PCR)
	if c.state.Base != [32]byte{} {
		c.words.Once("            goes on from %x", c.state.Base)
	}
	return nil
}

// makeFloor makes the counter of image serials. Who agreed to HEAD agreed to it.
func (c *ceremony) makeFloor(context.Context) error {
	if err := c.TPM.MakeFloor(); err != nil {
		return err
	}
	floor, err := c.TPM.Floor()
	if err != nil {
		return err
	}
	c.words.Once("counter     of image serials, indexes %#08x and %#08x, at %d", c.TPM.Config().Head+1, c.TPM.Config().Head+2, floor)
	return nil
}
