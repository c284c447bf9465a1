//go:build !emulated && !pcscd

package piv_test

import (
	"errors"
	"strings"
	"testing"

	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
)

// The default build has no reader yet, and says so.
func TestNoReader(t *testing.T) {
	_, err := piv.Open(piv.Options{})
	if !errors.Is(err, piv.ErrNoToken) || !strings.Contains(err.Error(), "build tag") {
		t.Errorf("%s: %v", pcsc.Mode, err)
	}
}
