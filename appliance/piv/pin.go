package piv

import (
	"fmt"
	"unsafe"
)

// VerifyPIN verifies the PIN for this insertion and zeroes it. A wrong one is a
// *PINError. It never uses the last try.
func (t *Token) VerifyPIN(pin []byte) error {
	defer clear(pin)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verifyPIN(pin)
}

func (t *Token) verifyPIN(pin []byte) error {
	if err := checkPIN("PIN", pin); err != nil {
		return err
	}
	if err := t.spare(); err != nil {
		return err
	}
	return withSecret(pin, func(s string) error {
		err := t.do("verifying the PIN", func() error { return t.yk.VerifyPIN(s) })
		t.verified = err == nil
		return err
	})
}

// SetPIN changes the PIN, of which it never uses the last try, and verifies the
// new one. Both are zeroed.
func (t *Token) SetPIN(old, new []byte) error {
	defer clearAll(old, new)
	if err := checkPIN("PIN", new); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.verifyPIN(old); err != nil {
		return err
	}
	return t.changePIN(old, new)
}

// SetPUK changes the PUK. Both are zeroed. How many tries are left, only a
// wrong one tells.
func (t *Token) SetPUK(old, new []byte) error {
	defer clearAll(old, new)
	for _, puk := range [][]byte{old, new} {
		if err := checkPIN("PUK", puk); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changePUK(old, new)
}

// PINVerified reports whether the PIN was verified in this insertion, as far as
// is known without asking the token.
func (t *Token) PINVerified() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.verified
}

// spare makes sure that a wrong PIN would not be the last one.
func (t *Token) spare() error {
	verified, retries, err := t.pinState()
	switch {
	case err != nil:
		return err
	case verified: // which filled the counter
		return nil
	case retries == 0:
		return &PINError{}
	case retries == 1:
		return ErrLastTry
	}
	return nil
}

// pinState asks the token by an empty VERIFY: is the PIN verified, and if not,
// how many tries are left.
func (t *Token) pinState() (verified bool, retries int, err error) {
	err = t.do("asking for the PIN's state", func() error {
		n, err := t.yk.Retries()
		retries = n
		if err != nil && err.Error() == pivgoVerified {
			verified = true
			return nil
		}
		return err
	})
	return verified, retries, err
}

// pivgoVerified is how piv-go reports that an empty VERIFY was answered 9000: it
// only expects the number of tries. Should the text change, the state reads as
// an error, never as verified.
const pivgoVerified = "expected error code from empty pin"

// withSecret lends the secret as a string in a buffer of its own, zeroed
// afterwards. f must not keep it.
func withSecret(secret []byte, f func(string) error) error {
	own := append([]byte(nil), secret...)
	defer clear(own)
	return f(unsafe.String(unsafe.SliceData(own), len(own)))
}

func checkPIN(what string, pin []byte) error {
	if len(pin) < minPIN || len(pin) > maxPIN {
		return fmt.Errorf("a %s has %d to %d characters", what, minPIN, maxPIN)
	}
	for _, c := range pin {
		if c < '!' || c > '~' {
			return fmt.Errorf("a %s has only printable ASCII characters", what)
		}
	}
	return nil
}
