//go:build emulated || pcscd

package piv_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/piv"
	"touchmark/appliance/piv/attest"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/iso7816"
)

// behaviours is what every way to reach a token must show: in-process PC/SC
// (tag emulated) and the system's pcscd (tag pcscd). Against a real token the
// touches would be yours.
var behaviours = []struct {
	name string
	cfg  pivemu.Config
	run  func(*testing.T, *world)
}{
	{"enrol and sign with p256", pivemu.Config{}, signs("p256")},
	{"enrol and sign with rsa2048", pivemu.Config{}, signs("rsa2048")},
	{"enrol and sign with p384", pivemu.Config{}, signs("p384")},
	{"enrol and sign with ed25519", pivemu.Config{}, signs("ed25519")},
	{"firmware 5.4.3", pivemu.Config{Profile: "5.4.3"}, signs("p256")},
	{"info", pivemu.Config{Serial: 4711}, info},
	{"secrets change", pivemu.Config{}, secretsChange},
	{"secrets change on 5.4.3", pivemu.Config{Profile: "5.4.3"}, secretsChange},
	{"management key", pivemu.Config{}, managementKey},
	{"management key on 5.4.3", pivemu.Config{Profile: "5.4.3"}, managementKey},
	{"enrol refuses", pivemu.Config{}, enrolRefuses},
	{"PIN required", pivemu.Config{}, pinRequired},
	{"wrong PIN, last try protected", pivemu.Config{}, wrongPIN},
	{"PIN lost in the token", pivemu.Config{}, pinLost},
	{"touch", pivemu.Config{}, touch},
	{"touch time-out", pivemu.Config{}, touchTimeout},
	{"removal while idle", pivemu.Config{}, removalIdle},
	{"removal during touch", pivemu.Config{}, removalDuringTouch},
	{"re-insertion", pivemu.Config{}, reinsertion},
	{"second open", pivemu.Config{}, secondOpen},
	{"closed token", pivemu.Config{}, closed},
	{"token errors", pivemu.Config{}, tokenErrors},
	{"selection", pivemu.Config{Serial: 99}, selection},
}

func TestConformance(t *testing.T) {
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) { b.run(t, newWorld(t, b.cfg)) })
	}
}

func signs(alg string) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		tok, pub := w.enrol(alg)
		got, err := tok.Public("9c")
		w.ok(err)
		if !got.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) {
			t.Fatal("Public returns another key")
		}
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			w.log.commands()
			sig, err := tok.Sign("9c", pub, sum(h), h)
			w.ok(err)
			if sent := w.log.commands(); len(sent) != perSignature(pub) {
				t.Errorf("one signature took %d APDUs: %q", len(sent), sent)
			}
			verify(t, pub, h, sig)
		}
		_, err = tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA512)
		if err == nil || len(w.log.commands()) > 0 {
			t.Errorf("a digest of the wrong size reached the token: %v", err)
		}
	}
}

// managementKey: whether it is the factory's can be asked for, as often as one likes,
// and whoever knows it can change it.
func managementKey(t *testing.T, w *world) {
	tok := w.open()
	factory := func(want bool) {
		t.Helper()
		for range 2 {
			if is, err := tok.FactoryManaged(); is != want || err != nil {
				t.Errorf("the factory's: %v, %v", is, err)
			}
		}
	}
	factory(true)
	key := piv.NewManagementKey()
	w.ok(tok.SetManagementKey(nil, key))
	factory(false)
	w.ok(tok.SetManagementKey(nil, key)) // it has that one already
	if err := tok.SetManagementKey(nil, piv.NewManagementKey()); err == nil {
		t.Error("the factory's key changed another one")
	}
	_, err := tok.Enrol(piv.EnrolConfig{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}, ManagementKey: key})
	w.ok(err)
	w.ok(tok.SetManagementKey(key, piv.FactoryManagementKey()))
	factory(true)
	w.ok(tok.Close())
	if is, err := tok.FactoryManaged(); is || err == nil {
		t.Errorf("a closed token: %v, %v", is, err)
	}
}

