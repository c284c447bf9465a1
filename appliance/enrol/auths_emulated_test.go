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
	"touchmark/appliance/enrol/sealed"
	"touchmark/appliance/policy"
	"touchmark/tests/swtpm"
	"touchmark/tpm/anchor"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
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

func logOf(t *anchor.Trust) ledger.LogID { return ledger.LogID{Origin: t.Origin, Genesis: t.Genesis} }

// authorized opens the files as an administrator; no two are alike.
func authorized(r *rig, id *age.X25519Identity, log ledger.LogID) map[device.Hierarchy][]byte {
	r.t.Helper()
	auths, seen := map[device.Hierarchy][]byte{}, map[string]bool{}
	for _, h := range device.Hierarchies() {
		auth, err := OpenAuth(filepath.Join(r.cfg.Auths.Dir, AuthFile(origin, h)), strings.NewReader(id.String()), log, h)
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
		log := ledger.LogID{Origin: origin, Genesis: [32]byte{7}}
		c := &ceremony{Config: r.cfg, policy: &policy.Policy{Origin: origin}, trust: &anchor.Trust{Origin: origin, Genesis: log.Genesis}}
		written := filepath.Join(r.cfg.Auths.Dir, AuthFile(origin, at))
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
		auths := authorized(r, id, log)
		if again, err := os.ReadFile(written); err != nil || bytes.Equal(again, cut) {
			t.Errorf("%s: what no TPM took is kept: %v", at, err)
		}
		ok(t, set())
		if after := authorized(r, id, log); !bytes.Equal(after[device.Lockout], auths[device.Lockout]) {
			t.Error("the file of what the TPM has was written anew")
		}
		if _, err := r.tpm.Tool("tpm2_changeauth", "-c", "owner", "-p", fmt.Sprintf("hex:%x", auths[device.Owner]), fmt.Sprintf("hex:%x", auths[device.Owner])); err != nil {
			t.Errorf("the owner's: %v", err)
		}
		if _, err := r.tpm.Tool("tpm2_clear", "-c", "l", fmt.Sprintf("hex:%x", auths[device.Lockout])); err != nil {
			t.Errorf("that of the lockout: %v", err)
		}
		ok(t, r.cfg.TPM.SetAuth(device.Owner, auths[device.Owner]))
		ok(t, os.Remove(filepath.Join(r.cfg.Auths.Dir, AuthFile(origin, device.Owner))))
		if err := c.setAuth(device.Owner); err == nil || !strings.Contains(err.Error(), "put that file back") {
			t.Errorf("one that nobody has: %v", err)
		}
	}
}

// A file says whose it is, and is taken for nothing else.
func TestAuthsAreForOneBoard(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	ok(t, err)
	log := ledger.LogID{Origin: "touchmark.example/a/b", Genesis: [32]byte{1}}
	path := filepath.Join(t.TempDir(), AuthFile(log.Origin, device.Lockout))
	if filepath.Base(path) != "hierarchy-lockout-touchmark.example_a_b.age" {
		t.Error(path)
	}
	const digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	for _, c := range []struct{ text, refused string }{
		{authHead(log, device.Lockout) + digits, ""},
		{authHead(log, device.Owner) + digits, "hierarchy owner"},
		{authHead(ledger.LogID{Origin: "touchmark.example/a_b", Genesis: log.Genesis}, device.Lockout) + digits, "log touchmark.example/a_b "},
		{authHead(ledger.LogID{Origin: log.Origin, Genesis: [32]byte{2}}, device.Lockout) + digits, "log touchmark.example/a/b 02"},
		{authHead(log, device.Lockout) + digits[2:], "holds no authorization"},
		{authHead(log, device.Lockout) + digits + "\n", "holds no authorization"},
		{digits, "holds no authorization"},
	} {
		ok(t, sealed.Write(path, c.text, []age.Recipient{id.Recipient()}))
		auth, err := OpenAuth(path, strings.NewReader(id.String()), log, device.Lockout)
		switch {
		case c.refused == "":
			if ok(t, err); fmt.Sprintf("%x", auth) != digits {
				t.Errorf("%x", auth)
			}
		case err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), digits[2:]):
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

// The files of another board on the same stick are not written over: they are all that
// clears its TPM.
func TestAuthsOfAnotherBoardAreKept(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	id := authorizer(r)
	other := filepath.Join(r.cfg.Auths.Dir, AuthFile(origin, device.Lockout))
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
	authorized(r, id, logOf(r.complete()))
}
