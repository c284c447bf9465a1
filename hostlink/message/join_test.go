package message

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"
)

// However signatures are spread over two notes, joined they are all there once,
// and verify.
func TestJoinNotes(t *testing.T) {
	text := []byte("some text\n")
	var signers []note.Signer
	var known []note.Verifier
	for _, name := range []string{"a", "b", "c", "d"} {
		s, v := generate(t, name)
		signers, known = append(signers, s), append(known, v)
	}
	rapid.Check(t, func(rt *rapid.T) {
		some := func(label string) (list []note.Signer, which []int) {
			for i, s := range signers {
				if rapid.Bool().Draw(rt, label) {
					list, which = append(list, s), append(which, i)
				}
			}
			return list, which
		}
		one, inOne := some("one")
		two, inTwo := some("two")
		joined, err := JoinNotes(must(SignNote(text, one...)), must(SignNote(text, two...)))
		if err != nil {
			rt.Fatal(err)
		}
		_, by, err := OpenNote(joined, known)
		want := append(slices.Clone(inOne), inTwo...)
		slices.Sort(want)
		if err != nil || !slices.Equal(by, slices.Compact(want)) {
			rt.Fatalf("signed by %v, want %v: %v", by, want, err)
		}
	})
}

func TestJoinNotesRefuses(t *testing.T) {
	s, _ := generate(t, "a")
	good := must(SignNote([]byte("some text\n"), s))
	var crowd []byte
	for i := range MaxSignatures {
		other, _ := generate(t, "k"+strings.Repeat("x", i))
		crowd = must(CosignNote(orNote(crowd, "some text\n"), other))
	}
	for name, c := range map[string][2][]byte{
		"another text":        {good, must(SignNote([]byte("other text\n"), s))},
		"no note":             {good, []byte("x")},
		"to no note":          {[]byte("x"), good},
		"too many signatures": {crowd, good},
	} {
		if _, err := JoinNotes(c[0], c[1]); err == nil {
			t.Errorf("%s: joined", name)
		}
	}
	if j := must(JoinNotes(good, good)); !bytes.Equal(j, good) {
		t.Errorf("a note joined with itself: %q", j)
	}
}

func orNote(n []byte, text string) []byte {
	if n == nil {
		return must(SignNote([]byte(text)))
	}
	return n
}

// generate is the key of a name, the same each time.
func generate(t *testing.T, name string) (note.Signer, note.Verifier) {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	private, public, err := note.GenerateKey(bytes.NewReader(seed[:]), name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
