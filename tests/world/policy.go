package world

import (
	"fmt"
	"regexp"
	"strings"
)

// policyText is the demo's policy: databases and packages have a class each, and a third one is for whatever people try.
// %[1]s origin, %[2]s administrator's verifier, %[3]s host's verifier, %[4]s algorithm of the token's key.
const policyText = `version = 1
origin = "%[1]s"
serial = 1
previous = ""
max_skew = "10m"
max_validity = "24h"

[administrators]
quorum = 1
keys = ["%[2]s"]

[[host]]
name = "repo1"
key = "%[3]s"

[[key]]
name = "packages"
slot = "9c"
family = "openpgp-data"
algorithm = "%[4]s"

[[class]]
name = "pacman-db"
keys = ["packages"]
hosts = ["repo1"]
names = ["*.db.tar.gz", "*.files.tar.gz"]
formats = ["openpgp-binary"]
max_size = "4GiB"
rates = ["60/1h", "500/1d"]
approvals = 0
batch = 16

[[class]]
name = "package"
keys = ["packages"]
hosts = ["repo1"]
names = ["*.pkg.tar.zst"]
formats = ["openpgp-binary"]
max_size = "4GiB"
rates = ["600/1h"]
approvals = 0
batch = 16

[[class]]
name = "anything"
keys = ["packages"]
hosts = ["repo1"]
names = ["*"]
formats = ["openpgp-binary", "openpgp-text", "openpgp-cleartext"]
max_size = "1TiB"
rates = ["600/1h"]
approvals = 0
batch = 16
`

// policyFor fills in the keys and lets the configuration have the last word.
func (w *World) policyFor(administrator, host string) string {
	text := fmt.Sprintf(policyText, Origin, administrator, host, w.Algorithm)
	if w.Policy != nil {
		return w.Policy(text)
	}
	return text
}

// WithoutClass cuts a class out of a policy's text, for tests of what happens to a job of an unknown class.
func WithoutClass(text, name string) string {
	before, rest, found := strings.Cut(text, "[[class]]\nname = \""+name+"\"\n")
	if !found {
		return text
	}
	_, after, more := strings.Cut(rest, "[[class]]\n")
	if !more {
		return before
	}
	return before + "[[class]]\n" + after
}

// Unlimited raises every rate of a policy's text to the highest there is, for those who sign all day.
func Unlimited(text string) string {
	return regexp.MustCompile(`(?m)^rates = .*$`).ReplaceAllString(text, `rates = ["1000000/1h"]`)
}
