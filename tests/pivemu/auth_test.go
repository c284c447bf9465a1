package pivemu

import (
	"bytes"
	"context"
	"crypto/aes"
	"errors"
	"testing"
	"time"

	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

func TestManagementKeyTypes(t *testing.T) {
	h := newCard(t, Config{})
	alg, key := mgmtAES192, factoryManagement()
	for _, next := range []mgmtAlg{mgmt3DES, mgmtAES128, mgmtAES256, mgmtAES192} {
		h.manage(alg, key)
		fresh := random(next.keyLen())
		h.ok(insSetManagement, 0xff, setMgmtNoTouch, append([]byte{byte(next), 0x9b, byte(len(fresh))}, fresh...))
		h.card.Reset()
		h.ok(insSelect, 4, 0, aids[0].prefix)
		h.manage(next, fresh)
		if sw := h.tryManage(next, random(next.keyLen())); sw != iso7816.NotSatisfied {
			t.Errorf("a wrong %02x key: %04x", byte(next), uint16(sw))
		}
		h.refused(iso7816.NotSatisfied, insSetManagement, 0xff, 0xff, nil) // and that ends the authentication
		alg, key = next, fresh
	}
	h.manage(alg, key)
	for _, bad := range []string{"", "\x0a\x9b", "\x0a\x9c\x18" + string(key), "\x0a\x9b\x17" + string(key[1:]), "\x01\x9b\x18" + string(key), "\x0a\x9b\x18" + string(key) + "x"} {
		h.refused(iso7816.WrongData, insSetManagement, 0xff, 0xff, []byte(bad))
	}
	h.refused(iso7816.WrongP1P2, insSetManagement, 0xff, 0x00, nil)
}

// TestSingleAuthentication: the token sends a challenge, the host its
// encryption.
func TestSingleAuthentication(t *testing.T) {
	h := newCard(t, Config{})
	ask := iso7816.TLV(tagDynamic, iso7816.TLV(tagChallenge))
	question := h.inner(h.ok(insAuthenticate, byte(mgmtAES192), 0x9b, ask), tagDynamic, tagChallenge)
	block, err := aes.NewCipher(factoryManagement())
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len(question))
	block.Encrypt(answer, question)
	proof := iso7816.TLV(tagDynamic, iso7816.TLV(tagResponse, answer))
	h.ok(insAuthenticate, byte(mgmtAES192), 0x9b, proof)
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	h.refused(iso7816.WrongData, insAuthenticate, byte(mgmtAES192), 0x9b, proof) // not twice
	h.ok(insAuthenticate, byte(mgmtAES192), 0x9b, ask)
	h.refused(iso7816.NotSatisfied, insAuthenticate, byte(mgmtAES192), 0x9b, proof) // not for another challenge
}

func TestManagementKeyWithTouch(t *testing.T) {
	h := newCard(t, Config{Touch: TouchAsk, TouchTimeout: time.Hour})
	h.manageDefault()
	key := factoryManagement()
	h.ok(insSetManagement, 0xff, setMgmtTouch, append([]byte{byte(mgmtAES192), 0x9b, 24}, key...))
	meta := h.ok(insMetadata, 0, 0x9b, nil)
	if p := h.inner(meta, metaPolicy); !bytes.Equal(p, []byte{0, byte(pivkey.TouchAlways)}) {
		t.Errorf("policy %x", p)
	}
	results := make(chan iso7816.SW, 1)
	go func() { results <- h.tryManage(mgmtAES192, key) }()
	h.awaitTouch()
	if err := h.card.Touch(); err != nil {
		t.Fatal(err)
	}
	if sw := <-results; sw != iso7816.OK {
		t.Errorf("%04x", uint16(sw))
	}
}

func TestManagementKeyWithCachedTouch(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	next := append([]byte{byte(mgmtAES192), 0x9b, 24}, factoryManagement()...)
	h.refused(iso7816.WrongP1P2, insSetManagement, 0xff, setMgmtCached-1, next)
	h.ok(insSetManagement, 0xff, setMgmtCached, next)
	if p := h.inner(h.ok(insMetadata, 0, 0x9b, nil), metaPolicy); !bytes.Equal(p, []byte{0, byte(pivkey.TouchCached)}) {
		t.Errorf("policy %x", p)
	}
	if sw := h.tryManage(mgmtAES192, factoryManagement()); sw != iso7816.OK {
		t.Errorf("%04x", uint16(sw))
	}
	if _, _, touches := h.card.TouchStatus(); touches != 1 {
		t.Errorf("%d touches", touches)
	}
}

