package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// filter says which entries are wanted.
type filter struct {
	kinds      []string
	from, to   string
	class      string
	name       string // pattern
	begin, end time.Time
}

func (f *filter) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.kinds, "kind", nil, "only entries of this kind (repeatable)")
	cmd.Flags().StringVar(&f.from, "from", "", "only entries of this time (2026-05-01 or 2026-05-01T12:00:00Z) or later")
	cmd.Flags().StringVar(&f.to, "to", "", "only entries before this time")
	cmd.Flags().StringVar(&f.class, "class", "", "only intents of this class")
	cmd.Flags().StringVar(&f.name, "name", "", "only intents with an artifact whose name matches, with * and ?")
}

// shown is an entry that passed.
type shown struct {
	header ledger.Header
	body   any // an error if it does not parse
	raw    []byte
	status string
}

// each calls f for the entries of a published log that pass.
func (f *filter) each(dir string, do func(shown) error) error {
	if err := f.parse(); err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	published, err := tiles.Open(dir)
	if err != nil {
		return unreadable(err)
	}
	pending, err := published.Pending()
	if err != nil {
		return unreadable(err)
	}
	next := uint64(0)
	show := func(raw []byte, status string) error {
		h, body, err := ledger.Parse(raw)
		e := shown{h, body, raw, status}
		if err != nil {
			e.header, e.body = ledger.Header{Index: next}, err
		}
		if status != "" && err == nil && h.Index < next {
			return nil // published in the meantime
		}
		if next++; !f.passes(e) {
			return nil
		}
		return do(e)
	}
	for raw, err := range published.Entries(0) {
		if err != nil {
			return unreadable(err)
		}
		if err := show(raw, ""); err != nil {
			return err
		}
	}
	for _, raw := range pending {
		if err := show(raw, "pending"); err != nil {
			return err
		}
	}
	if next == 0 {
		return unreadable(fmt.Errorf("%s has no entries: is it a published log?", dir))
	}
	return nil
}

// kinds of entries, as --kind takes them.
var kinds = []string{
	ledger.KindGenesis, ledger.KindBoot, ledger.KindIntent, ledger.KindOutcome, ledger.KindAttest, ledger.KindUpdate,
	ledger.KindPolicy, ledger.KindKey, ledger.KindCert, ledger.KindTime, ledger.KindResume, ledger.KindNote, ledger.KindClose,
}

func (f *filter) parse() (err error) {
	for _, k := range f.kinds {
		if !slices.Contains(kinds, k) {
			return fmt.Errorf("--kind: there is no kind %q, these are: %s", k, strings.Join(kinds, ", "))
		}
	}
	if f.begin, err = moment(f.from); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if f.end, err = moment(f.to); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	if _, err := path.Match(f.name, ""); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	return nil
}

func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is not a time like 2026-05-01 or 2026-05-01T12:00:00Z", s)
	}
	return t, nil
}

func (f *filter) passes(e shown) bool {
	t := e.header.Time
	switch {
	case len(f.kinds) > 0 && !slices.Contains(f.kinds, ledger.KindOf(e.body)),
		!f.begin.IsZero() && t.Before(f.begin),
		!f.end.IsZero() && !t.Before(f.end):
		return false
	}
	if f.class == "" && f.name == "" {
		return true
	}
	b, ok := e.body.(*ledger.Intent)
	if !ok {
		return false
	}
	class, _, err := itemsOf(b)
	if f.class != "" && (err != nil || class != f.class) {
		return false
	}
	return f.name == "" || namesOf(b, func(it message.Item) bool { ok, err := path.Match(f.name, it.Name); return ok && err == nil })
}
