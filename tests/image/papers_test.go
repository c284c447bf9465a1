//go:build imagetest

package image

import (
	"bytes"
	"debug/buildinfo"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"touchmark/image/manifest"
	"touchmark/image/manifest/billtest"
)

// TestPapers: the list of software of the image is one to others, and true: the Go modules are those that its programs say
// they consist of, the kernel calls itself what the list calls it, manifest and list agree, and each licence has its text. All
// of that is under the manifest's hashes.
func TestPapers(t *testing.T) {
	built := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(os.Getenv("TOUCHMARK_IMAGE"), name))
		must(t, err)
		return b
	}
	bill := billtest.Judge(t, built("sbom.spdx.json"))
	m, err := manifest.Parse(built("manifest.json"))
	must(t, err)

	listed, versions := map[string]string{}, map[string]string{}
	for _, p := range bill.Packages {
		versions[p.PackageName] = p.PackageVersion
		if slices.ContainsFunc(m.Modules, func(mod manifest.Mod) bool { return mod.Path == p.PackageName }) {
			listed[p.PackageName] = p.PackageVersion + " " + p.PackageLicenseDeclared
		}
		for _, sum := range p.PackageChecksums {
			if b, err := hex.DecodeString(sum.Value); err != nil || len(b) != 32 {
				t.Errorf("%s has a checksum %q", p.PackageName, sum.Value)
			}
		}
	}
	linked, compiler := programs(t, built("initrd.zst"))
	named := map[string]string{}
	for _, mod := range m.Modules {
		if linked[mod.Path] != mod.Version+" "+mod.Sum {
			t.Errorf("the manifest has %s %s %s, the programs %q", mod.Path, mod.Version, mod.Sum, linked[mod.Path])
		}
		named[mod.Path] = mod.Version + " " + mod.Licence
	}
	if !maps.Equal(listed, named) || len(named) != len(linked) {
		t.Errorf("the list has modules\n%q, the manifest\n%q, the programs\n%q", listed, named, linked)
	}
	if compiler != "go"+versions["go"] {
		t.Errorf("the list has Go %s, the programs are of %s", versions["go"], compiler)
	}
	upstream, _, _ := strings.Cut(versions["linux"], "-")
	if upstream == "" || !bytes.Contains(built("Image"), []byte("Linux version "+upstream+"-touchmark ")) {
		t.Errorf("the list has Linux %s, the kernel calls itself otherwise", versions["linux"])
	}
	if m.Kernel.Source != "linux-source-6.1 "+versions["linux"] || m.Debian[0].Version != versions["linux"] {
		t.Errorf("the list has Linux %s, the manifest %s of %+v", versions["linux"], m.Kernel.Source, m.Debian)
	}
	for _, name := range []string{"touchmark", "linux", "go", "glibc", "libgcc"} {
		if versions[name] == "" {
			t.Errorf("%s is not in the list", name)
		}
	}
	texts, err := os.ReadDir(filepath.Join(os.Getenv("TOUCHMARK_IMAGE"), "licences"))
	must(t, err)
	if len(texts) != len(bill.Packages)-1 { // the image itself has none
		t.Errorf("%d texts of licences of %d packages", len(texts), len(bill.Packages)-1)
	}
	for _, e := range texts {
		if _, ok := m.File("licences/" + e.Name()); !ok {
			t.Errorf("the manifest does not have the licence %s", e.Name())
		}
	}
	dir := os.Getenv("TOUCHMARK_IMAGE")
	if out, err := exec.Command(filepath.Join(os.Getenv("TOUCHMARK_BIN"), "touchmark-image"), "verify", "--manifest", filepath.Join(dir, "manifest.json"), dir).CombinedOutput(); err != nil {
		t.Errorf("the build's folder is not what its manifest says: %v %s", err, out)
	}
}

// programs are the modules of all files in an initramfs, with version and hash, and the compiler that made them.
func programs(t *testing.T, initramfs []byte) (modules map[string]string, compiler string) {
	t.Helper()
	dir := t.TempDir()
	unpack := exec.Command("bash", "-euo", "pipefail", "-c", "zstd -dc | bsdtar -xf -")
	unpack.Dir, unpack.Stdin = dir, bytes.NewReader(initramfs)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("zstd, bsdtar: %v %s", err, out)
	}
	modules = map[string]string{}
	for _, name := range []string{"init", "bin/touchmark-appliance", "bin/touchmark-link"} {
		info, err := buildinfo.ReadFile(filepath.Join(dir, name))
		must(t, err)
		compiler = info.GoVersion
		for _, d := range info.Deps {
			modules[d.Path] = d.Version + " " + d.Sum
		}
	}
	return modules, compiler
}
