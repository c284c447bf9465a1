package platform

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"touchmark/tpm/device"
	"touchmark/tpm/quote"
)

// In whatever order the TPM is reset, somebody else is quicker, commands fail and starts come: a Try that says nothing is wrong leaves
// the platform locked, it tells of a reset when it locked it and no sooner, and a warning stands when, and only when,
// the newest start that came behind a reset came without a lock of ours since the one before it.
func TestGuard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var resets quote.Clock
		locked, fails := true, false // the first process has done it
		g := Guard{Lock: func() error {
			switch {
			case fails:
				return errors.New("TPM_RC_FAILURE")
			case locked:
				return fmt.Errorf("%w (TPM_RC_BAD_AUTH)", device.ErrPlatformLocked)
			}
			locked = true
			return nil
		}}
		g.Started(quote.Clock{})
		var told quote.Clock  // resets at the newest start
		var mine, warned bool // locked here since then; what is to be said
		for n := rapid.IntRange(1, 30).Draw(t, "n"); n > 0; n-- {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				resets.ResetCount, resets.RestartCount, locked = resets.ResetCount+1, 0, false
			case 5:
				resets.RestartCount, locked = resets.RestartCount+1, false
			case 1:
				locked = true
			case 2:
				fails = !fails
			case 3:
				open := !locked
				reset, err := g.Try()
				if g.Took(reset); (err != nil) != fails || reset != (open && !fails) || err == nil && !locked {
					t.Fatalf("open %v, fails %v: %v, %v", open, fails, reset, err)
				}
				mine, warned = mine || reset, warned && !reset
			case 4:
				if !locked || fails {
					continue // it would be none
				}
				if g.Started(resets); resets != told {
					warned = !mine
				}
				told, mine = resets, false
			}
			if (g.Warning() != "") != warned {
				t.Fatalf("warned %v, said %q", warned, g.Warning())
			}
		}
	})
}

// One whose platform is the firmware's does nothing, and says nothing.
func TestGuardOfNothing(t *testing.T) {
	var g Guard
	reset, err := g.Try()
	g.Took(reset)
	g.Started(quote.Clock{})
	g.Started(quote.Clock{ResetCount: 1})
	if reset || err != nil || g.Ours() || g.Warning() != "" {
		t.Errorf("%v, %v, %q", reset, err, g.Warning())
	}
}
