package policy

import (
	"errors"
	"strings"
	"testing"

	"touchmark/hostlink/message"
)

// withKey gives the small example a second key and a second class.
func withKey(t *testing.T, family, algorithm, formats, more string) string {
	t.Helper()
	text := strings.Replace(readExample(t, "arch.toml"), "[[class]]", "[[key]]\nname = \"other\"\nslot = \"82\"\nfamily = \""+family+"\"\nalgorithm = \""+algorithm+"\"\n\n[[class]]", 1)
	for _, f := range strings.Fields(formats) {
		text += "\n[[class]]\nname = \"class-" + strings.ToLower(f) + "\"\nkeys = [\"other\"]\nhosts = [\"repo1\"]\nnames = [\"*\"]\nformats = [\"" + f + "\"" + more +
			"]\nmax_size = \"1MiB\"\nrates = [\"5/1h\"]\napprovals = 0\nbatch = 4\n"
	}
	return text
}

// TestKeysServeOneFamily is the attack across protocols on the policy: no policy
// loads that lets a key make signatures of two families, or an SSH or raw key two
// kinds of them.
func TestKeysServeOneFamily(t *testing.T) {
	for _, c := range []struct{ family, algorithm, formats, more, want string }{
		{"sshsig", "ed25519", "sshsig-git", "", ""},
		{"raw", "rsa2048", "raw-boot", "", ""},
		{"raw", "p384", "raw-boot", "", ""},
		{"in-toto", "rsa2048", "in-toto-gpg", "", ""},
		{"in-toto", "ed25519", "in-toto-gpg", "", ""},
		{"in-toto", "p256", "in-toto-native", "", ""},
		{"in-toto", "p384", "in-toto-native", "", ""},
		{"dsse", "p256", "dsse-in-toto", "", ""},
		{"in-toto", "p256", "in-toto-gpg", "", "nothing that a key of algorithm p256 makes"},
		{"in-toto", "rsa2048", "in-toto-native", "", "nothing that a key of algorithm rsa2048 makes"},
		{"in-toto", "rsa2048", "in-toto-gpg", `, "openpgp-binary"`, "needs a key of family openpgp-data"},
		{"openpgp-data", "rsa2048", "in-toto-gpg", "", "needs a key of family in-toto"},
		{"raw", "p256", "in-toto-native", "", "needs a key of family in-toto"},
		{"raw", "p256", "dsse-in-toto", "", "needs a key of family dsse"},
		{"in-toto", "p256", "dsse-in-toto", "", "needs a key of family dsse"},
		{"dsse", "p256", "in-toto-native", "", "needs a key of family in-toto"},
		{"dsse", "p256", "dsse-in-toto dsse-cyclonedx", "", `key "other" makes dsse-in-toto already`},
		{"dsse", "ed25519", "dsse-in-toto", "", "nothing that a key of algorithm ed25519 makes"},
		{"dsse", "rsa2048", "dsse-in-toto", "", ""},
		{"dsse", "p256", "dsse-", "", `there is no format "dsse-"`},
		{"openpgp-data", "ed25519", "openpgp-text openpgp-binary", "", ""},
		{"sshsig", "p256", "sshsig-git sshsig-file", "", `key "other" makes sshsig-git already`},
		{"sshsig", "p256", "sshsig-git", `, "sshsig-file"`, `key "other" makes sshsig-git already`},
		{"raw", "p256", "raw-boot raw-other", "", `key "other" makes raw-boot already`},
		{"raw", "ed25519", "raw-boot", "", "nothing that a key of algorithm ed25519 makes"},
		{"sshsig", "p256", "raw-boot", "", `needs a key of family raw`},
		{"raw", "p256", "sshsig-git", "", `needs a key of family sshsig`},
		{"raw", "p256", "raw-boot", `, "openpgp-binary"`, `needs a key of family openpgp-data`},
		{"openpgp-data", "p256", "raw-boot", "", `needs a key of family raw`},
		{"sshsig", "p256", "sshsig-", "", `there is no format "sshsig-"`},
		{"sshsig", "p256", "sshsig-Git", "", `there is no format "sshsig-Git"`},
		{"cms", "p256", "", "", `there is no family "cms"`},
	} {
		_, err := Parse([]byte(withKey(t, c.family, c.algorithm, c.formats, c.more)))
		var e *Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c, err)
		case c.want != "" && (!errors.As(err, &e) || !strings.Contains(e.Reason, c.want) || e.Line == 0):
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestHashOfOtherFamilies: an SSH key is not asked over a hash that SSH has not.
func TestHashOfOtherFamilies(t *testing.T) {
	p := mustPolicy(t, withKey(t, "sshsig", "p384", "sshsig-git", ""))
	for _, alg := range message.Algs() {
		j := newJob("class-sshsig-git", "commit")
		j.approval.Origin = p.Origin
		j.approval.Items[0].Format, j.approval.Items[0].Digest = "sshsig-git", message.Digest{Alg: alg, Sum: make([]byte, alg.Size())}
		a, s := j.notes(t)
		_, err := p.Admit(authentic(t, p, a, s), NewHistory(), noon)
		if alg != message.SHA384 && err != nil {
			t.Errorf("%s: %v", alg, err)
		} else if alg == message.SHA384 {
			wantRefusal(t, "sha384", message.CodeHashForbidden, err)
			if !strings.Contains(err.Error(), "sha256 or sha512") {
				t.Error(err)
			}
		}
	}
}
