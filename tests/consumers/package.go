package consumers

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
)

// Package describes a small but real package: an executable script, a manual and a licence.
type Package struct {
	Name    string // pkgname
	Version string // pkgver; pkgrel is 1
	Log     io.Writer
	Key     string   // that makepkg signs with, through the gpg on the PATH; "" for no signature
	Env     []string // more of makepkg's environment
}

// pkgbuild is a complete PKGBUILD: %s are name and version. It has no sources to fetch, so that makepkg needs no network.
const pkgbuild = `# Maintainer: Touchmark demo <demo@touchmark.example>
pkgname=%[1]s
pkgver=%[2]s
pkgrel=1
pkgdesc='Says hello; exists to be signed'
arch=(any)
url='https://touchmark.example/'
license=(Apache)

package() {
  install -d "$pkgdir/usr/bin" "$pkgdir/usr/share/doc/$pkgname"
  printf '#!/bin/sh\necho "hello from %%s %%s"\n' "$pkgname" "$pkgver" >"$pkgdir/usr/bin/$pkgname"
  chmod 755 "$pkgdir/usr/bin/$pkgname"
  printf 'Run %%s.\n' "$pkgname" >"$pkgdir/usr/share/doc/$pkgname/README"
}
`

// makepkgConf keeps makepkg away from compression levels, strip and hosts' own settings: the package is the same each time.
const makepkgConf = `CARCH="x86_64"
CHOST="x86_64-linux-gnu"
BUILDENV=(!distcc !color !ccache !check !sign)
OPTIONS=(!strip docs libtool staticlibs emptydirs !zipman !purge !debug)
INTEGRITY_CHECK=(sha256)
PKGEXT='.pkg.tar.zst'
SRCEXT='.src.tar.gz'
COMPRESSGZ=(gzip -c -f -n)
COMPRESSZST=(zstd -c -z -q -)
PACKAGER="Touchmark demo <demo@touchmark.example>"
`

// sourceDate makes packages reproducible: 2026-01-01T00:00:00Z.
const sourceDate = "1767225600"

// Build runs the real makepkg and puts the package, with its signature if there is one, into destDir; it returns the package's path. makepkg will not run as
// root, so root hands it to an unprivileged user in a folder of that user's own.
func (p Package) Build(ctx context.Context, destDir string) (string, error) {
	work, err := os.MkdirTemp("", "makepkg-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := p.prepare(work); err != nil {
		return "", err
	}
	run := command{dir: work, log: p.Log, argv: []string{"makepkg", "--config", filepath.Join(work, "makepkg.conf"), "--nodeps", "--force", "--noconfirm", "--nocolor"},
		env: append(slices.Clone(p.Env), "HOME="+work, "TMPDIR="+work, "PKGDEST="+work, "BUILDDIR="+filepath.Join(work, "build"), "SRCDEST="+work, "SOURCE_DATE_EPOCH="+sourceDate)}
	if p.Key != "" {
		run.argv = append(run.argv, "--sign", "--key", p.Key)
	}
	if os.Geteuid() == 0 {
		run.argv = append([]string{"runuser", "-u", unprivileged, "--"}, run.argv...)
	}
	if _, err := run.run(ctx); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%s-1-any.pkg.tar.zst", p.Name, p.Version)
	dst := filepath.Join(destDir, name)
	if p.Key != "" {
		if err := copyFile(dst+".sig", filepath.Join(work, name+".sig")); err != nil {
			return "", err
		}
	}
	return dst, copyFile(dst, filepath.Join(work, name))
}

// prepare writes PKGBUILD and configuration into work and gives it all to whoever will run makepkg.
func (p Package) prepare(work string) error {
	give := []string{work}
	for name, text := range map[string]string{"PKGBUILD": fmt.Sprintf(pkgbuild, p.Name, p.Version), "makepkg.conf": makepkgConf} {
		give = append(give, filepath.Join(work, name))
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(unprivileged)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	for _, path := range give {
		if err := os.Chown(path, uid, -1); err != nil {
			return err
		}
	}
	return nil
}

// RepoAdd runs the real repo-add. A package's FILE.sig beside it is embedded into the database, as pacman expects.
// It leaves db and files databases with their symlinks (NAME.db → NAME.db.tar.gz) and returns the two archives' paths.
func RepoAdd(ctx context.Context, log io.Writer, db string, packages ...string) (archives [2]string, err error) {
	_, err = command{argv: append([]string{"repo-add", "--nocolor", db}, packages...), dir: filepath.Dir(db), log: log, env: []string{"HOME=" + filepath.Dir(db)}}.run(ctx)
	base := db[:len(db)-len(".db.tar.gz")]
	return [2]string{db, base + ".files.tar.gz"}, err
}

// LinkSignatures gives NAME.db and NAME.files their signatures under the names pacman asks for.
func LinkSignatures(archives [2]string) error {
	for _, archive := range archives {
		short := archive[:len(archive)-len(".tar.gz")] + ".sig"
		if err := os.Remove(short); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := os.Symlink(filepath.Base(archive)+".sig", short); err != nil {
			return err
		}
	}
	return nil
}
