package entry

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// An auditor reads in the list what administrators ordered and why, and nothing that
// would move a terminal's cursor.
func TestShowTellsOrders(t *testing.T) {
	note := func(text string) []byte {
		n, err := message.SignNote([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	written := func(a order.Action) []byte {
		o := order.Order{Origin: "touchmark.example/demo", After: order.State{Size: 7}, Action: a, Reason: "moved to rack 7"}
		text, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return note(string(text))
	}
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		kind  string
		note  []byte
		shown string // beside what all have
	}{
		{ledger.KindNote, written(&order.Note{}), "reason moved to rack 7\n"},
		{ledger.KindTime, written(&order.Time{To: at}), "reason moved to rack 7\n                                     time 2026-05-01T12:00:00Z\n"},
		{ledger.KindPolicy, note("version = 1\nserial = 12\norigin = \"x\"\n"), "\n                                     serial = 12\n"},
		{ledger.KindPolicy, note("serial = 1\u009b31m\n"), "mirrored yes\n"},
		{ledger.KindNote, note("touchmark/order-note/v1\nreason \u009b31m\n"), "mirrored yes\n"},
	} {
		var out bytes.Buffer
		body := &ledger.Order{Action: c.kind, Mirrored: true, Note: c.note}
		if err := Print(&out, ledger.Header{Index: 9, Time: at}, body, false, ""); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(out.String(), c.shown) || strings.ContainsRune(out.String(), '\u009b') {
			t.Errorf("%q, want %q", out.String(), c.shown)
		}
	}
}
