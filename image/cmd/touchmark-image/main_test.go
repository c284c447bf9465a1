package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/image/bootimg"
	"touchmark/image/card"
	"touchmark/image/fat"
	"touchmark/image/manifest"
)

var date = time.Date(2026, 11, 16, 10, 17, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"touchmark-image": func() {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               environment,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
			"card":  func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(writeCard(ts.MkAbs("."), args[0])) },
			"bootimg": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(writeBoot(ts.MkAbs(args[0]), args[1]))
			},
		},
	})
}

// environment has a name that is not for terminals, and where this repository is.
func environment(e *testscript.Env) error {
	e.Setenv("ESCAPE", "no\x1b[31mfile")
	repository, err := filepath.Abs("../../..")
	e.Setenv("REPOSITORY", repository)
	return err
}

// exits runs a program that must end with this code: "exits 3 PROGRAM ARGUMENT …".
func exits(ts *testscript.TestScript, _ bool, args []string) {
	code, err := 0, ts.Exec(args[1], args[2:]...)
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		code, err = ended.ExitCode(), nil
	}
	ts.Check(err)
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%q ended with exit code %d, want %s", args[1:], code, args[0])
	}
}

// TestCompare: what is in one build only, or differs, in whatever folder, is named.
func TestCompare(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{a, b} {
		write(dir, "boot.img", "same")
		write(dir, "licences/go", "same")
	}
	if got, err := compare(a, b); err != nil || got != nil {
		t.Errorf("%q, %v", got, err)
	}
	write(b, "licences/go", "other")
	write(a, "sbom.spdx.json", "only here")
	write(b, "new", "only there")
	want := []string{"built file licences/go", "built file sbom.spdx.json", "built file new"}
	if got, err := compare(a, b); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := compare(a, filepath.Join(b, "none")); err == nil {
		t.Error("a folder that is not there is the same")
	}
}

// TestBothAreSigned: what the command line says of an image is said of both that are compared, and they share no folder.
func TestBothAreSigned(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := reproCmd()
	c.SetContext(t.Context())
	if err := c.ParseFlags([]string{"--key", path}); err != nil {
		t.Fatal(err)
	}
	b := builder{board: "cm4", module: "../../..", signing: signing{key: path}}
	r, err := b.recipe(c)
	if err != nil {
		t.Fatal(err)
	}
	one, other := movedTo(r, "/a"), movedTo(r, "/b/c")
	if one.Signer == nil || one.Signer != other.Signer || one.Board.Name != "cm4" || other.Board.Name != "cm4" || one.Signer.Public().N.Cmp(key.N) != 0 {
		t.Errorf("%+v and %+v", one, other)
	}
	for _, dirs := range [][2]string{{one.Module, other.Module}, {one.Out, other.Out}, {one.Cache, other.Cache}, {one.Work, other.Work}, {one.GoCache, other.GoCache}} {
		if !strings.HasPrefix(dirs[0], "/a/") || !strings.HasPrefix(dirs[1], "/b/c/") {
			t.Errorf("they build in %q", dirs)
		}
	}
}

// TestInterrupted: a device without an end is read until somebody has enough of it.
func TestInterrupted(t *testing.T) {
	list := filepath.Join(t.TempDir(), "manifest.json")
	text, err := manifest.Manifest{Format: manifest.Format}.Bytes()
	if err := errors.Join(err, os.WriteFile(list, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var said strings.Builder
	if code := run(ctx, []string{"verify", "--manifest", list, "/dev/zero"}, io.Discard, &said); code != exitFault || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, said.String())
	}
}

// TestPipesAreInterrupted: nobody writes into a pipe that is named in place of a file, and one signal is enough to end that.
func TestPipesAreInterrupted(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	silent, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	alone := filepath.Join(t.TempDir(), "alone")
	if err := syscall.Mkfifo(alone, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"manifest, a writer that is silent": {"verify", "--manifest", pipe, "/dev/zero"}, "manifest, no writer": {"verify", "--manifest", alone, "/dev/zero"},
		"key": {"sign", "--key", alone, "boot.img", "boot.sig"}, "public key": {"sign", "--signer", "false", "--public", alone, "boot.img", "boot.sig"},
		"boot.img": {"sign", "--signer", "false", "--public", publicKey(t), alone, "boot.sig"},
	} {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan string, 1)
		go func() {
			var said strings.Builder
			code := run(ctx, args, io.Discard, &said)
			ended <- strconv.Itoa(code) + " " + said.String()
		}()
		stop()
		select {
		case got := <-ended:
			if got != "1 touchmark-image: interrupted\n" {
				t.Errorf("%s: %q", name, got)
			}
		case <-time.After(3 * time.Minute):
			t.Fatalf("%s: not interrupted", name)
		}
	}
}

// publicKey is the file of a key.
func publicKey(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pub.pem")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeBoot makes a boot.img of a board, as large as they are at least.
func writeBoot(path, name string) error {
	of, err := board.Named(name)
	if err != nil {
		return err
	}
	b, err := bootimg.Make([]fat.File{{Name: board.ConfigFile, Content: []byte(of.BootConfig())}, {Name: board.CommandLineFile, Content: []byte(of.CommandLine())},
		{Name: board.KernelFile, Content: []byte("kernel")}, {Name: board.InitramfsFile, Content: []byte("root")}}, date)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// writeCard makes a card of boot.img and boot.sig in a folder, without the data's rest.
func writeCard(dir, name string) error {
	var s card.Slot
	var err error
	if s.Boot, err = os.ReadFile(filepath.Join(dir, "boot.img")); err != nil {
		return err
	}
	if s.Sig, err = os.ReadFile(filepath.Join(dir, "boot.sig")); err != nil {
		return err
	}
	if s.Config, err = os.ReadFile(filepath.Join(dir, "config.txt")); err != nil {
		return err
	}
	slot, err := s.Bytes(date)
	if err != nil {
		return err
	}
	selected, err := card.Select(update.First().Marshal(), date)
	if err != nil {
		return err
	}
	const data = 64
	b := make([]byte, (card.DataStart+data)*fat.SectorSize)
	copy(b, card.Table(data))
	copy(b[card.SelectStart*fat.SectorSize:], selected)
	copy(b[card.SlotStart*fat.SectorSize:], slot)
	super := b[card.DataStart*fat.SectorSize+1024:]
	super[0x38], super[0x39] = 0x53, 0xef
	copy(super[0x78:], "touchmark-data")
	return os.WriteFile(filepath.Join(dir, name), b, 0o644)
}
