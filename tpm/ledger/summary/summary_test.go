package summary

import (
	"os"
	"testing"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSummary: an intent names its files, an entry that administrators caused says why, or which policy it brings; none goes without a word.
func TestSummary(t *testing.T) {
	reason := must((&order.Order{Origin: "touchmark.example/x", After: order.State{Size: 1}, Action: &order.Note{}, Reason: "moved to rack 7"}).Marshal())
	law := must(os.ReadFile("../../../appliance/policy/testdata/arch.toml"))
	item := func(name string) message.Item {
		return message.Item{Format: "openpgp-binary", Digest: message.Digest{Alg: message.SHA256, Sum: make([]byte, 32)}, Size: 1, Name: name}
	}
	wanted := message.Approval{Origin: "touchmark.example/x", Class: "iso", NotAfter: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC), Items: []message.Item{item("a.iso"), item("b.iso")}}
	for want, body := range map[string]any{
		"moved to rack 7":                                  &ledger.Order{Action: ledger.KindNote, Note: must(message.SignNote(reason))},
		"serial 1":                                         &ledger.Order{Action: ledger.KindPolicy, Note: must(message.SignNote(law))},
		"with an unreadable note":                          &ledger.Order{Action: ledger.KindNote, Note: must(message.SignNote([]byte("x\n")))},
		"from 0.1.0 to 0.2.0":                              &ledger.Update{From: "0.1.0", To: "0.2.0"},
		"job 0000000000000000 iso: a.iso, b.iso":           &ledger.Intent{Approval: must(message.SignNote(wanted.Marshal()))},
		"job 0000000000000000 with an unreadable approval": &ledger.Intent{Approval: must(message.SignNote([]byte("x\n")))},
	} {
		if got := Of(body); got != want {
			t.Errorf("%T: %q, want %q", body, got, want)
		}
	}
}
