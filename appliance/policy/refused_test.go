package policy

import (
	_ "embed"
	"errors"
	"strings"
	"testing"
)

//go:embed testdata/arch.toml
var arch string

// mistake is an edit of the first example, and what is said of it. The error must
// stand at the mark: the line and column where "at" first occurs in the edited text.
type mistake struct{ name, old, new, at, says string }

var (
	admin, repo = vkey("admin1"), vkey("repo1")
	archClass   = arch[strings.Index(arch, "[[class]]"):]
)

func approver(person, key string) string {
	return "[[approver]]\nperson = \"" + person + "\"\nkey = \"" + key + "\"\n"
}

// Keys and tables that are not those of a policy, or not all of them.
var misnamed = []mistake{
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
	{"no class at all", archClass, "", "", "the table class is missing"},
}

// Values and bytes beyond the profile of TOML.
var mistyped = []mistake{
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
}

// The head: whose policy, which one, how long.
var heads = []mistake{
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
	{"duration beyond all", `max_validity = "24h"`, `max_validity = "999999999999d"`, `"99999`, "at most 366d"},
}

// Who signs policies, submits and approves.
var parties = []mistake{
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
}

// The token's keys.
var tokenKeys = []mistake{
	{"unknown slot", `slot = "9c"`, `slot = "9C"`, `"9C"`, `did you mean`},
	{"unknown family", `"openpgp-data"`, `"openpgp"`, `"openpgp"`, "choose from openpgp-data, sshsig"},
	{"unknown algorithm", `"p256"`, `"p265"`, `"p265"`, `did you mean "p256"?`},
	{"key twice by name", "[[class]]", "[[key]]\nname = \"packages\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n[[class]]", "\"packages\"\nslot = \"9a\"", "each its own name"},
	{"two families in one slot", "[[class]]", "[[key]]\nname = \"tags\"\nslot = \"9c\"\nfamily = \"sshsig\"\nalgorithm = \"p256\"\n[[class]]", "\"9c\"\nfamily = \"sshsig\"", `slot 9c is key "packages" already`},
}

// What a class allows.
var classRules = []mistake{
	{"size in powers of ten", `"4GiB"`, `"4GB"`, `"4GB"`, `did you mean "4GiB"?`},
	{"size without unit", `"4GiB"`, `"4"`, `"4"`, "like 4GiB"},
	{"size too large", `"4GiB"`, `"99999999TiB"`, `"99999999TiB"`, "too large"},
	{"rate without slash", `"60/1h"`, `"60"`, `"60"`, "like 60/1h"},
	{"rate with zero", `"60/1h"`, `"0/1h"`, `"0/1h"`, "from 1 to"},
	{"rate in weeks", `"60/1h"`, `"60/1w"`, `"60/1w"`, "one of s, m, h, d"},
	{"rate of two windows", `"60/1h"`, `"60/1h/1d"`, `"60/1h/1d"`, "not a duration"},
	{"two rates, one window", `"60/1h"`, `"60/24h"`, `"500/1d"`, "same window"},
	{"no rates", `["60/1h", "500/1d"]`, "[]", "rates", "write at least one"},
	{"format of another family", `"openpgp-data"`, `"sshsig"`, `"openpgp-binary"`, "needs a key of family openpgp-data"},
	{"class twice", "batch = 16\n", "batch = 16\n" + strings.Replace(archClass, "[[class]]", "[[class]]#2", 1), "", `there is a class "pacman-db" already`},
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
}

func TestRefusedPolicies(t *testing.T) {
	for theme, mistakes := range map[string][]mistake{
		"names": misnamed, "values": mistyped, "head": heads, "parties": parties, "keys": tokenKeys, "classes": classRules,
	} {
		for _, m := range mistakes {
			t.Run(theme+"/"+m.name, m.isRefused)
		}
	}
}

func (m mistake) isRefused(t *testing.T) {
	if !strings.Contains(arch, m.old) {
		t.Fatalf("%q is not in the example", m.old)
	}
	text := strings.Replace(arch, m.old, m.new, 1)
	_, err := Parse([]byte(text))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(e.Error(), m.says) || strings.ContainsAny(e.Error(), "\n\x1b") || len(e.Error()) > 500 {
		t.Errorf("said %q, want %q in it", e, m.says)
	}
	if m.at != "" {
		m.stands(t, text, e)
	}
}

// stands wants an error at the mark's line, and at the column of the mark or of its
// line's key: a value's error may stand at either.
func (m mistake) stands(t *testing.T, text string, e *Error) {
	t.Helper()
	at := strings.Index(text, m.at)
	if at < 0 {
		t.Fatalf("mark %q is not in the text", m.at)
	}
	line, start := 1+strings.Count(text[:at], "\n"), strings.LastIndex(text[:at], "\n")
	key := len(text[start+1:at]) - len(strings.TrimLeft(text[start+1:at], " ")) + 1
	if e.Line != line || e.Column != at-start && e.Column != key {
		t.Errorf("stands at %d:%d, want %d:%d (%s)", e.Line, e.Column, line, at-start, e.Reason)
	}
}
