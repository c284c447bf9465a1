package message

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// TestParseSigner: the public half is that of the key, whatever its base64 has in it, and an error shows nothing of it.
func TestParseSigner(t *testing.T) {
	plus := 0
	for i := range 64 {
		secret, public, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{byte(4 * i)}, 32)), "repo1")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(secret, "+") > 4 {
			plus++
		}
		s, got, err := ParseSigner(secret)
		if err != nil || got != public || s.Name() != "repo1" {
			t.Errorf("%s: %s, %v; want %s", secret, got, err, public)
		}
	}
	if plus == 0 {
		t.Error("no key has a plus in its base64")
	}
	seed := base64.StdEncoding.EncodeToString(make([]byte, 33))
	for _, bad := range []string{"", "PRIVATE+KEY+repo1+00000000+" + seed, "repo1+00000000+" + seed, "PRIVATE+KEY+repo1+00000000+AQ=="} {
		if _, _, err := ParseSigner(bad); err == nil || strings.Contains(err.Error(), seed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
