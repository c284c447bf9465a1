package enrol

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestTrustDirectoryIsTriedFirst(t *testing.T) {
	dir := t.TempDir()
	c := &ceremony{Config: Config{TrustDir: filepath.Join(dir, "trust")}}
	if err := c.checkTrustDir(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(c.TrustDir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v left behind", err, left)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.TrustDir = filepath.Join(file, "trust")
	if err := c.checkTrustDir(context.Background()); err == nil {
		t.Error("a trust directory that cannot be made was not noticed")
	}
}
