//go:build emulated && !pcscd

package cli

import (
	"github.com/spf13/cobra"

	"touchmark/appliance/pcsc"
)

func (f *TokenFlags) addSocket(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.Sockets, "token-socket", nil, "unix socket of an emulated token (repeatable; this build only)")
}

// OverSocket reports whether the token is reached over a socket.
func (f *TokenFlags) OverSocket() bool { return len(f.Sockets) > 0 }

// register plugs the emulated tokens in, once.
func (f *TokenFlags) register() {
	for _, s := range f.Sockets {
		pcsc.Register(pcsc.DialBackend(s))
	}
	f.Sockets = nil
}
