package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/find"
	"touchmark/tpm/ledgerstore/tiles"
)

// filter says which entries are wanted.
type filter struct {
	find.Query
	places []uint // in the log; none: all
}

func (f *filter) flags(cmd *cobra.Command) {
	cmd.Flags().UintSliceVar(&f.places, "entry", nil, "only these entries, by their numbers, as findings name them: 3,12 (repeatable)")
	cmd.Flags().StringArrayVar(&f.Kinds, "kind", nil, "only entries of this kind (repeatable)")
	cmd.Flags().StringVar(&f.From, "from", "", "only entries of this time (2026-05-01 or 2026-05-01T12:00:00Z) or later")
	cmd.Flags().StringVar(&f.To, "to", "", "only entries before this time")
	cmd.Flags().StringVar(&f.Class, "class", "", "only intents of this class")
	cmd.Flags().StringVar(&f.Name, "name", "", "only intents with an artifact whose name matches, with * and ?")
	cmd.Flags().StringVar(&f.Digest, "digest", "", "only intents with an artifact of this digest: 8 or more hexadecimal digits")
	cmd.Flags().StringVar(&f.Job, "job", "", "only the intent of this job: 8 or more hexadecimal digits")
}

// everything reports whether nothing is asked of what entries say: then what cannot be read is shown too.
func (f *filter) everything() bool {
	return len(f.Kinds) == 0 && f.From+f.To+f.Class+f.Name+f.Digest+f.Job == ""
}

// here reports whether an entry at this place is wanted.
func (f *filter) here(place uint64) bool {
	return len(f.places) == 0 || slices.Contains(f.places, uint(place))
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
	finder, err := find.New(f.Query)
	if err != nil {
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
		if !f.here(next) || err != nil && !f.everything() || err == nil && !finder.Holds(h, body) {
			next++
			return nil
		}
		next++
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
