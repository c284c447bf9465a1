package meaning

import (
	"cmp"
	"testing"

	"touchmark/tpm/ledger"
)

// TestEveryEndIsSaidInWords: no end of a request is left without its reason, also where the log has no word for it.
func TestEveryEndIsSaidInWords(t *testing.T) {
	var (
		signed    = ledger.ItemResult{State: ledger.Signed}
		withheld  = ledger.ItemResult{State: ledger.Withheld}
		denied    = ledger.ItemResult{State: ledger.Denied}
		timedOut  = ledger.ItemResult{State: ledger.TimedOut}
		failed    = ledger.ItemResult{State: ledger.Failed, Reason: "token-missing"}
		unknown   = ledger.ItemResult{State: ledger.Unknown}
		unstarted = ledger.ItemResult{State: ledger.NotStarted, Reason: "batch-stopped"}
	)
	for _, c := range []struct {
		items          []ledger.ItemResult
		denied         bool
		said, recalled string // recalled: "" if the same
	}{
		{[]ledger.ItemResult{signed, signed}, false, "2 of 2 signed.", ""},
		{[]ledger.ItemResult{timedOut, unstarted}, false, "Not signed: no touch was seen in time.", ""},
		{[]ledger.ItemResult{signed, timedOut}, false, "1 of 2 signed, then: no touch was seen in time.", ""},
		{[]ledger.ItemResult{denied, denied}, true, "Denied.", ""},
		{[]ledger.ItemResult{failed}, false, "Not signed: token missing.", ""},
		{[]ledger.ItemResult{signed, failed, unstarted}, false, "1 of 3 signed, then: token missing.", ""},
		{[]ledger.ItemResult{withheld}, true, "Denied. A signature that still came back was destroyed.", "A signature came back and was destroyed."},
		{[]ledger.ItemResult{unknown, unknown}, false, "The board stopped meanwhile: a signature may exist.", ""},
	} {
		if got := Ended(c.items, c.denied); got != c.said {
			t.Errorf("%v: %q, want %q", c.items, got, c.said)
		}
		if got := Recalled(c.items); got != cmp.Or(c.recalled, c.said) {
			t.Errorf("%v, from the log: %q", c.items, got)
		}
	}
}
