package pivemu

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"math/big"
	"testing"

	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

// host is the other side of a token in the tests.
type host struct {
	testing.TB
	card *Card
}

func newCard(t testing.TB, cfg Config) *host {
	t.Helper()
	if cfg.Serial == 0 {
		cfg.Serial = 12345678
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t, c}
	h.ok(insSelect, 4, 0, aids[0].prefix)
	return h
}

// do sends one command in the extended form.
func (h *host) do(ins, p1, p2 byte, data []byte) ([]byte, iso7816.SW) {
	c := iso7816.Command{INS: ins, P1: p1, P2: p2, Data: data, Le: 65536}
	out := h.card.APDU(c.Bytes())
	n := len(out) - 2
	return out[:n], iso7816.SW(out[n])<<8 | iso7816.SW(out[n+1])
}

func (h *host) ok(ins, p1, p2 byte, data []byte) []byte {
	h.Helper()
	out, sw := h.do(ins, p1, p2, data)
	if sw != iso7816.OK {
		h.Fatalf("%02x %02x %02x: %04x", ins, p1, p2, uint16(sw))
	}
	return out
}

func (h *host) refused(want iso7816.SW, ins, p1, p2 byte, data []byte) {
	h.Helper()
	if out, sw := h.do(ins, p1, p2, data); sw != want || len(out) != 0 {
		h.Fatalf("%02x %02x %02x: %x %04x, want %04x", ins, p1, p2, out, uint16(sw), uint16(want))
	}
}

func (h *host) verify(pin string) {
	h.Helper()
	h.ok(insVerify, 0, refPIN, newSecret(pin, 1).Value)
}

// manage authenticates with the management key, mutually.
func (h *host) manage(alg mgmtAlg, key []byte) {
	h.Helper()
	if sw := h.tryManage(alg, key); sw != iso7816.OK {
		h.Fatalf("management key: %04x", uint16(sw))
	}
}

func (h *host) tryManage(alg mgmtAlg, key []byte) iso7816.SW {
	h.Helper()
	block, err := (&managementKey{Alg: alg, Key: key}).block()
	if err != nil {
		h.Fatal(err)
	}
	out, sw := h.do(insAuthenticate, byte(alg), byte(slotManagement), iso7816.TLV(tagDynamic, iso7816.TLV(tagWitness)))
	if sw != iso7816.OK {
		return sw
	}
	plain := make([]byte, block.BlockSize())
	block.Decrypt(plain, h.inner(out, tagDynamic, tagWitness))
	question := random(block.BlockSize())
	out, sw = h.do(insAuthenticate, byte(alg), byte(slotManagement), iso7816.TLV(tagDynamic,
		iso7816.TLV(tagWitness, plain), iso7816.TLV(tagChallenge, question)))
	if sw != iso7816.OK {
		return sw
	}
	want := make([]byte, len(question))
	block.Encrypt(want, question)
	if !bytes.Equal(h.inner(out, tagDynamic, tagResponse), want) {
		h.Fatal("the token does not know the management key")
	}
	return sw
}

func (h *host) manageDefault() {
	h.Helper()
	h.manage(h.card.profile.managedBy, factoryManagement())
}

// inner unwraps nested objects.
func (h *host) inner(b []byte, tags ...uint32) []byte {
	h.Helper()
	for _, tag := range tags {
		o, err := iso7816.ParseTLV(b)
		if err != nil {
			h.Fatal(err)
		}
		v, ok := o.Find(tag)
		if !ok {
			h.Fatalf("no object %x in %x", tag, b)
		}
		b = v
	}
	return b
}

// generate makes a key; the management key must be authenticated.
func (h *host) generate(s slot, alg pivkey.Alg, pin pivkey.PINPolicy, touch pivkey.TouchPolicy) crypto.PublicKey {
	h.Helper()
	out := h.ok(insGenerate, 0, byte(s), iso7816.TLV(tagTemplate, iso7816.TLV(tagAlgorithm, []byte{byte(alg)}),
		iso7816.TLV(tagPINPolicy, []byte{byte(pin)}), iso7816.TLV(tagTouchPolicy, []byte{byte(touch)})))
	return h.public(alg, h.inner(out, tagPublicKey))
}

// public reads the contents of a public key template.
func (h *host) public(alg pivkey.Alg, b []byte) crypto.PublicKey {
	h.Helper()
	if alg.RSABits() != 0 {
		e := new(big.Int).SetBytes(h.inner(b, 0x82))
		return &rsa.PublicKey{N: new(big.Int).SetBytes(h.inner(b, 0x81)), E: int(e.Int64())}
	}
	point := h.inner(b, 0x86)
	var pub crypto.PublicKey
	var err error
	switch alg {
	case pivkey.Ed25519:
		pub = ed25519.PublicKey(point)
	case pivkey.X25519:
		pub, err = ecdh.X25519().NewPublicKey(point)
	default:
		pub, err = ecdsa.ParseUncompressedPublicKey(alg.Curve(), point)
	}
	if err != nil {
		h.Fatal(err)
	}
	return pub
}

// useData is the data of a private key operation.
func useData(tag uint32, message []byte) []byte {
	return iso7816.TLV(tagDynamic, iso7816.TLV(tagResponse), iso7816.TLV(tag, message))
}

func (h *host) sign(s slot, alg pivkey.Alg, message []byte) ([]byte, iso7816.SW) {
	h.Helper()
	out, sw := h.do(insAuthenticate, byte(alg), byte(s), useData(tagChallenge, message))
	if sw != iso7816.OK {
		return nil, sw
	}
	return h.inner(out, tagDynamic, tagResponse), sw
}

// expectSign signs with the P-256 key in 9c and checks the status word.
func (h *host) expectSign(want iso7816.SW) {
	h.Helper()
	if _, sw := h.sign(slotSignature, pivkey.P256, make([]byte, 32)); sw != want {
		h.Fatalf("sign: %04x, want %04x", uint16(sw), uint16(want))
	}
}
