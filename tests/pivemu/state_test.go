package pivemu

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/tests/pivemu/iso7816"
	"touchmark/tests/pivemu/pivkey"
)

func TestStateIsTheSameToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.json")
	h := newCard(t, Config{Profile: "5.4.3", StatePath: path})
	h.manageDefault()
	pub := h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchNone).(*ecdsa.PublicKey)
	h.refused(iso7816.WrongPIN|2, insVerify, 0, refPIN, make([]byte, 8))
	again, err := New(Config{StatePath: path})
	if err != nil {
		t.Fatal(err)
	}
	if again.Serial() != 12345678 || again.Firmware() != "5.4.3" {
		t.Errorf("%d, %s", again.Serial(), again.Firmware())
	}
	h = &host{t, again}
	h.ok(insSelect, 4, 0, aids[0].prefix)
	h.works(pivkey.P256, pub)
	h.refused(iso7816.WrongPIN|2, insVerify, 0, refPIN, nil)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Error("files are left over", files, err)
	}
}

func TestStateOfAnotherToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.json")
	newCard(t, Config{StatePath: path})
	for _, cfg := range []Config{
		{StatePath: path, Serial: 1},
		{StatePath: path, Profile: "5.4.3"},
		{StatePath: path, Profile: "6.0"},
		{StatePath: t.TempDir()},
		{Profile: "1.0"},
		{Touch: "sometimes"},
	} {
		if c, err := New(cfg); err == nil || c != nil {
			t.Errorf("%+v: accepted", cfg)
		}
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"empty": "", "cut": string(good[:len(good)/2]), "null": "null", "no keys": `{"Profile":"5.7.1"}`,
		"key":   strings.Replace(string(good), `"PKCS8":"M`, `"PKCS8":"N`, 1),
		"slot":  strings.Replace(string(good), `"249":`, `"7":`, 1),
		"large": string(good) + strings.Repeat(" ", maxStateFile),
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{StatePath: path}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestStateCannotBeSaved: the command fails, and nothing has changed.
func TestStateCannotBeSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h := newCard(t, Config{StatePath: filepath.Join(dir, "token.json")})
	h.manageDefault()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	h.refused(iso7816.Aborted, insVerify, 0, refPIN, make([]byte, 8))
	h.refused(iso7816.WrongPIN|3, insVerify, 0, refPIN, nil)
	if _, sw := h.do(insGenerate, 0, 0x9c, []byte{tagTemplate, 3, tagAlgorithm, 1, byte(pivkey.P256)}); sw != iso7816.Aborted {
		t.Errorf("%04x", uint16(sw))
	}
	h.refused(iso7816.ReferenceNotFound, insMetadata, 0, 0x9c, nil)
	h.verify(factoryPIN) // the right PIN changes nothing, so it needs no file
}

// TestResetKeepsAttestation: a factory reset wipes keys and objects, not the
// attestation key.
func TestResetKeepsAttestation(t *testing.T) {
	h := newCard(t, Config{})
	before := h.ok(insMetadata, 0, byte(slotAttestation), nil)
	h.manageDefault()
	h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	h.ok(insPutData, 0x3f, 0xff, []byte{tagList, 3, 0x5f, 0xc1, 2, tagData, 1, 0})
	for range 3 {
		h.do(insVerify, 0, refPIN, make([]byte, 8))
		h.do(insChangeReference, 0, refPUK, make([]byte, 16))
	}
	h.ok(insReset, 0, 0, nil)
	h.refused(iso7816.ReferenceNotFound, insMetadata, 0, 0x9c, nil)
	h.refused(iso7816.NotFound, insGetData, 0x3f, 0xff, []byte{tagList, 3, 0x5f, 0xc1, 2})
	if after := h.ok(insMetadata, 0, byte(slotAttestation), nil); !bytes.Equal(before, after) {
		t.Error("another attestation key")
	}
	h.refused(iso7816.NotSatisfied, insGenerate, 0, 0x9c, nil)
	h.manageDefault()
	pub := h.generate(slotSignature, pivkey.P256, pivkey.PINNever, pivkey.TouchNone)
	h.isAttested(pub, pivkey.PINNever, pivkey.TouchNone)
}

