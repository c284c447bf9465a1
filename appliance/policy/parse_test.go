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

// Each case edits the first example; the error must stand at the mark: the
// line and column where "at" first occurs in the edited text.
func TestRefusedPolicies(t *testing.T) {
	good := readExample(t, "arch.toml")
	admin, repo := vkey("admin1"), vkey("repo1")
	approver := func(person, key string) string {
		return "[[approver]]\nperson = \"" + person + "\"\nkey = \"" + key + "\"\n"
	}
	second := "[[class]]\n" + good[strings.Index(good, "[[class]]")+len("[[class]]\n"):]
	cases := []struct{ name, old, new, at, says string }{
		{"misspelt key", "max_skew", "max_skwe", "max_skwe", `did you mean "max_skew"?`},
		{"key in uppercase", "version", "Version", "Version", `did you mean "version"?`},
		{"misspelt table", "[[host]]", "[[hots]]", "hots", `did you mean "host"?`},
		{"unknown table", "[[host]]", "[[printer]]", "printer", "choose from administrators, recovery, host, approver, key, class"},
		{"unknown key in class", "batch = 16", "batch = 16\ncolour = \"red\"", "colour", "choose from name, key"},
		{"key of another table", "batch = 16", "batch = 16\nslot = \"9c\"", "", `there is no key "slot" here`},
		{"table as array", "[administrators]", "[[administrators]]", "administrators", "write [administrators]"},
		{"array as table", "[[host]]", "[host]", "host]", "write [[host]]"},
		{"dotted key", "quorum = 1 ", "quorum.x = 1 ", "quorum", "instead of a key with dots"},
		{"dotted table", "[[host]]", "[[host.x]]", "host.x", "instead of a key with dots"},
		{"quoted key", "quorum = 1 ", "\"quorum\" = 1 ", "\"quorum\"", "without quotes"},
		{"inline table", "[administrators]\n", "administrators = {quorum = 1}\n", "administrators = ", "write [administrators] on a line of its own"},
		{"missing key", "max_size = \"4GiB\"\n", "", "class", `max_size is missing: add max_size = "4GiB"`},
		{"missing in list", "approvals = 0\n", "", "class", "approvals is missing: add approvals = 0"},
		{"missing at the top", "serial = 1\n", "", "", "serial is missing: add serial = 1"},
		{"key twice", "serial = 1\n", "serial = 1\nserial = 1\n", "serial = 1\nprevious", "correct the TOML"},
		{"syntax", "serial = 1\n", "serial 1\n", "1\nprevious", "correct the TOML"},
		{"text for number", "serial = 1\n", "serial = \"1\"\n", "serial", "serial must be a plain whole number: write serial = 1"},
		{"number for text", `max_size = "4GiB"`, "max_size = 4", "max_size", `write max_size = "4GiB"`},
		{"hexadecimal number", "batch = 16", "batch = 0x10", "batch", "plain whole number"},
		{"grouped number", "batch = 16", "batch = 1_6", "batch", "plain whole number"},
		{"signed number", "batch = 16", "batch = +16", "batch", "plain whole number"},
		{"negative number", "batch = 16", "batch = -16", "batch", "plain whole number"},
		{"fraction", "batch = 16", "batch = 16.0", "batch", "plain whole number"},
		{"huge number", "batch = 16", "batch = 99999999999999999999", "batch", "plain whole number"},
		{"text for list", `hosts = ["repo1"]`, `hosts = "repo1"`, "hosts", `write hosts = ["repo1"]`},
		{"list in list", `hosts = ["repo1"]`, `hosts = [["repo1"]]`, "hosts", `write hosts = ["repo1"]`},
		{"literal string", `slot = "9c"`, `slot = '9c'`, "slot", "plain double quotes"},
		{"escape in string", `slot = "9c"`, `slot = "9\u0063"`, "slot", "plain double quotes"},
		{"long string", `slot = "9c"`, `slot = """9c"""`, "slot", "plain double quotes"},
		{"tab", "batch = 16", "batch =\t16", "\t", "spaces for tabs"},
		{"carriage return", "batch = 16\n", "batch = 16\r\n", "\r", "no CR"},
		{"homoglyph", `"repo1"`, "\"rep\u043e1\"", "\u043e", "plain ASCII"},
		{"hidden text in a comment", "# hash of", "# \u202ehash of", "\u202e", "plain ASCII"},
		{"no last newline", "batch = 16\n", "batch = 16", "", "newline at its end"},
		{"version", "version = 1", "version = 2", "2\norigin", "write version = 1"},
		{"origin with space", "touchmark.example/arch", "touchmark example", `"touchmark example"`, "lowercase host name"},
		{"origin with plus", "touchmark.example/arch", "touchmark.example/a+b", `"touchmark.example/a+b"`, "like touchmark.example/demo"},
		{"serial zero", "serial = 1\n", "serial = 0\n", "serial", "write serial = 1"},
		{"first with previous", `previous = ""`, `previous = "11"`, `"11"`, `write previous = ""`},
		{"second without previous", "serial = 1\n", "serial = 2\n", `""   `, "hash of the policy with serial 1"},
		{"duration without unit", `max_skew = "10m"`, `max_skew = "10"`, `"10"`, "like 90s, 10m, 24h, 30d"},
		{"duration of two units", `max_skew = "10m"`, `max_skew = "1m30s"`, `"1m30s"`, "like 90s"},
		{"duration zero", `max_skew = "10m"`, `max_skew = "0m"`, `"0m"`, "like 90s"},
		{"duration with zero", `max_skew = "10m"`, `max_skew = "010m"`, `"010m"`, "like 90s"},
		{"duration too long", `max_skew = "10m"`, `max_skew = "2d"`, `"2d"`, "at most 24h"},
		{"duration beyond all", `max_validity = "24h"`, `max_validity = "999999999999d"`, `"99999`, "too long"},
		{"size in powers of ten", `"4GiB"`, `"4GB"`, `"4GB"`, `did you mean "4GiB"?`},
		{"size without unit", `"4GiB"`, `"4"`, `"4"`, "like 4GiB"},
		{"size too large", `"4GiB"`, `"99999999TiB"`, `"99999999TiB"`, "too large"},
		{"rate without slash", `"60/1h"`, `"60"`, `"60"`, "like 60/1h"},
		{"rate with zero", `"60/1h"`, `"0/1h"`, `"0/1h"`, "from 1 to"},
		{"rate in weeks", `"60/1h"`, `"60/1w"`, `"60/1w"`, "one of s, m, h, d"},
		{"rate of two windows", `"60/1h"`, `"60/1h/1d"`, `"60/1h/1d"`, "not a duration"},
		{"two rates, one window", `"60/1h"`, `"60/24h"`, `"500/1d"`, "same window"},
		{"no rates", `["60/1h", "500/1d"]`, "[]", "rates", "write at least one"},
		{"quorum zero", "quorum = 1", "quorum = 0", "quorum", "from 1 to the number of keys, which is 1"},
		{"quorum beyond keys", "quorum = 1", "quorum = 2", "quorum", "which is 1"},
		{"no administrators", `["` + admin + `"]`, "[]", "keys = []", "write at least one"},
		{"administrator twice", `["` + admin + `"]`, `["` + admin + `", "` + admin + `"]`, `"` + admin + `"]`, "the key of an administrator too"},
		{"recovery without keys", "[[host]]", "[recovery]\nquorum = 1\nkeys = []\n[[host]]", "keys = []\n[[host]]", "write at least one"},
		{"recovery quorum beyond keys", "[[host]]", "[recovery]\nquorum = 2\nkeys = [\"" + vkey("safe") + "\"]\n[[host]]", "quorum = 2", "which is 1"},
		{"recovery by an administrator", "[[host]]", "[recovery]\nquorum = 1\nkeys = [\"" + admin + "\"]\n[[host]]", `"` + admin + "\"]\n[[host]]", "the key of an administrator too"},
		{"recovery twice", "[[host]]", "[[recovery]]\n[[host]]", "recovery", "write [recovery]"},
		{"host with administrator's key", repo, admin, `"` + admin + "\"\n\n[[key]]", "the key of an administrator too"},
		{"not a note key", repo, "ssh-ed25519 AAAA", `"ssh-ed25519 AAAA"`, "touchmark key show"},
		{"damaged note key", repo, strings.Replace(repo, "+A", "+B", 1), `"repo1+9db246f4`, "not a note key"},
		{"host name in uppercase", `name = "repo1"`, `name = "Repo1"`, `"Repo1"`, "lowercase letter"},
		{"host twice", "[[key]]", "[[host]]\nname = \"repo1\"\nkey = \"" + vkey("repo2") + "\"\n[[key]]", "\"repo1\"\nkey = \"repo2", "its own name"},
		{"host as approver", "[[key]]", approver("alice", repo) + "[[key]]", `"` + repo + "\"\n[[key]]", "hosts never approve"},
		{"approver's key twice", "[[key]]", approver("alice", vkey("alice")) + approver("bob", vkey("alice")) + "[[key]]", `"` + vkey("alice") + "\"\n[[key]]", "the key of approver alice too"},
		{"unknown slot", `slot = "9c"`, `slot = "9C"`, `"9C"`, `did you mean`},
		{"unknown family", `"openpgp-data"`, `"openpgp"`, `"openpgp"`, "choose from openpgp-data, sshsig"},
		{"unknown algorithm", `"p256"`, `"p265"`, `"p265"`, `did you mean "p256"?`},
		{"key twice by name", "[[class]]", "[[key]]\nname = \"packages\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n[[class]]", "\"packages\"\nslot = \"9a\"", "each its own name"},
		{"two families in one slot", "[[class]]", "[[key]]\nname = \"tags\"\nslot = \"9c\"\nfamily = \"sshsig\"\nalgorithm = \"p256\"\n[[class]]", "\"9c\"\nfamily = \"sshsig\"", `slot 9c is key "packages" already`},
		{"format of another family", `"openpgp-data"`, `"sshsig"`, `"openpgp-binary"`, "needs a key of family openpgp-data"},
		{"class twice", "batch = 16\n", "batch = 16\n" + strings.Replace(second, "[[class]]", "[[class]]#2", 1), "", `there is a class "pacman-db" already`},
		{"class with unknown key", `keys = ["packages"]`, `keys = ["package"]`, `"package"]`, `did you mean "packages"?`},
		{"class without keys", `keys = ["packages"]`, `keys = []`, "keys = []", "write at least one"},
		{"key twice in class", `keys = ["packages"]`, `keys = ["packages", "packages"]`, `"packages"]`, "twice"},
		{"backup key of another family", "[[class]]\nname = \"pacman-db\"\nkeys = [\"packages\"]", "[[key]]\nname = \"tags\"\nslot = \"9a\"\nfamily = \"sshsig\"\nalgorithm = \"p256\"\n\n[[class]]\nname = \"pacman-db\"\nkeys = [\"packages\", \"tags\"]", "", `key "tags" is sshsig`},
		{"class with unknown host", `hosts = ["repo1"]`, `hosts = ["repo2"]`, `"repo2"`, `did you mean "repo1"?`},
		{"class without hosts", `hosts = ["repo1"]`, `hosts = []`, "hosts", "write at least one"},
		{"host twice in class", `hosts = ["repo1"]`, `hosts = ["repo1", "repo1"]`, `"repo1"]`, "twice"},
		{"class without names", `["*.db.tar.gz", "*.files.tar.gz"]`, `[]`, "names", "write at least one"},
		{"pattern with range", `"*.db.tar.gz"`, `"[a-z].db"`, `"[a-z].db"`, "the characters of names, * and ?"},
		{"pattern with backslash", `"*.db.tar.gz"`, `"a\\*.db"`, "names", "plain double quotes"},
		{"pattern across folders", `"*.db.tar.gz"`, `"**/*.db"`, `"**/*.db"`, "never crosses a slash"},
		{"pattern for options", `"*.db.tar.gz"`, `"-*"`, `"-*"`, "can match no artifact name"},
		{"pattern out of the folder", `"*.db.tar.gz"`, `"../*"`, `"../*"`, "can match no artifact name"},
		{"pattern in second place", `"*.files.tar.gz"`, `"/*"`, `"/*"`, "can match no artifact name"},
		{"empty pattern", `"*.db.tar.gz"`, `""`, `"", "*.files`, "can match no artifact name"},
		{"unknown format", `"openpgp-binary"`, `"openpgp-binnary"`, `"openpgp-binnary"`, `did you mean "openpgp-binary"?`},
		{"approvals without approvers", "approvals = 0", "approvals = 1", "approvals", "only 0 approving persons"},
		{"batch zero", "batch = 16", "batch = 0", "batch", "from 1 to 16"},
		{"batch too large", "batch = 16", "batch = 17", "batch", "from 1 to 16"},
		{"documents of another word", "batch = 16", "batch = 16\ndocuments = \"demand\"", `"demand"`, `did you mean "demanded"?`},
		{"documents of no word", "batch = 16", "batch = 16\ndocuments = \"\"", "", "choose from allowed, demanded"},
		{"documents that are a number", "batch = 16", "batch = 16\ndocuments = 1", "documents", `write documents = "demanded"`},
		{"documents twice", "batch = 16", "batch = 16\ndocuments = \"allowed\"\ndocuments = \"demanded\"", "", "correct the TOML"},
		{"no class at all", second, "", "", "the table class is missing"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("%q is not in the example", c.old)
			}
			text := strings.Replace(good, c.old, c.new, 1)
			_, err := Parse([]byte(text))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(e.Error(), c.says) || strings.ContainsAny(e.Error(), "\n\x1b") || len(e.Error()) > 500 {
				t.Errorf("said %q, want %q in it", e, c.says)
			}
			if c.at == "" {
				return
			}
			// A value's error may stand at the key or at the value: take the line,
			// and the column of one of the two.
			at := strings.Index(text, c.at)
			if at < 0 {
				t.Fatalf("mark %q is not in the text", c.at)
			}
			line, start := 1+strings.Count(text[:at], "\n"), strings.LastIndex(text[:at], "\n")
			key := len(text[start+1:at]) - len(strings.TrimLeft(text[start+1:at], " ")) + 1
			if e.Line != line || e.Column != at-start && e.Column != key {
				t.Errorf("stands at %d:%d, want %d:%d (%s)", e.Line, e.Column, line, at-start, e.Reason)
			}
		})
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
