package cpio

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func sample() []Entry {
	return []Entry{
		{Name: "bin", Mode: fs.ModeDir | 0o755},
		{Name: "bin/program", Mode: 0o555, Content: []byte("odd length.")},
		{Name: "init", Mode: 0o555, Content: []byte("#!")},
		{Name: "empty", Mode: 0o444},
	}
}

// TestForeignReader unpacks an archive with libarchive's tar.
func TestForeignReader(t *testing.T) {
	b, err := Archive(sample())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("bsdtar", "-xpf", "-", "-C", dir)
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("bsdtar: %v %s(run make setup)", err, out)
	}
	for _, e := range sample() {
		info, err := os.Stat(filepath.Join(dir, e.Name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != e.Mode {
			t.Errorf("%s has mode %v, want %v", e.Name, info.Mode(), e.Mode)
		}
		if e.Mode.IsDir() {
			continue
		}
		if got, err := os.ReadFile(filepath.Join(dir, e.Name)); err != nil || !bytes.Equal(got, e.Content) {
			t.Errorf("%s: %q, %v", e.Name, got, err)
		}
	}
}

// TestBytes holds an archive against the format's description, written by hand on 2026-11-22.
func TestBytes(t *testing.T) {
	b, err := Archive([]Entry{{Name: "init", Mode: 0o555, Content: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	want := "070701" + "00000001" + "0000816d" + "00000000" + "00000000" + "00000001" + "00000000" + "00000001" +
		strings.Repeat("00000000", 4) + "00000005" + "00000000" + "init\x00\x00" + "x\x00\x00\x00" +
		"070701" + strings.Repeat("00000000", 4) + "00000001" + strings.Repeat("00000000", 6) + "0000000b" + "00000000" + "TRAILER!!!\x00\x00\x00\x00"
	if string(b) != want {
		t.Errorf("archive\n%q, want\n%q", b, want)
	}
}

func TestRefused(t *testing.T) {
	for name, entries := range map[string][]Entry{
		"empty name":        {{Name: ""}},
		"absolute":          {{Name: "/init"}},
		"above":             {{Name: "../init"}},
		"not clean":         {{Name: "a//b"}},
		"zero":              {{Name: "a\x00b"}},
		"twice":             {{Name: "a"}, {Name: "a"}},
		"before its folder": {{Name: "bin/a"}, {Name: "bin", Mode: fs.ModeDir}},
		"in a file":         {{Name: "bin"}, {Name: "bin/a"}},
		"folder's content":  {{Name: "bin", Mode: fs.ModeDir, Content: []byte("x")}},
		"link":              {{Name: "l", Mode: fs.ModeSymlink | 0o777}},
		"device":            {{Name: "d", Mode: fs.ModeDevice}},
		"set-user-id":       {{Name: "s", Mode: fs.ModeSetuid | 0o755}},
	} {
		if _, err := Archive(entries); err == nil {
			t.Errorf("%s: packed", name)
		}
	}
}
