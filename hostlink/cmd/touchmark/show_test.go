package main

import (
	"os"
	"testing"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// TestSummary: an entry that administrators caused says why, or which policy it brings; none goes without a word.
func TestSummary(t *testing.T) {
	reason := must((&order.Order{Origin: "touchmark.example/x", After: order.State{Size: 1}, Action: &order.Note{}, Reason: "moved to rack 7"}).Marshal())
	law := must(os.ReadFile("../../../appliance/policy/testdata/arch.toml"))
	for want, body := range map[string]any{
		"moved to rack 7":         &ledger.Order{Action: ledger.KindNote, Note: must(message.SignNote(reason))},
		"serial 1":                &ledger.Order{Action: ledger.KindPolicy, Note: must(message.SignNote(law))},
		"with an unreadable note": &ledger.Order{Action: ledger.KindNote, Note: must(message.SignNote([]byte("x\n")))},
		"from 0.1.0 to 0.2.0":     &ledger.Update{From: "0.1.0", To: "0.2.0"},
	} {
		if got := summary(body); got != want {
			t.Errorf("%T: %q, want %q", body, got, want)
		}
	}
}
