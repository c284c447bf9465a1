package classes

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/message"
)

func files(names ...string) (items []message.Item) {
	for _, n := range names {
		items = append(items, message.Item{Format: sigformat.OpenPGPBinary.Name, Size: 1, Name: n})
	}
	return items
}

// TestChoose: the class that is named, or the first that all files fit; else why not.
func TestChoose(t *testing.T) {
	parties := logtest.NewParties()
	p := logtest.Must(policy.Open(parties.Policy))
	key := logtest.Must(note.NewSigner(parties.HostKey))
	private, _ := logtest.NewKey("repo1") // another key of the same name
	stranger := logtest.Must(note.NewSigner(private))
	for _, c := range []struct {
		key   note.Signer
		named string
		items []message.Item
		class string
		why   string
	}{
		{key, "", files("a.iso", "b.iso"), "iso", ""},
		{key, "", files("core.db"), "pacman-db", ""},
		{key, "iso", files("core.db"), "iso", ""}, // whether it may is for May
		{key, "isos", files("a.iso"), "", `no class "isos": it has pacman-db, iso`},
		{key, "", files("notes.txt"), "", "no class of the policy lets host repo1 have notes.txt signed"},
		{key, "", files("core.db", "a.iso"), "", ErrMixed.Error()},
		{stranger, "", files("a.iso"), "", "does not know this host's key repo1"},
	} {
		got, err := Choose(p, c.key, c.named, c.items)
		if got != c.class || (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q for %v: %q, %v", c.named, c.items, got, err)
		}
		if errors.Is(err, ErrMixed) != (c.why == ErrMixed.Error()) {
			t.Errorf("%v is taken for mixed classes", err)
		}
	}
	if err := May(p, key, "iso", files("core.db")); err == nil || !strings.Contains(err.Error(), "signs only *.iso") {
		t.Errorf("May says %v", err)
	}
	if err := May(p, key, "", files("a.iso")); err != nil {
		t.Errorf("May says %v", err)
	}
}
