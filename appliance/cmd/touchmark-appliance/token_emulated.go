//go:build emulated && !pcscd

package main

import (
	"github.com/spf13/cobra"

	"touchmark/appliance/pcsc"
)

func (f *tokenFlags) addSocket(c *cobra.Command) {
	c.Flags().StringVar(&f.socket, "token-socket", "", "unix socket of an emulated token (this build only)")
}

// overSocket: the token is reached over a socket.
func (f *tokenFlags) overSocket() bool { return f.socket != "" }

// register plugs the emulated token in, once.
func (f *tokenFlags) register() {
	if f.socket != "" {
		pcsc.Register(pcsc.DialBackend(f.socket))
		f.socket = ""
	}
}
