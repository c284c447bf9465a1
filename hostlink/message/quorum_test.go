package message

import (
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func TestOpenQuorum(t *testing.T) {
	text := []byte("touchmark/test/v1\n")
	old := []note.Verifier{repo1.Verifier, repo2.Verifier}
	for name, c := range map[string]struct {
		signers []note.Signer
		need    int
		all     []note.Verifier
		want    string // part of the error, "" for none
	}{
		"enough":                    {[]note.Signer{repo1.Signer, repo2.Signer}, 2, nil, ""},
		"one of two":                {[]note.Signer{repo2.Signer}, 1, nil, ""},
		"too few":                   {[]note.Signer{repo2.Signer}, 2, nil, "signed by 1 administrators, 2 are needed"},
		"nobody":                    {nil, 1, nil, "signed by 0"},
		"a stranger":                {[]note.Signer{repo1.Signer, alice.Signer}, 1, nil, "not known here"},
		"a new one signs too":       {[]note.Signer{repo1.Signer, alice.Signer}, 1, []note.Verifier{alice.Verifier}, ""},
		"a new one does not count":  {[]note.Signer{repo1.Signer, alice.Signer}, 2, []note.Verifier{alice.Verifier}, "signed by 1"},
		"a new one is missing":      {[]note.Signer{repo1.Signer}, 1, []note.Verifier{alice.Verifier}, "whose holder must sign too"},
		"one that stays counts":     {[]note.Signer{repo1.Signer, alice.Signer}, 1, []note.Verifier{repo1.Verifier, alice.Verifier}, ""},
		"one that stays is missing": {[]note.Signer{repo2.Signer}, 1, []note.Verifier{repo1.Verifier}, "whose holder"},
		"the same key in all twice": {[]note.Signer{repo1.Signer, alice.Signer}, 1, []note.Verifier{alice.Verifier, alice.Verifier}, ""},
	} {
		got, err := OpenQuorum(signed(text, c.signers...), old, c.need, c.all...)
		if c.want == "" && (err != nil || string(got) != string(text)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Another key under the name and hash of one that is known gains nothing.
func TestOpenQuorumTwins(t *testing.T) {
	twin := named{alice.Verifier, repo1.Verifier}
	n := signed([]byte("touchmark/test/v1\n"), repo1.Signer)
	if _, err := OpenQuorum(n, []note.Verifier{repo1.Verifier}, 1, twin); err == nil {
		t.Error("a signature by one key counted as the other's, too")
	}
}

// named is a key that goes by another one's name and hash.
type named struct {
	note.Verifier
	as note.Verifier
}

func (n named) Name() string    { return n.as.Name() }
func (n named) KeyHash() uint32 { return n.as.KeyHash() }
