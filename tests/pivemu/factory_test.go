package pivemu

import (
	"path/filepath"
	"testing"

	"touchmark/tests/pivemu/iso7816"
)

// TestFactory: keys, objects and secrets are as new, authentications are over;
// attestation and serial number stay, also in the state file.
func TestFactory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.json")
	h := newCard(t, Config{StatePath: path, Profile: "5.4.3"})
	before := h.ok(insGetData, 0x3f, 0xff, []byte{tagList, 3, 0x5f, 0xff, 1})
	serial := h.card.Serial()
	h.refused(iso7816.WrongPIN|2, insVerify, 0, refPIN, []byte("000000\xff\xff"))
	h.ok(insVerify, 0, refPIN, []byte("123456\xff\xff"))
	h.ok(insChangeReference, 0, refPIN, []byte("123456\xff\xff654321\xff\xff"))
	h.card.state.Objects[0x5fc105] = []byte{1}
	h.card.session.managed = true
	if err := h.card.Factory(); err != nil {
		t.Fatal(err)
	}
	h.refused(iso7816.WrongPIN|3, insVerify, 0, refPIN, nil)
	h.refused(iso7816.NotSatisfied, insGenerate, 0, 0x9a, []byte{0xac, 3, 0x80, 1, 0x11})
	h.refused(iso7816.NotFound, insGetData, 0x3f, 0xff, []byte{tagList, 3, 0x5f, 0xc1, 5})
	h.ok(insVerify, 0, refPIN, []byte("123456\xff\xff"))
	again := newCard(t, Config{StatePath: path})
	after := again.ok(insGetData, 0x3f, 0xff, []byte{tagList, 3, 0x5f, 0xff, 1})
	if string(before) != string(after) || again.card.Serial() != serial {
		t.Error("another token")
	}
	again.ok(insVerify, 0, refPIN, []byte("123456\xff\xff"))
}

func TestFactoryThatCanNotBeSaved(t *testing.T) {
	h := newCard(t, Config{})
	h.card.store.path = filepath.Join(t.TempDir(), "none", "t.json")
	h.card.state.Objects[0x5fc105] = []byte{1}
	if err := h.card.Factory(); err == nil {
		t.Error("no error")
	}
}
