package pivemu

import (
	"errors"

	"touchmark/tests/pivemu/iso7816"
)

// Factory makes the token what it was when it left the factory, without its
// being pulled: a touch that is awaited is given up, every key, object and
// secret is replaced; serial number and attestation key stay. A real token can
// not do that; it spares tests a new token for each client.
func (c *Card) Factory() error {
	c.finger.abort()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.wipe(c.profile)
	c.channel.Reset()
	c.session = session{app: c.session.app}
	if c.save() != iso7816.OK {
		return errors.New("pivemu: the state can not be saved: see the log")
	}
	return nil
}
