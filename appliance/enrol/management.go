package enrol

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"

	"filippo.io/age"

	"touchmark/appliance/enrol/sealed"
	"touchmark/appliance/piv"
)

// Management says where the management keys of tokens go. Each token gets a random
// one of its own; nobody but the recipients can read it, this board included.
type Management struct {
	Dir string // a file for each token, ManagementFile
	To  []age.Recipient
}

// ManagementFile is the file of a token's management key: age-encrypted, 48 hex
// digits and LF.
func ManagementFile(serial uint32) string { return fmt.Sprintf("management-%d.age", serial) }

// OpenManagement decrypts a token's management key with an age identity; the caller
// zeroes it.
func OpenManagement(path string, identity io.Reader) ([]byte, error) {
	text, err := sealed.Read(path, identity)
	defer clear(text)
	if err != nil {
		return nil, err
	}
	return readHex(path, text, len(piv.FactoryManagementKey()), "management key")
}

// readHex reads a secret of so many bytes from a file's text, hex digits and LF; the caller
// zeroes it.
func readHex(path string, text []byte, size int, what string) ([]byte, error) {
	secret := make([]byte, hex.DecodedLen(max(len(text)-1, 0)))
	if _, err := hex.Decode(secret, bytes.TrimSuffix(text, []byte("\n"))); err != nil || len(secret) != size {
		clear(secret)
		return nil, fmt.Errorf("%s holds no %s", path, what)
	}
	return secret, nil
}

// setManagementKeys gives each token a management key in place of the factory's.
func (c *ceremony) setManagementKeys(context.Context) error {
	if c.Manage == nil {
		c.words.Once("management key of the token: left as it was")
		return nil
	}
	for _, t := range c.tokens() {
		if err := c.setManagementKey(t); err != nil {
			return fmt.Errorf("token %d: %w", t.Info().Serial, err)
		}
	}
	c.words.Once("management key of the token: set to a random one, encrypted for %d recipients", len(c.Manage.To))
	return nil
}

// setManagementKey writes the key down before the token gets it, so that it cannot
// be lost in between. As long as the token has the factory's, a file that is there
// holds a key that no token took: a ceremony was cut short, and begins that again.
func (c *ceremony) setManagementKey(t *piv.Token) error {
	path := filepath.Join(c.Manage.Dir, ManagementFile(t.Info().Serial))
	fresh, err := t.FactoryManaged()
	if err != nil {
		return err
	}
	if !fresh {
		return has(path, "its management key is not the factory's, and %s does not hold it: reset the token (ykman piv reset) and begin again")
	}
	if err := c.interrupt(); err != nil {
		return err
	}
	key := piv.NewManagementKey()
	defer clear(key)
	if err := sealed.Write(path, hex.EncodeToString(key), c.Manage.To); err != nil {
		return err
	}
	if err := c.interrupt(); err != nil {
		return err
	}
	return t.SetManagementKey(nil, key)
}