func info(t *testing.T, w *world) {
	tok := w.open()
	i := tok.Info()
	if i.Serial != 4711 || i.Firmware != "5.7.1" || !i.Emulated || !strings.Contains(i.Reader, w.reader) {
		t.Errorf("info %+v", i)
	}
	if !tok.Present() {
		t.Error("not present")
	}
	w.ok(tok.Close())
	root, err := pivemu.Root()
	w.ok(err)
	o := w.options()
	o.Roots = attest.NewRoots(root)
	tok, err = openSoon(o)
	w.ok(err)
	defer tok.Close()
	if tok.Info().Emulated {
		t.Error("not genuine under its own root")
	}
	e, err := tok.Enrol(piv.EnrolConfig{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}})
	w.ok(err)
	if f := e.Facts; f.Emulated || f.Serial != 4711 || f.Slot != "9a" || !f.TouchAlways() || !f.PINOnce() {
		t.Errorf("facts %+v", f)
	}
	if f, err := attest.Verify(e.Attestation, e.Intermediate, nil); err != nil || !f.Emulated {
		t.Errorf("under Yubico's roots: %+v, %v", f, err)
	}
}

func secretsChange(t *testing.T, w *world) {
	tok := w.open()
	key := piv.NewManagementKey()
	cfg := piv.EnrolConfig{
		Key: piv.KeySpec{Slot: "9c", Algorithm: "p256"},
		PIN: []byte(factoryPIN), NewPIN: []byte("24681357"),
		PUK: []byte(factoryPUK), NewPUK: []byte("87654321"),
		NewManagementKey: bytes.Clone(key),
	}
	e, err := tok.Enrol(cfg)
	w.ok(err)
	for _, s := range [][]byte{cfg.PIN, cfg.NewPIN, cfg.PUK, cfg.NewPUK} {
		if !bytes.Equal(s, make([]byte, len(s))) {
			t.Errorf("secret left in its buffer: %q", s)
		}
	}
	if !bytes.Equal(cfg.NewManagementKey, key) || bytes.Equal(key, piv.FactoryManagementKey()) {
		t.Error("the management key is not the caller's any more, or the factory's")
	}
	if !tok.PINVerified() {
		t.Error("PIN not verified after enrolment")
	}
	sig, err := tok.Sign("9c", e.Public, sum(crypto.SHA256), crypto.SHA256)
	w.ok(err)
	verify(t, e.Public, crypto.SHA256, sig)

	again := piv.EnrolConfig{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}}
	if _, err = tok.Enrol(again); err == nil || !strings.Contains(err.Error(), "wrong management key") {
		t.Errorf("the factory's management key still works: %v", err)
	}
	again.ManagementKey = key
	_, err = tok.Enrol(again)
	w.ok(err)
	var pe *piv.PINError
	if err := tok.VerifyPIN([]byte(factoryPIN)); !errors.As(err, &pe) {
		t.Errorf("the factory's PIN still works: %v", err)
	}
	w.ok(tok.VerifyPIN([]byte("24681357")))
}

func enrolRefuses(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	spec := piv.KeySpec{Slot: "9c", Algorithm: "p256"}
	_, err := tok.Enrol(piv.EnrolConfig{Key: spec})
	w.is(err, piv.ErrSlotInUse)
	if now, err := tok.Public("9c"); err != nil || !pub.(*ecdsa.PublicKey).Equal(now) {
		t.Errorf("the key changed: %v", err)
	}
	_, err = tok.Public("9d")
	w.is(err, piv.ErrEmptySlot)
	_, _, err = tok.Attest("9d")
	w.is(err, piv.ErrEmptySlot)

	w.log.commands()
	for _, c := range []piv.EnrolConfig{
		{Key: piv.KeySpec{Slot: "9b", Algorithm: "p256"}},
		{Key: piv.KeySpec{Slot: "9C", Algorithm: "p256"}},
		{Key: piv.KeySpec{Slot: "f9", Algorithm: "p256"}},
		{Key: piv.KeySpec{Slot: "", Algorithm: "p256"}},
		{Key: piv.KeySpec{Slot: "9a", Algorithm: "rsa1024"}},
		{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}, NewPIN: []byte("654321")},
		{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}, PIN: []byte(factoryPIN), NewPIN: []byte("1234")},
		{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}, PIN: []byte(factoryPIN), NewPIN: []byte("123456789")},
		{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}, NewManagementKey: make([]byte, 16)},
	} {
		if _, err := tok.Enrol(c); err == nil {
			t.Errorf("accepted %+v", c)
		}
	}
	if sent := w.log.commands(); len(sent) > 0 {
		t.Errorf("bad configurations reached the token: %q", sent)
	}

	var pe *piv.PINError
	_, err = tok.Enrol(piv.EnrolConfig{Key: piv.KeySpec{Slot: "9a", Algorithm: "p256"}, PIN: []byte("999999")})
	if !errors.As(err, &pe) {
		t.Errorf("wrong PIN: %v", err)
	}
	_, err = tok.Public("9a")
	w.is(err, piv.ErrEmptySlot) // found out before the key was made
	_, err = tok.Enrol(piv.EnrolConfig{
		Key: piv.KeySpec{Slot: "9d", Algorithm: "p256"}, PUK: []byte("99999999"), NewPUK: []byte("11111111"),
	})
	if !errors.As(err, &pe) || !pe.PUK || pe.Retries != 2 {
		t.Errorf("wrong PUK: %v", err)
	}
	e, err := tok.Enrol(piv.EnrolConfig{Key: spec, Replace: true})
	w.ok(err)
	if pub.(*ecdsa.PublicKey).Equal(e.Public) {
		t.Error("not replaced")
	}
}

