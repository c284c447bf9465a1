// Package pivemu emulates a YubiKey's PIV application, in pure Go with the
// standard library only, for tests and demonstrations. Nothing of it may reach
// a production binary.
//
// # What it is
//
// [Card] takes command APDUs and gives response APDUs, as the chip behind a
// CCID interface does: PIV (NIST SP 800-73-4 with Yubico's extensions:
// metadata, attestation, key import, PIN and touch policies, moving and
// deleting keys), enough of Yubico's management and OTP applications for
// `ykman` and piv-go to learn serial, version and form factor. Behaviour
// follows two firmware profiles, 5.4.3 and 5.7.1.
//
// Real: every key, signature, certificate, PIN counter and policy. Emulated:
// the finger (see [Card.Touch] and [TouchMode]), and the issuer of the
// attestation certificates, which is the root of package attest and can never be
// mistaken for Yubico's.
//
// # Guarantees
//
// A changed state is in the state file, atomically replaced, before the
// command that changed it is answered. Touch waits end: by a touch, by the
// time-out, by removal or by a reset. The APDU log never holds a PIN, PUK or key.
package pivemu

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"time"

	"touchmark/tests/pivemu/iso7816"
)

// Config describes one emulated token. The zero value is a 5.7.1 token with
// serial 0, without a state file, touched automatically.
type Config struct {
	Profile      string        // "5.4.3" or "5.7.1"; "" is 5.7.1 or that of the state file
	Serial       uint32        // 0 is that of the state file
	Touch        TouchMode     // how touches are answered at the start
	TouchTimeout time.Duration // 0 is the real 15 s
	StatePath    string        // "" keeps the state in memory
	Log          io.Writer     // APDU log, nil for none
}

// Card is one emulated token. Its methods may be called from any goroutine;
// commands are executed one at a time, as on the chip.
type Card struct {
	profile profile
	finger  *finger
	faults  faults
	log     *apduLog
	store   store
	serial  uint32

	mu      sync.Mutex // guards everything below
	state   *state
	channel iso7816.Channel
	session session
	logical iso7816.Handler
	ctx     context.Context // of the command under way
}

// session is what a reset or a power cycle forgets.
type session struct {
	app         application
	pinVerified bool
	pinFresh    bool // no private key operation since the PIN was given
	managed     bool // management key authenticated
	challenge   pendingChallenge
	touched     time.Time // last touch that counts for the policy "cached"
}

// New opens the token kept in cfg.StatePath, or makes one as it leaves the
// factory.
func New(cfg Config) (*Card, error) {
	if cfg.TouchTimeout == 0 {
		cfg.TouchTimeout = touchWindow
	}
	f, err := newFinger(cfg.Touch, cfg.TouchTimeout)
	if err != nil {
		return nil, err
	}
	c := &Card{finger: f, log: newAPDULog(cfg.Log), store: store{path: cfg.StatePath}}
	c.logical = c.dispatch
	if c.state, err = c.store.load(); err != nil {
		return nil, err
	}
	if c.state == nil {
		err = c.manufacture(cfg)
	} else {
		err = c.adopt(cfg)
	}
	if err != nil {
		return nil, err
	}
	c.serial = c.state.Serial
	return c, nil
}

// manufacture makes a new token and stores it.
func (c *Card) manufacture(cfg Config) (err error) {
	if c.profile, err = profileOf(cfg.Profile); err != nil {
		return err
	}
	if c.state, err = newState(c.profile, cfg.Serial); err != nil {
		return err
	}
	return c.store.save(c.state)
}

// adopt takes over a stored token, which must be the one that was asked for.
func (c *Card) adopt(cfg Config) (err error) {
	if c.profile, err = profileOf(c.state.Profile); err != nil {
		return err
	}
	if cfg.Profile != "" && cfg.Profile != c.state.Profile {
		return fmt.Errorf("pivemu: %s holds a token with firmware %s, not %s", cfg.StatePath, c.state.Profile, cfg.Profile)
	}
	if cfg.Serial != 0 && cfg.Serial != c.state.Serial {
		return fmt.Errorf("pivemu: %s holds the token %d, not %d", cfg.StatePath, c.state.Serial, cfg.Serial)
	}
	return nil
}

// atr is a YubiKey 5's answer to reset; its historical bytes say "YubiKey".
var atr = []byte{
	0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0,
	0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4b, 0x65, 0x79, 0x40,
}

// ATR is the answer to reset.
func (c *Card) ATR() []byte { return append([]byte(nil), atr...) }

// Serial is the token's serial number.
func (c *Card) Serial() uint32 { return c.serial }

// Firmware is the token's firmware version, as "5.7.1".
func (c *Card) Firmware() string { return c.profile.name }

// Reset is a cold or warm reset: a touch that is awaited is given up, and
// everything but the stored state is forgotten.
func (c *Card) Reset() {
	c.finger.abort()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.channel.Reset()
	c.session = session{}
}

// APDU executes one command APDU and returns the response APDU. It blocks while
// the token waits for a touch.
func (c *Card) APDU(in []byte) []byte { return c.Execute(context.Background(), in) }

// Execute is [Card.APDU] with an end: once ctx is done, a touch is no longer
// waited for, nothing is signed, and the answer is 6F00.
func (c *Card) Execute(ctx context.Context, in []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx = ctx
	start := time.Now()
	c.log.command(in)
	out := c.channel.Transmit(in, c.logical)
	c.log.response(in, out, time.Since(start))
	return out
}

// dispatch executes one logical command, after injected faults.
func (c *Card) dispatch(cmd iso7816.Command) ([]byte, iso7816.SW) {
	before, after := c.faults.take(cmd.INS)
	if before != 0 {
		return nil, before
	}
	data, sw := c.execute(cmd)
	if after != 0 {
		return nil, after
	}
	return data, sw
}

func (c *Card) execute(cmd iso7816.Command) ([]byte, iso7816.SW) {
	if cmd.INS == insSelect {
		return c.selectApplication(cmd)
	}
	switch c.session.app {
	case appPIV:
		return c.piv(cmd)
	case appManagement:
		return c.management(cmd)
	case appOTP:
		return c.otp(cmd)
	}
	return nil, iso7816.UnknownInstruction
}

// save writes the changed state; a token that cannot keep its state answers
// with an error and goes back to what is stored.
func (c *Card) save() iso7816.SW {
	err := c.store.save(c.state)
	if err == nil {
		return iso7816.OK
	}
	c.log.note("cannot save the state: " + err.Error())
	if old, err := decodeState(c.store.saved); err == nil {
		c.state = old
	}
	return iso7816.Aborted
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}
