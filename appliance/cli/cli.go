// Package cli is what the commands of touchmark-appliance share: how an error
// becomes an exit code, the flags about token and operator, opening the TPM. The
// rooms below it have one topic of commands each; cmd/touchmark-appliance puts them
// together.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"touchmark/appliance/enrol"
	"touchmark/appliance/piv"
	"touchmark/tpm/device"
)

// Begun marks the errors of a command that ran: all others are about how it was
// called.
func Begun(c *cobra.Command) *cobra.Command {
	if do := c.RunE; do != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if err := do(c, args); err != nil {
				return &RunError{err}
			}
			return nil
		}
	}
	return c
}

// RunError is an error of a command that ran.
type RunError struct{ Err error }

func (e *RunError) Error() string { return e.Err.Error() }

// Unwrap gives the error.
func (e *RunError) Unwrap() error { return e.Err }

// UsageError is an argument that only the command itself can find wrong.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// The exit codes.
const (
	ExitFailed    = 1
	ExitUsage     = 2
	ExitEnrolment = 3
	ExitTPM       = 4
	ExitToken     = 5
	ExitPolicy    = 6
)

// ExitCode sorts errors into the documented codes.
func ExitCode(err error) int {
	var ran *RunError
	var usage *UsageError
	var command *device.CommandError
	var link *device.LinkError
	var token *piv.TokenError
	switch {
	case !errors.As(err, &ran), errors.As(err, &usage):
		return ExitUsage
	case errors.Is(err, ErrPolicy):
		return ExitPolicy
	case errors.Is(err, ErrEnrolment), errors.Is(err, enrol.ErrEnrolled):
		return ExitEnrolment
	case errors.As(err, &command), errors.As(err, &link), isAny(err, ErrTPM, device.ErrHeadExists, device.ErrAKExists, device.ErrNoHead, device.ErrNoAK,
		device.ErrEndorsementLocked, device.ErrCredential, device.ErrAuthSet, device.ErrPlatformLocked):
		return ExitTPM
	case errors.As(err, &token), isAny(err, piv.ErrNoToken, piv.ErrBusy, piv.ErrLastTry, piv.ErrSlotInUse, piv.ErrEmptySlot):
		return ExitToken
	}
	return ExitFailed
}

func isAny(err error, of ...error) bool {
	for _, e := range of {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// What stands in the way, for ExitCode.
var (
	ErrEnrolment = errors.New("enrolment")
	ErrTPM       = errors.New("the TPM")
	ErrPolicy    = errors.New("the policy is not good") // an answer, not a failure
)

// OpenTPM opens the TPM that --tpm names.
func OpenTPM(spec string) (*device.TPM, error) {
	t, err := device.Open(spec)
	if err != nil {
		return nil, fmt.Errorf("%w: %w (name it with --tpm)", ErrTPM, err)
	}
	return t, nil
}

// Required marks flags that a command cannot do without.
func Required(c *cobra.Command, names ...string) {
	for _, n := range names {
		if err := c.MarkFlagRequired(n); err != nil {
			panic(err) // a flag that the command does not define
		}
	}
}

// ReadSmall reads a whole file of at most limit bytes.
func ReadSmall(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, err
}
