package recipe

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/image/bootimg"
	"touchmark/image/bootsig"
	"touchmark/image/card"
	"touchmark/image/fat"
	"touchmark/image/manifest"
	"touchmark/image/verify"
)

const module = "../.."

func TestPins(t *testing.T) {
	hash, hash1 := regexp.MustCompile(`^[0-9a-f]{64}$`), regexp.MustCompile(`^[0-9a-f]{40}$`)
	if !hash.MatchString(linuxSource.SHA256) || !hash.MatchString(firmware.SHA256) {
		t.Error("a pin is no SHA-256")
	}
	if sha1 := hash1.MatchString(linuxSource.SHA1) && hash1.MatchString(firmware.SHA1); !sha1 {
		t.Error("a pin has no SHA-1, by which old versions are kept")
	}
	if date.Unix()%2 != 0 {
		t.Error("FAT counts in steps of two seconds: the date must be even")
	}
}

// TestLicences: every module that the programs link is entered, and no other.
func TestLicences(t *testing.T) {
	linked := map[string]bool{}
	for _, p := range boardPrograms {
		cmd := exec.Command("go", "list", "-deps", "-tags", "netgo,osusergo", "-f", "{{with .Module}}{{.Path}}{{end}}", p.source)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", fmt.Sprintf("CGO_ENABLED=%d", number(p.cgo)), "GOFLAGS=")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for _, path := range strings.Fields(string(out)) {
			linked[path] = true
		}
	}
	delete(linked, "touchmark")
	if got, want := slices.Sorted(maps.Keys(licences)), slices.Sorted(maps.Keys(linked)); !slices.Equal(got, want) {
		t.Errorf("licences of\n%q are entered, the programs link\n%q", got, want)
	}
}