func TestFaults(t *testing.T) {
	h := newCard(t, Config{})
	h.manageDefault()
	h.card.Inject(Fault{SW: 0x6f01, Count: 2, INS: insGenerate})
	h.card.Inject(Fault{SW: 0x6f02, Count: 1, INS: insGenerate, Applied: true})
	h.ok(insVersion, 0, 0, nil) // another instruction
	template := []byte{tagTemplate, 3, tagAlgorithm, 1, byte(pivkey.P256)}
	for range 2 {
		h.refused(0x6f01, insGenerate, 0, 0x9c, template)
		h.refused(iso7816.ReferenceNotFound, insMetadata, 0, 0x9c, nil)
	}
	h.refused(0x6f02, insGenerate, 0, 0x9c, template)
	h.ok(insMetadata, 0, 0x9c, nil) // applied
	h.card.Inject(Fault{SW: 0x6f03, Count: 1})
	h.refused(0x6f03, insVersion, 0, 0, nil)
	h.ok(insVersion, 0, 0, nil)
}

// TestLogHidesSecrets: no PIN, PUK or key is in the log, in whatever form it
// was sent; everything else is.
func TestLogHidesSecrets(t *testing.T) {
	var log bytes.Buffer
	h := newCard(t, Config{Log: &log})
	secret := []byte("S3CR3T!?")
	twice := append(bytes.Clone(secret), secret...)
	h.manageDefault()
	h.do(insVerify, 0, refPIN, secret)
	h.do(insChangeReference, 0, refPUK, twice)
	h.do(insResetRetry, 0, refPIN, twice)
	h.do(insSetManagement, 0xff, 0xff, append([]byte{byte(mgmtAES128), 0x9b, 16}, twice...))
	h.do(insImport, byte(pivkey.Ed25519), 0x9c, iso7816.TLV(7, twice, twice))
	h.card.APDU(append([]byte{0, insVerify, 0, refPIN, 8}, secret...))
	h.card.APDU(append([]byte{0, insVerify, 0, refPIN, 7}, secret...)) // malformed
	h.card.APDU(append([]byte{0x10, insImport, 0x11, 0x9c, 8}, secret...))
	h.card.APDU(append([]byte{0x00, insImport, 0x11, 0x9c, 8}, secret...))
	h.verify(factoryPIN)
	printedObject := iso7816.TLV(tagData, iso7816.TLV(0x88, secret))
	h.card.APDU(append([]byte{0x10, insPutData, 0x3f, 0xff, 5}, printed...))
	h.card.APDU(append([]byte{0x00, insPutData, 0x3f, 0xff, byte(len(printedObject))}, printedObject...))
	h.card.APDU(append([]byte{0, insGetData, 0x3f, 0xff, 5}, append(bytes.Clone(printed), 4)...))
	h.card.APDU([]byte{0, 0xc0, 0, 0, 0})
	if got := h.inner(h.ok(insGetData, 0x3f, 0xff, printed), tagData, 0x88); !bytes.Equal(got, secret) {
		t.Fatal("the object was not stored, so the test shows nothing")
	}
	text := log.String()
	for _, s := range []string{string(secret), hex.EncodeToString(secret), hex.EncodeToString(secret[:4]), hex.EncodeToString([]byte(factoryPIN))} {
		if strings.Contains(text, s) {
			t.Errorf("the log holds %s:\n%s", s, text)
		}
	}
	for _, want := range []string{"> 00 20 00 80 [8 bytes hidden]\n", "< 61114f0600001000010079074f05a000000308 9000 "} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not hold %q:\n%s", want, text)
		}
	}
}

// FuzzCard: no sequence of commands makes the token panic, hang, or answer with
// less than a status word; a factory token never signs and never lets its
// counters grow.
func FuzzCard(f *testing.F) {
	for _, s := range []string{
		"05 00a4040005a000000308",
		"0d 0020008008313233343536ffff",
		"09 00870a9b047c028000",
		"0b 00cb3fff055c035fff01",
		"04 00f7009c 04 00f99c00 0c 0087119c077c0582008101aa",
		"08 0047009c03ac0180 0a 00ffffff030a9b18",
	} {
		f.Add(fuzzSeed(f, s))
	}
	key, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	factory := key.store.saved
	f.Fuzz(func(t *testing.T, script []byte) {
		s, err := decodeState(factory)
		if err != nil {
			t.Fatal(err)
		}
		h := newCard(t, Config{})
		h.card.state = s
		for n := 0; len(script) > 0 && n < 64; n++ {
			k := min(int(script[0]), len(script)-1)
			out := h.card.APDU(script[1 : 1+k])
			script = script[1+k:]
			if len(out) < 2 {
				t.Fatalf("answer %x", out)
			}
		}
		for _, v := range []secret{h.card.state.PIN, h.card.state.PUK} {
			if v.Tries < 0 || v.Tries > v.Max || len(v.Value) != pinLength {
				t.Fatalf("%+v", v)
			}
		}
		if err := h.card.state.valid(); err != nil {
			t.Fatal(err)
		}
	})
}

func fuzzSeed(f *testing.F, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		f.Fatal(err)
	}
	return b
}
