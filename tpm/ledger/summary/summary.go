// Package summary says what an entry of the log is in a few words, for a line in a
// list. It checks nothing: what cannot be read is said to be so. The package is pure.
package summary

import (
	"fmt"
	"strings"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Of is a parsed entry (ledger.Parse) in a few words; empty if its kind says all.
func Of(body any) string {
	switch b := body.(type) {
	case *ledger.Genesis:
		return b.Origin
	case *ledger.Boot:
		return fmt.Sprintf("number %d, firmware %s, clock %s, recovery %s", b.Number, b.Firmware, b.Clock, b.Recovery)
	case *ledger.Intent:
		return "job " + b.Job.String()[:16] + " " + intent(b)
	case *ledger.Outcome:
		states := make([]string, len(b.Items))
		for i, it := range b.Items {
			states[i] = strings.TrimSpace(string(it.State) + " " + it.Reason)
		}
		return fmt.Sprintf("of %d: %s", b.Intent, strings.Join(states, ", "))
	case *ledger.Attest:
		return fmt.Sprintf("of size %d", b.Size)
	case *ledger.Update:
		return fmt.Sprintf("from %s to %s", b.From, b.To)
	case *ledger.Order:
		return ordered(b)
	}
	return ""
}

// ordered is why administrators ordered something, in their words, and of a policy
// which one it is.
func ordered(b *ledger.Order) string {
	text, err := message.NoteText(b.Note)
	if err != nil {
		return "with an unreadable note"
	}
	if o, err := order.Parse(text); err == nil {
		return o.Reason
	}
	p, err := policy.Parse(text)
	if err != nil {
		return "with an unreadable note"
	}
	return fmt.Sprintf("serial %d", p.Serial)
}

// intent names the class and the files that were asked for.
func intent(b *ledger.Intent) string {
	ap, err := Approval(b)
	if err != nil {
		return "with an unreadable approval"
	}
	names := make([]string, len(ap.Items))
	for i, it := range ap.Items {
		names[i] = it.Name
	}
	return ap.Class + ": " + strings.Join(names, ", ")
}

// Approval is what was asked for in the job of an intent.
func Approval(in *ledger.Intent) (message.Approval, error) {
	text, err := message.NoteText(in.Approval)
	if err != nil {
		return message.Approval{}, err
	}
	return message.ParseApproval(text)
}
