package durable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Sweep removes what a replacement that died left, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	kept := []string{".touchmark-abc", "touchmark-abc.new", ".hashes.new", "genesis"}
	for _, n := range append([]string{".touchmark-ABC.new", ".touchmark-.new"}, kept...) {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".touchmark-full.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".touchmark-full.new", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(OS, dir); err == nil {
		t.Error("a directory that is not empty was removed, or not spoken of")
	}
	if err := os.RemoveAll(filepath.Join(dir, ".touchmark-full.new")); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(OS, dir); err != nil {
		t.Fatal(err)
	}
	names, err := OS.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	slices.Sort(kept)
	if !slices.Equal(names, kept) {
		t.Errorf("%q, want %q", names, kept)
	}
	if err := Sweep(OS, filepath.Join(dir, "nothing")); err != nil {
		t.Errorf("a directory that does not exist: %v", err)
	}
}
