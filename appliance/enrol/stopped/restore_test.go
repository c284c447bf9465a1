package stopped

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"touchmark/appliance/enrol/logkey"
	"touchmark/tpm/ledgerstore"
)

// The log key comes back beside a log that was lost: one that is not there, and one of
// which a board has begun to wait for a mirror's entries.
func TestRestoreBesideALostLog(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id, err := age.GenerateX25519Identity()
	must(err)
	k, err := logkey.Make(t.TempDir(), "touchmark.example/log")
	must(err)
	backup := filepath.Join(t.TempDir(), "log.key.age")
	must(k.BackUp(backup, []age.Recipient{id.Recipient()}))
	for _, empty := range []bool{false, true} {
		dir := t.TempDir()
		if empty {
			s, err := ledgerstore.Create(LogDir(dir))
			must(err)
			must(s.Close())
		}
		must(RestoreLogKey(dir, backup, strings.NewReader(id.String())))
		if got, err := logkey.Read(dir); err != nil || got.Public != k.Public {
			t.Errorf("empty %v: %v, %v", empty, got, err)
		}
		if _, err := os.Stat(filepath.Join(dir, logkey.NextFile)); err == nil {
			t.Error("it is there twice")
		}
	}
}