func pinRequired(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	w.ok(tok.Close())
	tok = w.open()
	if tok.PINVerified() {
		t.Error("verified by nobody")
	}
	w.log.commands()
	_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.is(err, piv.ErrPINRequired)
	if sent := w.log.commands(); len(sent) > 0 {
		t.Errorf("asked the token all the same: %q", sent)
	}
	pin := []byte(factoryPIN)
	w.ok(tok.VerifyPIN(pin))
	if !bytes.Equal(pin, make([]byte, 6)) || !tok.PINVerified() {
		t.Errorf("PIN buffer %q, verified %v", pin, tok.PINVerified())
	}
	_, err = tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.ok(err)
}

func wrongPIN(t *testing.T, w *world) {
	tok := w.open()
	for _, bad := range []string{"", "12345", "123456789", "1234\n6", "12345é"} {
		pin := []byte(bad)
		if err := tok.VerifyPIN(pin); err == nil || !bytes.Equal(pin, make([]byte, len(pin))) {
			t.Errorf("%q: %v, buffer %q", bad, err, pin)
		}
	}
	for left := 2; left >= 1; left-- {
		pin := []byte("999999")
		var pe *piv.PINError
		if err := tok.VerifyPIN(pin); !errors.As(err, &pe) || pe.Retries != left {
			t.Fatalf("got %v, want %d tries left", err, left)
		}
		if !bytes.Equal(pin, make([]byte, 6)) || tok.PINVerified() {
			t.Error("PIN kept, or verified")
		}
	}
	for _, pin := range []string{"999999", factoryPIN} { // even the right one
		w.is(tok.VerifyPIN([]byte(pin)), piv.ErrLastTry)
	}
	if sw := w.card.APDU([]byte{0, 0x20, 0, 0x80}); !bytes.Equal(sw, []byte{0x63, 0xc1}) {
		t.Fatalf("the token answers %x, not that one try is left", sw)
	}
	verifyRaw(w, "999999")
	var pe *piv.PINError
	if err := tok.VerifyPIN([]byte(factoryPIN)); !errors.As(err, &pe) || pe.Retries != 0 {
		t.Errorf("blocked: %v", err)
	}
}

// verifyRaw sends a VERIFY past the open connection.
func verifyRaw(w *world, pin string) {
	w.card.APDU(append([]byte{0, 0x20, 0, 0x80, 8}, pin+"\xff\xff"...))
}

// The token forgot the PIN behind our back: its 6982 comes at once and is not
// taken for a touch time-out.
func pinLost(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	verifyRaw(w, "999999")
	_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.is(err, piv.ErrPINRequired)
	if tok.PINVerified() {
		t.Error("still counts as verified")
	}
	w.ok(tok.VerifyPIN([]byte(factoryPIN)))
	_, err = tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.ok(err)
	// A refusal that took a touch window is one, whatever became of the PIN.
	verifyRaw(w, "999999")
	w.is(tok.WhyRefused(errors.New("6982"), 15*time.Second), piv.ErrTouchTimeout)
	if tok.PINVerified() {
		t.Error("still counts as verified")
	}
}

type result struct {
	sig []byte
	err error
}

