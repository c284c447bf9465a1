//go:build linux && !pcscd

package pcsc

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-piv/piv-go/v2/piv"

	"touchmark/appliance/pcsc/ccid"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/usb"
)

func newToken(t testing.TB, mode pivemu.TouchMode) *pivemu.Card {
	t.Helper()
	card, err := pivemu.New(pivemu.Config{Serial: 4711, Touch: mode, TouchTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return card
}

// sign is a token's user: it opens the token, gives the PIN and signs, with
// piv-go, and says what it got.
func (p *port) sign(key *ecdsa.PublicKey) error {
	var yk *piv.YubiKey
	err := Sweep(func() (err error) {
		yk, err = piv.Open(p.reader)
		return err
	})
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte("a message"))
	sig, err := signWith(yk, key, digest[:])
	closed := yk.Close()
	if err != nil {
		return err
	}
	if closed != nil {
		return closed
	}
	if !ecdsa.VerifyASN1(key, digest[:], sig) {
		p.t.Error("a wrong signature")
	}
	return nil
}

func signWith(yk *piv.YubiKey, key *ecdsa.PublicKey, digest []byte) ([]byte, error) {
	if _, err := yk.Serial(); err != nil {
		return nil, err
	}
	if err := yk.VerifyPIN(piv.DefaultPIN); err != nil {
		return nil, err
	}
	private, err := yk.PrivateKey(piv.SlotSignature, key, piv.KeyAuth{PINPolicy: piv.PINPolicyNever})
	if err != nil {
		return nil, err
	}
	return private.(crypto.Signer).Sign(rand.Reader, digest, crypto.SHA256)
}

// enrolled is a port with a token that holds a key that wants a touch.
func enrolled(t testing.TB, mode pivemu.TouchMode) (*port, *ecdsa.PublicKey) {
	t.Helper()
	p := newPort(t, newToken(t, mode))
	yk, err := piv.Open(p.reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := yk.GenerateKey(piv.DefaultManagementKey, piv.SlotSignature, piv.Key{
		Algorithm: piv.AlgorithmEC256, PINPolicy: piv.PINPolicyOnce, TouchPolicy: piv.TouchPolicyAlways,
	})
	if err := errors.Join(err, yk.Close()); err != nil {
		t.Fatal(err)
	}
	return p, pub.(*ecdsa.PublicKey)
}

// count counts the transfers of one undisturbed run.
func (p *port) count(key *ecdsa.PublicKey) int {
	p.t.Helper()
	p.set(nil)
	if err := p.sign(key); err != nil {
		p.t.Fatalf("undisturbed: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.steps
}

func (p *port) set(disturb func(*fakePipe, int, bool) ([]byte, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps, p.disturb = 0, disturb
}

// settled checks that nothing is claimed any more, and no PIN try was spent.
func (p *port) settled(what string) {
	p.t.Helper()
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	process.mu.Lock()
	left := len(process.handles) + len(process.contexts) + len(process.present)
	process.mu.Unlock()
	if open != 0 || left != 0 {
		p.t.Errorf("%s: %d interfaces claimed, %d objects left", what, open, left)
	}
	yk, err := piv.Open(p.reader)
	if err != nil {
		p.t.Fatalf("%s: opening again: %v", what, err)
	}
	tries, err := yk.Retries()
	if err := errors.Join(err, yk.Close()); err != nil || tries != 3 {
		p.t.Errorf("%s: %d tries left, %v", what, tries, err)
	}
}

func TestUSBSigns(t *testing.T) {
	p, key := enrolled(t, pivemu.TouchAuto)
	for range 3 {
		if err := p.sign(key); err != nil {
			t.Fatal(err)
		}
	}
	p.settled("three signatures")
}

// TestUSBRemovalEverywhere pulls the token before and after every transfer of a
// signature: the call that is under way fails as a removal at once, nothing stays
// claimed, and the token that is plugged in again signs.
func TestUSBRemovalEverywhere(t *testing.T) {
	p, key := enrolled(t, pivemu.TouchAuto)
	n := p.count(key)
	for step := 1; step <= n; step++ {
		p.set(func(_ *fakePipe, at int, _ bool) ([]byte, error) {
			if at == step {
				p.pull()
			}
			return nil, nil
		})
		err := p.sign(key)
		code, _ := Code(err)
		// The power-off at the end has nobody to tell.
		if removed := code == ErrRemovedCard || code == ErrNoSmartcard; !removed && (err != nil || step < n-1) {
			t.Errorf("pulled at transfer %d of %d: %v", step, n, err)
		}
		if p.backend().Readers() != nil {
			t.Error("the reader is still there")
		}
		p.set(nil)
		p.plug()
		if err := p.sign(key); err != nil {
			t.Fatalf("plugged in again after transfer %d: %v", step, err)
		}
	}
	p.settled("removals")
}

// disturbances are what a broken or hostile device does in place of a transfer to
// the host, given the one that would have come.
var disturbances = map[string]func(honest []byte) ([]byte, error){
	"stalls":          func([]byte) ([]byte, error) { return nil, ErrTimeout },
	"halts":           func([]byte) ([]byte, error) { return nil, ErrCommError },
	"short":           func(m []byte) ([]byte, error) { return m[:5], nil },
	"cut":             func(m []byte) ([]byte, error) { return m[:len(m)-1], nil },
	"longer":          func(m []byte) ([]byte, error) { return append(m, 0), nil },
	"lies up":         func(m []byte) ([]byte, error) { m[1]++; return m, nil },
	"lies by far":     func(m []byte) ([]byte, error) { m[4] = 0x7f; return m, nil },
	"another slot":    func(m []byte) ([]byte, error) { m[5] = 1; return m, nil },
	"another command": func(m []byte) ([]byte, error) { m[6]++; return m, nil },
	"another type":    func(m []byte) ([]byte, error) { m[0] ^= 0x01; return m, nil },
	"fails":           func(m []byte) ([]byte, error) { return append([]byte{m[0], 0, 0, 0, 0, 0}, m[6], 0x40, 0xfb, 0), nil },
	"loses the card":  func(m []byte) ([]byte, error) { return append([]byte{m[0], 0, 0, 0, 0, 0}, m[6], 0x42, 0xfe, 0), nil },
	"garbage":         func([]byte) ([]byte, error) { return bytes.Repeat([]byte{0xa5}, 64), nil },
}

// TestUSBBadDevicesEverywhere does each of these in place of every transfer to
// the host: no signature comes of it, nothing hangs or stays claimed, no try of
// the PIN is spent, and the next opening finds the card as ever.
func TestUSBBadDevicesEverywhere(t *testing.T) {
	p, key := enrolled(t, pivemu.TouchAuto)
	n := p.count(key)
	for name, spoil := range disturbances {
		for step := 1; step <= n; step++ {
			done := false
			p.set(func(f *fakePipe, at int, receive bool) ([]byte, error) {
				if done && name == "another command" && receive { // nothing more comes
					return nil, ErrTimeout
				}
				if at != step || !receive {
					return nil, nil
				}
				done = true
				honest, err := f.next()
				if err != nil {
					return nil, ErrRemovedCard
				}
				return spoil(honest)
			})
			if err := p.sign(key); done && err == nil && step < n {
				t.Errorf("%s at transfer %d of %d: a signature all the same", name, step, n)
			}
		}
		p.set(nil)
		p.settled(name)
	}
}

// TestUSBBabble: a device that never stops asking for time is given up.
func TestUSBBabble(t *testing.T) {
	p, key := enrolled(t, pivemu.TouchAuto)
	last := byte(0)
	p.set(func(f *fakePipe, at int, receive bool) ([]byte, error) {
		if at < 8 || !receive {
			return nil, nil
		}
		if at == 8 {
			m, err := f.next()
			if err != nil {
				return nil, ErrRemovedCard
			}
			last = m[6]
		}
		return []byte{0x80, 0, 0, 0, 0, 0, last, 0x80, 1, 0}, nil
	})
	if code, _ := Code(p.sign(key)); code != ErrCommError {
		t.Errorf("%v", code)
	}
	p.set(nil)
	p.settled("babble")
}

// TestUSBTouch: while the token waits it asks for time, and the signature comes
// when it is touched; a token that is pulled meanwhile ends the wait at once; one
// that is not touched says so, and is no removal.
func TestUSBTouch(t *testing.T) {
	p, key := enrolled(t, pivemu.TouchAsk)
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	for _, c := range []struct {
		name string
		act  func() error
		want Errno
		fine bool
	}{
		{"touched", p.card.Touch, OK, true},
		{"timed out", p.card.TimeOut, OK, false},
		{"pulled", func() error { p.pull(); p.plug(); return nil }, ErrRemovedCard, false},
		{"touched again", p.card.Touch, OK, true},
	} {
		extended := make(chan struct{})
		p.set(func(f *fakePipe, _ int, receive bool) ([]byte, error) {
			if !receive {
				return nil, nil
			}
			m, err := f.next()
			if err != nil {
				return nil, ErrRemovedCard
			}
			if m[7]&0xc0 == 0x80 {
				close(extended) // once: the token has no clock here
			}
			return m, nil
		})
		ended := make(chan error, 1)
		go func() { ended <- p.sign(key) }()
		select {
		case <-extended:
		case err := <-ended:
			t.Fatalf("%s: it did not wait for a touch: %v", c.name, err)
		case <-ctx.Done():
			t.Fatalf("%s: no time extension", c.name)
		}
		if err := c.act(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		err := <-ended
		if code, _ := Code(err); (err == nil) != c.fine || code != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	p.set(nil)
	p.settled("touches")
}

// TestUSBSecondOpen: a token that is open, here or by another process, is a
// sharing violation.
func TestUSBSecondOpen(t *testing.T) {
	p, _ := enrolled(t, pivemu.TouchAuto)
	yk, err := piv.Open(p.reader)
	if err != nil {
		t.Fatal(err)
	}
	err = Sweep(func() error { _, err := piv.Open(p.reader); return err })
	if code, _ := Code(err); code != ErrSharingViolation {
		t.Errorf("in this process: %v", err)
	}
	if _, err := p.backend().Connect(p.reader); !errors.Is(err, ErrSharingViolation) {
		t.Errorf("in another: %v", err)
	}
	if err := yk.Close(); err != nil {
		t.Error(err)
	}
	p.settled("two openings")
}

// TestUSBReaders: hot-plug, devices that are no readers, and names that a
// terminal would obey.
func TestUSBReaders(t *testing.T) {
	sys := t.TempDir()
	b := &usbReaders{devices: sys, claim: func(string, ccid.Interface) (bulkPipe, error) { return nil, ErrNoSmartcard }}
	want := func(names ...string) {
		t.Helper()
		if got := b.Readers(); !slices.Equal(got, names) {
			t.Errorf("%q, want %q", got, names)
		}
	}
	want()
	writeDevice(t, filepath.Join(sys, "1-1"), "Keyboard", usb.Descriptors()[:18+9])
	writeDevice(t, filepath.Join(sys, "1-1:1.0"), "an interface", usb.Descriptors())
	writeDevice(t, filepath.Join(sys, "1-2"), "broken", []byte{0, 0})
	want()
	writeDevice(t, filepath.Join(sys, "2-1"), "Yubi\x1b[2JKey\x00\n"+strings.Repeat("x", 500), usb.Descriptors())
	want("USB 2-1 Yubi[2JKey" + strings.Repeat("x", maxProduct-len("Yubi[2JKey")))
	writeDevice(t, filepath.Join(sys, "1-3"), "", usb.Descriptors())
	if got := b.Readers(); len(got) != 2 || got[0] != "USB 1-3" {
		t.Errorf("%q", got)
	}
	if _, err := b.Connect("USB 1-3"); !errors.Is(err, ErrNoSmartcard) {
		t.Error(err)
	}
	for name, text := range map[string]string{"devnum": "../../../etc/passwd", "busnum": "-1", "bConfigurationValue": "2"} {
		writeDevice(t, filepath.Join(sys, "1-3"), "", usb.Descriptors())
		if err := os.WriteFile(filepath.Join(sys, "1-3", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := b.Readers(); len(got) != 1 {
			t.Errorf("%s %q: %q", name, text, got)
		}
	}
	if err := os.RemoveAll(sys); err != nil {
		t.Fatal(err)
	}
	want()
	if _, err := b.Connect("USB 1-3"); !errors.Is(err, ErrUnknownReader) {
		t.Error(err)
	}
}

// TestWhichReaders: the production build looks at USB from the start, one that may
// be given an emulated token never does.
func TestWhichReaders(t *testing.T) {
	want := map[string]int{"in-process": 1, "in-process+emulated": 0}
	if n := len(process.list()); n != want[Mode] {
		t.Errorf("%s: %d backends", Mode, n)
	}
}
