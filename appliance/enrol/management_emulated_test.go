//go:build emulated && !pcscd

package enrol

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"touchmark/appliance/enrol/sealed"
	"touchmark/appliance/piv"
	"touchmark/tests/swtpm"
)

// manager has the ceremony set management keys, for whoever holds the identity.
func manager(r *rig) *age.X25519Identity {
	r.t.Helper()
	id, err := age.GenerateX25519Identity()
	ok(r.t, err)
	r.cfg.Manage = &Management{Dir: filepath.Dir(r.cfg.Dir), To: []age.Recipient{id.Recipient()}}
	return id
}

// managed opens a token's file as an administrator and shows that this is the key
// that the token has: it takes another from who knows it.
func managed(r *rig, id *age.X25519Identity, token *piv.Token) {
	r.t.Helper()
	key, err := OpenManagement(filepath.Join(r.cfg.Manage.Dir, ManagementFile(token.Info().Serial)), strings.NewReader(id.String()))
	ok(r.t, err)
	if factory, err := token.FactoryManaged(); factory || err != nil {
		r.t.Errorf("the factory's management key is good still: %v", err)
	}
	ok(r.t, token.SetManagementKey(key, key))
	if wrong := bytes.Repeat([]byte{9}, len(key)); token.SetManagementKey(wrong, wrong) == nil {
		r.t.Error("the token takes any management key")
	}
}

// Each token has a management key of its own, which administrators can read and
// this board cannot.
func TestManagementKeys(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	r.cfg.PolicyNote = twoKeyPolicy(t)
	r.cfg.BackupToken, r.cfg.BackupKeys = r.second(22222222), []string{"media"}
	id := manager(r)
	_, err := Run(t.Context(), r.cfg)
	ok(t, err)
	managed(r, id, r.cfg.Token)
	managed(r, id, r.cfg.BackupToken)
	told, err := os.ReadFile(r.cfg.Transcript)
	ok(t, err)
	if !bytes.Contains(told, []byte("encrypted for 1 recipients")) {
		t.Errorf("the transcript says\n%s", told)
	}
}

// What else an administrator may have sealed is no management key.
func TestOpenManagement(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	ok(t, err)
	path := filepath.Join(t.TempDir(), "key.age")
	for _, bad := range []string{"", "words", "0", strings.Repeat("g", 48)} {
		ok(t, sealed.Write(path, bad, []age.Recipient{id.Recipient()}))
		if key, err := OpenManagement(path, strings.NewReader(id.String())); err == nil {
			t.Errorf("%q was taken for %x", bad, key)
		}
	}
	if _, err := OpenManagement(filepath.Join(t.TempDir(), "none"), strings.NewReader(id.String())); err == nil {
		t.Error("a file that is not there")
	}
}

// A ceremony that ended before the token took the key makes another one; after it,
// the file stays as it is.
func TestManagementKeyAgain(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	id := manager(r)
	c := &ceremony{Config: r.cfg}
	path := filepath.Join(r.cfg.Manage.Dir, ManagementFile(r.cfg.Token.Info().Serial))
	c.hook = func() error {
		if _, err := os.Stat(path); err == nil {
			return errKilled
		}
		return nil
	}
	if err := c.setManagementKey(r.cfg.Token); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	c.hook = nil
	ok(t, c.setManagementKey(r.cfg.Token))
	managed(r, id, r.cfg.Token)
	before, err := os.ReadFile(path)
	ok(t, err)
	ok(t, c.setManagementKey(r.cfg.Token))
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file of the key that the token has was written anew: %v", err)
	}
	ok(t, os.Remove(path))
	if err := c.setManagementKey(r.cfg.Token); err == nil || !strings.Contains(err.Error(), "reset the token") {
		t.Errorf("a token whose management key nobody has: %v", err)
	}
}
