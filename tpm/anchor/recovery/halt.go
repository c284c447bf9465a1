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

	NotEnrolled   Halt = "not-enrolled"   // the ceremony was not begun here, or did not end
	LogUnreadable Halt = "log-unreadable" // the log cannot be opened or read
	LogDamaged    Halt = "log-damaged"    // what is read is not what was written
	LogUnwritable Halt = "log-unwritable" // the log takes no more
	LogKeyWrong   Halt = "log-key-wrong"  // the log key is missing, or is not the one that the log names
	ClockBehind   Halt = "clock-behind"   // the clock is behind the log
	ClockAhead    Halt = "clock-ahead"    // the clock is further ahead than an operator alone can vouch for
	ImageOld      Halt = "image-old"      // this image is older than the TPM's counter allows
	LogClosed     Halt = "log-closed"     // the administrators ended the log
	Internal      Halt = "internal"       // the program found itself wrong
)

// Halts are all of them, in the order of docs/spec/anchor.md, section 5.
var Halts = []Halt{
	HeadMissing, AKMissing, HeadAhead, HeadUnknown, HeadBehind, PCRUnexplained,
	NotEnrolled, LogUnreadable, LogDamaged, LogUnwritable, LogKeyWrong, ClockBehind, ClockAhead, ImageOld, LogClosed, Internal,
}

var advice = map[Halt]string{
	HeadMissing:    "this is not the TPM of this log, or its memory is hidden: put the right one back, or enrol a successor log",
	AKMissing:      "the TPM was cleared or is another one: put the right one back, or enrol a successor log on the same HEAD",
	HeadAhead:      "the end of the log is missing on this disk: connect the host with the newest mirror; if it cannot help, administrators must order to resume",
	HeadUnknown:    "the TPM took commits that are not on this disk: connect every host that has a mirror; if none has them, administrators must order to resume",
	HeadBehind:     "the TPM went back to an earlier state, which a TPM never does: call the administrators, who must find out why before they order to resume",
	PCRUnexplained: "something else used the TPM's register: switch the power off and on; if it stays, administrators must order to resume",
	NotEnrolled:    "the key ceremony was not finished here: give the same 'touchmark-appliance enroll' command again, it goes on where it was",
	LogUnreadable:  "the log cannot be read: see to the disk and start again; if it stays, move the log's directory away, keep it for the auditors, and start again: the board takes the log from a host's mirror",
	LogDamaged:     "the log on this disk is damaged: start again, which makes good what can be; if it stays, move the log's directory away, keep it for the auditors, and start again: the board takes the log from a host's mirror",
	LogUnwritable:  "the log cannot be written: make room, or see to the disk, and start again",
	LogKeyWrong:    "the log key on this board is not the one that the log names: put the right file back (restore-log-key) and start again",
	ClockBehind:    "the clock is behind the newest log entry: set it and start again; if that entry has a wrong time, administrators must order a time",
	ClockAhead:     "the clock is further ahead of the log than the TPM's clock explains: set it and start again; if it is right, administrators must order the time",
	ImageOld:       "this is an older image than the board has run: somebody put it back; write the newest one to the card",
	LogClosed:      "the administrators ended this log: nothing is signed with it any more, use its successor",
	Internal:       "the appliance found something that cannot be: start again; if it stays, keep the board as it is and call the administrators",
}

// Advice is what the operator is told to do, one line.
func (h Halt) Advice() string { return advice[h] }

// Resumable reports whether an administrators' order to resume can lead out of
// the state: without HEAD or its key there is nothing to go on with, and the
// states of disk and clock are mended, not gone on from.
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
