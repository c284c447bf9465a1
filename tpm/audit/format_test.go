package audit

import (
	"slices"
	"testing"

	"touchmark/tpm/audit/finding"
)

// A board that signs in another format than it was asked for, of the key's family
// or of another, and announces just that, is found out without the files.
func TestAnotherFormatThanAskedFor(t *testing.T) {
	for made, want := range map[string][]string{
		"":               {},
		"openpgp-binary": {},
		"openpgp-text":   {finding.Signature},
		"sshsig-git":     {finding.Signature},
		"raw-boot":       {finding.Signature},
		"dsse-in-toto":   {finding.Signature},
		"in-toto-native": {finding.Signature},
	} {
		w := newWorld(t, parts{})
		w.boot()
		w.made = made
		w.ceremony(1)
		if bad := codes(audited(t, w.input()), finding.Evidence); !slices.Equal(bad, want) && len(bad)+len(want) > 0 {
			t.Errorf("made as %q: %v, want %v", made, bad, want)
		}
	}
}