// signAsked starts a signature and waits until the token waits for the touch.
func (w *world) signAsked(tok *piv.Token, pub crypto.PublicKey) <-chan result {
	w.t.Helper()
	w.ok(w.card.SetTouchMode(pivemu.TouchAsk))
	done := make(chan result, 1)
	go func() {
		sig, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
		done <- result{sig, err}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w.ok(w.card.WaitTouch(ctx))
	return done
}

func touch(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	done := w.signAsked(tok, pub)
	if !tok.Present() {
		t.Error("not present during a touch")
	}
	w.ok(w.card.Touch())
	r := <-done
	w.ok(r.err)
	verify(t, pub, crypto.SHA256, r.sig)
}

func touchTimeout(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	for range 2 { // the PIN stays verified
		done := w.signAsked(tok, pub)
		w.ok(w.card.TimeOut())
		r := <-done
		w.is(r.err, piv.ErrTouchTimeout)
		if r.sig != nil || !tok.PINVerified() || !tok.Present() {
			t.Error("signature, or PIN lost, or token gone")
		}
	}
	w.ok(w.card.SetTouchMode(pivemu.TouchAuto))
	_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.ok(err)
}

func removalIdle(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	w.ok(w.port.Pull())
	_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.is(err, piv.ErrRemoved)
	if tok.Present() || tok.PINVerified() {
		t.Error("present, or PIN verified")
	}
	w.is(tok.VerifyPIN([]byte(factoryPIN)), piv.ErrRemoved)
	_, err = tok.Public("9c")
	w.is(err, piv.ErrRemoved)
	w.ok(tok.Close())
	_, err = piv.Open(w.options())
	w.is(err, piv.ErrNoToken)

	removalNoticed(t)
	w.ok(w.port.Insert())
	tok = w.open()
	w.ok(w.port.Pull())
	if tok.Present() { // found by Present alone
		t.Error("present")
	}
}

func removalDuringTouch(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	done := w.signAsked(tok, pub)
	w.ok(w.port.Pull())
	r := <-done
	w.is(r.err, piv.ErrRemoved)
	if tok.Present() || tok.PINVerified() {
		t.Error("present, or PIN verified")
	}
}

func reinsertion(t *testing.T, w *world) {
	old, pub := w.enrol("p256")
	w.ok(w.port.Pull())
	removalNoticed(t)
	w.ok(w.port.Insert())
	_, err := old.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.is(err, piv.ErrRemoved) // another insertion is another token
	w.ok(old.Close())
	tok := w.open()
	if tok.PINVerified() {
		t.Error("PIN survived the removal")
	}
	_, err = tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.is(err, piv.ErrPINRequired)
	w.ok(tok.VerifyPIN([]byte(factoryPIN)))
	w.ok(old.Close()) // late and twice: without effect
	sig, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.ok(err)
	verify(t, pub, crypto.SHA256, sig)
}

func secondOpen(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	for range 3 {
		_, err := piv.Open(w.options())
		w.is(err, piv.ErrBusy)
	}
	_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.ok(err) // undisturbed
	w.ok(tok.Close())
	w.open()
}

func closed(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	w.ok(tok.Close())
	w.ok(tok.Close())
	_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
	w.is(err, piv.ErrRemoved)
	if tok.Present() {
		t.Error("present")
	}
}

func tokenErrors(t *testing.T, w *world) {
	tok, pub := w.enrol("p256")
	for _, sw := range []uint16{0x6f00, 0x6a80, 0x6982} {
		w.card.Inject(pivemu.Fault{SW: iso7816.SW(sw), Count: 1, INS: 0x87})
		_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
		var te *piv.TokenError
		switch {
		case sw == 0x6982: // with the PIN verified, only the touch is left
			w.is(err, piv.ErrTouchTimeout)
		case !errors.As(err, &te) || te.Status != sw:
			t.Errorf("%04x: %v", sw, err)
		}
		_, err = tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
		w.ok(err)
	}
	_, err := tok.Sign("9d", pub, sum(crypto.SHA256), crypto.SHA256) // an empty slot
	if err == nil {
		t.Error("signed with an empty slot")
	}
	_, err = tok.Sign("9c", "no key", sum(crypto.SHA256), crypto.SHA256)
	if err == nil {
		t.Error("signed with a string")
	}
}

func selection(t *testing.T, w *world) {
	w.open().Close()
	o := w.options()
	o.Serial = 98
	_, err := piv.Open(o)
	w.is(err, piv.ErrNoToken)
	o.Serial = 99
	tok, err := piv.Open(o) // the refused one was let go
	w.ok(err)
	w.ok(tok.Close())
	_, err = piv.Open(piv.Options{Reader: "no such reader"})
	w.is(err, piv.ErrNoToken)
}
