package standing

import (
	"testing"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
)

// through is a machine that these events happened to.
func through(events ...ceremony.Event) *ceremony.Machine {
	m := ceremony.New(1)
	for _, e := range events {
		m.Step(e)
	}
	return m
}

var touching = []ceremony.Event{ceremony.Arm{}, ceremony.Appended{}, ceremony.Mirrored{}, ceremony.HeadExtended{}, ceremony.PCRExtended{}}

// Of two things that could be asked, the operator is asked the more urgent one.
func TestAsk(t *testing.T) {
	order, alone, cert := &Order{}, &Order{Alone: true}, &Order{Cert: true, Alone: true}
	for name, c := range map[string]struct {
		board Board
		want  operator.Ask
	}{
		"nothing to do":                    {Board{Confirmed: true}, operator.AskNothing},
		"the clock before the PIN":         {Board{NeedsPIN: true}, operator.AskTime},
		"the PIN before a job":             {Board{Confirmed: true, NeedsPIN: true, Job: through()}, operator.AskPIN},
		"a job":                            {Board{Confirmed: true, Job: through()}, operator.AskArm},
		"a job that is being committed":    {Board{Confirmed: true, Job: through(touching[:2]...)}, operator.AskNothing},
		"a touch":                          {Board{Confirmed: true, Job: through(touching...)}, operator.AskTouch},
		"no touch, though it has halted":   {Board{Halt: recovery.LogDamaged, Job: through(append(touching[:5:5], ceremony.Deny{})...)}, operator.AskNoTouch},
		"an order":                         {Board{Confirmed: true, Order: order}, operator.AskArm},
		"an order that leads out":          {Board{Halt: recovery.HeadBehind, Order: order}, operator.AskArm},
		"an order behind a job":            {Board{Confirmed: true, Order: alone, Job: through()}, operator.AskArm},
		"an order that no host holds":      {Board{Confirmed: true, NeedsPIN: true, Order: alone}, operator.AskUnmirrored},
		"an order that the token signs by": {Board{Confirmed: true, NeedsPIN: true, Order: cert}, operator.AskPIN},
		"an order when it has stopped":     {Board{Confirmed: true, Stopped: true, Order: order}, operator.AskNothing},
		"nothing when it has halted":       {Board{Halt: recovery.LogDamaged, NeedsPIN: true}, operator.AskNothing},
	} {
		if got := c.board.Ask(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct {
		board      Board
		state, tpm string
	}{
		{Board{}, "time-unconfirmed", operator.TPMStarting},
		{Board{Confirmed: true, Starting: true}, "starting", operator.TPMStarting},
		{Board{Confirmed: true, Starting: true, Silent: true}, "tpm-silent", operator.TPMSilent},
		{Board{Confirmed: true}, message.StateReady, operator.TPMReady},
		{Board{Confirmed: true, Halt: recovery.LogDamaged}, message.StateHalted, operator.TPMUnknown},
		{Board{Halt: recovery.HeadUnknown}, message.StateHalted, operator.TPMOdds},
		{Board{Halt: recovery.AKMissing}, message.StateHalted, operator.TPMOdds},
	} {
		if state, tpm := c.board.State(), c.board.TPM(); state != c.state || tpm != c.tpm {
			t.Errorf("%+v: %s, %s; want %s, %s", c.board, state, tpm, c.state, c.tpm)
		}
	}
}
