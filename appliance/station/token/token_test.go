package token

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/station/past"
)

// fake is a token with one key, in slot 9c. The test changes it only while the
// worker has nothing to do.
type fake struct {
	key                  ed25519.PrivateKey
	there, verified, bad bool // bad: it answers with another signature
	pins                 int
}

func (f *fake) Public(slot string) (crypto.PublicKey, error) {
	if slot != "9c" {
		return nil, nil
	}
	return f.key.Public(), nil
}

func (f *fake) VerifyPIN(pin []byte) error {
	f.pins++
	if string(pin) != "123456" {
		return errors.New("wrong PIN")
	}
	f.verified = true
	return nil
}

func (f *fake) PINVerified() bool { return f.verified }
func (f *fake) Present() bool     { return f.there }
func (f *fake) Close() error      { f.verified = false; return nil }

func (f *fake) Sign(_ string, _ crypto.PublicKey, what []byte, _ crypto.Hash) ([]byte, error) {
	if !f.there {
		return nil, ceremony.ErrRemoved
	}
	if f.bad {
		what = append(slices.Clone(what), 0)
	}
	return ed25519.Sign(f.key, what), nil
}

// desk is a keeper whose loop is the test.
type desk struct {
	t      *testing.T
	fake   *fake
	loop   loop.Loop
	keeper *Keeper
	told   []string // what the keeper said, in order
}

func newDesk(t *testing.T) *desk {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, fake: &fake{key: key}, loop: loop.New()}
	keys := []past.Key{
		{Name: "packages", Slot: "9c", Cert: &certificate.Certificate{Key: &signing.Key{Public: key.Public()}}},
		{Name: "spare", Slot: "9a", Cert: &certificate.Certificate{Key: &signing.Key{Public: key.Public()}}},
	}
	d.keeper = New(Config{
		Open: func() (Token, error) {
			if !d.fake.there {
				return nil, errors.New("no token")
			}
			return d.fake, nil
		},
		Keys: func() []past.Key { return keys }, Poll: time.Hour,
		Changed:    func(error) { d.told = append(d.told, d.keeper.State()) },
		PINRefused: func(err error) { d.told = append(d.told, err.Error()) },
		Say:        func(text string) { d.told = append(d.told, text) },
	})
	ctx, stop := context.WithCancel(context.Background())
	d.keeper.Start(ctx, d.loop)
	t.Cleanup(func() { stop(); d.loop.Close(); d.keeper.Stop() })
	d.next()
	return d
}

// next does the next thing that waits.
func (d *desk) next() { d.loop.Next(d.t.Context())() }

// says holds what was said since the last time against what is wanted.
func (d *desk) says(want ...string) {
	d.t.Helper()
	if !slices.Equal(d.told, want) {
		d.t.Errorf("%q, want %q", d.told, want)
	}
	d.told = nil
}

// enter types a PIN and waits until it was tried.
func (d *desk) enter(pin string) {
	d.t.Helper()
	typed := []byte(pin)
	d.keeper.Enter(typed)
	d.next()
	if slices.Max(typed) != 0 {
		d.t.Errorf("the PIN %q stays in memory", typed)
	}
}

// A token is missing, wants its PIN, is ready, and says which of the log's keys it holds.
func TestStates(t *testing.T) {
	d := newDesk(t)
	d.says()
	if d.keeper.State() != Missing || d.keeper.Holds("packages") {
		t.Errorf("%s", d.keeper.State())
	}
	d.fake.there = true
	d.enter("000000")
	d.says("wrong PIN")
	if d.keeper.State() != PIN || !d.keeper.Holds("packages") || d.keeper.Holds("spare") {
		t.Errorf("%s, spare %v", d.keeper.State(), d.keeper.Holds("spare"))
	}
	d.enter("123456")
	d.says(Ready)
	typed := []byte("123456")
	d.keeper.Enter(typed)
	d.says("The token does not ask for a PIN now.")
	if d.fake.pins != 2 || slices.Max(typed) != 0 {
		t.Errorf("%d tries, %q", d.fake.pins, typed)
	}
}

// Who types the PIN twice because nothing happens at once has spent one try.
func TestImpatience(t *testing.T) {
	d := newDesk(t)
	d.fake.there = true
	d.keeper.Enter([]byte("000000"))
	d.keeper.Enter([]byte("000000"))
	d.next()
	d.says("A PIN is being checked already.", "wrong PIN")
	if d.fake.pins != 1 {
		t.Errorf("%d tries", d.fake.pins)
	}
}

// A token without a key of this log's gets no PIN.
func TestForeignToken(t *testing.T) {
	d := newDesk(t)
	_, d.fake.key, _ = ed25519.GenerateKey(nil)
	d.fake.there = true
	d.enter("123456")
	d.says(Wrong, errWrong.Error())
	if d.fake.pins != 0 {
		t.Error("it was given the PIN")
	}
}

// A token that is pulled before it answers is missing; an answer that is no signature
// over what was planned is none.
func TestSign(t *testing.T) {
	d := newDesk(t)
	d.fake.there = true
	d.enter("123456")
	d.says(Ready)
	key, err := signing.NewKey(d.fake.key.Public(), time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	named := &past.Key{Slot: "9c", Cert: &certificate.Certificate{Key: key}}
	plan := &signing.Plan{Key: key, Message: []byte("what is signed"), Seal: func(values [][]byte) []byte { return slices.Concat(values...) }}
	sign := func() (sig []byte, err error) {
		d.keeper.Sign(plan, named, zerolog.Nop(), func(s []byte, e error) { sig, err = s, e })
		d.next()
		return sig, err
	}
	if sig, err := sign(); err != nil || len(sig) == 0 {
		t.Errorf("%x, %v", sig, err)
	}
	d.fake.bad = true
	if sig, err := sign(); err == nil || sig != nil {
		t.Errorf("a wrong answer: %x", sig)
	}
	d.says()
	d.fake.there = false
	if _, err := sign(); !errors.Is(err, ceremony.ErrRemoved) {
		t.Errorf("%v", err)
	}
	d.says(Missing)
}
