package fat_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/update/cardtest"
	"touchmark/appliance/update/fat"
)

func content(t testing.TB, b []byte, name string) ([]byte, error) {
	t.Helper()
	fs, err := fat.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	f, err := fs.Find(name)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(f.Reader())
}

func TestFind(t *testing.T) {
	for _, want := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("0123456789abcdef"), 32), bytes.Repeat([]byte("0123456789abcdef"), 500)} {
		b := cardtest.FAT(64<<10, "BOOT    IMG", want)
		if got, err := content(t, b, "boot.img"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes for %d, %v", len(got), len(want), err)
		}
		if _, err := content(t, b, "boot.sig"); !errors.Is(err, fat.ErrNotFound) {
			t.Errorf("what is not there: %v", err)
		}
		if _, err := content(t, b, "touchmark"); !errors.Is(err, fat.ErrNotFound) && err == nil {
			t.Error("the volume's name is a file")
		}
	}
	for _, name := range []string{"", ".img", "ninechars.img", "boot.image"} {
		if _, err := content(t, cardtest.FAT(64<<10, "BOOT    IMG", nil), name); err == nil || errors.Is(err, fat.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// File systems made by dosfstools, files put there by mtools.
func TestForeign(t *testing.T) {
	for _, tool := range []string{"mkfs.fat", "mcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: run 'make setup'", err)
		}
	}
	for _, c := range []struct {
		bits string
		size int64
	}{{"12", 1 << 20}, {"16", 16 << 20}} {
		dir := t.TempDir()
		path, file := filepath.Join(dir, "fs"), filepath.Join(dir, "boot.img")
		want := make([]byte, 300_001)
		rand.Read(want)
		for name, b := range map[string][]byte{path: nil, file: want, filepath.Join(dir, "other.bin"): make([]byte, 5000)} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Truncate(path, c.size); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"mkfs.fat", "-F", c.bits, "-s", "1", path}, {"mcopy", "-i", path, filepath.Join(dir, "other.bin"), "::a long name.bin"},
			{"mcopy", "-i", path, file, "::boot.img"}, {"mdel", "-i", path, "::a long name.bin"}, {"mcopy", "-i", path, file, "::second.img"},
			{"mcopy", "-i", path, filepath.Join(dir, "other.bin"), "::other.bin"}, {"mmd", "-i", path, "::folder"},
		} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", args, err, out)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fs, err := fat.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		files, err := fs.Files()
		for _, f := range files {
			names = append(names, f.Name)
		}
		if !slices.Equal(slices.Sorted(slices.Values(names)), []string{"BOOT.IMG", "OTHER.BIN", "SECOND.IMG"}) || err != nil {
			t.Errorf("FAT%s: %q, %v", c.bits, names, err)
		}
		for _, name := range []string{"boot.img", "SECOND.IMG"} {
			if got, err := content(t, b, name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("FAT%s: %s has %d bytes, %v", c.bits, name, len(got), err)
			}
		}
	}
}

// FAT32 is said, not misread.
func TestFAT32(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fs")
	if out, err := exec.Command("mkfs.fat", "-C", "-F", "32", "-s", "1", path, "40960").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s: run make setup", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := content(t, b, "boot.img"); err == nil || !strings.Contains(err.Error(), "FAT32") {
		t.Error(err)
	}
}

// A chain that leads into itself, out of the file system or nowhere ends.
func TestBrokenChains(t *testing.T) {
	good := cardtest.FAT(64<<10, "BOOT    IMG", bytes.Repeat([]byte("0123456789abcdef"), 500))
	for name, change := range map[string]func(b []byte){
		"into itself":  func(b []byte) { copy(b[512+3:], []byte{0x02, 0x20, 0x00}) },
		"out of it":    func(b []byte) { copy(b[512+3:], []byte{0xf0, 0x0e, 0xef}) },
		"a free one":   func(b []byte) { copy(b[512+3:], []byte{0, 0, 0}) },
		"its end":      func(b []byte) { copy(b[512+3:], []byte{0xff, 0xff, 0xff}) },
		"a huge file":  func(b []byte) { copy(b[512*7+32+28:], []byte{0xff, 0xff, 0xff, 0xff}) },
		"first 0":      func(b []byte) { copy(b[512*7+32+26:], []byte{0, 0}) },
		"no sectors":   func(b []byte) { b[19], b[20] = 0, 0 },
		"larger":       func(b []byte) { b[20] = 0xff },
		"no clusters":  func(b []byte) { b[13] = 0 },
		"three tables": func(b []byte) { b[16] = 3 },
		"no table":     func(b []byte) { b[22] = 0 },
		"short table":  func(b []byte) { b[13], b[22], b[14] = 1, 0, 1; copy(b[36:], []byte{0, 0, 0, 0}) },
		"other sector": func(b []byte) { b[12] = 8 },
	} {
		b := bytes.Clone(good)
		change(b)
		got, err := content(t, b, "boot.img")
		if err == nil && len(got) > len(b) {
			t.Errorf("%s: %d bytes of a file system of %d", name, len(got), len(b))
		}
		if err == nil && name != "into itself" {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add(cardtest.FAT(16<<10, "BOOT    IMG", []byte("content")))
	f.Add(cardtest.FAT(8<<10, "BOOT    IMG", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<20 {
			return
		}
		got, err := content(t, b, "boot.img")
		if err == nil && len(got) > 4*len(b)+4096 {
			t.Errorf("%d bytes of a file in %d", len(got), len(b))
		}
	})
}
