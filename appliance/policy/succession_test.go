package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"touchmark/hostlink/message"
)

func policyNote(t *testing.T, text string, names ...string) []byte {
	t.Helper()
	n, err := message.SignNote([]byte(text))
	for _, name := range names {
		if err == nil {
			n, err = message.CosignNote(n, signer(name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// inForce is a policy of admin1, admin2 and admin3, two of whom must sign.
func inForce(t *testing.T) *Policy {
	t.Helper()
	p, err := Open(policyNote(t, readExample(t, "distribution.toml"), "admin1", "admin2"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// successor is the text of a policy that may follow it.
func successor(t *testing.T, p *Policy, edits ...string) string {
	t.Helper()
	edits = append([]string{"serial = 2", "serial = 3", "previous = \"" + strings.Repeat("1", 64), fmt.Sprintf("previous = \"%x", p.Hash)}, edits...)
	text := string(p.Text)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("%q is not in the policy", edits[i])
		}
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	return text
}

func TestSuccessor(t *testing.T) {
	p := inForce(t)
	third := vkey("admin3")
	replaced := []string{third, vkey("admin4")}
	for _, c := range []struct {
		name  string
		edits []string
		by    []string
		want  string // part of the error, "" for none
	}{
		{"another rate", []string{"60/1h", "90/1h"}, []string{"admin1", "admin3"}, ""},
		{"signed by one", nil, []string{"admin1"}, "signed by 1"},
		{"signed by nobody", nil, nil, "signed by 0"},
		{"a stranger too", nil, []string{"admin1", "admin2", "stranger"}, "not known"},
		{"another administrator", replaced, []string{"admin1", "admin2", "admin4"}, ""},
		{"who did not sign", replaced, []string{"admin1", "admin2"}, "must sign too"},
		{"who counts for the old quorum", replaced, []string{"admin1", "admin4"}, "signed by 1"},
		{"one who leaves signs", replaced, []string{"admin1", "admin3", "admin4"}, ""},
		{"the new quorum is not asked", []string{"quorum = 2", "quorum = 3"}, []string{"admin1", "admin2"}, ""},
		{"same serial", []string{"serial = 3", "serial = 2"}, []string{"admin1", "admin2"}, "serial = 3"},
		{"serial left out", []string{"serial = 3", "serial = 4"}, []string{"admin1", "admin2"}, "serial = 3"},
		{"another previous", []string{fmt.Sprintf("%x", p.Hash), strings.Repeat("2", 64)}, []string{"admin1", "admin2"}, "hash of the policy in force"},
		{"another log", []string{"touchmark.example/distribution", "touchmark.example/other"}, []string{"admin1", "admin2"}, "this log is"},
		{"key in another slot", []string{`slot = "9c"`, `slot = "9a"`}, []string{"admin1", "admin2"}, `key "packages"`},
		{"not a policy", []string{"version = 1", "version = 2"}, []string{"admin1", "admin2"}, "version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, err := p.Successor(policyNote(t, successor(t, p, c.edits...), c.by...))
			if c.want == "" && (err != nil || next.Serial != 3 || next.Previous != p.Hash) {
				t.Errorf("%v", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := p.Successor([]byte("no note")); err == nil {
		t.Error("accepted what is no note")
	}
}

// rescued is the policy in force with three recovery keys, two of whom must
// sign.
func rescued(t *testing.T) *Policy {
	t.Helper()
	with := fmt.Sprintf("[recovery]\nquorum = 2\nkeys = [%q, %q, %q]\n\n[[host]]", vkey("safe1"), vkey("safe2"), vkey("safe3"))
	text := strings.Replace(readExample(t, "distribution.toml"), "[[host]]", with, 1)
	for _, signers := range [][]string{{"admin1", "admin2", "safe1", "safe2"}, {"safe1", "safe2", "safe3"}, {"admin1", "admin2"}} {
		if _, err := Open(policyNote(t, text, signers...)); err == nil {
			t.Fatalf("a genesis policy signed by %v was opened", signers)
		}
	}
	p, err := Open(policyNote(t, text, "admin1", "admin2", "safe1", "safe2", "safe3"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Recovery keys replace administrators who cannot sign any more, and change
// nothing else.
func TestRecovery(t *testing.T) {
	p := rescued(t)
	three := fmt.Sprintf("%q,\n    %q,\n    %q", vkey("admin1"), vkey("admin2"), vkey("admin3"))
	replaced := []string{three, fmt.Sprintf("%q,\n    %q,\n    %q", vkey("admin4"), vkey("admin5"), vkey("admin3"))}
	with := func(edits ...string) []string { return append(slices.Clone(replaced), edits...) }
	for _, c := range []struct {
		name  string
		edits []string
		by    []string
		want  string // part of the error, "" for none
	}{
		{"the quorum and who is new", replaced, []string{"safe1", "safe3", "admin4", "admin5"}, ""},
		{"one of the quorum", replaced, []string{"safe2", "admin4", "admin5"}, "signed by 1"},
		{"who is new did not sign", replaced, []string{"safe1", "safe2", "admin4"}, "key admin5"},
		{"an administrator in force besides", replaced, []string{"safe1", "safe2", "admin4", "admin5", "admin3"}, "not known"},
		{"a quorum made up of both", replaced, []string{"safe1", "admin1", "admin4", "admin5"}, "not known"},
		{"a stranger", replaced, []string{"safe1", "safe2", "admin4", "admin5", "stranger"}, "not known"},
		{"a rate too", with("60/1h", "90/1h"), []string{"safe1", "safe2", "admin4", "admin5"}, "keep [[class]]"},
		{"a host too", with(vkey("repo1"), vkey("repo3")), []string{"safe1", "safe2", "admin4", "admin5"}, "keep [[host]]"},
		{"an approver too", with(vkey("bob"), vkey("eve")), []string{"safe1", "safe2", "admin4", "admin5"}, "keep [[approver]]"},
		{"another clock too", with(`max_skew = "5m"`, `max_skew = "9m"`), []string{"safe1", "safe2", "admin4", "admin5"}, "keep max_skew"},
		{"another validity too", with(`"7d"`, `"8d"`), []string{"safe1", "safe2", "admin4", "admin5"}, "keep max_validity"},
		{"a token key too", with("[[class]]", "[[key]]\nname = \"more\"\nslot = \"9a\"\nfamily = \"raw\"\nalgorithm = \"p256\"\n[[class]]"), []string{"safe1", "safe2", "admin4", "admin5"}, "keep [[key]]"},
		{"itself too", with(vkey("safe3"), vkey("safe4")), []string{"safe1", "safe2", "admin4", "admin5", "safe4"}, "keep [recovery]"},
		{"administrators change recovery", []string{vkey("safe3"), vkey("safe4")}, []string{"admin1", "admin2", "safe4"}, ""},
		{"whose new key did not sign", []string{vkey("safe3"), vkey("safe4")}, []string{"admin1", "admin2"}, "key safe4"},
		{"who ask an old recovery key too", []string{vkey("safe3"), vkey("safe4")}, []string{"admin1", "admin2", "safe1", "safe4"}, "keep [recovery]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, err := p.Successor(policyNote(t, successor(t, p, c.edits...), c.by...))
			if c.want == "" && (err != nil || next.Recovered != slices.Contains(c.by, "safe1")) {
				t.Errorf("%v", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A policy cannot follow itself, nor an older one come back.
func TestSuccessorChain(t *testing.T) {
	p := inForce(t)
	note := policyNote(t, successor(t, p), "admin1", "admin2")
	next, err := p.Successor(note)
	if err != nil {
		t.Fatal(err)
	}
	for name, old := range map[string][]byte{"itself": note, "the one before": policyNote(t, string(p.Text), "admin1", "admin2")} {
		if _, err := next.Successor(old); err == nil {
			t.Errorf("%s came again", name)
		}
	}
}