func TestPINPolicies(t *testing.T) {
	h := newCard(t, Config{})
	set := func(p pivkey.PINPolicy) {
		h.manageDefault()
		h.generate(slotSignature, pivkey.P256, p, pivkey.TouchNone)
	}
	set(pivkey.PINNever)
	h.expectSign(iso7816.OK)
	set(pivkey.PINOnce)
	h.expectSign(iso7816.NotSatisfied)
	h.verify(factoryPIN)
	h.expectSign(iso7816.OK)
	h.expectSign(iso7816.OK)
	set(pivkey.PINAlways)
	h.verify(factoryPIN)
	h.expectSign(iso7816.OK)
	h.expectSign(iso7816.NotSatisfied)
	h.verify(factoryPIN)
	h.refused(iso7816.WrongPIN|2, insVerify, 0, refPIN, make([]byte, 8))
	h.expectSign(iso7816.NotSatisfied) // a wrong PIN ends the right one
	set(pivkey.PINOnce)
	for name, forget := range map[string]func(){
		"reset":               func() { h.card.Reset() },
		"log out":             func() { h.ok(insVerify, 0xff, refPIN, nil) },
		"another application": func() { h.ok(insSelect, 4, 0, aids[1].full) },
	} {
		h.ok(insSelect, 4, 0, aids[0].prefix)
		h.verify(factoryPIN)
		h.ok(insSelect, 4, 0, aids[0].full) // the same application: nothing is forgotten
		h.expectSign(iso7816.OK)
		forget()
		h.ok(insSelect, 4, 0, aids[0].prefix)
		if _, sw := h.sign(slotSignature, pivkey.P256, digest[:]); sw != iso7816.NotSatisfied {
			t.Errorf("after %s: %04x", name, uint16(sw))
		}
	}
}

func TestDefaultPolicies(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	for s, want := range map[slot]pivkey.PINPolicy{0x9a: pivkey.PINOnce, 0x9c: pivkey.PINAlways, 0x9d: pivkey.PINOnce, 0x9e: pivkey.PINNever, 0x82: pivkey.PINOnce} {
		h.ok(insGenerate, 0, byte(s), []byte{tagTemplate, 9, tagAlgorithm, 1, byte(pivkey.P256), tagPINPolicy, 1, 0, tagTouchPolicy, 1, 0})
		meta := h.ok(insMetadata, 0, byte(s), nil)
		if p := h.inner(meta, metaPolicy); !bytes.Equal(p, []byte{byte(want), byte(pivkey.TouchNone)}) {
			t.Errorf("%02x: %x", byte(s), p)
		}
	}
}

func TestSetRetries(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	h.refused(iso7816.NotSatisfied, insSetRetries, 5, 4, nil)
	h.verify(factoryPIN)
	h.refused(iso7816.WrongData, insSetRetries, 0, 4, nil)
	h.ok(insSetRetries, 200, 4, nil)
	h.refused(iso7816.WrongPIN|15, insVerify, 0, refPIN, nil) // one nibble says no more
	meta := h.ok(insMetadata, 0, refPIN, nil)
	if r := h.inner(meta, metaRetries); !bytes.Equal(r, []byte{200, 200}) {
		t.Errorf("%x", r)
	}
}

