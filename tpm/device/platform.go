package device

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// LockPlatform replaces the platform's authorization, which is empty after each
// reset of the TPM, by a random one that is forgotten here: until the next reset
// nobody clears the TPM, hides HEAD or defines indexes as the platform does. An
// authorization that is set already is ErrPlatformLocked: the TPM was not reset since
// somebody did so, as after a warm start of a board that does not reset its TPM.
func (t *TPM) LockPlatform() error {
	secret := make([]byte, AuthSize)
	rand.Read(secret) // never fails (crypto/rand)
	defer clear(secret)
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: secret},
	}.Execute(t.wire)
	if err = explain(tpm2.TPMCCHierarchyChanegAuth, err); errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return fmt.Errorf("%w (%w)", ErrPlatformLocked, err)
	}
	return err
}
