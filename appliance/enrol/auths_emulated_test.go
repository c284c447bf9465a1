//go:build emulated && !pcscd

package enrol

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/enrol/progress"
	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
)

// authorizer has the ceremony set the hierarchies' authorizations, for whoever holds
// the identity.
func authorizer(r *rig) *age.X25519Identity {
	r.t.Helper()
	id, err := age.GenerateX25519Identity()
	ok(r.t, err)
	r.cfg.Auths = &Authorizations{Dir: filepath.Dir(r.cfg.Dir), To: []age.Recipient{id.Recipient()}}
	return id
}

// authorized opens the files as an administrator; no two are alike.
func authorized(r *rig, id *age.X25519Identity) map[device.Hierarchy][]byte {
	r.t.Helper()
	auths, seen := map[device.Hierarchy][]byte{}, map[string]bool{}
	for _, h := range device.Hierarchies() {
		auth, err := OpenAuth(filepath.Join(r.cfg.Auths.Dir, AuthFile(h)), strings.NewReader(id.String()))
		ok(r.t, err)
		if set, err := r.cfg.TPM.AuthSet(h); err != nil || !set || seen[string(auth)] {
			r.t.Errorf("%s: set %v, %v, or as another's", h, set, err)
		}
		auths[h], seen[string(auth)] = auth, true
	}
	return auths
}

// What is in the files is what the TPM has, wherever the ceremony was cut short.
func TestAuthsAreWhatTheTPMHas(t *testing.T) {
	for _, at := range []device.Hierarchy{device.Owner, device.Endorsement, device.Lockout} {
		r := newRig(t, swtpm.Start(t))
		id := authorizer(r)
		c := &ceremony{Config: r.cfg}
		written := filepath.Join(r.cfg.Auths.Dir, AuthFile(at))
		c.hook = func() error {
			if _, err := os.Stat(written); err == nil {
				return errKilled
			}
			return nil
		}
		set := func() (err error) {
			for _, h := range device.Hierarchies() {
				err = errors.Join(err, c.setAuth(h))
			}
			return err
		}
		if err := set(); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		cut, err := os.ReadFile(written)
		ok(t, err)
		c.hook = nil
		ok(t, set())
		auths := authorized(r, id)
		if again, err := os.ReadFile(written); err != nil || bytes.Equal(again, cut) {
			t.Errorf("%s: what no TPM took is kept: %v", at, err)
		}
		ok(t, set())
		if after := authorized(r, id); !bytes.Equal(after[device.Lockout], auths[device.Lockout]) {
			t.Error("the file of what the TPM has was written anew")
		}
		if _, err := r.tpm.Tool("tpm2_changeauth", "-c", "owner", "-p", fmt.Sprintf("hex:%x", auths[device.Owner]), fmt.Sprintf("hex:%x", auths[device.Owner])); err != nil {
			t.Errorf("the owner's: %v", err)
		}
		if _, err := r.tpm.Tool("tpm2_clear", "-c", "l", fmt.Sprintf("hex:%x", auths[device.Lockout])); err != nil {
			t.Errorf("that of the lockout: %v", err)
		}
		ok(t, r.cfg.TPM.SetAuth(device.Owner, auths[device.Owner]))
		ok(t, os.Remove(filepath.Join(r.cfg.Auths.Dir, AuthFile(device.Owner))))
		if err := c.setAuth(device.Owner); err == nil || !strings.Contains(err.Error(), "put that file back") {
			t.Errorf("one that nobody has: %v", err)
		}
	}
}

// The files of another board on the same stick are not written over: they are all that
// clears its TPM.
func TestAuthsOfAnotherBoardAreKept(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	id := authorizer(r)
	other := filepath.Join(r.cfg.Auths.Dir, AuthFile(device.Lockout))
	ok(t, os.WriteFile(other, []byte("of another board"), 0o644))
	if _, err := Run(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), "of another board or an enrolment before") {
		t.Fatal(err)
	}
	if r.tokenKey() != nil {
		t.Error("the token made a key before that was found")
	}
	kept, err := os.ReadFile(other)
	if ok(t, err); string(kept) != "of another board" {
		t.Error("it was written over")
	}
	r.cfg.Auths.Dir = t.TempDir()
	ok(t, errors.Join(os.Remove(filepath.Join(r.cfg.Dir, progress.File)), os.Remove(r.cfg.Transcript)))
	backup := filepath.Join(r.cfg.TrustDir, logkey.BackupFile)
	ok(t, os.WriteFile(backup, []byte("of another board"), 0o644))
	if _, err := Run(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), "--trust-out") {
		t.Fatal(err)
	}
	ok(t, os.Remove(backup))
	r.complete()
	authorized(r, id)
}
