// Package billtest has lists of software judged by programs that nobody here wrote: SPDX's own library for Go reads and
// validates them, Debian's python3-license-expression knows the licences' names.
package billtest

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"
)

// Judge fails the test unless a list in SPDX's JSON is one to others, and returns what they read.
func Judge(t testing.TB, bill []byte) *spdx.Document {
	t.Helper()
	d, err := Read(bill)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Read is what others read in a list, or why they refuse it.
func Read(bill []byte) (*spdx.Document, error) {
	d, err := json.Read(bytes.NewReader(bill))
	if err != nil {
		return nil, fmt.Errorf("tools-golang: %w", err)
	}
	if err := spdxlib.ValidateDocument(d); err != nil {
		return nil, fmt.Errorf("tools-golang: %w", err)
	}
	if described, err := spdxlib.GetDescribedPackageIDs(d); err != nil || len(described) != 1 {
		return nil, fmt.Errorf("tools-golang: it describes %v: %w", described, err)
	}
	return d, expressions(d)
}

// script reads references to licences that the list has itself, an empty line, expressions.
const script = `
import sys
from license_expression import get_spdx_licensing
refs, names = (part.split("\n") for part in sys.stdin.read().split("\n\n"))
spdx = get_spdx_licensing()
for name in names:
    unknown = [k for k in spdx.unknown_license_keys(spdx.parse(name)) if k not in refs]
    if unknown: sys.exit("%s: %s is in no list" % (name, unknown))
`

// expressions has the licences' names judged. NOASSERTION, "nothing is said", is none.
func expressions(d *spdx.Document) error {
	refs, names := []string{"."}, []string{"MIT"}
	for _, l := range d.OtherLicenses {
		refs = append(refs, l.LicenseIdentifier)
	}
	for _, p := range d.Packages {
		for _, name := range []string{p.PackageLicenseDeclared, p.PackageLicenseConcluded} {
			if name != "NOASSERTION" {
				names = append(names, name)
			}
		}
	}
	cmd := exec.Command("/usr/bin/python3", "-c", script) // Debian's, which has Debian's modules
	cmd.Stdin = strings.NewReader(strings.Join(refs, "\n") + "\n\n" + strings.Join(names, "\n"))
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("license-expression: %w: %s (run make setup)", err, bytes.TrimSpace(said))
	}
	return nil
}
