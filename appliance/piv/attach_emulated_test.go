//go:build emulated && !pcscd

package piv_test

import (
	"crypto"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
)

// attach serves the token on a socket and registers a reader for it.
func attach(t testing.TB, port *front.Port) (reader string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "piv") // short: a socket path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	if err := port.ServeUnix(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pcsc.Register(pcsc.DialBackend(path)))
	return path
}

// removalNoticed: a removal needs no noticing here, the connection is closed.
func removalNoticed(testing.TB) {}

// Piv-go leaks its handle when opening fails after the connection was made; the
// token must not stay locked.
func TestFailedOpenLeavesNoLock(t *testing.T) {
	w := newWorld(t, pivemu.Config{})
	for _, ins := range []byte{0xa4, 0xfd, 0xf8} { // SELECT, GET VERSION, GET SERIAL
		w.card.Inject(pivemu.Fault{SW: 0x6f00, Count: 1, INS: ins})
		if _, err := piv.Open(w.options()); err == nil || errors.Is(err, piv.ErrBusy) {
			t.Fatalf("INS %02x: %v", ins, err)
		}
		tok, err := piv.Open(w.options())
		w.ok(err)
		w.ok(tok.Close())
	}
}

// Tokens come and go while old connections are still being closed: what comes
// late must not disturb the token inserted since.
func TestReplugStorm(t *testing.T) {
	w := newWorld(t, pivemu.Config{})
	tok, pub := w.enrol("p256")
	for round := range 60 {
		w.ok(w.port.Pull())
		w.ok(w.port.Insert())
		if round%2 == 0 { // sometimes the removal is known before the Close
			tok.Present()
		}
		closed := make(chan error, 1)
		go func(old *piv.Token) { closed <- old.Close() }(tok)
		next, err := piv.Open(w.options())
		if errors.Is(err, piv.ErrBusy) { // the old connection was not closed yet
			w.ok(<-closed)
			closed <- nil
			next, err = piv.Open(w.options())
		}
		w.ok(err)
		w.ok(next.VerifyPIN([]byte(factoryPIN)))
		w.ok(<-closed)
		sig, err := next.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
		w.ok(err)
		verify(t, pub, crypto.SHA256, sig)
		tok = next
	}
	w.ok(tok.Close())
}

// flaky is a reader whose cards fail the next signature on demand.
type flaky struct {
	pcsc.Backend
	name string
	fail error
}

type flakyCard struct {
	pcsc.Card
	reader *flaky
}

func (f *flaky) Readers() []string { return []string{f.name} }

func (f *flaky) Connect(string) (pcsc.Card, error) {
	c, err := f.Backend.Connect(f.Backend.Readers()[0])
	return &flakyCard{c, f}, err
}

func (c *flakyCard) Transmit(apdu []byte) ([]byte, error) {
	if c.reader.fail != nil && apdu[1] == 0x87 {
		return nil, c.reader.fail
	}
	return c.Card.Transmit(apdu)
}

// A card call that hangs until its limit, or breaks: the connection is over,
// the error says why, and a new Open finds the token.
func TestBrokenCalls(t *testing.T) {
	for _, c := range []struct {
		fail error
		is   func(error) bool
	}{
		{pcsc.ErrTimeout, func(err error) bool {
			var te *piv.TokenError
			return errors.As(err, &te) && te.Code == pcsc.ErrTimeout && te.Status == 0
		}},
		{pcsc.ErrCommError, func(err error) bool { return errors.Is(err, piv.ErrRemoved) }},
		{pcsc.ErrRemovedCard, func(err error) bool { return errors.Is(err, piv.ErrRemoved) }},
		{errors.New("driver"), func(err error) bool { return errors.Is(err, piv.ErrRemoved) }},
	} {
		w := newWorld(t, pivemu.Config{})
		f := &flaky{Backend: pcsc.DialBackend(w.reader), name: "flaky"}
		remove := pcsc.Register(f)
		w.reader = f.name
		tok, pub := w.enrol("p256")
		f.fail = c.fail
		_, err := tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
		if !c.is(err) {
			t.Errorf("%v: %v", c.fail, err)
		}
		f.fail = nil
		_, err = tok.Sign("9c", pub, sum(crypto.SHA256), crypto.SHA256)
		w.is(err, piv.ErrRemoved)
		w.ok(tok.Close())
		w.ok(w.open().Close())
		remove()
	}
}

// faulty is a reader with a driver that panics.
type faulty struct {
	name    string
	connect bool // when connecting; else when transmitting
}

func (f *faulty) Readers() []string { return []string{f.name} }

func (f *faulty) Connect(string) (pcsc.Card, error) {
	if f.connect {
		panic("driver panics on purpose in Connect")
	}
	return f, nil
}
func (f *faulty) Transmit([]byte) ([]byte, error) { panic("driver panics on purpose in Transmit") }
func (f *faulty) Reset() error                    { return nil }
func (f *faulty) Close() error                    { return nil }

// A panic in the driver comes back through C as an error, and the reader stays
// usable. The code is positive: piv-go knows its text.
func TestDriverPanic(t *testing.T) {
	for _, f := range []*faulty{{"bad A", true}, {"bad B", false}} {
		remove := pcsc.Register(f)
		for range 3 {
			_, err := piv.Open(piv.Options{Reader: f.name})
			var te *piv.TokenError
			if !errors.As(err, &te) || te.Code != pcsc.ErrInternal || strings.Contains(err.Error(), "unknown pcsc") {
				t.Errorf("%s: %v", f.name, err)
			}
		}
		remove()
	}
}

func TestNoTokenNamed(t *testing.T) {
	if _, err := piv.Open(piv.Options{}); !errors.Is(err, piv.ErrNoToken) || !strings.Contains(err.Error(), "named") {
		t.Errorf("%v", err)
	}
}

func TestSeveralTokens(t *testing.T) {
	a, b := newWorld(t, pivemu.Config{Serial: 1}), newWorld(t, pivemu.Config{Serial: 2})
	if tok, err := piv.Open(piv.Options{}); err == nil {
		t.Fatalf("opened %+v of two", tok.Info())
	}
	tok, err := piv.Open(piv.Options{Serial: 2})
	a.ok(err)
	if tok.Info().Serial != 2 {
		t.Errorf("opened %+v", tok.Info())
	}
	other := a.open() // two tokens side by side
	a.ok(b.port.Pull())
	if tok.Present() || !other.Present() {
		t.Error("removal of one token hit the other, or was missed")
	}
}

// The same behaviours, with the same program text, through the real pcscd.
func TestConformanceThroughPCSCD(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "piv.test")
	build := exec.Command("go", "test", "-c", "-o", bin, "-tags", "netgo,osusergo,pcscd", ".")
	stub, err := filepath.Abs("../pcsc/stub")
	if err != nil {
		t.Fatal(err)
	}
	build.Env = append(os.Environ(), "CGO_ENABLED=1", "PKG_CONFIG_PATH="+stub, "CGO_CFLAGS=-O2 -g -DPCSC_INPROC")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(bin, "-test.v", "-test.timeout=5m").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
