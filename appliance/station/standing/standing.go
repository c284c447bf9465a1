// Package standing says how a board stands: its state in a word, what it has of its
// TPM, and what the operator is asked now.
package standing

import (
	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
)

// Board is what a board's standing follows from.
type Board struct {
	Halt      recovery.Halt // "" if it has not halted
	Confirmed bool          // somebody vouches for the clock
	Starting  bool          // the TPM's state is not explained yet
	Silent    bool          // because the TPM does not answer as it should
	Stopped   bool
	NeedsPIN  bool              // the token does
	Job       *ceremony.Machine // of what is on display, or was armed; nil for none
	Order     *Order            // that is on display unarmed, nil for none
}

// Order is an administrators' order.
type Order struct {
	Cert  bool // the token signs by it
	Alone bool // no host holds it
}

// State is the board's state in one word, as the display and a welcome have it.
func (b Board) State() string {
	switch {
	case b.Halt != "":
		return message.StateHalted
	case !b.Confirmed:
		return "time-unconfirmed"
	case b.Silent:
		return "tpm-silent"
	case b.Starting:
		return "starting"
	}
	return message.StateReady
}

// TPM is how TPM and log stand to each other.
func (b Board) TPM() string {
	switch {
	case b.Silent:
		return operator.TPMSilent
	case b.Halt.Resumable() || b.Halt == recovery.HeadMissing || b.Halt == recovery.AKMissing:
		return operator.TPMOdds
	case b.Halt != "":
		return operator.TPMUnknown
	case !b.Confirmed || b.Starting:
		return operator.TPMStarting
	}
	return operator.TPMReady
}

// Ask is what the operator is asked now, most urgent first.
func (b Board) Ask() operator.Ask {
	phase := ceremony.Refused
	if b.Job != nil {
		phase = b.Job.Phase()
	}
	switch o := b.Order; {
	case phase == ceremony.Touching && b.Job.Denied():
		return operator.AskNoTouch
	case b.Job == nil && o != nil && !b.Stopped:
		return b.askOf(o)
	case b.Halt != "" || b.Stopped:
		return operator.AskNothing
	case phase == ceremony.Touching:
		return operator.AskTouch
	case !b.Confirmed:
		return operator.AskTime
	case b.NeedsPIN:
		return operator.AskPIN
	case phase == ceremony.Shown:
		return operator.AskArm
	}
	return operator.AskNothing
}

// askOf is what is asked about an order.
func (b Board) askOf(o *Order) operator.Ask {
	switch {
	case o.Cert && b.NeedsPIN:
		return operator.AskPIN
	case o.Alone:
		return operator.AskUnmirrored
	}
	return operator.AskArm
}
