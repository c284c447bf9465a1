// Package policytest is the policy of a small repository, for tests: one
// administrator, the host repo1, the token key "packages" (slot 9c, P-256,
// OpenPGP) and as many classes of that key and host as a test needs. Whatever
// else a test wants in its policy it appends to the text.
package policytest

import (
	"fmt"
	"strings"
)

// Policy is what differs from test to test.
type Policy struct {
	Origin      string
	Serial      int    // 0 is 1
	Previous    string // hash of the policy before, hex; "" for the first
	Admin, Host string // note verifier keys
	Classes     []Class
}

// Class lets repo1 have files of a name signed, without approvals.
type Class struct {
	Name    string
	Names   string // a pattern such as *.db
	MaxSize string // such as 1MiB
	Rate    string // such as 60/1h
	Batch   int
}

const head = `version = 1
origin = %q
serial = %d
previous = %q
max_skew = "10m"
max_validity = "24h"
[administrators]
quorum = 1
keys = [%q]
[[host]]
name = "repo1"
key = %q
[[key]]
name = "packages"
slot = "9c"
family = "openpgp-data"
algorithm = "p256"
`

const class = `[[class]]
name = %q
keys = ["packages"]
hosts = ["repo1"]
names = [%q]
formats = ["openpgp-binary"]
max_size = %q
rates = [%q]
approvals = 0
batch = %d
`

// Text is the policy's TOML.
func (p Policy) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, head, p.Origin, max(p.Serial, 1), p.Previous, p.Admin, p.Host)
	for _, c := range p.Classes {
		fmt.Fprintf(&b, class, c.Name, c.Names, c.MaxSize, c.Rate, c.Batch)
	}
	return b.String()
}
