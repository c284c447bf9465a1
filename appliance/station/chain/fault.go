package chain

import (
	"errors"
	"fmt"

	"touchmark/tpm/anchor/recovery"
)

// HaltError is a halt state with what led to it.
type HaltError struct {
	Halt     recovery.Halt
	Observed recovery.Observed
	Decision recovery.Decision
}

func (e *HaltError) Error() string {
	o := &e.Observed
	if o.HeadMissing || o.AKMissing {
		return fmt.Sprintf("%s: %s", e.Halt, e.Halt.Advice())
	}
	return fmt.Sprintf("%s: %s. HEAD %x, PCR %x", e.Halt, e.Halt.Advice(), o.Head, o.PCR)
}

// tpmError is a TPM command that failed, which may pass.
type tpmError struct {
	what string
	err  error
}

func (e *tpmError) Error() string { return e.what + ": " + e.err.Error() }
func (e *tpmError) Unwrap() error { return e.err }

// Failed is an error of a TPM command, which may pass.
func Failed(what string, err error) error { return &tpmError{what, err} }

// Passes reports whether it may help to try again.
func Passes(err error) bool {
	var t *tpmError
	return errors.As(err, &t)
}

// MustHalt marks an error that a host is told of in full.
func MustHalt(err error) error {
	return fmt.Errorf("%w: see docs/operator-guide.md, 'halted'", err)
}
