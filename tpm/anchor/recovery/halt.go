package recovery

import (
	"errors"
	"fmt"

	"touchmark/tpm/ledger/order"
)

// Halt is a reason to stop and ask people; empty means go on.
type Halt string

// The halt states. None of them is ever repaired silently.
const (
	HeadMissing    Halt = "head-missing"    // the TPM has no HEAD index
	AKMissing      Halt = "ak-missing"      // the TPM has no attestation key, or another one
	HeadAhead      Halt = "head-ahead"      // HEAD took commits this disk does not have, a mirror may have them
	HeadUnknown    Halt = "head-unknown"    // HEAD fits no commit on this disk and no mirror knows more
	HeadBehind     Halt = "head-behind"     // HEAD stands at a commit although a later one was applied: another TPM state
	PCRUnexplained Halt = "pcr-unexplained" // somebody else extended the PCR, or a reset is hidden
)

// Halts are all of them, in the order of docs/spec/anchor.md, section 5.
var Halts = []Halt{HeadMissing, AKMissing, HeadAhead, HeadUnknown, HeadBehind, PCRUnexplained}

// Advice is what the operator is told to do, one line.
func (h Halt) Advice() string {
	switch h {
	case HeadMissing:
		return "this is not the TPM of this log, or its memory is hidden: put the right one back, or enrol a successor log"
	case AKMissing:
		return "the TPM was cleared or is another one: put the right one back, or enrol a successor log on the same HEAD"
	case HeadAhead:
		return "the end of the log is missing on this disk: connect the host with the newest mirror; if it cannot help, administrators must order to resume"
	case HeadUnknown:
		return "the TPM took commits that are not on this disk: connect every host that has a mirror; if none has them, administrators must order to resume"
	case HeadBehind:
		return "the TPM went back to an earlier state, which a TPM never does: call the administrators, who must find out why before they order to resume"
	case PCRUnexplained:
		return "something else used the TPM's register: switch the power off and on; if it stays, administrators must order to resume"
	}
	return ""
}

// Resumable reports whether an administrators' order can lead out of the
// state: without HEAD or its key there is nothing to go on with.
func (h Halt) Resumable() bool {
	switch h {
	case HeadAhead, HeadUnknown, HeadBehind, PCRUnexplained:
		return true
	}
	return false
}

// Resume says why a resume order does not lead a board out of the halt state it
// is in, nil if it does. Then the order's entry is the next trigger, with HEAD as
// it is before its commit. The order speaks of this state and of
// HEAD as it is; a TPM reset may have cleared the PCR since it was written.
// Whether the entries are on a mirror or lost makes no difference: a host that
// promises what it does not have must not keep a board from going on.
func (d Decision) Resume(o Observed, r *order.Resume) error {
	switch {
	case !d.Halt.Resumable():
		return fmt.Errorf("there is no resuming from %q: %s", d.Halt, d.Halt.Advice())
	case halt(r.Halt) != halt(string(d.Halt)):
		return fmt.Errorf("the order leads out of %q, this board halted with %q", r.Halt, d.Halt)
	case r.Head != o.Head:
		return fmt.Errorf("the order is for HEAD %x, HEAD stands at %x", r.Head, o.Head)
	case o.PCR != r.PCR && o.PCR != [32]byte{}:
		return errors.New("the PCR is neither as the order says nor cleared by a reset since")
	}
	return nil
}

// halt puts the two names of one state together.
func halt(s string) Halt {
	if Halt(s) == HeadAhead {
		return HeadUnknown
	}
	return Halt(s)
}
