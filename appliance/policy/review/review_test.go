package review

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/policy"
	"touchmark/appliance/policy/policytest"
)

const origin = "touchmark.example/review"

func text(t testing.TB, classes ...policytest.Class) string {
	t.Helper()
	_, admin := intaketest.NewKey("admin")
	_, second := intaketest.NewKey("second")
	_, host := intaketest.NewKey("repo1")
	if classes == nil {
		classes = []policytest.Class{{Name: "db", Names: "*.db", MaxSize: "1536KiB", Rate: "60/1h", Batch: 4}}
	}
	p := policytest.Policy{Origin: origin, Admin: admin, Host: host, Classes: classes}.Text()
	return strings.Replace(p, "keys = [\""+admin, "keys = [\""+second+"\", \""+admin, 1)
}

func parsed(t testing.TB, text string) *policy.Policy {
	t.Helper()
	c, err := Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c.Policy
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The explanation of the specification's larger example, written down on
// 2026-11-22.
func TestExplain(t *testing.T) {
	e := Explain(parsed(t, readFile(t, "../testdata/distribution.toml")))
	got := strings.Replace(strings.Join(e.Lines(), "\n")+"\n", e.Hash, "HASH", 1)
	if want := readFile(t, "testdata/distribution.txt"); got != want {
		t.Errorf("got\n%s", got)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"administrators":{"need":2,"of":["admin1+c0d6665e"`, `"max_skew_seconds":300`, `"approvers":["alice","bob"]`, `"slot":"82"`, `"max_size":17179869184`} {
		if !strings.Contains(string(b), part) {
			t.Errorf("%s is not in %s", part, b)
		}
	}
}

func TestExplainRecovery(t *testing.T) {
	_, safe := intaketest.NewKey("safe")
	p := strings.Replace(text(t), "[[host]]", "[recovery]\nquorum = 1\nkeys = [\""+safe+"\"]\n[[host]]", 1)
	lines := strings.Join(Explain(parsed(t, p)).Lines(), "\n")
	if !strings.Contains(lines, "If they lost their keys, "+short(safe)+" alone can replace them, and change nothing else.") {
		t.Error(lines)
	}
	if !strings.Contains(lines, "none larger than 1536KiB") {
		t.Error(lines)
	}
}

func TestRemarks(t *testing.T) {
	_, safe := intaketest.NewKey("safe")
	_, alice := intaketest.NewKey("alice")
	_, bob := intaketest.NewKey("bob")
	approvers := "[[approver]]\nperson = \"alice\"\nkey = \"" + alice + "\"\n[[approver]]\nperson = \"bob\"\nkey = \"" + bob + "\"\n"
	two := text(t, policytest.Class{Name: "db", Names: "*", MaxSize: "1MiB", Rate: "60/1h", Batch: 4}, policytest.Class{Name: "iso", Names: "*.iso", MaxSize: "1MiB", Rate: "60/1h", Batch: 5})
	two = strings.Replace(two, "approvals = 0\nbatch = 5", "approvals = 1\nbatch = 5", 1)
	good := text(t)
	if r := Remarks(parsed(t, good)); r != nil {
		t.Fatalf("nothing is odd: %q", r)
	}
	for name, c := range map[string]struct{ text, old, new, want string }{
		"lock-out":       {good, "quorum = 1", "quorum = 2", "all of the administrators (2) must sign"},
		"idle host":      {good, "[[key]]", "[[host]]\nname = \"repo2\"\nkey = \"" + alice + "\"\n[[key]]", "host repo2 may use no class"},
		"idle key":       {good, "[[class]]", "[[key]]\nname = \"more\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n[[class]]", "token key more signs for no class"},
		"idle approvers": {good, "[[key]]", approvers + "[[key]]", "no class asks for approvals"},
		"large batch":    {good, `"60/1h"`, `"3/1h"`, "a batch of 4 never fits into rate 3/1h"},
		"useless rate":   {good, `"60/1h"`, `"60/1h", "60/1d"`, "rate 60/1h never decides, 60/1d is stricter"},
		"all approvers":  {good, "approvals = 0\nbatch = 4\n", "approvals = 2\nbatch = 4\n" + approvers, "every approver there is (2) must approve"},
		"weak recovery":  {strings.Replace(good, "quorum = 1\n", "quorum = 2\n", 1), "[[host]]", "[recovery]\nquorum = 1\nkeys = [\"" + safe + "\"]\n[[host]]", "one recovery key replaces 2 administrators"},
		"large document": {strings.NewReplacer(`family = "openpgp-data"`, `family = "dsse"`, "openpgp-binary", "dsse-in-toto").Replace(good), "[[host]]", "[[host]]", "max_size never decides, what it signs are documents of 32KiB at most"},
		"another class":  {two, "[[key]]", approvers + "[[key]]", "signed with 0 approvals instead of 1: it chooses the class"},
	} {
		t.Run(name, func(t *testing.T) {
			p := strings.Replace(c.text, c.old, c.new, 1)
			if r := Remarks(parsed(t, p)); len(r) != 1 || !strings.Contains(r[0], c.want) {
				t.Errorf("%q, want one with %q", r, c.want)
			}
		})
	}
}

// A class that demands documents is worth nothing if the same host gets the same
// names signed with the same key without.
func TestDocumentsThatAreAvoided(t *testing.T) {
	apt := readFile(t, "../examples/apt-suite.toml")
	e := Explain(parsed(t, apt))
	if e.Classes[0].Documents || !e.Classes[1].Documents {
		t.Errorf("documents: %v, %v", e.Classes[0].Documents, e.Classes[1].Documents)
	}
	if l := strings.Join(e.Classes[1].lines(), "\n"); !strings.Contains(l, "The operator is shown what it says.") {
		t.Errorf("explained without it:\n%s", l)
	}
	same := strings.NewReplacer(`hosts = ["build1"]`, `hosts = ["build1", "repo1"]`, `keys = ["stable"]`, `keys = ["stable", "suite"]`, "approvals = 2", "approvals = 0").Replace(apt)
	const want = "class stable: a host that asks under class unstable has names like Release signed, and the operator is shown a digest only: it chooses the class"
	if r := Remarks(parsed(t, same)); !slices.Contains(r, want) {
		t.Errorf("%q", r)
	}
}

// What is shipped is good, and nothing about it is odd.
func TestShippedExamples(t *testing.T) {
	paths, err := filepath.Glob("../examples/*.toml")
	if err != nil || len(paths) < 4 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		c, err := Read([]byte(readFile(t, path)))
		if err != nil {
			var all policy.Errors
			errors.As(err, &all)
			t.Errorf("%s: %v", path, []*policy.Error(all))
			continue
		}
		if r := Remarks(c.Policy); r != nil {
			t.Errorf("%s: %q", path, r)
		}
		if c.Policy.Serial != 1 {
			t.Errorf("%s is no first policy", path)
		}
	}
}

func TestSigned(t *testing.T) {
	admin, adminKey := intaketest.NewKey("admin")
	safe, safeKey := intaketest.NewKey("safe")
	next, nextKey := intaketest.NewKey("next")
	first := strings.Replace(text(t), "[[host]]", "[recovery]\nquorum = 1\nkeys = [\""+safeKey+"\"]\n[[host]]", 1)
	old, err := Read(intaketest.Sign([]byte(first), admin, safe))
	if err != nil || !old.IsNote {
		t.Fatal(err)
	}
	if _, err := old.Signed(nil); err != nil {
		t.Errorf("a first policy: %v", err)
	}
	unsigned, err := Read([]byte(first))
	if err != nil || unsigned.IsNote {
		t.Fatal(err)
	}
	if _, err := unsigned.Signed(nil); !errors.Is(err, ErrUnsigned) {
		t.Error(err)
	}
	second := func(edits ...string) []byte {
		edits = append(edits, "serial = 1", "serial = 2", `previous = ""`, `previous = "`+Explain(old.Policy).Hash+`"`)
		return []byte(strings.NewReplacer(edits...).Replace(first))
	}
	for name, c := range map[string]struct {
		note      []byte
		inForce   *Candidate
		recovered bool
		want      string
	}{
		"by the administrator":   {intaketest.Sign(second(), admin), old, false, ""},
		"by nobody":              {intaketest.Sign(second(), next), old, false, "not known"},
		"without the one before": {intaketest.Sign(second(), admin), nil, false, "--in-force"},
		"by recovery":            {intaketest.Sign(second(adminKey, nextKey), safe, next), old, true, ""},
	} {
		got, err := Read(c.note)
		if err != nil {
			t.Fatal(err)
		}
		recovered, err := got.Signed(c.inForce)
		if recovered != c.recovered || c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v %v", name, recovered, err)
		}
		if err := got.Follows(c.inForce); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := old.Follows(old); err == nil {
		t.Error("a policy follows itself")
	}
}

func TestPersons(t *testing.T) {
	if got := Persons(parsed(t, readFile(t, "../testdata/distribution.toml"))); !slices.Equal(got, []string{"alice", "bob"}) {
		t.Error(got)
	}
}

// TestSignAndNames: administrators and those who may replace them are named, nobody else is; a policy gets one signature
// after the other.
func TestSignAndNames(t *testing.T) {
	admin, _ := intaketest.NewKey("admin")
	second, _ := intaketest.NewKey("second")
	host, _ := intaketest.NewKey("repo1")
	safe, vsafe := intaketest.NewKey("safe")
	c, err := Read([]byte(strings.Replace(text(t), "[[host]]", "[recovery]\nquorum = 1\nkeys = [\""+vsafe+"\"]\n[[host]]", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Names(admin) || !c.Names(second) || !c.Names(safe) || c.Names(host) || (*Candidate)(nil).Names(admin) {
		t.Error("not those who may sign are named")
	}
	for _, s := range []note.Signer{second, admin, safe} {
		n, err := c.Sign(s)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = Read(n); err != nil || !c.IsNote || !strings.Contains(string(n), "\n\u2014 "+s.Name()+" ") {
			t.Errorf("signed by %s: %s, %v", s.Name(), n, err)
		}
	}
	if _, err := c.Signed(nil); err != nil || strings.Count(string(c.Raw), "\n\u2014 ") != 3 {
		t.Errorf("signed by all: %v\n%s", err, c.Raw)
	}
}
