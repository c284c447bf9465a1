//go:build emulated && !pcscd

package main

import (
	"github.com/spf13/cobra"

	"touchmark/appliance/pcsc"
)

func (f *tokenFlags) addSocket(c *cobra.Command) {
	c.Flags().StringVar(&f.socket, "token-socket", "", "unix socket of an emulated token (this build only)")
}

// register plugs the emulated token in, once.
func (f *tokenFlags) register() {
	if f.socket != "" {
		pcsc.Register(pcsc.DialBackend(f.socket))
		f.socket = ""
	}
}
