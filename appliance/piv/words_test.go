package piv

import (
	"os/exec"
	"strings"
	"testing"
)

// TestWordsAboutPINs: no error tells to type a PIN that would not be tried, and the
// commands that are named in its place exist.
func TestWordsAboutPINs(t *testing.T) {
	for want, e := range map[string]*PINError{
		"wrong PIN (2 tries left)":            {Retries: 2},
		"wrong PIN; only one PIN try is left": {Retries: 1},
		"PIN is blocked: reset it":            {},
		"wrong PUK (2 tries left)":            {PUK: true, Retries: 2},
		"wrong PUK (1 try left)":              {PUK: true, Retries: 1},
		"PUK is blocked: should the PIN be":   {PUK: true},
	} {
		if got := e.Error(); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for named, help := range map[string][]string{
		"`ykman piv access unblock-pin`":  {"ykman", "piv", "access", "--help"},
		"`yubico-piv-tool -a verify-pin`": {"yubico-piv-tool", "--help"},
	} {
		words := strings.Fields(strings.Trim(named, "`"))
		out, err := exec.Command(help[0], help[1:]...).CombinedOutput()
		if !strings.Contains(lastTry, named) || err != nil || !strings.Contains(string(out), words[len(words)-1]) {
			t.Errorf("%s is not said, or not there: %v", named, err)
		}
	}
}
