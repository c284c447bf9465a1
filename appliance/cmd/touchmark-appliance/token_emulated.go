//go:build emulated && !pcscd

package main

import (
	"github.com/spf13/cobra"

	"touchmark/appliance/pcsc"
)

func (f *tokenFlags) addSocket(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.sockets, "token-socket", nil, "unix socket of an emulated token (repeatable; this build only)")
}

// overSocket: the token is reached over a socket.
func (f *tokenFlags) overSocket() bool { return len(f.sockets) > 0 }

// register plugs the emulated tokens in, once.
func (f *tokenFlags) register() {
	for _, s := range f.sockets {
		pcsc.Register(pcsc.DialBackend(s))
	}
	f.sockets = nil
}
