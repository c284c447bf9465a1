//go:build emulated || pcscd

package piv_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/piv"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
)

// patience bounds every wait; it is never waited for when all is well.
const patience = 2 * time.Minute

// world is an emulated token in a reader that Open finds.
type world struct {
	t      testing.TB
	card   *pivemu.Card
	port   *front.Port
	reader string // Options.Reader
	log    *apduCount
}

func newWorld(t testing.TB, cfg pivemu.Config) *world {
	t.Helper()
	if cfg.Serial == 0 {
		cfg.Serial = 12345678
	}
	cfg.TouchTimeout = time.Hour // no machine is so slow; tests end the window themselves
	w := &world{t: t, log: &apduCount{}}
	cfg.Log = w.log
	var err error
	if w.card, err = pivemu.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.port = front.NewPort(w.card)
	t.Cleanup(w.port.Close)
	w.reader = attach(t, w.port)
	return w
}

func (w *world) options() piv.Options { return piv.Options{Reader: w.reader} }

// open opens the token; pcscd takes a moment to see an insertion.
func (w *world) open() *piv.Token {
	w.t.Helper()
	tok, err := openSoon(w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = tok.Close() })
	return tok
}

func openSoon(o piv.Options) (*piv.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		tok, err := piv.Open(o)
		if !errors.Is(err, piv.ErrNoToken) {
			return tok, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

const factoryPIN, factoryPUK = "123456", "12345678"

// enrol opens the token and makes a key; the PIN is then verified.
func (w *world) enrol(alg string) (*piv.Token, crypto.PublicKey) {
	w.t.Helper()
	tok := w.open()
	e, err := tok.Enrol(piv.EnrolConfig{Key: piv.KeySpec{Slot: "9c", Algorithm: alg}, PIN: []byte(factoryPIN)})
	if err != nil {
		w.t.Fatal(err)
	}
	return tok, e.Public
}

// BenchmarkSign is one signature by the emulated token, its own work included.
func BenchmarkSign(b *testing.B) {
	for _, alg := range []string{"p256", "rsa2048"} {
		b.Run(alg, func(b *testing.B) {
			w := newWorld(b, pivemu.Config{})
			tok, pub := w.enrol(alg)
			for b.Loop() {
				if _, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func (w *world) is(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("got %v, want %v", err, want)
	}
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// apduCount counts the commands in an APDU log.
type apduCount struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (a *apduCount) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.Write(b)
}

// commands returns the commands logged since the last call.
func (a *apduCount) commands() (out []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for line := range strings.Lines(a.text.String()) {
		if _, cmd, ok := strings.Cut(line, " > "); ok {
			out = append(out, strings.TrimSpace(cmd))
		}
	}
	a.text.Reset()
	return out
}

func sum(h crypto.Hash) []byte {
	s := h.New()
	s.Write([]byte("touchmark"))
	return s.Sum(nil)
}

func verify(t testing.TB, pub crypto.PublicKey, h crypto.Hash, sig []byte) {
	t.Helper()
	var ok bool
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, sum(h), sig)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, h, sum(h), sig) == nil
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, sum(h), sig)
	}
	if !ok {
		t.Fatalf("bad signature by %T over %v", pub, h)
	}
}

// perSignature is the number of APDUs a signature may take: one command, which
// for RSA is chained (266 bytes) and answered in two parts.
func perSignature(pub crypto.PublicKey) int {
	if _, ok := pub.(*rsa.PublicKey); ok {
		return 3
	}
	return 1
}
