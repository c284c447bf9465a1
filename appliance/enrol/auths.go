package enrol

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"touchmark/appliance/enrol/sealed"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
)

// Authorizations says where those of the TPM's hierarchies go. Each is random;
// nobody but the recipients can read it, this board included.
type Authorizations struct {
	Dir string // a file for each hierarchy, AuthFile
	To  []age.Recipient
}

// AuthFile is the file of a hierarchy's authorization on the board of a log
// (docs/spec/tpm.md §8.2).
func AuthFile(origin string, h device.Hierarchy) string {
	return "hierarchy-" + h.String() + "-" + strings.ReplaceAll(origin, "/", "_") + ".age"
}

const authDomain = "touchmark/hierarchy-auth/v1\n"

// authHead is what stands in the file before the 64 hex digits.
func authHead(log ledger.LogID, h device.Hierarchy) string {
	return fmt.Sprintf("%slog %s %x\nhierarchy %s\nauth ", authDomain, log.Origin, log.Genesis, h)
}

// OpenAuth decrypts the authorization that a hierarchy has on the board of a log, with
// an age identity; the caller zeroes it. That of another board or hierarchy is refused.
func OpenAuth(path string, identity io.Reader, log ledger.LogID, h device.Hierarchy) ([]byte, error) {
	const what = "authorization of a hierarchy"
	text, err := sealed.Read(path, identity)
	defer clear(text)
	if err != nil {
		return nil, err
	}
	if digits, ok := bytes.CutPrefix(text, []byte(authHead(log, h))); ok {
		return readHex(path, digits, device.AuthSize, what)
	}
	head, _, found := bytes.Cut(text, []byte("\nauth "))
	if found && bytes.HasPrefix(head, []byte(authDomain)) {
		return nil, fmt.Errorf("%s says %q; this board needs that of hierarchy %s, log %s %x: take %s",
			path, head[len(authDomain):], h, log.Origin, log.Genesis, AuthFile(log.Origin, h))
	}
	return nil, fmt.Errorf("%s holds no %s", path, what)
}

// setAuths sets the hierarchies' authorizations, the last thing the TPM needs
// to be asked for.
func (c *ceremony) setAuths(ctx context.Context) error {
	if c.Auths == nil {
		c.words.Once("WARNING     the authorizations of the TPM's hierarchies are NOT set (no --hierarchy-auth-out): whoever has root can clear the TPM, which stops the board")
		return nil
	}
	any, err := c.TPM.AuthSet(device.Hierarchies()...)
	if err != nil {
		return err
	}
	if !any {
		if err := c.confirm(ctx, "Set the authorizations of the TPM's hierarchies? They will be only in encrypted files in "+c.Auths.Dir+": without them nobody clears this TPM or uses its endorsement key."); err != nil {
			return err
		}
	}
	for _, h := range device.Hierarchies() {
		if err := c.setAuth(h); err != nil {
			return fmt.Errorf("the authorization of the %s hierarchy: %w", h, err)
		}
	}
	c.words.Once("authorizations of owner, endorsement and lockout hierarchy: set, encrypted for %d recipients", len(c.Auths.To))
	return nil
}

func (c *ceremony) authPath(h device.Hierarchy) string {
	return filepath.Join(c.Auths.Dir, AuthFile(c.policy.Origin, h))
}

// foreignAuths refuses files that this ceremony did not write: those of an enrolment before,
// or of a board whose log has the same name. Its administrators would lose what clears its TPM.
func (c *ceremony) foreignAuths() error {
	if c.Auths == nil {
		return nil
	}
	for _, h := range device.Hierarchies() {
		if err := absent(c.authPath(h), "--hierarchy-auth-out"); err != nil {
			return err
		}
	}
	return nil
}

// absent refuses a file that a ceremony which begins would write over.
func absent(path, flag string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s is there already, of another board or an enrolment before: give %s a directory of its own for each board, or put that file elsewhere", path, flag)
	case errors.Is(err, os.ErrNotExist):
		return nil
	}
	return err
}

// setAuth writes an authorization down before the TPM gets it, so that it cannot be
// lost in between. As long as the hierarchy has none, a file that is there holds one
// that no TPM took: this ceremony was cut short, and begins that again.
func (c *ceremony) setAuth(h device.Hierarchy) error {
	path := c.authPath(h)
	if set, err := c.TPM.AuthSet(h); err != nil {
		return err
	} else if set {
		return has(path, "it is set, and %s is not there: put that file back where this ceremony wrote it")
	}
	if err := c.interrupt(); err != nil {
		return err
	}
	auth := make([]byte, device.AuthSize)
	rand.Read(auth) // never fails (crypto/rand)
	defer clear(auth)
	log := ledger.LogID{Origin: c.trust.Origin, Genesis: c.trust.Genesis}
	if err := sealed.Write(path, authHead(log, h)+hex.EncodeToString(auth), c.Auths.To); err != nil {
		return err
	}
	if err := c.interrupt(); err != nil {
		return err
	}
	return c.TPM.SetAuth(h, auth)
}

// has wants a file that an earlier run of the ceremony wrote; without tells what it
// means that it is not there.
func has(path, without string) error {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf(without, path)
	}
	return err
}
