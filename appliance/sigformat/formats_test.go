package sigformat_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"pgregory.net/rapid"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// openPGP are the formats over files that OpenPGP tools verify.
var openPGP = []sigformat.Format{sigformat.OpenPGPBinary, sigformat.OpenPGPText, sigformat.OpenPGPCleartext}

// digested is the state of a document that is written in the given chunks.
func digested(f sigformat.Format, alg message.Alg, data []byte, chunks []int) (hashstate.State, error) {
	h := hashstate.New(alg)
	w := f.Canonical(h)
	for _, n := range chunks {
		n = min(n, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			return hashstate.State{}, err
		}
		data = data[n:]
	}
	if _, err := w.Write(data); err != nil {
		return hashstate.State{}, err
	}
	if err := w.Close(); err != nil {
		return hashstate.State{}, err
	}
	return h.State(), nil
}

// documents draws what a format takes: bytes, or a text with all that
// canonicalisation is about.
func documents(f sigformat.Format) *rapid.Generator[[]byte] {
	if !f.Text() {
		return rapid.SliceOfN(rapid.Byte(), 0, 400)
	}
	part := rapid.SampledFrom([]string{"a", "é", " ", "\t", "\n", "\r\n", "-", "- ", "--", "From ", "\n\n", " \n", "-----BEGIN PGP SIGNATURE-----\n", "-----BEGIN PGP SIGNED MESSAGE-----\n"})
	return rapid.Custom(func(t *rapid.T) []byte {
		return []byte(strings.Join(rapid.SliceOfN(part, 0, 60).Draw(t, "parts"), ""))
	})
}

// TestFormatsProperty: for random files, chunkings, formats, key types and
// hashes, what is signed from the hash state is what go-crypto, which has the
// whole file, finds signed.
func TestFormatsProperty(t *testing.T) {
	rings := map[*token]pgp.EntityList{}
	for _, k := range tokens() {
		rings[k] = sigtest.Keyring(t, k.certificate(t))
	}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(tokens()).Draw(t, "key")
		goes := func(a message.Alg) bool { return k.Signs(a) == nil }
		alg := rapid.SampledFrom(sigtest.Algs).Filter(goes).Draw(t, "alg")
		f := rapid.SampledFrom(openPGP).Draw(t, "format")
		data := documents(f).Draw(t, "data")
		s, err := digested(f, alg, data, rapid.SliceOfN(rapid.IntRange(0, 50), 0, 20).Draw(t, "chunks"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{1})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := k.Sign(p.Digest, p.Alg.Hash())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := p.Finish(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Verify(k.Key, sig, s); err != nil {
			t.Fatal(err)
		}
		judged(t, rings[k], f, data, sig)
	})
}

// judged has go-crypto verify a signature over the whole of a document.
func judged(t *rapid.T, ring pgp.EntityList, f sigformat.Format, data, sig []byte) {
	now := &packet.Config{Time: func() time.Time { return sigtest.When.Add(time.Hour) }}
	var err error
	if f.Cleartext() {
		file, e := openpgp.Clearsign(data, sig)
		if e != nil {
			t.Fatal(e)
		}
		block, rest := clearsign.Decode(file)
		if block == nil || len(rest) != 0 {
			t.Fatalf("go-crypto finds no signed text in\n%s", file)
		}
		_, err = block.VerifySignature(ring, now)
		again, e := openpgp.ReadSignatureFile(file)
		if e != nil || !again.Clear || !bytes.Equal(again.Packet, sig) {
			t.Fatalf("%v in\n%s", e, file)
		}
		if s, _ := openpgp.ParseSignature(sig); sum(f, s.Alg, again.Text) != sum(f, s.Alg, data) {
			t.Fatal("the text in the file is another")
		}
	} else {
		_, _, err = pgp.VerifyDetachedSignature(ring, bytes.NewReader(data), bytes.NewReader(sig), now)
	}
	if err != nil {
		t.Fatalf("%s: go-crypto: %v", f.Name, err)
	}
}

func sum(f sigformat.Format, alg message.Alg, data []byte) string {
	s, err := f.Digest(alg, bytes.NewReader(data))
	if err != nil {
		return err.Error()
	}
	return string(s.Digest())
}

// TestCanonicalText has the table of signature.md §4.1 and what else decides.
func TestCanonicalText(t *testing.T) {
	for _, c := range []struct{ file, text, clear string }{
		{"", "", ""},
		{"a", "a", "a"},
		{"a\n", "a\r\n", "a"},
		{"a \n\nb\n", "a \r\n\r\nb\r\n", "a\r\n\r\nb"},
		{"a\n\n", "a\r\n\r\n", "a\r\n"},
		{"a\r\nb", "a\r\nb", "a\r\nb"},
		{" \t\n\t", " \t\r\n\t", "\r\n"},
		{"\n", "\r\n", ""},
		{"-é", "-é", "-é"},
	} {
		for f, want := range map[sigformat.Format]string{sigformat.OpenPGPText: c.text, sigformat.OpenPGPCleartext: c.clear} {
			if got, err := f.Digest(message.SHA256, strings.NewReader(c.file)); err != nil || got != sigtest.StateOf(message.SHA256, []byte(want)) {
				t.Errorf("%s of %q is not %q (%v)", f.Name, c.file, want, err)
			}
		}
	}
}

