package message

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"
)

var (
	keys  = []pair{repo1, repo2, alice}
	known = []note.Verifier{repo1.Verifier, repo2.Verifier, alice.Verifier}
)

func TestNotesOpenByTheirSigners(t *testing.T) {
	text := []byte("touchmark/test/v1\na line\n\nwith an empty line\n")
	for name, c := range map[string]struct {
		signers []note.Signer
		by      []int
	}{
		"nobody":           {nil, nil},
		"one":              {[]note.Signer{repo2.Signer}, []int{1}},
		"all, any order":   {[]note.Signer{alice.Signer, repo1.Signer, repo2.Signer}, []int{0, 1, 2}},
		"two of the three": {[]note.Signer{alice.Signer, repo1.Signer}, []int{0, 2}},
	} {
		n := signed(text, c.signers...)
		got, by, err := OpenNote(n, known)
		if err != nil || !bytes.Equal(got, text) || !slices.Equal(by, c.by) {
			t.Errorf("%s: %q by %v, %v", name, got, by, err)
		}
	}
}

// Our notes are those of golang.org/x/mod/sumdb/note.
func TestNotesAreC2SPNotes(t *testing.T) {
	text := "touchmark/test/v1\n"
	theirs, err := note.Sign(&note.Note{Text: text}, repo1.Signer, alice.Signer)
	if err != nil {
		t.Fatal(err)
	}
	ours := signed([]byte(text), repo1.Signer, alice.Signer)
	if !bytes.Equal(ours, theirs) {
		t.Errorf("ours %q, theirs %q", ours, theirs)
	}
	n, err := note.Open(ours, note.VerifierList(known...))
	if err != nil || n.Text != text || len(n.Sigs) != 2 {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestCosigning(t *testing.T) {
	text := []byte("touchmark/test/v1\n")
	n, err := CosignNote(signed(text), alice.Signer)
	if err != nil {
		t.Fatal(err)
	}
	if n, err = CosignNote(n, repo1.Signer); err != nil {
		t.Fatal(err)
	}
	if want := signed(text, alice.Signer, repo1.Signer); !bytes.Equal(n, want) {
		t.Errorf("got %q, want %q", n, want)
	}
	wantProblem(t, "the same key again", NoteDuplicate, second(CosignNote(n, alice.Signer)))
	wantProblem(t, "no note", NoteMalformed, second(CosignNote(text, alice.Signer)))
}

func second(_ []byte, err error) error { return err }

func wantProblem(t *testing.T, name string, want NoteProblem, err error) {
	t.Helper()
	var ne *NoteError
	if !errors.As(err, &ne) || ne.Problem != want {
		t.Errorf("%s: got %v, want the problem %s", name, err, want)
	} else if strings.ContainsAny(err.Error(), "\x00\x1b\x7f\n") || len(err.Error()) > 500 {
		t.Errorf("%s: poor error %q", name, err)
	}
}

func TestRefusedNotes(t *testing.T) {
	text := []byte("touchmark/test/v1\na line\n")
	one := signed(text, repo1.Signer)
	line := one[len(text)+1:]
	stranger := testKey("stranger")
	impostor := testKey("repo1-impostor")
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	forged := func(sig []byte) []byte {
		raw := append(binary.BigEndian.AppendUint32(nil, repo1.Signer.KeyHash()), sig...)
		return fmt.Appendf(nil, "%s\n%s%s %s\n", text, sigPrefix, repo1.Verifier.Name(), base64.StdEncoding.EncodeToString(raw))
	}
	otherSig, err := impostor.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) []byte { return bytes.Replace(one, []byte(old), []byte(new), 1) }
	var crowd []byte
	for range MaxSignatures + 1 {
		crowd = append(crowd, line...)
	}
	cases := map[string]struct {
		msg  []byte
		want NoteProblem
	}{
		"empty":                      {nil, NoteMalformed},
		"text only":                  {text, NoteMalformed},
		"empty text":                 {join([]byte("\n\n"), line), NoteBadSignature},
		"unknown key":                {signed(text, stranger.Signer), NoteUnknownKey},
		"known and unknown key":      {signed(text, repo1.Signer, stranger.Signer), NoteUnknownKey},
		"unknown before known":       {signed(text, stranger.Signer, repo1.Signer), NoteUnknownKey},
		"the same line twice":        {join(one, line), NoteDuplicate},
		"a second, unknown line":     {join(one, bytes.Replace(line, []byte("repo1"), []byte("repo2"), 1)), NoteUnknownKey},
		"signature of other text":    {join([]byte("touchmark/test/v1\nb line\n\n"), line), NoteBadSignature},
		"signature by another key":   {forged(otherSig), NoteBadSignature},
		"signature of zero":          {forged(make([]byte, 64)), NoteBadSignature},
		"signature too short":        {forged(make([]byte, 63)), NoteBadSignature},
		"signature too long":         {forged(make([]byte, 65)), NoteBadSignature},
		"signature of nothing":       {forged(nil), NoteMalformed},
		"hyphen for the dash":        {edit("\u2014", "-"), NoteMalformed},
		"en dash for the dash":       {edit("\u2014", "\u2013"), NoteMalformed},
		"space before the dash":      {edit("\u2014", " \u2014"), NoteMalformed},
		"two spaces":                 {edit("repo1 ", "repo1  "), NoteMalformed},
		"trailing space":             {join(one[:len(one)-1], []byte(" \n")), NoteMalformed},
		"no last newline":            {one[:len(one)-1], NoteMalformed},
		"newline after":              {join(one, []byte("\n")), ""},
		"garbage after":              {join(one, []byte("garbage\n")), NoteMalformed},
		"two empty lines":            {edit("\n\n", "\n\n\n"), NoteBadSignature},
		"base64 with stray bits":     {strayBits(one), NoteMalformed},
		"base64 without padding":     {join(bytes.TrimRight(one, "=\n"), []byte("\n")), NoteMalformed},
		"carriage returns":           {bytes.ReplaceAll(one, []byte("\n"), []byte("\r\n")), NoteMalformed},
		"tab in the text":            {signedRaw("a\tb\n", repo1), NoteMalformed},
		"NUL in the text":            {signedRaw("a\x00b\n", repo1), NoteMalformed},
		"broken UTF-8 in the text":   {signedRaw("a\xffb\n", repo1), NoteMalformed},
		"empty key name":             {edit("repo1", ""), NoteMalformed},
		"plus in key name":           {edit("repo1", "repo+1"), NoteMalformed},
		"umlaut in key name":         {edit("repo1", "rep\u00f6"), NoteMalformed},
		"no-break space in key name": {edit("repo1", "repo\u00a01"), NoteMalformed},
		"homoglyph in key name":      {edit("repo1", "rep\u043e1"), NoteMalformed},
		"key name too long":          {edit("repo1", strings.Repeat("r", MaxKeyName+1)), NoteMalformed},
		"far too many signatures":    {join(text, []byte("\n"), crowd), NoteTooLarge},
		"far too long":               {join(bytes.Repeat([]byte("a"), MaxMessage), []byte("\n\n"), line), NoteTooLarge},
	}
	for name, c := range cases {
		text, by, err := OpenNote(c.msg, known)
		if c.want == "" {
			// These are notes of another text without known signatures.
			if err == nil && len(by) > 0 {
				t.Errorf("%s: opened %q by %v", name, text, by)
			}
			continue
		}
		wantProblem(t, name, c.want, err)
	}
}

// strayBits sets unused bits in the last base64 digit before the padding.
func strayBits(n []byte) []byte {
	n = bytes.Clone(n)
	i := bytes.LastIndexByte(n, '=') - 1
	for n[i] == '=' {
		i--
	}
	n[i]++
	return n
}

// signedRaw makes a note with a true signature of a text that SignNote would
// refuse.
func signedRaw(text string, p pair) []byte {
	sig, err := p.Sign([]byte(text))
	if err != nil {
		panic(err)
	}
	raw := append(binary.BigEndian.AppendUint32(nil, p.Signer.KeyHash()), sig...)
	return fmt.Appendf(nil, "%s\n%s%s %s\n", text, sigPrefix, p.Signer.Name(), base64.StdEncoding.EncodeToString(raw))
}

// A whole note inside the text of another cannot pass for it.
func TestSignedTextInsideATextIsNotOpened(t *testing.T) {
	inner := signed([]byte("touchmark/test/v1\n"), repo1.Signer)
	_, by, err := OpenNote(append(bytes.Clone(inner), '\n'), known)
	if err != nil || len(by) != 0 {
		t.Errorf("by %v, %v", by, err)
	}
}

func TestAmbiguousKeys(t *testing.T) {
	_, _, err := OpenNote(signed([]byte("a\n"), repo1.Signer), []note.Verifier{repo1.Verifier, alice.Verifier, repo1.Verifier})
	wantProblem(t, "one key twice among the known", NoteAmbiguous, err)
}

func TestSignNoteRefuses(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "no newline": "a", "control": "a\x01\n", "tab": "a\tb\n", "DEL": "a\x7fb\n", "UTF-8": "\xff\n"} {
		wantProblem(t, name, NoteMalformed, second(SignNote([]byte(text), repo1.Signer)))
	}
	wantProblem(t, "twice", NoteDuplicate, second(SignNote([]byte("a\n"), repo1.Signer, repo1.Signer)))
	wantProblem(t, "too long", NoteTooLarge, second(SignNote(append(bytes.Repeat([]byte("a"), MaxMessage), '\n'), repo1.Signer)))
	if _, err := SignNote([]byte("a\n"), brokenSigner{repo1.Signer}); !errors.Is(err, errBroken) {
		t.Errorf("a failing signer gave %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenSigner struct{ note.Signer }

func (brokenSigner) Sign([]byte) ([]byte, error) { return nil, errBroken }

func TestParseKey(t *testing.T) {
	// alice's base64 holds a '+', which is also the separator.
	for _, p := range keys {
		if v, err := ParseKey(p.vkey); err != nil || v.Name() != p.Signer.Name() || v.KeyHash() != p.Signer.KeyHash() {
			t.Errorf("%s: %v", p.vkey, err)
		}
	}
	name, rest, _ := strings.Cut(repo1.vkey, "+")
	hash, b64, _ := strings.Cut(rest, "+")
	for what, bad := range map[string]string{
		"empty":           "",
		"private key":     "PRIVATE+KEY+" + repo1.vkey,
		"uppercase hash":  name + "+" + strings.ToUpper(hash) + "+" + b64,
		"wrong hash":      name + "+00000000+" + b64,
		"other name":      "repo9+" + hash + "+" + b64,
		"no padding":      strings.TrimRight(repo2.vkey, "=") + "=",
		"newline":         repo1.vkey + "\n",
		"newline inside":  name + "+" + hash + "+" + b64[:10] + "\n" + b64[10:],
		"short":           name + "+" + hash,
		"space":           " " + repo1.vkey,
		"umlaut":          "ä+" + hash + "+" + b64,
		"control in name": "re\x01po+" + hash + "+" + b64,
	} {
		v, err := ParseKey(bad)
		if err == nil {
			t.Errorf("%s: accepted %q as %v", what, bad, v)
			continue
		}
		wantProblem(t, what, NoteMalformed, err)
		if what == "private key" && strings.Contains(err.Error(), b64[:8]) {
			t.Errorf("a private key is shown: %v", err)
		}
	}
	// A right hash over a name that is not printable ASCII.
	if vkey, err := note.NewEd25519VerifierKey("rép\u043e", make([]byte, 32)); err != nil {
		t.Fatal(err)
	} else if _, err := ParseKey(vkey); err == nil {
		t.Error("accepted a key name that is not ASCII")
	}
}

func TestPropertyNotes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(rapid.StringMatching(`[ -~ä—\n]{0,200}`).Draw(t, "text") + "\n")
		which := rapid.SliceOfDistinct(rapid.IntRange(0, len(keys)-1), rapid.ID[int]).Draw(t, "signers")
		var signers []note.Signer
		for _, i := range which {
			signers = append(signers, keys[i].Signer)
		}
		got, by, err := OpenNote(signed(text, signers...), known)
		slices.Sort(which)
		if err != nil || !bytes.Equal(got, text) || !slices.Equal(by, which) {
			t.Fatalf("signed by %v: opened %q by %v, %v", which, got, by, err)
		}
	})
}

// FuzzOpenNote: whatever opens is also a note for golang.org/x/mod, with the
// same text and signers, and signing its text again gives the same bytes.
func FuzzOpenNote(f *testing.F) {
	f.Add(signed([]byte("a\n")))
	f.Add(signed([]byte("a\n\nb\n"), repo1.Signer))
	f.Add(signed([]byte("touchmark/test/v1\n"), alice.Signer, repo2.Signer))
	f.Fuzz(func(t *testing.T, b []byte) {
		text, by, err := OpenNote(b, known)
		if err != nil {
			return
		}
		if len(by) == 0 {
			if !bytes.Equal(append(text, '\n'), b) {
				t.Fatalf("unsigned note %q has the text %q", b, text)
			}
			return
		}
		n, err := note.Open(b, note.VerifierList(known...))
		if err != nil || n.Text != string(text) || len(n.Sigs) != len(by) || len(n.UnverifiedSigs) != 0 {
			t.Fatalf("%q: ours %q by %v, theirs %+v, %v", b, text, by, n, err)
		}
	})
}
