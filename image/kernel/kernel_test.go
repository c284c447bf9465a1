package kernel

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOptions(t *testing.T) {
	board, err := Options(Board)
	if err != nil {
		t.Fatal(err)
	}
	qemu, err := Options(QEMU)
	if err != nil {
		t.Fatal(err)
	}
	if len(qemu) <= len(board) {
		t.Errorf("QEMU has %d options, boards have %d", len(qemu), len(board))
	}
	for i, o := range board {
		if qemu[i] != o {
			t.Errorf("QEMU's kernel has %v where the board's has %v", qemu[i], o)
		}
	}
	value := map[string]string{}
	for _, o := range board {
		value[o.Name] = o.Value
	}
	// What the threat model promises of the kernel.
	for name, want := range map[string]string{
		"CONFIG_MODULES": "n", "CONFIG_NET": "n", "CONFIG_DEVMEM": "n", "CONFIG_MAGIC_SYSRQ": "n", "CONFIG_SECURITY_LANDLOCK": "y",
		"CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY": "y", "CONFIG_STRICT_KERNEL_RWX": "y",
	} {
		if value[name] != want {
			t.Errorf("%s is %q, want %s", name, value[name], want)
		}
	}
	if _, err := Options("other"); err == nil {
		t.Error("there is a variant named other")
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no reason":    "CONFIG_A=y\n",
		"empty reason": "CONFIG_A=y # \n",
		"module":       "CONFIG_A=m # no modules here\n",
		"not a value":  "CONFIG_A=yes # a\n",
		"open string":  "CONFIG_A=\"b # a\n",
		"not set":      "CONFIG_A is not set # a\n",
		"twice":        "CONFIG_A=y # a\nCONFIG_A=n # b\n",
		"indented":     " CONFIG_A=y # a\n",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	got, err := Parse("# comment\n\nCONFIG_A=\"x y\"  # because\nCONFIG_B=4 # of this\n")
	if err != nil || len(got) != 2 || got[0] != (Option{"CONFIG_A", `"x y"`, "because"}) || got[1] != (Option{"CONFIG_B", "4", "of this"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestMissing(t *testing.T) {
	options := []Option{{"CONFIG_A", "y", ""}, {"CONFIG_B", "n", ""}, {"CONFIG_C", `"x"`, ""}, {"CONFIG_D", "n", ""}, {"CONFIG_E", "y", ""}}
	config := "# CONFIG_B is not set\nCONFIG_A=y\nCONFIG_C=\"x\"\nCONFIG_D=y\n"
	got := Missing(options, config)
	want := []string{"CONFIG_D=n came out as y", "CONFIG_E=y came out as n"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", got, want)
	}
}

// compiler puts a cross compiler of a version on the PATH: what is built with is not tried here.
func compiler(t *testing.T, version string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{crossGCC, crossLD} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho "+version+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// kernelIn puts a finished kernel into a cache.
func kernelIn(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{Image: "image", Config: "config"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := sums(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, sumsName), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCache(t *testing.T) {
	compiler(t, "12")
	r := Recipe{SHA256: "00", Date: time.Unix(1, 0), Cache: t.TempDir(), Work: t.TempDir(), Log: io.Discard, Source: "none"}
	options, err := Options(QEMU)
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.key(t.Context(), QEMU, options)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(r.Cache, QEMU+"-"+key)
	kernelIn(t, dir)
	k, err := r.Build(t.Context(), QEMU)
	if err != nil || k.Dir != dir {
		t.Fatalf("%+v, %v", k, err)
	}
	// sha256sum reads the list.
	check := exec.Command("sha256sum", "-c", sumsName)
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
	if err := Golden(QEMU, k, ""); err == nil {
		t.Error("a kernel of five bytes is the published one")
	}
	if err := os.WriteFile(k.File(Image), []byte("imagf"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Build(t.Context(), QEMU); err == nil || !strings.Contains(err.Error(), "remove "+dir) {
		t.Errorf("a changed Image in the cache: %v", err)
	}
	for name, other := range map[string]Recipe{
		"source": {SHA256: "01", Date: r.Date}, "date": {SHA256: "00", Date: time.Unix(2, 0)},
	} {
		if k, err := other.key(t.Context(), QEMU, options); err != nil || k == key {
			t.Errorf("another %s has the same place in the cache: %v", name, err)
		}
	}
	if k, err := r.key(t.Context(), QEMU, options[1:]); err != nil || k == key {
		t.Errorf("other options have the same place in the cache: %v", err)
	}
	of, err := Options(Board)
	if err != nil {
		t.Fatal(err)
	}
	before, err := r.key(t.Context(), Board, of)
	all := trees[Board]
	t.Cleanup(func() { trees[Board] = all })
	trees[Board] = all[1:]
	if k, err2 := r.key(t.Context(), Board, of); errors.Join(err, err2) != nil || k == before {
		t.Errorf("fewer device trees have the same place in the cache: %v", errors.Join(err, err2))
	}
	compiler(t, "13")
	if k, err := r.key(t.Context(), QEMU, options); err != nil || k == key {
		t.Errorf("another compiler has the same place in the cache: %v", err)
	}
}

// TestFailedBuildLeavesNothing gives a package that is none: an error, no kernel in the cache, no folders at work.
func TestFailedBuildLeavesNothing(t *testing.T) {
	compiler(t, "12")
	r := Recipe{SHA256: "00", Date: time.Unix(1, 0), Cache: t.TempDir(), Work: t.TempDir(), Jobs: 1, Log: io.Discard,
		Source: filepath.Join(t.TempDir(), "none.deb")}
	if _, err := r.Build(t.Context(), QEMU); err == nil || !strings.Contains(err.Error(), "none.deb") {
		t.Fatal(err)
	}
	for _, dir := range []string{r.Cache, r.Work} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v %v", dir, left, err)
		}
	}
}

// TestGivingUpEndsTheGroup: what make has started ends with it.
func TestGivingUpEndsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	said := make(chan string, 1)
	go func() {
		b := make([]byte, 64)
		n, _ := r.Read(b)
		said <- string(b[:n])
		cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	// The child holds the pipe open: run returns only when it has ended too.
	err := tree{Recipe: Recipe{Log: w}}.run(exec.CommandContext(ctx, "bash", "-c", "tail -f /dev/null & echo started; wait"))
	if err == nil || !errors.Is(ctx.Err(), context.Canceled) || <-said != "started\n" {
		t.Errorf("%v", err)
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("MAKEFLAGS", "-j9")
	t.Setenv("CFLAGS", "-O0")
	for _, v := range environ() {
		if name, _, _ := strings.Cut(v, "="); name != "PATH" && name != "HOME" && name != "TMPDIR" {
			t.Errorf("a build sees %s", v)
		}
	}
}
