package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
)

func readExample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustPolicy(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestExamplePolicies(t *testing.T) {
	text := readExample(t, "arch.toml")
	p := mustPolicy(t, text)
	if p.Hash != sha256.Sum256([]byte(text)) || string(p.Text) != text || p.Origin != "touchmark.example/arch" || p.Serial != 1 || p.Previous != [32]byte{} {
		t.Errorf("head: %+v", p)
	}
	if p.MaxSkew != 10*time.Minute || p.MaxValidity != 24*time.Hour || p.LongestWindow() != 24*time.Hour {
		t.Errorf("times: %v, %v, %v", p.MaxSkew, p.MaxValidity, p.LongestWindow())
	}
	c, ok := p.Class("pacman-db")
	if !ok || c.MaxSize != 4<<30 || c.Batch != 16 || len(c.Rates) != 2 || c.Rates[1] != (Rate{500, 24 * time.Hour, "500/1d"}) {
		t.Errorf("class: %+v", c)
	}
	if k, ok := p.Key("packages"); !ok || *k != (Key{"packages", "9c", "openpgp-data", "p256"}) {
		t.Errorf("key: %+v", k)
	}

	d := mustPolicy(t, readExample(t, "distribution.toml"))
	if d.Serial != 2 || d.Previous[31] != 0x11 || d.Administrators.Quorum != 2 || len(d.Administrators.Keys) != 3 || len(d.HostVerifiers()) != 2 || len(d.ApproverVerifiers()) != 3 {
		t.Errorf("distribution: %+v", d)
	}
	if d.LongestWindow() != 30*24*time.Hour {
		t.Errorf("longest window %v", d.LongestWindow())
	}
}

func TestClassesFor(t *testing.T) {
	p := mustPolicy(t, readExample(t, "distribution.toml"))
	for _, c := range []struct{ host, format, name, want string }{
		{"repo1", "openpgp-binary", "core.db.tar.gz", "pacman-db"},
		{"repo1", "openpgp-binary", "a-1-1-any.pkg.tar.zst", "package"},
		{"repo2", "openpgp-binary", "archlinux-2026.11.01-x86_64.iso", "iso"},
		{"repo1", "openpgp-binary", "archlinux-2026.11.01-x86_64.iso", ""},
		{"repo2", "openpgp-binary", "archlinux-2026.1.01-x86_64.iso", ""},
		{"repo1", "openpgp-text", "core.db.tar.gz", ""},
		{"repo1", "openpgp-binary", "sub/core.db.tar.gz", ""},
		{"repo3", "openpgp-binary", "core.db.tar.gz", ""},
	} {
		if got := strings.Join(p.ClassesFor(c.host, c.format, c.name), ","); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
}

// A class takes documents only if it says so, and of formats that are over some.
func TestDocumentsDemanded(t *testing.T) {
	good := readExample(t, "arch.toml")
	with := func(value, family, format string) (*Policy, error) {
		return Parse([]byte(strings.NewReplacer("batch = 16", "batch = 16\n"+value, `"openpgp-data"`, `"`+family+`"`, `"openpgp-binary"`, `"`+format+`"`).Replace(good)))
	}
	for value, want := range map[string]bool{"": false, `documents = "allowed"`: false, `documents = "demanded"`: true} {
		p, err := with(value, "openpgp-data", "openpgp-cleartext")
		if err != nil || p.Classes[0].Documents != want || p.Classes[0].Demands("openpgp-cleartext") != want || !p.Classes[0].Demands("dsse-in-toto") {
			t.Errorf("%q: %v", value, err)
		}
	}
	for format, family := range map[string]string{"sshsig-git": "sshsig", "raw-firmware": "raw"} {
		if _, err := with(`documents = "demanded"`, family, format); err == nil || !strings.Contains(err.Error(), "never comes as a document") {
			t.Errorf("%s: %v", format, err)
		}
		if _, err := with(`documents = "allowed"`, family, format); err != nil {
			t.Errorf("%s: %v", format, err)
		}
	}
	if _, err := with(`documents = "demanded"`, "in-toto", "in-toto-native"); err != nil {
		t.Error(err)
	}
}

// Mistakes in values are told all at once, each value's first one.
func TestAllMistakes(t *testing.T) {
	text := readExample(t, "arch.toml")
	for _, e := range [][2]string{
		{`max_skew = "10m"`, `max_skew = "10"`}, {"quorum = 1", "quorum = 2"}, {`slot = "9c"`, `slot = "9f"`},
		{`hosts = ["repo1"]`, `hosts = ["repo2"]`}, {`"4GiB"`, `"4GB"`}, {`"60/1h", "500/1d"`, `"60", "500/1w"`}, {"batch = 16", "batch = 0"},
	} {
		text = strings.Replace(text, e[0], e[1], 1)
	}
	_, err := Parse([]byte(text))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	var lines []int
	for _, e := range all {
		lines = append(lines, e.Line)
	}
	if want := []int{7, 11, 20, 27, 30, 31, 31, 33}; !slices.Equal(lines, want) {
		t.Errorf("lines %v, want %v: %v", lines, want, []*Error(all))
	}
}

// Approvals count persons, not keys.
func TestApprovalsCountPersons(t *testing.T) {
	good := readExample(t, "distribution.toml")
	_, err := Parse([]byte(strings.Replace(good, "approvals = 2", "approvals = 3", 1)))
	if err == nil || !strings.Contains(err.Error(), "only 2 approving persons") {
		t.Errorf("three approvals of two persons with three keys: %v", err)
	}
}

func TestBounds(t *testing.T) {
	good := readExample(t, "arch.toml")
	if _, err := Parse([]byte(good + strings.Repeat("# more\n", MaxText/7))); err == nil || !strings.Contains(err.Error(), "at most 24576") {
		t.Errorf("a huge policy: %v", err)
	}
	many := strings.Replace(good, `"*.db.tar.gz"`, strings.Repeat(`"*.db.tar.gz",`, MaxList)+`"*.db.tar.gz"`, 1)
	if _, err := Parse([]byte(many)); err == nil {
		t.Error("accepted a list that is too long")
	}
	if _, err := Parse(nil); err == nil {
		t.Error("accepted nothing")
	}
	if _, err := Parse([]byte(strings.Repeat("[", 10000) + "\n")); err == nil {
		t.Error("accepted brackets")
	}
	if _, err := Parse([]byte("version = " + strings.Repeat("[", 10000) + "\n")); err == nil {
		t.Error("accepted nested brackets")
	}
}

func TestOpen(t *testing.T) {
	one, two := []byte(readExample(t, "arch.toml")), []byte(readExample(t, "distribution.toml"))
	sign := func(text []byte, names ...string) []byte {
		n, err := message.SignNote(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if n, err = message.CosignNote(n, signer(name)); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	for name, n := range map[string][]byte{
		"one of one":          sign(one, "admin1"),
		"two of three":        sign(two, "admin1", "admin3"),
		"two of three, other": sign(two, "admin3", "admin2"),
		"three of three":      sign(two, "admin1", "admin2", "admin3"),
	} {
		if p, err := Open(n); err != nil || !bytes.Contains(n, p.Text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, n := range map[string][]byte{
		"nobody":               sign(one),
		"not a note":           one,
		"one of three":         sign(two, "admin2"),
		"one and a stranger":   sign(two, "admin1", "stranger"),
		"quorum and stranger":  sign(two, "admin1", "admin2", "stranger"),
		"quorum and host":      sign(two, "admin1", "admin2", "repo1"),
		"the same twice":       append(sign(two, "admin1"), sign(two, "admin1")[len(two)+1:]...),
		"signature of another": append(append(bytes.Clone(two), '\n'), sign(one, "admin1")[len(one)+1:]...),
		"wrong policy":         sign([]byte("version = 2\n"), "admin1"),
		"changed comment":      bytes.Replace(sign(one, "admin1"), []byte("# Touchmark"), []byte("# touchmark"), 1),
	} {
		if _, err := Open(n); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzParse: no input crashes; what is accepted is also accepted alone, keeps
// its bytes and is coherent enough for admission.
func FuzzParse(f *testing.F) {
	f.Add([]byte(readExample(f, "arch.toml")))
	f.Add([]byte(readExample(f, "distribution.toml")))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error without a place: %v", err)
			}
			return
		}
		if !bytes.Equal(p.Text, b) || len(p.Classes) == 0 || p.LongestWindow() <= 0 {
			t.Fatalf("incoherent: %+v", p)
		}
		for _, c := range p.Classes {
			if _, ok := p.keysOf(&c); !ok || len(c.Rates) == 0 || c.Batch < 1 {
				t.Fatalf("incoherent class: %+v", c)
			}
		}
	})
}

// The four bytes that name a key in a note are easily made to collide; two
// such keys in one policy would make signatures ambiguous.
func TestKeysWithTheSameHashAreRefused(t *testing.T) {
	one, two := collidingKeys(t)
	text := strings.Replace(readExample(t, "arch.toml"), vkey("repo1"), one, 1)
	mustPolicy(t, text)
	second := "[[host]]\nname = \"repo2\"\nkey = \"" + two + "\"\n\n[[key]]"
	_, err := Parse([]byte(strings.Replace(text, "[[key]]", second, 1)))
	if err == nil || !strings.Contains(err.Error(), "the same name and hash") {
		t.Errorf("two keys of one hash: %v", err)
	}
}

func collidingKeys(t *testing.T) (one, two string) {
	t.Helper()
	seen := map[string]string{}
	for i := range uint64(1 << 20) {
		public := binary.BigEndian.AppendUint64(make([]byte, 24), i)
		v, err := note.NewEd25519VerifierKey("repo1", public)
		if err != nil {
			t.Fatal(err)
		}
		hash := v[:len("repo1+00000000")]
		if other, ok := seen[hash]; ok {
			return other, v
		}
		seen[hash] = v
	}
	t.Fatal("no collision")
	return "", ""
}
