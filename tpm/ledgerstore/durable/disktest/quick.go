package disktest

import (
	"os"
	"testing"
)

// QuickDir is a directory in memory where the machine has such, else one of
// t.TempDir, for tests that are not about disks: a busy one is slow to sync. It
// is removed when the test ends.
func QuickDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "touchmark-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
