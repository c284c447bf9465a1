package cli

import (
	"crypto"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/piv"
	"touchmark/appliance/station"
)

// TokenFlags say which token to use.
type TokenFlags struct {
	options piv.Options
	Sockets []string // of emulated tokens, in builds that know them
}

// Add adds them to a command.
func (f *TokenFlags) Add(c *cobra.Command) {
	c.Flags().StringVar(&f.options.Reader, "reader", "", "part of the name of the token's reader (default: the only one)")
	c.Flags().Uint32Var(&f.options.Serial, "serial", 0, "serial number of the token (default: any)")
	f.addSocket(c)
}

// Open opens the token.
func (f *TokenFlags) Open() (*piv.Token, error) {
	f.register()
	return piv.Open(f.options)
}

// Opener opens the token for the station, again after each removal.
func (f *TokenFlags) Opener() func() (station.Token, error) {
	return func() (station.Token, error) {
		t, err := f.Open()
		if err != nil {
			return nil, err
		}
		return token{t}, nil
	}
}

// token sorts the token's errors into the ceremony's.
type token struct{ *piv.Token }

// Describe says which token it is, for the display.
func (t token) Describe() string {
	i := t.Info()
	return fmt.Sprintf("serial %d, firmware %s, reader %s", i.Serial, i.Firmware, i.Reader)
}

func (t token) Public(slot string) (crypto.PublicKey, error) {
	pub, err := t.Token.Public(slot)
	if errors.Is(err, piv.ErrEmptySlot) {
		return nil, nil
	}
	return pub, err
}

func (t token) Sign(slot string, pub crypto.PublicKey, digest []byte, h crypto.Hash) ([]byte, error) {
	sig, err := t.Token.Sign(slot, pub, digest, h)
	switch {
	case errors.Is(err, piv.ErrTouchTimeout):
		err = fmt.Errorf("%w: %w", ceremony.ErrTouchTimeout, err)
	case errors.Is(err, piv.ErrRemoved):
		err = fmt.Errorf("%w: %w", ceremony.ErrRemoved, err)
	case errors.Is(err, piv.ErrPINRequired):
		err = fmt.Errorf("%w: %w", ceremony.ErrPIN, err)
	}
	return sig, err
}
