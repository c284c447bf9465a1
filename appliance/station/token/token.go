// Package token keeps the board's token: it opens it, notices its removal, asks
// which of the log's keys it holds, and hands it the operator's PIN and what is
// to be signed.
//
// A Keeper's worker is the only goroutine that talks to the token; all its methods
// are for the station's loop.
package token

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/station/past"
)

// Token is what a keeper needs of an open token; appliance/piv implements it.
// Errors of Sign are sorted with ceremony.ErrTouchTimeout, ErrRemoved and ErrPIN
// by the opener's wrapper.
type Token interface {
	// Public is nil for a slot that holds no key.
	Public(slot string) (crypto.PublicKey, error)
	// VerifyPIN zeroes the PIN. Its error, if any, is fit for the operator.
	VerifyPIN(pin []byte) error
	PINVerified() bool
	// Present reports cheaply whether the token is still there.
	Present() bool
	Sign(slot string, pub crypto.PublicKey, digest []byte, h crypto.Hash) ([]byte, error)
	Close() error
}

// The token's states, as the display names them.
const (
	Missing = "missing"
	Wrong   = "wrong"
	PIN     = "pin-needed"
	Ready   = "ready"
)

// TouchWindow is how long a token waits for its touch (YubiKey: 15 s). Nobody but
// the token ends it; hosts are told so that they can count down.
const TouchWindow = 15 * time.Second

// Config is what a keeper is made of. Its functions are called in the loop, but
// for Open.
type Config struct {
	Open func() (Token, error) // called again after a removal
	Keys func() []past.Key     // the log's
	Poll time.Duration         // hot-plug is found by looking this often

	Changed    func(err error)   // State or Holds are others than before; the error is why
	PINRefused func(err error)   // the state is PIN
	Say        func(text string) // to the operator
}

// Keeper keeps the token.
type Keeper struct {
	cfg    Config
	loop   loop.Loop
	work   loop.Worker
	token  Token      // owned by the worker
	known  []past.Key // owned by the worker: the log's keys that the token was asked for
	has    []string   // owned by the worker: the names of those that it holds
	state  string     // owned by the loop, as all below
	device string     // which token it is, in words
	holds  []string   // the names of the log's keys that the token holds
	busy   bool       // a poll or a signature is on its way

	entering bool // a PIN is on its way
}

// New makes a keeper that has found no token yet.
func New(cfg Config) *Keeper { return &Keeper{cfg: cfg, state: Missing} }

// Start begins to look for the token, at once and then at intervals, until ctx
// ends.
func (k *Keeper) Start(ctx context.Context, l loop.Loop) {
	k.loop = l
	k.work.Start(ctx, l)
	k.poll()
}

// Stop waits for the worker and then lets go of the token, which forgets its PIN.
func (k *Keeper) Stop() {
	k.work.Wait()
	if k.token != nil {
		_ = k.token.Close()
	}
}

// State is Missing, Wrong, PIN or Ready.
func (k *Keeper) State() string { return k.state }

// Device is which token it is, in words; "" without one.
func (k *Keeper) Device() string { return k.device }

// Holds reports whether the token holds one of the log's keys.
func (k *Keeper) Holds(name string) bool { return slices.Contains(k.holds, name) }

// poll looks at the token when it is not in use, and again later.
func (k *Keeper) poll() {
	k.loop.After(k.cfg.Poll, k.poll)
	if k.busy {
		return
	}
	k.busy = true
	keys := k.cfg.Keys()
	k.work.Do(func() func() {
		state, err := k.look(keys)
		has := k.has
		return func() {
			k.busy = false
			k.set(state, has, err)
		}
	})
}

