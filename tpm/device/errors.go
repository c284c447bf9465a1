package device

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

var (
	// ErrNoHead: the NV index of HEAD does not exist.
	ErrNoHead = errors.New("tpm: HEAD is missing: this TPM is not enrolled, or it is another TPM")
	// ErrNoAK: there is no key at the AK's handle.
	ErrNoAK = errors.New("tpm: the attestation key is missing: this TPM is not enrolled, or TPM2_Clear removed the key")
	// ErrHeadExists: Enrol found a HEAD that has been written.
	ErrHeadExists = errors.New("tpm: HEAD exists and has been written: this TPM roots a log already; HEAD cannot be removed, choose another index for a new log")
	// ErrAKExists: Enrol found a key at the AK's handle.
	ErrAKExists = errors.New("tpm: there is a key at the attestation key's handle already; if no log depends on it, remove it (tpm2_evictcontrol -C o -c HANDLE) and enrol again")
	// ErrPlatformLocked: the platform authorization is not empty.
	ErrPlatformLocked = errors.New("tpm: the platform authorization is set already, since the last reset of the TPM: HEAD and the image counter can only be defined in an enrolment boot, before that")
	// ErrEndorsementLocked: the endorsement hierarchy has an authorization and
	// another one, or none, was given.
	ErrEndorsementLocked = errors.New("tpm: the endorsement hierarchy wants its authorization: it was set at the enrolment and is in the file that the administrators keep")
	// ErrAuthSet: a hierarchy has an authorization already.
	ErrAuthSet = errors.New("tpm: the hierarchy has an authorization already: clear the TPM first (tpm2_clear, with the lockout authorization)")
	// ErrCredential: a credential was made for another endorsement key or
	// another attestation key.
	ErrCredential = errors.New("tpm: the credential is for another TPM or another attestation key than this one")
	// ErrNoBank: the SHA-256 bank does not have the configured PCR.
	ErrNoBank = errors.New("tpm: the PCR is not in the SHA-256 bank: allocate the bank (tpm2_pcrallocate sha256:all) and restart the TPM")
)

// CommandError is an answer of the TPM that is not success. By specification
// the command had no effect; a caller that cannot afford to be wrong (extends)
// reads and compares.
type CommandError struct {
	Command string
	RC      tpm2.TPMRC
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("tpm: %s failed with response code %#03x: %s", e.Command, uint32(e.RC), e.RC.Error())
}

func (e *CommandError) Unwrap() error { return e.RC }

// LinkError is the lack of a proper answer: no connection, a deadline passed,
// garbage. The TPM may or may not have carried the command out. A passed
// deadline is os.ErrDeadlineExceeded underneath.
type LinkError struct {
	Command string
	Err     error
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("tpm: no usable answer to %s: %v", e.Command, e.Err)
}

func (e *LinkError) Unwrap() error { return e.Err }

// ForeignHeadError says that the NV index of HEAD exists but was not defined as HEAD.
type ForeignHeadError struct {
	Index  uint32
	Public []byte // TPMS_NV_PUBLIC found
}

func (e *ForeignHeadError) Error() string {
	return fmt.Sprintf("tpm: NV index %#08x exists but is not a HEAD (its public area is %x)", e.Index, e.Public)
}

// explain turns what go-tpm returned for a command into the errors above.
// missing[i] is the sentinel for "there is nothing at handle i+1".
func explain(code tpm2.TPMCC, err error, missing ...error) error {
	var rc tpm2.TPMRC
	if !errors.As(err, &rc) {
		var link *LinkError
		if err == nil || errors.As(err, &link) {
			return err
		}
		return &LinkError{Command: commandName(code), Err: err}
	}
	failed := &CommandError{Command: commandName(code), RC: rc}
	var fmt1 tpm2.TPMFmt1Error
	if errors.Is(rc, tpm2.TPMRCHandle) && errors.As(rc, &fmt1) {
		if about, i := fmt1.Handle(); about && i >= 1 && i <= len(missing) && missing[i-1] != nil {
			return fmt.Errorf("%w (%w)", missing[i-1], failed)
		}
	}
	return failed
}
