package piv

import (
	"errors"
	"fmt"

	"github.com/go-piv/piv-go/v2/piv"

	"touchmark/appliance/pcsc"
)

// Errors that callers branch on. All are wrapped with details.
var (
	// ErrNoToken: there is no token to open. Insert one and open again.
	ErrNoToken = errors.New("no token found")
	// ErrBusy: the token is open already, here or (with pcscd) elsewhere.
	ErrBusy = errors.New("token is in use by another connection")
	// ErrRemoved: the token is gone, or was reset. Close, and Open again.
	ErrRemoved = errors.New("token was removed")
	// ErrPINRequired: verify the PIN, then repeat.
	ErrPINRequired = errors.New("token needs the PIN")
	// ErrTouchTimeout: nobody touched the token in its touch window.
	ErrTouchTimeout = errors.New("token was not touched in time")
	// ErrLastTry: one try is left, and a wrong one would block the PIN.
	ErrLastTry = errors.New(lastTry)
	// ErrEmptySlot: the slot holds no key.
	ErrEmptySlot = errors.New("no key in the slot")
	// ErrSlotInUse: the slot holds a key that Enrol would destroy.
	ErrSlotInUse = errors.New("the slot already holds a key")
)

// lastTry is for a person who can take the token to another machine.
const lastTry = "only one PIN try is left and it is not used here: elsewhere, verify the PIN (`yubico-piv-tool -a verify-pin`) " +
	"or set another with the PUK (`ykman piv access unblock-pin`)"

// PINError says that the PIN or PUK was wrong, or is blocked.
type PINError struct {
	PUK     bool // it was the PUK
	Retries int  // tries left; 0: blocked
}

func (e *PINError) Error() string {
	switch {
	case e.PUK && e.Retries == 0:
		return "PUK is blocked: should the PIN be blocked too, nothing but a reset is left, which destroys the keys"
	case e.PUK && e.Retries == 1:
		return "wrong PUK (1 try left)"
	case e.PUK:
		return fmt.Sprintf("wrong PUK (%d tries left)", e.Retries)
	case e.Retries == 0:
		return "PIN is blocked: reset it with the PUK (`ykman piv access unblock-pin`)"
	case e.Retries == 1:
		return "wrong PIN; " + lastTry
	}
	return fmt.Sprintf("wrong PIN (%d tries left)", e.Retries)
}

// TokenError is any other failure of the token.
type TokenError struct {
	Op     string     // what was being done
	Status uint16     // status word (ISO/IEC 7816-4 §5.6), 0 if there was no answer
	Code   pcsc.Errno // PC/SC code, if there was no answer
	Err    error
}

func (e *TokenError) Error() string { return fmt.Sprintf("token: %s: %v", e.Op, e.Err) }

// Unwrap returns the cause.
func (e *TokenError) Unwrap() error { return e.Err }

// Status words (ISO/IEC 7816-4 §5.6).
const (
	swSecurityStatus = 0x6982
	swNoInstruction  = 0x6d00
)

// statusOf is the card's status word in an error of piv-go, 0 if there is none.
func statusOf(err error) uint16 {
	var s interface{ Status() uint16 }
	if errors.As(err, &s) {
		return s.Status()
	}
	return 0
}

// classify makes the typed error for a failed command. A PC/SC error other
// than a removal is a *TokenError with its code.
func classify(op string, err error) error {
	code, transport := pcsc.Code(err)
	var auth piv.AuthErr
	switch {
	case err == nil:
		return nil
	case transport && removal[code]:
		return fmt.Errorf("%s: %w (%w)", op, ErrRemoved, err)
	case errors.As(err, &auth):
		return &PINError{Retries: auth.Retries}
	case errors.Is(err, piv.ErrNotFound):
		return fmt.Errorf("%s: %w", op, ErrEmptySlot)
	}
	return &TokenError{Op: op, Status: statusOf(err), Code: code, Err: err}
}

// removal lists the codes that mean the card of this connection is gone: a
// reset forgets the PIN and the selected application, which is the same to us.
var removal = map[pcsc.Errno]bool{
	pcsc.ErrRemovedCard:       true,
	pcsc.ErrResetCard:         true,
	pcsc.ErrNoSmartcard:       true,
	pcsc.ErrReaderUnavailable: true,
	pcsc.ErrUnpoweredCard:     true,
	pcsc.ErrUnknownReader:     true,
}

// silence lists the codes of a card that does not answer. While opening, it is
// no token; pcscd also says so in the moment between a removal and its noticing,
// or of a card whose power-up after an insertion is not over (protocol unknown).
var silence = map[pcsc.Errno]bool{
	pcsc.ErrUnresponsiveCard: true,
	pcsc.ErrProtoMismatch:    true,
	pcsc.ErrNotTransacted:    true,
	pcsc.ErrCommError:        true,
	pcsc.ErrTimeout:          true,
}
