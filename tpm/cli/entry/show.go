// Package entry is "touchmark-audit show" and "export": entries of a published log for
// people and for programs. Nothing is verified.
package entry

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"touchmark/tpm/cli"
	"touchmark/tpm/ledger"
)

// ShowCommand is "touchmark-audit show".
func ShowCommand() *cobra.Command {
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
			return f.each(args[0], func(e shown) error { return Print(out, e.header, e.body, asJSON, e.status) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	f.flags(cmd)
	return cmd
}

// ExportCommand is "touchmark-audit export".
func ExportCommand() *cobra.Command {
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
				return cli.PrintJSON(out, l)
			})
		},
	}
	f.flags(cmd)
	return cmd
}

// Print shows an entry: a line and what it names, or an object. The body is an error if
// the entry does not parse; status is empty or what is to be known besides.
func Print(out io.Writer, h ledger.Header, body any, asJSON bool, status string) error {
	l := lineOf(h, body)
	l.Status = status
	if asJSON {
		return cli.PrintJSON(out, l)
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
		return cli.Unreadable(err)
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