// TestLicencesByOthers: what Debian's licensecheck finds in the texts that modules bring, and in ours, is what is entered.
func TestLicencesByOthers(t *testing.T) {
	r := Recipe{Module: module}
	dir := t.TempDir()
	ours, err := os.ReadFile(filepath.Join(module, "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	texts, want := map[string][]byte{"touchmark": ours}, map[string]string{"touchmark": "Apache-2.0"}
	for path, licence := range licences {
		name := strings.ReplaceAll(path, "/", "_")
		if texts[name], err = r.moduleLicence(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		want[name] = licence
	}
	cmd := exec.Command("licensecheck", "--check=.", "--machine", "--shortname-scheme=spdx")
	cmd.Dir = dir
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd.Args = append(cmd.Args, name)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("licensecheck: %v (run make setup)", err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, licence, _ := strings.Cut(strings.TrimSpace(line), "\t")
		got[name] = licence
	}
	if !maps.Equal(got, want) {
		t.Errorf("licensecheck finds\n%q, entered is\n%q", got, want)
	}
}

func TestInitramfs(t *testing.T) {
	programs := slices.Clone(boardPrograms)
	for i := range programs {
		programs[i].content = bytes.Repeat([]byte(programs[i].path), 10_000)
	}
	packed, err := initramfs(t.Context(), programs)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := initramfs(t.Context(), programs); err != nil || !bytes.Equal(again, packed) {
		t.Errorf("another one the second time: %v", err)
	}
	unpack := exec.Command("bash", "-euo", "pipefail", "-c", "zstd -dc | bsdtar -tf -")
	unpack.Stdin = bytes.NewReader(packed)
	list, err := unpack.Output()
	if err != nil {
		t.Fatalf("zstd or bsdtar: %v (run make setup)", err)
	}
	if got := strings.Join(strings.Fields(string(list)), " "); got != ". bin dev proc sys run bin/touchmark-appliance bin/touchmark-link init" {
		t.Errorf("the root has %s", got)
	}
}

// smallBoot is a boot.img of a date and a board, with hardly anything in it.
func smallBoot(t *testing.T, at time.Time, of board.Board) []byte {
	t.Helper()
	b, err := bootimg.Make([]fat.File{{Name: board.ConfigFile, Content: []byte(of.BootConfig())}, {Name: board.CommandLineFile, Content: []byte(of.CommandLine())},
		{Name: board.KernelFile, Content: []byte("kernel")}, {Name: board.InitramfsFile, Content: []byte("root")}}, at)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const small = 32 << 20 / fat.SectorSize

// TestCard makes a card of a small boot.img, twice, and has it checked by e2fsck and by package verify.
func TestCard(t *testing.T) {
	r := Recipe{Board: board.Boards[0]}
	p := parts{files: map[string][]byte{BootImage: smallBoot(t, date, r.Board)}}
	if err := r.sign(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, CardImage)
	if err := writeCard(t.Context(), p.files[SlotImage], date, path, small); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := manifest.Manifest{Files: []manifest.File{{Name: BootImage, SHA256: "4f6b9d0e"}}}
	report, err := verify.Card(f, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if report.Started != update.A || report.Data != small || report.Slots[0].Other == nil {
		t.Errorf("%+v", report)
	}
	data := filepath.Join(dir, "data")
	sh := exec.Command("bash", "-euo", "pipefail", "-c", `dd if="$1" of="$2" bs=512 skip="$3" conv=sparse status=none; PATH=$PATH:/usr/sbin:/sbin e2fsck -fn "$2"`,
		"check", path, data, fmt.Sprint(card.DataStart))
	if out, err := sh.CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v %s", err, out)
	}
	first, err := hashFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := writeCard(t.Context(), p.files[SlotImage], date, path, small); err != nil {
		t.Fatal(err)
	}
	if second, err := hashFile(path); err != nil || second != first {
		t.Errorf("the card is %+v, then %+v: %v", first, second, err)
	}
}

// TestAssemble: of the same boot.img and boot.sig it makes the slot and the card that a build makes; with another boot.sig
// they differ in that alone; nothing else gets onto a card, and nothing is replaced.
func TestAssemble(t *testing.T) {
	dir := writeKeys(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	at := date.Add(-time.Hour) // that of another build
	boot := smallBoot(t, at, board.Boards[1])
	unsigned, err := Sign(t.Context(), boot, nil)
	if err != nil || unsigned.Time != at.Unix() {
		t.Fatal(unsigned.Time, err)
	}
	if err := Assemble(t.Context(), boot, unsigned.Bytes(), nil, in("built"), small); err != nil {
		t.Fatal(err)
	}
	slot, err := os.ReadFile(in("built/slot.img"))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeCard(t.Context(), slot, at, in("card"), small); err != nil {
		t.Fatal(err)
	}
	ours, err := hashFile(in("card"))
	if theirs, err2 := hashFile(in("built/sdcard.img")); errors.Join(err, err2) != nil || theirs.SHA256 != ours.SHA256 {
		t.Errorf("a build's card is %s, the assembled %s: %v", ours.SHA256, theirs.SHA256, errors.Join(err, err2))
	}
	signer, err := KeyFile(in("pkcs8.pem"))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := Sign(t.Context(), boot, signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := Assemble(t.Context(), boot, sig.Bytes(), signer.Public(), in("signed"), small); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(in("signed/sdcard.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := manifest.Manifest{Board: "cm4", Files: []manifest.File{{Name: BootImage, SHA256: fmt.Sprintf("%x", sha256.Sum256(boot))}}}
	if report, err := verify.Card(f, m, signer.Public()); err != nil || report.Err() != nil || report.Slots[1].Other != nil {
		t.Errorf("%+v, %v", report, err)
	}
	for name, bad := range map[string]func(to string) error{
		"a folder that has one": func(string) error { return Assemble(t.Context(), boot, sig.Bytes(), nil, in("built"), small) },
		"no signature": func(to string) error {
			return Assemble(t.Context(), boot, unsigned.Bytes(), signer.Public(), to, small)
		},
		"another boot.img": func(to string) error {
			return Assemble(t.Context(), smallBoot(t, date, board.Boards[1]), sig.Bytes(), nil, to, small)
		},
		"no boot.img": func(to string) error { return Assemble(t.Context(), slot, sig.Bytes(), nil, to, small) },
		"no boot.sig": func(to string) error { return Assemble(t.Context(), boot, []byte("x"), nil, to, small) },
	} {
		if err := bad(in("new")); err == nil {
			t.Errorf("%s: assembled", name)
		}
		if _, err := os.Stat(in("new")); err == nil {
			t.Errorf("%s: left something", name)
		}
	}
	if again, err := os.ReadFile(in("built/slot.img")); err != nil || !bytes.Equal(again, slot) {
		t.Errorf("a slot that was there was touched: %v", err)
	}
}

// keyFiles are a key in all the forms that it may have.
var keyFiles = sync.OnceValues(func() (map[string][]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	p8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	return map[string][]byte{
		"pkcs1.pem": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)), "pkcs8.pem": block("PRIVATE KEY", p8),
		"public.pem": block("PUBLIC KEY", pub), "public1.pem": block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey)),
	}, nil
})

func writeKeys(t *testing.T) (dir string) {
	t.Helper()
	files, err := keyFiles()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// wrapperText signs as rpi-eeprom-digest's HSM wrapper does: -a ALGORITHM FILE, hexadecimal on standard output.
const wrapperText = `#!/bin/bash
set -euo pipefail
[ "$1 $2" = "-a rsa2048-sha256" ]
openssl dgst -sha256 -sign "$(dirname "$0")/pkcs1.pem" "$3" | od -An -v -tx1 | tr -d ' \n'
`

func TestSigners(t *testing.T) {
	dir := writeKeys(t)
	program := filepath.Join(dir, "wrapper")
	if err := os.WriteFile(program, []byte(wrapperText), 0o755); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	image := smallBoot(t, date, board.Boards[0])
	var sigs []bootsig.Sig
	for name, open := range map[string]func() (Signer, error){
		"PKCS #1":          func() (Signer, error) { return KeyFile(in("pkcs1.pem")) },
		"PKCS #8":          func() (Signer, error) { return KeyFile(in("pkcs8.pem")) },
		"wrapper":          func() (Signer, error) { return Wrapper(program, in("public.pem")) },
		"wrapper, PKCS #1": func() (Signer, error) { return Wrapper(program, in("public1.pem")) },
	} {
		s, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sig, err := Sign(t.Context(), image, s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sigs = append(sigs, sig)
	}
	for _, s := range sigs {
		if !bytes.Equal(s.Bytes(), sigs[0].Bytes()) {
			t.Error("one key signs in different ways")
		}
	}
	if unsigned, err := Sign(t.Context(), image, nil); err != nil || unsigned.Signature != nil {
		t.Error(err)
	}
	s, err := KeyFile(in("pkcs1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(t.Context(), []byte("an e-mail"), s); !errors.Is(err, bootimg.ErrFormat) {
		t.Errorf("something that is no boot.img: %v", err)
	}
}

func TestSignersRefuse(t *testing.T) {
	dir := writeKeys(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, args := range map[string]string{
		"ec.pem": "ecparam -genkey -name prime256v1 -noout -out", "rsa1024.pem": "genrsa -out", "locked.pem": "rsa -aes128 -passout pass:x -in " + in("pkcs1.pem") + " -out",
	} {
		argv := append(strings.Fields(args), in(name))
		if name == "rsa1024.pem" {
			argv = append(argv, "1024")
		}
		if out, err := exec.Command("openssl", argv...).CombinedOutput(); err != nil {
			t.Fatalf("openssl: %v %s", err, out)
		}
		if _, err := KeyFile(in(name)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, name := range []string{"public.pem", "none.pem"} {
		if _, err := KeyFile(in(name)); err == nil {
			t.Errorf("%s is taken for a private key", name)
		}
	}
	if _, err := PublicKey(in("pkcs8.pem")); err == nil {
		t.Error("a private key is taken for a public one")
	}
	image := smallBoot(t, date, board.Boards[0])
	for name, text := range map[string]string{
		"fails": "exit 3", "says nothing": "true", "no hexadecimal": "echo touch me", "short": "echo 00ff", "another key": "printf '%0512d' 0",
	} {
		program := in("wrapper")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		s, err := Wrapper(program, in("public.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Sign(context.Background(), image, s); err == nil {
			t.Errorf("a wrapper that %s: signed", name)
		}
	}
}

// TestWritePapers: what describes an image stands in its manifest too, with the hashes that sha256sum finds.
func TestWritePapers(t *testing.T) {
	dir := t.TempDir()
	m := manifest.Manifest{Format: manifest.Format, Files: []manifest.File{{Name: BootImage}, {Name: "slot.img"}}}
	if err := writePapers(&m, map[string][]byte{BillFile: []byte("{}"), Licences + "/go": []byte("BSD"), Licences + "/glibc": []byte("LGPL")}, dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	written, err := manifest.Parse(text)
	if err != nil || !reflect.DeepEqual(written.Files, m.Files) {
		t.Errorf("%+v is written, %+v returned: %v", written.Files, m.Files, err)
	}
	var names, sums []string
	for _, f := range written.Files {
		names = append(names, f.Name)
		if f.SHA256 != "" {
			sums = append(sums, f.SHA256+"  "+f.Name)
		}
	}
	if got := strings.Join(names, " "); got != "boot.img licences/glibc licences/go sbom.spdx.json slot.img" {
		t.Errorf("the manifest has %s", got)
	}
	check := exec.Command("sha256sum", "-c", "--strict")
	check.Dir, check.Stdin = dir, strings.NewReader(strings.Join(sums, "\n")+"\n")
	if out, err := check.CombinedOutput(); err != nil || len(sums) != 3 {
		t.Errorf("%d hashes: %v %s", len(sums), err, out)
	}
}
