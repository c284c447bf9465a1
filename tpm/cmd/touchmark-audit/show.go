package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

func showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show LOGDIR",
		Short: "List the entries of a log, without verifying anything",
		Long: `List the entries of a published log, pending ones last. Nothing is verified:
use 'verify' for that. With --json, one object a line.`,
		Example: `  touchmark-audit show log
  touchmark-audit show log --json | jq 'select(.kind == "intent")'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return show(cmd.OutOrStdout(), args[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

func show(out io.Writer, dir string, asJSON bool) error {
	published, err := tiles.Open(dir)
	if err != nil {
		return unreadable(err)
	}
	pending, err := published.Pending()
	if err != nil {
		return unreadable(err)
	}
	next := uint64(0)
	for raw, err := range published.Entries(0) {
		if err != nil {
			return unreadable(err)
		}
		if err := showEntry(out, next, raw, asJSON, ""); err != nil {
			return err
		}
		next++
	}
	for _, raw := range pending {
		h, _, err := ledger.Parse(raw)
		if err == nil && h.Index < next {
			continue
		}
		if err := showEntry(out, next, raw, asJSON, "pending"); err != nil {
			return err
		}
		next++
	}
	if next == 0 {
		return unreadable(fmt.Errorf("%s has no entries: is it a published log?", dir))
	}
	return nil
}

func showEntry(out io.Writer, index uint64, raw []byte, asJSON bool, status string) error {
	h, body, err := ledger.Parse(raw)
	if err != nil {
		h, body = ledger.Header{Index: index}, err
	}
	return printEntry(out, h, body, asJSON, status)
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
	if len(l.States) > 0 {
		fields = append(fields, strings.Join(l.States, ", "))
	}
	_, err := fmt.Fprintf(out, "%6d  %s  %-7s  %s%s\n", l.Index, h.Time.UTC().Format("2006-01-02 15:04:05"), l.Kind, strings.Join(fields, ", "), status)
	for _, it := range l.Items {
		if err == nil {
			_, err = fmt.Fprintf(out, "%37s%s (%s, %d bytes)\n", "", it.Name, it.Digest, it.Size)
		}
	}
	if err != nil {
		return unreadable(err)
	}
	return nil
}

var fieldOrder = []string{"origin", "token", "key", "boot", "committed", "recovery", "size", "quote", "sequence", "class", "intent", "job", "error"}

func lineOf(h ledger.Header, body any) line {
	l := line{Index: h.Index, Time: h.Time, Kind: ledger.KindOf(body)}
	switch b := body.(type) {
	case *ledger.Genesis:
		l.Fields = map[string]string{"origin": b.Origin, "key": strings.ToUpper(hex.EncodeToString(b.Key.Fingerprint[:])),
			"token": fmt.Sprintf("%d firmware %s %s", b.Token.Serial, b.Token.Firmware, ledger.EmulatedWord(b.Token.Emulated))}
	case *ledger.Boot:
		l.Fields = map[string]string{"boot": fmt.Sprint(b.Number), "committed": fmt.Sprint(b.Committed), "recovery": b.Recovery}
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
	case error:
		l.Fields = map[string]string{"error": b.Error()}
	}
	return l
}
