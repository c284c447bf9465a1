package pivemu

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"time"

	"touchmark/tests/pivemu/iso7816"
)

// Objects of the dynamic authentication template (SP 800-73-4 part 2 table 7).
const (
	tagDynamic   = 0x7c
	tagWitness   = 0x80
	tagChallenge = 0x81
	tagResponse  = 0x82
	tagExponent  = 0x85
)

// authenticate is GENERAL AUTHENTICATE (§3.2.4): the management key's
// authentication, or an operation with a private key.
func (c *Card) authenticate(cmd iso7816.Command) ([]byte, iso7816.SW) {
	o, sw := dynamicTemplate(cmd.Data)
	if sw != iso7816.OK {
		return nil, sw
	}
	if slot(cmd.P2) == slotManagement {
		return c.authenticateManagement(mgmtAlg(cmd.P1), o)
	}
	s := slot(cmd.P2)
	if !s.valid() || s == slotAttestation {
		return nil, iso7816.WrongP1P2
	}
	k := c.state.Keys[s]
	if k == nil {
		return nil, iso7816.ReferenceNotFound
	}
	if keyAlg(cmd.P1) != k.Alg {
		return nil, iso7816.WrongData
	}
	if answer, ok := o.Find(tagResponse); !ok || len(answer) != 0 {
		return nil, iso7816.WrongData
	}
	return c.use(k, o)
}

func dynamicTemplate(data []byte) (iso7816.Objects, iso7816.SW) {
	outer, err := iso7816.ParseTLV(data)
	if err != nil {
		return nil, iso7816.WrongData
	}
	inner, ok := outer.Only(tagDynamic)
	if !ok {
		return nil, iso7816.WrongData
	}
	o, err := iso7816.ParseTLV(inner)
	if err != nil {
		return nil, iso7816.WrongData
	}
	return o, iso7816.OK
}

// use does what the template asks of the key: first the form of the request,
// then the PIN, then the touch, then the arithmetic.
func (c *Card) use(k *slotKey, o iso7816.Objects) ([]byte, iso7816.SW) {
	var operation func() ([]byte, error)
	if peer, ok := o.Find(tagExponent); ok {
		operation = k.agreement(peer)
	} else if message, ok := o.Find(tagChallenge); ok {
		operation = k.signature(message)
	}
	if operation == nil {
		return nil, iso7816.WrongData
	}
	if !c.pinAllows(k.PIN) {
		return nil, iso7816.NotSatisfied
	}
	if sw := c.awaitTouch(k.Touch); sw != iso7816.OK {
		return nil, sw
	}
	result, err := operation()
	if err != nil {
		c.log.note("private key operation: " + err.Error())
		return nil, iso7816.WrongData
	}
	return iso7816.TLV(tagDynamic, iso7816.TLV(tagResponse, result)), iso7816.OK
}

// pinAllows checks the PIN policy; "always" uses up the PIN.
func (c *Card) pinAllows(p pinPolicy) bool {
	switch p {
	case pinNever:
		return true
	case pinOnce:
		return c.session.pinVerified
	}
	fresh := c.session.pinVerified && c.session.pinFresh
	c.session.pinFresh = false
	return fresh
}

// awaitTouch checks the touch policy and waits for the finger. A time-out is
// answered like a missing PIN, as the real token does.
func (c *Card) awaitTouch(p touchPolicy) iso7816.SW {
	if p == touchPolicyNever {
		return iso7816.OK
	}
	if p == touchPolicyCached && time.Since(c.session.touched) < touchCache {
		return iso7816.OK
	}
	c.log.note("waiting for a touch")
	switch c.finger.wait(c.ctx) {
	case touchGiven:
		c.log.note("touched")
		c.session.touched = time.Now()
		return iso7816.OK
	case touchTimedOut:
		c.log.note("touch timed out")
		return iso7816.NotSatisfied
	}
	c.log.note("touch wait aborted")
	return iso7816.Aborted
}

// signature is the operation on a challenge (tag 81): a signature, or for RSA
// the bare private key operation on a block of the modulus' length, which also
// decrypts. It is nil when the message does not fit the key.
func (k *slotKey) signature(message []byte) func() ([]byte, error) {
	switch key := k.key.(type) {
	case *rsa.PrivateKey:
		m := new(big.Int).SetBytes(message)
		if len(message) != key.Size() || m.Cmp(key.N) >= 0 {
			return nil
		}
		return func() ([]byte, error) { return rsaPrivate(key, m), nil }
	case *ecdsa.PrivateKey:
		if n := len(message); n == 0 || n > key.Params().BitSize/8 {
			return nil
		}
		return func() ([]byte, error) { return ecdsa.SignASN1(rand.Reader, key, message) }
	case ed25519.PrivateKey:
		if len(message) > maxMessage {
			return nil
		}
		return func() ([]byte, error) { return ed25519.Sign(key, message), nil }
	}
	return nil
}

// agreement is the Diffie-Hellman operation on a peer's public key (tag 85),
// nil when the peer is no point of the key's curve.
func (k *slotKey) agreement(peer []byte) func() ([]byte, error) {
	var own *ecdh.PrivateKey
	switch key := k.key.(type) {
	case *ecdsa.PrivateKey:
		var err error
		if own, err = key.ECDH(); err != nil {
			return nil
		}
	case *ecdh.PrivateKey:
		own = key
	default:
		return nil
	}
	other, err := own.Curve().NewPublicKey(peer)
	if err != nil {
		return nil
	}
	return func() ([]byte, error) { return own.ECDH(other) }
}

// rsaPrivate is m^d mod n by the Chinese remainder theorem (RFC 8017 §5.1.2).
// Not constant-time: the key belongs to an emulator.
func rsaPrivate(key *rsa.PrivateKey, m *big.Int) []byte {
	p, q := key.Primes[0], key.Primes[1]
	m1 := new(big.Int).Exp(m, key.Precomputed.Dp, p)
	m2 := new(big.Int).Exp(m, key.Precomputed.Dq, q)
	h := m1.Sub(m1, m2)
	h.Mul(h, key.Precomputed.Qinv).Mod(h, p)
	return h.Mul(h, q).Add(h, m2).FillBytes(make([]byte, key.Size()))
}
