// Package platform keeps the TPM's platform hierarchy from everybody while a board runs.
// Its authorization is empty after each reset of the TPM; whoever reaches the TPM then
// hides HEAD, or clears the TPM, until the next one. The image's first process replaces
// it before anything else is started; a TPM that is reset later on is met here.
//
// Trying to replace the empty authorization is also how a reset is noticed: it succeeds
// after one and no sooner, so the first command that finds the reset ends what it opened.
//
// A Guard is owned by one goroutine, but for Try.
package platform

import (
	"errors"

	"touchmark/tpm/device"
	"touchmark/tpm/quote"
)

// Guard is a board's. One without a Lock does nothing: its platform is its firmware's.
type Guard struct {
	Lock func() error // as device.TPM.LockPlatform; nil where the platform is not the board's

	mine     bool // it was locked here since the newest start
	others   bool // it was not, though the TPM was reset before that start
	started  bool
	resets   uint32 // the TPM's counts at the newest start: a Restart empties the authorization as well
	restarts uint32
}

// Ours reports whether the platform is this board's to lock.
func (g *Guard) Ours() bool { return g.Lock != nil }

// Try locks the platform if its authorization is empty, which tells that the TPM was reset.
// One that is set already is no error: it was locked before. Any other error is
// one of the TPM, which may be unlocked. Any goroutine may call it.
func (g *Guard) Try() (reset bool, err error) {
	if g.Lock == nil {
		return false, nil
	}
	if err = g.Lock(); errors.Is(err, device.ErrPlatformLocked) {
		return false, nil
	}
	return err == nil, err
}

// Took notes what Try said, perhaps behind a start that came meanwhile: who could lock it knows that nobody else has it.
func (g *Guard) Took(reset bool) {
	if reset {
		g.mine, g.others = true, false
	}
}

// Started notes where the TPM's clock stands at a start of the log. What came of the platform before the first one, where
// the first process has locked it, nobody can tell here.
func (g *Guard) Started(c quote.Clock) {
	if g.started && (c.ResetCount != g.resets || c.RestartCount != g.restarts) {
		g.others = !g.mine
	}
	g.started, g.resets, g.restarts, g.mine = true, c.ResetCount, c.RestartCount, false
}

// Warning says what the operator must know of it, "" for nothing.
func (g *Guard) Warning() string {
	if !g.Ours() || !g.others {
		return ""
	}
	return "The TPM was reset while the board ran, and its platform authorization is not this board's: somebody else set it first, or an answer of the TPM was lost. Switch the board off and on."
}
