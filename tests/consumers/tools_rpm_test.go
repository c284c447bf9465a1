package consumers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const rpmSpec = `Name: hello
Version: 1
Release: 1
Summary: Says hello; exists to be signed
License: Apache-2.0
BuildArch: noarch
%description
Says hello.
%install
mkdir -p %{buildroot}/usr/share/hello
echo hello > %{buildroot}/usr/share/hello/hello
%files
/usr/share/hello/hello
`

// rpm builds a package.
func (d *desk) rpm(t *testing.T, dir string) string {
	t.Helper()
	spec := filepath.Join(dir, "hello.spec")
	must(t, os.WriteFile(spec, []byte(rpmSpec), 0o644))
	d.works(t, dir, "rpmbuild", "-bb", "--define", "_topdir "+filepath.Join(dir, "top"), "--define", "_rpmdir "+dir, "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", spec)
	return filepath.Join(dir, "hello-1-1.noarch.rpm")
}

// signsForRPM: rpmsign signs a package, our gpg the list of the repository; rpm and dnf take them, and refuse others.
func signsForRPM(t *testing.T, d *desk) {
	dir := d.place(t)
	pkg := d.rpm(t, dir)
	d.began(t)
	d.works(t, dir, "rpmsign", "--define", "_gpg_name "+d.key, "--define", "__gpg "+filepath.Join(d.tools, "gpg"), "--addsign", pkg)
	d.called(t, dir, "rpmsign")

	db := "--dbpath=" + filepath.Join(dir, "rpmdb")
	d.works(t, dir, "rpmkeys", db, "--import", d.armor)
	if out := d.works(t, dir, "rpmkeys", db, "--checksig", "-v", pkg); !strings.Contains(out, "Signature, key ID "+strings.ToLower(d.key[32:])+": OK") {
		t.Errorf("rpm: %s", out)
	}
	forged := filepath.Join(t.TempDir(), "hello-1-1.noarch.rpm")
	must(t, copyFile(forged, pkg))
	flipLastByte(t, forged)
	d.refused(t, dir, "NOT OK", "rpmkeys", db, "--checksig", forged)

	d.works(t, dir, "createrepo_c", "-q", dir)
	list := filepath.Join(dir, "repodata", "repomd.xml")
	d.works(t, dir, filepath.Join(d.tools, "gpg"), "--batch", "--detach-sign", "--armor", "-u", d.key, list)
	d.good(t, list+".asc", list)
	d.works(t, dir, d.dnf(t, "good", "install", "hello")...)
	if _, err := os.Stat(filepath.Join(dir, "good", "usr/share/hello/hello")); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(list)
	must(t, err)
	must(t, os.WriteFile(list, append(b, '\n'), 0o644))
	d.refused(t, dir, "repomd.xml", d.dnf(t, "changed", "makecache")...)
}

// dnf is dnf with a root of its own, which knows one repository and demands signatures of it and its packages.
func (d *desk) dnf(t *testing.T, name string, args ...string) []string {
	t.Helper()
	dir := d.place(t)
	root := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Join(root, "repos"), 0o755))
	text := fmt.Sprintf("[demo]\nname=demo\nbaseurl=file://%s\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file://%s\nskip_if_unavailable=0\n", dir, d.armor)
	must(t, os.WriteFile(filepath.Join(root, "repos", "demo.repo"), []byte(text), 0o644))
	return asRoot(append([]string{"dnf", "-y", "--installroot=" + root, "--releasever=1", "--setopt=reposdir=" + filepath.Join(root, "repos"),
		"--setopt=cachedir=" + filepath.Join(root, "cache"), "--setopt=install_weak_deps=0"}, args...)...)
}