// TestNoText: what tools do not agree about is refused, with its line.
func TestNoText(t *testing.T) {
	long := strings.Repeat("a", sigformat.MaxLine)
	for _, f := range []sigformat.Format{sigformat.OpenPGPText, sigformat.OpenPGPCleartext} {
		for name, c := range map[string]struct {
			file string
			line int
		}{
			"CR alone": {"a\nb\rc\n", 2}, "CR at the end": {"a\nb\r", 2}, "CR CR LF": {"a\r\r\n", 1}, "NUL": {"\x00", 1}, "escape": {"a\n\n\x1b[2J\n", 3},
			"DEL": {"\x7f", 1}, "not UTF-8": {"a\n\xff\n", 2}, "cut UTF-8": {"\xc3", 1}, "long": {"\n" + long + "a\n", 2},
		} {
			_, err := f.Digest(message.SHA256, strings.NewReader(c.file))
			var e *sigformat.TextError
			if !errors.As(err, &e) || e.Line != c.line {
				t.Errorf("%s, %s: %v", f.Name, name, err)
			}
		}
		if _, err := f.Digest(message.SHA256, strings.NewReader(long+"\r\n")); err != nil {
			t.Errorf("%s: the longest line: %v", f.Name, err)
		}
		w := f.Canonical(hashstate.New(message.SHA256))
		_, _ = w.Write([]byte("\x00\n"))
		if _, err := io.WriteString(w, "good\n"); err == nil || w.Close() == nil {
			t.Errorf("%s: an error is forgotten", f.Name)
		}
	}
}

// TestFormatsApart: a signature of one format is none of another over the same
// state, and one key family makes all of them.
func TestFormatsApart(t *testing.T) {
	k, s := tokens()[0], sigtest.StateOf(message.SHA256, []byte("a\r\n"))
	for _, made := range openPGP {
		sig := k.sealed(t, made, s)
		for _, f := range openPGP {
			_, err := f.Verify(k.Key, sig, s)
			if good := f.Text() == made.Text(); good != (err == nil) {
				t.Errorf("a signature of %s as one of %s: %v", made.Name, f.Name, err)
			}
		}
		if got, ok := sigformat.FormatOf(made.Name); !ok || got != made || made.Family != sigformat.FamilyOpenPGP || !message.ValidToken(made.Name) {
			t.Errorf("%s: %+v", made.Name, got)
		}
	}
	if _, ok := sigformat.FormatOf("openpgp"); ok || slices.Contains(sigformat.FormatNames(), "") {
		t.Error("a format that there is not")
	}
}

