package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

func showCommand() *cobra.Command {
	var f filter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show LOGDIR",
		Short: "List the entries of a log, without verifying anything",
		Long: `List the entries of a published log, pending ones last. Nothing is verified:
use 'verify' for that. With --json, one object a line. An entry is listed if it
passes every filter given; outcomes have neither class nor name.`,
		Example: `  touchmark-audit show log
  touchmark-audit show log --entry 3,12
  touchmark-audit show log --kind boot --kind policy --from 2026-05-01
  touchmark-audit show log --name 'demo*' --json | jq .time`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			return f.each(args[0], func(e shown) error { return printEntry(out, e.header, e.body, asJSON, e.status) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	f.flags(cmd)
	return cmd
}

func exportCommand() *cobra.Command {
	var f filter
	cmd := &cobra.Command{
		Use:   "export LOGDIR",
		Short: "Print entries as JSON lines, each with its text, without verifying anything",
		Long: `Print the entries of a published log, pending ones last, one JSON object a line:
what 'show --json' prints, and the entry itself as text, or in base64 if it is
none. Nothing is verified: use 'verify' for that.`,
		Example: `  touchmark-audit export log > log.jsonl
  touchmark-audit export log --kind intent --class pacman-db --from 2026-05-01 --to 2026-06-01`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			return f.each(args[0], func(e shown) error {
				l := lineOf(e.header, e.body)
				l.Status = e.status
				if l.Entry = string(e.raw); !utf8.Valid(e.raw) { // a JSON string cannot hold it
					l.Entry, l.Bytes = "", e.raw
				}
				return printJSON(out, l)
			})
		},
	}
	f.flags(cmd)
	return cmd
}

// line is an entry for programs.
type line struct {
	Index  uint64            `json:"index"`
	Time   time.Time         `json:"time"`
	Kind   string            `json:"kind"` // "" when it does not parse
	Status string            `json:"status,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
	Items  []proofItem       `json:"items,omitempty"`
	States []string          `json:"states,omitempty"`
	Entry  string            `json:"entry,omitempty"` // of export
	Bytes  []byte            `json:"bytes,omitempty"` // of export, if it is no text; base64
}

func printEntry(out io.Writer, h ledger.Header, body any, asJSON bool, status string) error {
	l := lineOf(h, body)
	l.Status = status
	if asJSON {
		return printJSON(out, l)
	}
	if status != "" {
		status = "  [" + status + "]"
	}
	var fields []string
	for _, k := range fieldOrder {
		if v, ok := l.Fields[k]; ok {
			fields = append(fields, k+" "+v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(l.Fields)) {
		if strings.HasPrefix(k, "key ") { // of the genesis or a key entry, each with its name
			fields = append(fields, k+" "+l.Fields[k])
		}
	}
	if len(l.States) > 0 {
		fields = append(fields, strings.Join(l.States, ", "))
	}
	_, err := fmt.Fprintf(out, "%6d  %s  %-7s  %s%s\n", l.Index, h.Time.UTC().Format("2006-01-02 15:04:05"), l.Kind, strings.Join(fields, ", "), status)
	for _, it := range l.Items {
		if err == nil {
			_, err = fmt.Fprintf(out, "%37s%s (%s, %d bytes)\n", "", it.Name, it.Digest, it.Size)
		}
	}
	for _, says := range ordered(body) {
		if err == nil {
			_, err = fmt.Fprintf(out, "%37s%s\n", "", says)
		}
	}
	if err != nil {
		return unreadable(err)
	}
	return nil
}

// mostOrdered bounds what is shown of a line of an order: records of keys are long.
const mostOrdered = 160

// ordered is what an order says but for its reason and what every order has; of a
// policy its serial. Of what does not parse, nothing: it may be fit for no terminal.
func ordered(body any) (says []string) {
	b, ok := body.(*ledger.Order)
	if !ok || b.Action != ledger.KindPolicy && parsedOrder(b) == nil {
		return nil
	}
	for line := range strings.Lines(firstLines(b.Note)) {
		line = strings.TrimSuffix(line, "\n")
		key, _, _ := strings.Cut(line, " ")
		switch {
		case b.Action == ledger.KindPolicy && !policySerial.MatchString(line), strings.HasPrefix(key, "touchmark/"), slices.Contains([]string{"origin", "after", "reason"}, key):
			continue
		case len(line) > mostOrdered:
			line = fmt.Sprintf("%s... (%d characters)", line[:mostOrdered], len(line))
		}
		says = append(says, line)
	}
	return says
}

// policySerial is the line of a policy that tells it from others.
var policySerial = regexp.MustCompile(`^serial = [0-9]{1,9}$`)

var fieldOrder = []string{"origin", "boot", "firmware", "clock", "committed", "recovery", "measured", "size", "quote", "sequence", "class", "intent", "job", "from", "to", "image", "previous", "mirrored", "reason", "sign", "error"}

func lineOf(h ledger.Header, body any) line {
	l := line{Index: h.Index, Time: h.Time, Kind: ledger.KindOf(body)}
	switch b := body.(type) {
	case *ledger.Genesis:
		l.Fields = map[string]string{"origin": b.Origin}
		for _, k := range b.Keys {
			l.Fields["key "+k.Name] = tokenKeyText(&k)
		}
	case *ledger.Boot:
		l.Fields = map[string]string{"boot": fmt.Sprint(b.Number), "committed": fmt.Sprint(b.Committed), "recovery": b.Recovery, "firmware": b.Firmware, "clock": b.Clock, "measured": strings.Join(b.Measured.Fields(), " ")}
	case *ledger.Attest:
		l.Fields = map[string]string{"size": fmt.Sprint(b.Size)}
		if !b.HasQuote() {
			l.Fields["quote"] = "missing"
		}
	case *ledger.Intent:
		l.Fields = map[string]string{"sequence": fmt.Sprint(b.Sequence), "job": b.Job.String()}
		class, items, err := itemsOf(b)
		if l.Items = items; err == nil {
			l.Fields["class"] = class
		} else {
			l.Fields["error"] = err.Error()
		}
	case *ledger.Outcome:
		l.Fields = map[string]string{"intent": fmt.Sprint(b.Intent), "job": b.Job.String()}
		for _, it := range b.Items {
			l.States = append(l.States, strings.TrimSpace(string(it.State)+" "+it.Reason))
		}
	case *ledger.Update:
		l.Fields = map[string]string{"from": b.From, "to": b.To, "image": imageText(b.Image)}
	case *ledger.Order:
		l.Fields = map[string]string{"previous": fmt.Sprint(b.Previous), "mirrored": mirroredText(b.Mirrored), "note": firstLines(b.Note)}
		if b.Action == ledger.KindCert {
			l.Fields["sign"] = b.Sign.String()
		}
		o := parsedOrder(b)
		if o == nil {
			return l
		}
		l.Fields["reason"] = o.Reason
		if k, ok := o.Action.(*order.Key); ok && k.Token != nil {
			l.Fields["key "+k.Token.Name] = tokenKeyText(k.Token)
		}
	case error:
		l.Fields = map[string]string{"error": b.Error()}
	}
	return l
}

func tokenKeyText(k *ledger.TokenKey) string {
	return fmt.Sprintf("%X in slot %s of token %d firmware %s %s", k.Fingerprint, k.Slot, k.Token.Serial, k.Token.Firmware, ledger.EmulatedWord(k.Token.Emulated))
}

// parsedOrder is what a note orders, nil if it is a policy or does not parse.
func parsedOrder(b *ledger.Order) *order.Order {
	if b.Action == ledger.KindPolicy {
		return nil
	}
	text, err := message.NoteText(b.Note)
	if err != nil {
		return nil
	}
	o, err := order.Parse(text)
	if err != nil {
		return nil
	}
	return o
}

func imageText(sum []byte) string {
	if sum == nil {
		return "unknown"
	}
	return hex.EncodeToString(sum)
}

func mirroredText(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// firstLines is the text of a note without its signatures, for programs.
func firstLines(msg []byte) string {
	text, err := message.NoteText(msg)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
