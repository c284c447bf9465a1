package entry

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"touchmark/tpm/cli"
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

// each calls do for the entries of a published log that pass.
func (f *filter) each(dir string, do func(shown) error) error {
	finder, err := find.New(f.Query)
	if err != nil {
		return cli.Exit(cli.Usage, err.Error())
	}
	published, err := tiles.Open(dir)
	if err != nil {
		return cli.Unreadable(err)
	}
	pending, err := published.Pending()
	if err != nil {
		return cli.Unreadable(err)
	}
	p := &pass{filter: f, finder: finder, do: do}
	for raw, err := range published.Entries(0) {
		if err != nil {
			return cli.Unreadable(err)
		}
		if err := p.entry(raw, ""); err != nil {
			return err
		}
	}
	for _, raw := range pending {
		if err := p.entry(raw, "pending"); err != nil {
			return err
		}
	}
	if p.next == 0 {
		return cli.Unreadable(fmt.Errorf("%s has no entries: is it a published log?", dir))
	}
	return nil
}

// pass goes through a log, in order and once.
type pass struct {
	*filter
	finder *find.Finder
	do     func(shown) error
	next   uint64 // place of the entry that comes
}

func (p *pass) entry(raw []byte, status string) error {
	h, body, err := ledger.Parse(raw)
	e := shown{h, body, raw, status}
	if err != nil {
		e.header, e.body = ledger.Header{Index: p.next}, err
	}
	if status != "" && err == nil && h.Index < p.next {
		return nil // published in the meantime
	}
	wanted := p.here(p.next) && (err != nil && p.everything() || err == nil && p.finder.Holds(h, body))
	p.next++
	if !wanted {
		return nil
	}
	return p.do(e)
}
