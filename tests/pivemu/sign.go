package pivemu

import (
	"time"

	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
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
	if pivkey.Alg(cmd.P1) != k.Alg {
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
func (c *Card) use(k *pivkey.Key, o iso7816.Objects) ([]byte, iso7816.SW) {
	var operation func() ([]byte, error)
	if peer, ok := o.Find(tagExponent); ok {
		operation = k.Agreement(peer)
	} else if message, ok := o.Find(tagChallenge); ok {
		operation = k.Signature(message)
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
func (c *Card) pinAllows(p pivkey.PINPolicy) bool {
	switch p {
	case pivkey.PINNever:
		return true
	case pivkey.PINOnce:
		return c.session.pinVerified
	}
	fresh := c.session.pinVerified && c.session.pinFresh
	c.session.pinFresh = false
	return fresh
}

// awaitTouch checks the touch policy and waits for the finger. A time-out is
// answered like a missing PIN, as the real token does.
func (c *Card) awaitTouch(p pivkey.TouchPolicy) iso7816.SW {
	if p == pivkey.TouchNone {
		return iso7816.OK
	}
	if p == pivkey.TouchCached && time.Since(c.session.touched) < touchCache {
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
