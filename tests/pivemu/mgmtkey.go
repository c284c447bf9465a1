package pivemu

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/subtle"

	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

// mgmtAlg is the algorithm of a management key (SP 800-78-4 table 6-2).
type mgmtAlg byte

const (
	mgmtDefault mgmtAlg = 0x00 // in P1: three-key Triple DES
	mgmt3DES    mgmtAlg = 0x03
	mgmtAES128  mgmtAlg = 0x08
	mgmtAES192  mgmtAlg = 0x0a
	mgmtAES256  mgmtAlg = 0x0c
)

func (a mgmtAlg) keyLen() int {
	switch a {
	case mgmt3DES, mgmtAES192:
		return 24
	case mgmtAES128:
		return 16
	case mgmtAES256:
		return 32
	}
	return 0
}

// managementKey is the key of slot 9b.
type managementKey struct {
	Alg   mgmtAlg
	Touch pivkey.TouchPolicy
	Key   []byte
}

// factoryManagement is 01 02 … 08, three times.
func factoryManagement() []byte { return bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3) }

func (m *managementKey) isDefault() bool { return bytes.Equal(m.Key, factoryManagement()) }

func (m *managementKey) block() (cipher.Block, error) {
	if m.Alg == mgmt3DES {
		return des.NewTripleDESCipher(m.Key)
	}
	return aes.NewCipher(m.Key)
}

type challengeKind int

const (
	noChallenge challengeKind = iota
	witness                   // mutual: the host must decrypt what we sent
	challenge                 // single: the host must encrypt what we sent
)

// pendingChallenge is what the token waits for after it sent a challenge; one
// try, then a new challenge is needed.
type pendingChallenge struct {
	kind  challengeKind
	plain []byte // what the host must prove to know
}

// authenticateManagement is GENERAL AUTHENTICATE with the management key
// (SP 800-73-4 part 2 appendix A.1): mutual authentication by witness, or the
// host alone by challenge.
func (c *Card) authenticateManagement(alg mgmtAlg, o iso7816.Objects) ([]byte, iso7816.SW) {
	m := &c.state.Management
	if alg == mgmtDefault {
		alg = mgmt3DES
	}
	if alg != m.Alg {
		return nil, iso7816.WrongData
	}
	block, err := m.block()
	if err != nil {
		return nil, iso7816.Aborted
	}
	pending := c.session.challenge
	c.session.challenge = pendingChallenge{}
	switch {
	case asks(o, tagWitness):
		return c.sendWitness(block), iso7816.OK
	case asks(o, tagChallenge):
		return c.sendChallenge(block), iso7816.OK
	case pending.kind == witness:
		return c.finishMutual(block, pending.plain, o)
	case pending.kind == challenge:
		return nil, c.finishSingle(block, pending.plain, o)
	}
	return nil, iso7816.WrongData
}

// asks: the object is there and empty, so the token is to fill it.
func asks(o iso7816.Objects, tag uint32) bool {
	v, ok := o.Find(tag)
	return ok && len(v) == 0
}

func (c *Card) sendWitness(block cipher.Block) []byte {
	plain := random(block.BlockSize())
	sealed := make([]byte, len(plain))
	block.Encrypt(sealed, plain)
	c.session.challenge = pendingChallenge{witness, plain}
	return iso7816.TLV(tagDynamic, iso7816.TLV(tagWitness, sealed))
}

func (c *Card) sendChallenge(block cipher.Block) []byte {
	plain := random(block.BlockSize())
	c.session.challenge = pendingChallenge{challenge, plain}
	return iso7816.TLV(tagDynamic, iso7816.TLV(tagChallenge, plain))
}

func (c *Card) finishMutual(block cipher.Block, plain []byte, o iso7816.Objects) ([]byte, iso7816.SW) {
	proof, ok := o.Find(tagWitness)
	question, ok2 := o.Find(tagChallenge)
	if !ok || !ok2 || len(question) != block.BlockSize() {
		return nil, iso7816.WrongData
	}
	if sw := c.admitManager(proof, plain); sw != iso7816.OK {
		return nil, sw
	}
	answer := make([]byte, len(question))
	block.Encrypt(answer, question)
	return iso7816.TLV(tagDynamic, iso7816.TLV(tagResponse, answer)), iso7816.OK
}

func (c *Card) finishSingle(block cipher.Block, plain []byte, o iso7816.Objects) iso7816.SW {
	proof, ok := o.Find(tagResponse)
	if !ok {
		return iso7816.WrongData
	}
	want := make([]byte, len(plain))
	block.Encrypt(want, plain)
	return c.admitManager(proof, want)
}

func (c *Card) admitManager(proof, want []byte) iso7816.SW {
	c.session.managed = false
	if subtle.ConstantTimeCompare(proof, want) != 1 {
		return iso7816.NotSatisfied
	}
	if sw := c.awaitTouch(c.state.Management.Touch); sw != iso7816.OK {
		return sw
	}
	c.session.managed = true
	return iso7816.OK
}

// P2 of SET MANAGEMENT KEY chooses the touch policy.
const (
	setMgmtNoTouch = 0xff
	setMgmtTouch   = 0xfe
	setMgmtCached  = 0xfd
)

// setManagement is SET MANAGEMENT KEY: algorithm, slot 9b, length, key.
func (c *Card) setManagement(cmd iso7816.Command) iso7816.SW {
	touch, known := map[byte]pivkey.TouchPolicy{
		setMgmtNoTouch: pivkey.TouchNone, setMgmtTouch: pivkey.TouchAlways, setMgmtCached: pivkey.TouchCached,
	}[cmd.P2]
	if cmd.P1 != 0xff || !known {
		return iso7816.WrongP1P2
	}
	if !c.session.managed {
		return iso7816.NotSatisfied
	}
	d := cmd.Data
	if len(d) < 3 || slot(d[1]) != slotManagement {
		return iso7816.WrongData
	}
	alg := mgmtAlg(d[0])
	if alg.keyLen() == 0 || int(d[2]) != alg.keyLen() || len(d) != 3+alg.keyLen() {
		return iso7816.WrongData
	}
	c.state.Management = managementKey{alg, touch, bytes.Clone(d[3:])}
	return c.save()
}