// look runs on the worker. It opens a token that is not open yet and lets go of
// one that has vanished; it asks which of the log's keys it holds.
func (k *Keeper) look(keys []past.Key) (string, error) {
	if k.token != nil && !k.token.Present() {
		k.drop()
	}
	if k.token == nil {
		t, err := k.cfg.Open()
		if err != nil {
			return Missing, err
		}
		k.token = t
	}
	if k.has == nil || !slices.EqualFunc(keys, k.known, func(a, b past.Key) bool { return a.Name == b.Name }) {
		has, err := heldBy(k.token, keys)
		if err != nil {
			k.drop()
			return Wrong, err
		}
		k.known, k.has = keys, has
		if d, ok := k.token.(interface{ Describe() string }); ok {
			device := d.Describe()
			k.loop.Post(func() { k.device = device })
		}
	}
	if k.token.PINVerified() {
		return Ready, nil
	}
	return PIN, nil
}

// heldBy names those of the log's keys that the token holds; it holds none of
// them if it is another log's.
func heldBy(t Token, keys []past.Key) ([]string, error) {
	if len(keys) == 0 {
		return nil, errors.New("without a log nobody knows the enrolled keys")
	}
	var held []string
	for _, k := range keys {
		pub, err := t.Public(k.Slot)
		if err != nil {
			return nil, fmt.Errorf("reading the key in slot %s: %w", k.Slot, err)
		}
		if p, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); ok && p.Equal(k.Cert.Key.Public) {
			held = append(held, k.Name)
		}
	}
	if held == nil {
		return nil, errWrong
	}
	return held, nil
}

var errWrong = errors.New("this token does not hold a key of this log: insert the one that was enrolled")

// drop lets go of the token, on the worker.
func (k *Keeper) drop() {
	_ = k.token.Close()
	k.token, k.known, k.has = nil, nil, nil
}

// set notes a change of the token's state.
func (k *Keeper) set(state string, holds []string, err error) {
	if state == k.state && slices.Equal(holds, k.holds) {
		return
	}
	k.state, k.holds = state, holds
	if state == Missing {
		k.device = ""
	}
	k.cfg.Changed(err)
}

// Enter hands the operator's PIN to the token, which may only just have been
// inserted. The PIN is zeroed whatever happens.
func (k *Keeper) Enter(pin []byte) {
	switch {
	case k.state == Ready:
		clear(pin)
		k.cfg.Say("The token does not ask for a PIN now.")
		return
	case k.entering: // impatience must not cost tries
		clear(pin)
		k.cfg.Say("A PIN is being checked already.")
		return
	}
	k.entering = true
	keys := k.cfg.Keys()
	k.work.Do(func() func() {
		defer clear(pin)
		state, err := k.look(keys)
		has := k.has
		if err != nil {
			return func() { k.entering = false; k.set(state, has, err); k.cfg.Say(err.Error()) }
		}
		if state == PIN {
			err = k.token.VerifyPIN(pin)
		}
		return func() { k.entered(has, err) }
	})
}

func (k *Keeper) entered(has []string, err error) {
	k.entering = false
	if err == nil {
		k.set(Ready, has, nil)
		return
	}
	k.state, k.holds = PIN, has
	k.cfg.PINRefused(err)
}

// Sign has the token sign what is planned with a key, and then hands on the
// finished signature. It returns at once; the touch comes later. What the token
// answers goes to log, which names what is signed.
func (k *Keeper) Sign(plan *signing.Plan, key *past.Key, log zerolog.Logger, then func(sig []byte, err error)) {
	k.busy = true
	k.work.Do(func() func() {
		begun := time.Now()
		err := ceremony.ErrRemoved
		var sig, raw []byte
		if t := k.token; t != nil {
			what, hash := plan.Signed()
			raw, err = t.Sign(key.Slot, key.Cert.Key.Public, what, hash)
		}
		if err == nil {
			sig, err = plan.Finish(raw)
			clear(raw)
		}
		took := time.Since(begun)
		return func() {
			log.Info().Dur("took", took).AnErr("error", err).Msg("token answered")
			k.answered(err)
			then(sig, err)
		}
	})
}

// answered takes up what an answer says of the token itself.
func (k *Keeper) answered(err error) {
	k.busy = false
	switch {
	case errors.Is(err, ceremony.ErrRemoved):
		k.set(Missing, nil, err)
	case errors.Is(err, ceremony.ErrPIN):
		k.set(PIN, k.holds, err)
	}
}