// TestSignatureFiles: armored, binary and below a text; everything beside what
// the signature covers is refused.
func TestSignatureFiles(t *testing.T) {
	k, doc := tokens()[0], "-a\nb \n"
	st, err := sigformat.OpenPGPCleartext.Digest(message.SHA256, strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	sig := k.sealed(t, sigformat.OpenPGPCleartext, st)
	file, err := openpgp.Clearsign([]byte(doc), sig)
	if err != nil {
		t.Fatal(err)
	}
	want := "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- -a\nb \n" + string(openpgp.ArmorSignature(sig))
	if string(file) != want {
		t.Fatalf("made\n%s, want\n%s", file, want)
	}
	for name, content := range map[string]string{
		"binary": string(sig), "armored": string(openpgp.ArmorSignature(sig)), "CR LF": strings.ReplaceAll(string(openpgp.ArmorSignature(sig)), "\n", "\r\n"),
		"with a header": strings.Replace(string(openpgp.ArmorSignature(sig)), "-\n\n", "-\nVersion: x\n\n", 1), "text": want,
	} {
		f, err := openpgp.ReadSignatureFile([]byte(content))
		if err != nil || !bytes.Equal(f.Packet, sig) || f.Clear != (name == "text") || f.Clear && string(f.Text) != doc {
			t.Errorf("%s: %v, %+v", name, err, f)
		}
	}
	cut := func(old, new string) string { return strings.Replace(want, old, new, 1) }
	for name, content := range map[string]string{
		"text behind": want + "x\n", "two": want + want, "no hash": cut("Hash: SHA256\n", ""), "another header": cut("Hash: SHA256\n", "Hash: SHA256\nCharset: x\n"),
		"two hashes": cut("SHA256", "SHA256,MD5"), "unescaped": cut("- -a", "-a"), "no signature": want[:60], "key block": string(openpgp.Armor(sig)),
		"no end": strings.TrimSuffix(want, "-----END PGP SIGNATURE-----\n"), "not base64": cut("\nb \n", "\nb \n-----BEGIN PGP SIGNATURE-----\n\n!\n-----END PGP SIGNATURE-----\n"),
	} {
		if f, err := openpgp.ReadSignatureFile([]byte(content)); err == nil {
			t.Errorf("%s: accepted, text %q", name, f.Text)
		}
	}
	if _, err := openpgp.Clearsign([]byte(doc), k.signature(t, st)); err == nil {
		t.Error("a signature over bytes is put below a text")
	}
	for _, cr := range []string{"a\rb\n", "a\r\r\n", "a\r"} {
		if made, err := openpgp.Clearsign([]byte(cr), sig); err == nil {
			t.Errorf("%q, which nobody can sign, became %q", cr, made)
		}
	}
	if made, err := openpgp.Clearsign([]byte("-a\r\nb \r\n"), sig); err != nil || !bytes.Equal(made, file) {
		t.Errorf("with CR LF: %v\n%s", err, made)
	}
	if _, err := openpgp.Clearsign([]byte(doc), nil); err == nil {
		t.Error("no signature is put below a text")
	}
	below := append([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"), openpgp.ArmorSignature(k.signature(t, st))...)
	if f, err := openpgp.ReadSignatureFile(below); err != nil {
		t.Error(err)
	} else if _, _, err := sigformat.FileFormat(f); err == nil {
		t.Error("a signature over bytes is believed below a text")
	}
}

// TestHashes: only P-384 keys are choosy, and no signature of theirs over a
// shorter hash is made or believed.
func TestHashes(t *testing.T) {
	for _, k := range tokens() {
		for _, alg := range sigtest.Algs {
			bad := k.Algorithm() == "p384" && alg == message.SHA256
			_, err := sigformat.OpenPGPBinary.Plan(k.Key, sigtest.StateOf(alg, nil), sigtest.When, sigtest.Origin, message.JobID{})
			if bad != (err != nil) || bad != (signing.CheckHash(k.Algorithm(), alg) != nil) {
				t.Errorf("%s with %s: %v", k.Algorithm(), alg, err)
			}
		}
	}
	if signing.CheckHash("p521", message.SHA512) == nil || signing.CheckHash("p256", "md5") == nil {
		t.Error("an unknown key type or hash goes")
	}
	k := tokens()[2]
	p, err := openpgp.PlanFile(k.Key, openpgp.TypeBinary, sigtest.StateOf(message.SHA256, nil), sigtest.When, sigtest.Origin, message.JobID{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.Sign(p.Digest, p.Alg.Hash())
	if err != nil {
		t.Fatal(err)
	}
	sig, err := p.Finish(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sigformat.OpenPGPBinary.Verify(k.Key, sig, sigtest.StateOf(message.SHA256, nil)); err == nil {
		t.Error("a P-384 signature over SHA-256 is believed: gpg does not")
	}
}

func FuzzReadSignatureFile(f *testing.F) {
	k := tokens()[0]
	st, err := sigformat.OpenPGPCleartext.Digest(message.SHA256, strings.NewReader("- a\n"))
	if err != nil {
		f.Fatal(err)
	}
	sig := k.sealed(f, sigformat.OpenPGPCleartext, st)
	clear, err := openpgp.Clearsign([]byte("- a\n"), sig)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(clear)
	f.Add(openpgp.ArmorSignature(sig))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := openpgp.ReadSignatureFile(b)
		if err != nil || !file.Clear {
			return
		}
		// What a reader takes for the text, put into a file again, is the same.
		again, err := openpgp.Clearsign(file.Text, sig)
		if err != nil {
			if _, err := sigformat.OpenPGPCleartext.Digest(message.SHA256, bytes.NewReader(file.Text)); err == nil {
				t.Fatalf("%q can be signed and not be put into a file", file.Text)
			}
			return
		}
		if back, err := openpgp.ReadSignatureFile(again); err != nil || sum(sigformat.OpenPGPCleartext, message.SHA256, back.Text) != sum(sigformat.OpenPGPCleartext, message.SHA256, file.Text) {
			t.Fatalf("%v: %q became another", err, file.Text)
		}
	})
}

// The beginning of a file that is too long is never taken for the file, though
// whoever writes it in pieces passes over what Write says.
func TestEnclosedIsNotItsBeginning(t *testing.T) {
	for _, f := range []sigformat.Format{sigformat.InTotoGPG, sigformat.InTotoNative} {
		var h bytes.Buffer
		w := f.Canonical(&h)
		for _, piece := range []string{`{"_type":"link"}`, strings.Repeat(" ", strictjson.MaxBytes), " "} {
			_, _ = w.Write([]byte(piece))
		}
		if err := w.Close(); err == nil || h.Len() != 0 {
			t.Errorf("%s: %v, hashed %q", f.Name, err, h.String())
		}
	}
}
