package sigformat_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/envelope"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// debianPython is the one that Debian's packages are for; another may come first
// on the PATH.
const debianPython = "/usr/bin/python3"

// inToto runs Debian's in-toto on a directory.
func inToto(t *testing.T, args ...string) string {
	t.Helper()
	out, err := sigtest.Run(t, t.TempDir(), append([]string{debianPython, "-I", "testdata/intoto.py"}, args...)...)
	if err != nil {
		t.Fatalf("in-toto: %v: run \"make setup\"\n%s", err, out)
	}
	return out
}

// enclosedBy are the formats of one file that a key makes, with the hash of each.
func enclosedBy(k *token) map[sigformat.Format]message.Alg {
	all := map[sigformat.Format]message.Alg{}
	dsse, _ := sigformat.FormatOf("dsse-in-toto")
	for _, f := range []sigformat.Format{sigformat.InTotoGPG, sigformat.InTotoNative, dsse} {
		for _, alg := range sigtest.Algs {
			if f.Signs(k.Algorithm(), alg) == nil {
				all[f] = alg
			}
		}
	}
	return all
}

// enclose signs a file.
func (t *token) enclose(tb testing.TB, f sigformat.Format, alg message.Alg, file []byte) []byte {
	tb.Helper()
	s, err := f.Digest(alg, bytes.NewReader(file))
	if err != nil {
		tb.Fatal(err)
	}
	whole, err := f.Enclose(t.Key, file, t.sealed(tb, f, s))
	if err != nil {
		tb.Fatal(err)
	}
	return whole
}

// TestInTotoInTools: what is hashed of metadata is what Debian's in-toto would
// sign, and that takes the signatures of every key type that it knows, alone and
// beside others, and refuses them over changed metadata.
func TestInTotoInTools(t *testing.T) {
	dir, home := t.TempDir(), filepath.Join(t.TempDir(), "gnupg")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	inToto(t, "make", dir)
	b := &bench{t: t, dir: dir, home: home}
	want := map[string]string{}
	judged := func(name string, f sigformat.Format, k *token, file []byte, verdict string) {
		text := fmt.Sprintf("%x", k.Fingerprint())
		if !f.Packet() {
			text = string(strictjson.Text(envelope.SecureSystems(k.Key)))
		}
		b.write(name+".key", []byte(text))
		b.write(name+".signed", file)
		want[name] = f.KeyID(k.Key) + " " + verdict
	}
	files := map[string][]byte{}
	for _, name := range []string{"layout", "link", "bare"} {
		files[name] = read(t, filepath.Join(dir, name))
		for _, f := range []sigformat.Format{sigformat.InTotoGPG, sigformat.InTotoNative} {
			doc, err := f.DocumentOf(files[name])
			if signable := read(t, filepath.Join(dir, name+".bytes")); err != nil || !bytes.Equal(doc, signable) {
				t.Fatalf("%s: %v\nhashed  %q\nin-toto %q", name, err, doc, signable)
			}
			for what, alone := range map[string][]byte{"metadata": bare(t, files[name]), "document": doc} {
				if again, err := f.DocumentOf(alone); err != nil || !bytes.Equal(doc, again) {
					t.Errorf("%s: its %s alone is another document: %v", name, what, err)
				}
			}
		}
	}
	together := map[sigformat.Format][]byte{sigformat.InTotoGPG: files["link"], sigformat.InTotoNative: files["link"]}
	for _, k := range tokens() {
		for f, alg := range enclosedBy(k) {
			if f.Family == sigformat.FamilyDSSE {
				continue
			}
			if f.Packet() {
				if out, err := b.run("gpg", "--import", b.write("cert.asc", openpgp.Armor(k.certificate(t)))); err != nil {
					t.Fatalf("gpg --import: %v\n%s", err, out)
				}
			}
			for name, file := range files {
				whole := k.enclose(t, f, alg, file)
				judged(k.Algorithm()+"-"+name, f, k, whole, "good")
				judged(k.Algorithm()+"-"+name+"-changed", f, k, changed(t, whole), "bad")
			}
			together[f] = k.enclose(t, f, alg, together[f])
		}
	}
	for _, k := range tokens() {
		for f := range enclosedBy(k) {
			if f.Family == sigformat.FamilyInToto {
				judged(k.Algorithm()+"-together", f, k, together[f], "good")
			}
		}
	}
	got := map[string]string{}
	for line := range strings.Lines(inToto(t, "judge", dir, home)) {
		name, verdict, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[name] = strings.Replace(verdict, " bad: ", " bad ", 1)
	}
	for name, w := range want {
		if !strings.HasPrefix(got[name], w) {
			t.Errorf("%s: in-toto says %q, want %q", name, got[name], w)
		}
	}
	if len(got) != len(want) || len(want) != 6*(2*3+1) {
		t.Errorf("%d verdicts about %d files", len(got), len(want))
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bare is what is signed in a file, without the file.
func bare(t *testing.T, file []byte) []byte {
	t.Helper()
	v, err := strictjson.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := v.(*strictjson.Object).Get("signed")
	return strictjson.Text(signed)
}

// changed has another name in what is signed.
func changed(t *testing.T, file []byte) []byte {
	t.Helper()
	v, err := strictjson.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	signed, _ := v.(*strictjson.Object).Get("signed")
	for _, name := range []string{"name", "readme"} {
		if _, there := signed.(*strictjson.Object).Get(name); there {
			signed.(*strictjson.Object).Set(name, "changed")
		}
	}
	return strictjson.Text(v)
}
