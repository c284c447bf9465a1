//go:build !emulated || pcscd

package main

import (
	"github.com/spf13/cobra"

	"touchmark/appliance/pcsc"
)

// addSocket and register do nothing: production builds know no emulated token.
func (f *tokenFlags) addSocket(*cobra.Command) {}

func (f *tokenFlags) register() {}

// overSocket: the token is reached over a socket, the system's pcscd's.
func (f *tokenFlags) overSocket() bool { return pcsc.Mode == "pcscd" }
