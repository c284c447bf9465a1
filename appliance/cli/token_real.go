//go:build !emulated || pcscd

package cli

import (
	"github.com/spf13/cobra"

	"touchmark/appliance/pcsc"
)

// addSocket and register do nothing: production builds know no emulated token.
func (f *TokenFlags) addSocket(*cobra.Command) {}

func (f *TokenFlags) register() {}

// OverSocket reports whether the token is reached over a socket, the system's pcscd's.
func (f *TokenFlags) OverSocket() bool { return pcsc.Mode == "pcscd" }
