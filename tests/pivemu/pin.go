package pivemu

import (
	"bytes"
	"crypto/subtle"

	"touchmark/tests/pivemu/iso7816"
)

// Key references of PIN and PUK (SP 800-73-4 part 1 table 4b).
const (
	refPIN = 0x80
	refPUK = 0x81
)

// secret is a PIN or a PUK with its try counter.
type secret struct {
	Value []byte // pinLength bytes, padded with ff
	Tries int    // left
	Max   int
}

func newSecret(value string, tries int) secret {
	v := bytes.Repeat([]byte{0xff}, pinLength)
	copy(v, value)
	return secret{v, tries, tries}
}

func (s *secret) status() iso7816.SW {
	if s.Tries == 0 {
		return iso7816.Blocked
	}
	return iso7816.WrongPIN | iso7816.SW(min(s.Tries, maxShownRetries))
}

// check compares a candidate. The counter is lowered on disk before the
// comparison, so that cutting the power buys no tries.
func (c *Card) check(s *secret, candidate []byte) iso7816.SW {
	if s.Tries == 0 {
		return iso7816.Blocked
	}
	right := subtle.ConstantTimeCompare(s.Value, candidate) == 1
	if right && s.Tries == s.Max {
		return iso7816.OK
	}
	s.Tries--
	if right {
		s.Tries = s.Max
	}
	if sw := c.save(); sw != iso7816.OK {
		return sw
	}
	if right {
		return iso7816.OK
	}
	return iso7816.WrongPIN | iso7816.SW(min(s.Tries, maxShownRetries))
}

// verify is VERIFY (SP 800-73-4 part 2 §3.2.1): with data it checks the PIN,
// without it tells whether the PIN is needed, with P1 = ff it logs out.
func (c *Card) verify(cmd iso7816.Command) iso7816.SW {
	if cmd.P2 != refPIN {
		return iso7816.ReferenceNotFound
	}
	switch {
	case cmd.P1 == 0xff && len(cmd.Data) == 0:
		c.session.pinVerified, c.session.pinFresh = false, false
		return iso7816.OK
	case cmd.P1 != 0:
		return iso7816.WrongP1P2
	case len(cmd.Data) == 0 && c.session.pinVerified:
		return iso7816.OK
	case len(cmd.Data) == 0:
		return c.state.PIN.status()
	case len(cmd.Data) != pinLength:
		return iso7816.WrongData
	}
	sw := c.check(&c.state.PIN, cmd.Data)
	c.session.pinVerified = sw == iso7816.OK
	c.session.pinFresh = c.session.pinVerified
	return sw
}

// changeReference is CHANGE REFERENCE DATA (§3.2.2) for PIN and PUK.
func (c *Card) changeReference(cmd iso7816.Command) iso7816.SW {
	if cmd.P1 != 0 {
		return iso7816.WrongP1P2
	}
	switch cmd.P2 {
	case refPIN:
		return c.replace(&c.state.PIN, &c.state.PIN, cmd.Data)
	case refPUK:
		return c.replace(&c.state.PUK, &c.state.PUK, cmd.Data)
	}
	return iso7816.ReferenceNotFound
}

// resetRetry is RESET RETRY COUNTER (§3.2.3): the PUK sets a new PIN.
func (c *Card) resetRetry(cmd iso7816.Command) iso7816.SW {
	if cmd.P1 != 0 || cmd.P2 != refPIN {
		return iso7816.WrongP1P2
	}
	return c.replace(&c.state.PUK, &c.state.PIN, cmd.Data)
}

// replace sets target if the first half of data opens guard. The old value is
// checked before the form of the new one, as on the real token.
func (c *Card) replace(guard, target *secret, data []byte) iso7816.SW {
	if len(data) != 2*pinLength {
		return iso7816.WrongData
	}
	if sw := c.check(guard, data[:pinLength]); sw != iso7816.OK {
		return sw
	}
	value := data[pinLength:]
	if !validPIN(value) {
		return iso7816.WrongData
	}
	target.Value = bytes.Clone(value)
	target.Tries = target.Max
	return c.save()
}

// validPIN: at least minPIN bytes, then only padding.
func validPIN(v []byte) bool {
	n := len(bytes.TrimRight(v, "\xff"))
	return n >= minPIN && !bytes.ContainsRune(v[:n], 0) && bytes.IndexByte(v[:n], 0xff) < 0
}

// setRetries is SET PIN RETRIES: new counters, and PIN and PUK as from the
// factory. It needs the management key and the PIN.
func (c *Card) setRetries(cmd iso7816.Command) iso7816.SW {
	if !c.session.managed || !c.session.pinVerified {
		return iso7816.NotSatisfied
	}
	if cmd.P1 == 0 || cmd.P2 == 0 || len(cmd.Data) != 0 {
		return iso7816.WrongData
	}
	c.state.PIN = newSecret(factoryPIN, int(cmd.P1))
	c.state.PUK = newSecret(factoryPUK, int(cmd.P2))
	c.session.pinVerified, c.session.pinFresh = false, false
	return c.save()
}

// factoryReset is RESET: only once PIN and PUK are both blocked. The
// attestation key and its certificate stay.
func (c *Card) factoryReset(cmd iso7816.Command) iso7816.SW {
	if c.state.PIN.Tries != 0 || c.state.PUK.Tries != 0 {
		return iso7816.ConditionsNotMet
	}
	if cmd.P1 != 0 || cmd.P2 != 0 || len(cmd.Data) != 0 {
		return iso7816.WrongP1P2
	}
	c.state.wipe(c.profile)
	c.session = session{app: appPIV}
	return c.save()
}