func TestObjects(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	id := []byte{tagList, 3, 0x5f, 0xc1, 0x02}
	put := func(want iso7816.SW, n int) {
		t.Helper()
		if _, sw := h.do(insPutData, 0x3f, 0xff, append(bytes.Clone(id), iso7816.TLV(tagData, make([]byte, n))...)); sw != want {
			t.Fatalf("%d bytes: %04x", n, uint16(sw))
		}
	}
	put(iso7816.OK, maxObject)
	if got := h.inner(h.ok(insGetData, 0x3f, 0xff, id), tagData); len(got) != maxObject {
		t.Errorf("%d bytes", len(got))
	}
	put(iso7816.NoSpace, maxObject+1)
	put(iso7816.OK, 0)
	h.refused(iso7816.NotFound, insGetData, 0x3f, 0xff, id)
	const most = maxObjects / maxObject // with room for the attestation certificate
	for i := range byte(most) {
		id[4] = 0x40 + i
		put(iso7816.OK, maxObject)
	}
	id[4] = 0x40 + most
	put(iso7816.NoSpace, maxObject)
	id[4]--
	put(iso7816.OK, 3)
	h.refused(iso7816.WrongData, insPutData, 0x3f, 0xff, []byte{tagList, 1, 0x7e, tagData, 1, 0})
	id[4] = 0x09 // printed information
	put(iso7816.OK, 3)
	h.refused(iso7816.NotSatisfied, insGetData, 0x3f, 0xff, id)
	h.verify(factoryPIN)
	h.ok(insGetData, 0x3f, 0xff, id)
}

// awaitTouch waits until the token waits for a touch.
func (h *host) awaitTouch() {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := h.card.WaitTouch(ctx); err != nil {
		h.Fatal(err)
	}
}

func TestTouch(t *testing.T) {
	h := newCard(t, Config{Touch: TouchAsk, TouchTimeout: time.Hour})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchAlways)
	if err := h.card.Touch(); !errors.Is(err, ErrNotWaiting) {
		t.Errorf("a touch for nothing: %v", err)
	}
	for name, tt := range map[string]struct {
		act  func(cancel func()) error
		want iso7816.SW
	}{
		"touch":       {func(func()) error { return h.card.Touch() }, iso7816.OK},
		"time-out":    {func(func()) error { return h.card.TimeOut() }, iso7816.NotSatisfied},
		"mode auto":   {func(func()) error { return h.card.SetTouchMode(TouchAuto) }, iso7816.OK},
		"reader gone": {func(cancel func()) error { cancel(); return nil }, iso7816.Aborted},
	} {
		if err := h.card.SetTouchMode(TouchAsk); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		answers := make(chan []byte, 1)
		sign := iso7816.Command{INS: insAuthenticate, P1: byte(pivkey.P256), P2: 0x9c, Data: useData(tagChallenge, digest[:])}
		go func() { answers <- h.card.Execute(ctx, sign.Bytes()) }()
		h.awaitTouch()
		if _, waiting, _ := h.card.TouchStatus(); !waiting {
			t.Error("not waiting")
		}
		if err := tt.act(cancel); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		out := <-answers
		if got := iso7816.SW(out[len(out)-2])<<8 | iso7816.SW(out[len(out)-1]); got != tt.want {
			t.Errorf("%s: %04x, want %04x", name, uint16(got), uint16(tt.want))
		}
		if _, waiting, _ := h.card.TouchStatus(); waiting {
			t.Errorf("%s: still waiting", name)
		}
		cancel()
	}
}

func TestTouchTimesOut(t *testing.T) {
	h := newCard(t, Config{Touch: TouchNever, TouchTimeout: time.Millisecond})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchAlways)
	h.expectSign(iso7816.NotSatisfied)
	if err := h.card.Touch(); !errors.Is(err, ErrModeNever) {
		t.Errorf("%v", err)
	}
	if err := h.card.SetTouchMode("often"); err == nil {
		t.Error("a mode that is none")
	}
}

// TestPINBeforeTouch: without the PIN no touch is asked for.
func TestPINBeforeTouch(t *testing.T) {
	h := newCard(t, Config{Touch: TouchAuto})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINOnce, pivkey.TouchAlways)
	h.expectSign(iso7816.NotSatisfied)
	if _, _, touches := h.card.TouchStatus(); touches != 0 {
		t.Error("touched")
	}
}

func TestCachedTouch(t *testing.T) {
	h := newCard(t, Config{Touch: TouchAuto})
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchCached)
	h.expectSign(iso7816.OK)
	h.expectSign(iso7816.OK)
	if _, _, touches := h.card.TouchStatus(); touches != 1 {
		t.Errorf("%d touches for two signatures", touches)
	}
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchAlways)
	h.expectSign(iso7816.OK)
	if _, _, touches := h.card.TouchStatus(); touches != 2 {
		t.Errorf("%d touches: always must not use the cache", touches)
	}
}
