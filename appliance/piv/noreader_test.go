//go:build !emulated && !pcscd

package piv_test

import (
	"errors"
	"strings"
	"testing"

	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
)

// The default build looks for tokens on USB, and says what to do about there being
// none of this name.
func TestNoReader(t *testing.T) {
	_, err := piv.Open(piv.Options{Reader: "a name that no reader has"})
	if !errors.Is(err, piv.ErrNoToken) || !strings.Contains(err.Error(), "plugged in") {
		t.Errorf("%s: %v", pcsc.Mode, err)
	}
}
