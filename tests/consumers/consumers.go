// Package consumers drives the programs that signatures are made for — makepkg, repo-add, gpg, sqv and pacman — exactly as
// Debian ships them, each with directories of its own so that nothing of the user's or the system's is read or changed.
//
// Nothing here knows how a signature comes about: tests and the demo hand in the files and a certificate, and the programs
// themselves are the judges. Every call is bounded by its context; a failing program's own words are in the error.
package consumers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// unprivileged is who runs makepkg when we are root: makepkg refuses root, and rightly so.
const unprivileged = "nobody"

// graceAfterCancel is how long a cancelled program may take to go before its group is killed.
const graceAfterCancel = 2 * time.Second

// tools are the programs this package runs, each with the Debian package that brings it.
var tools = map[string]string{
	"makepkg": "makepkg", "repo-add": "pacman-package-manager", "pacman": "pacman-package-manager", "fakeroot": "fakeroot",
	"bsdtar": "libarchive-tools", "gpg": "gnupg", "sqv": "sqv", "xz": "xz-utils", "zstd": "zstd", "openssl": "openssl", "tpm2_checkquote": "tpm2-tools",
	"git": "git", "reprepro": "reprepro", "aptly": "aptly", "debsigs": "debsigs", "ar": "binutils", "dpkg-deb": "dpkg", "dpkg-buildpackage": "dpkg-dev", "apt-get": "apt", "gpgconf": "gnupg",
	"rpmbuild": "rpm", "rpmsign": "rpm", "rpmkeys": "rpm", "createrepo_c": "createrepo-c", "dnf": "dnf", "in-toto-run": "in-toto", "/usr/lib/apt/methods/intoto": "apt-transport-in-toto",
}

// Installed reports, in one error, every program that is missing and what brings it.
func Installed() error {
	var missing []error
	for name, pkg := range tools {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, fmt.Errorf("%s is not installed (Debian package %s): run make setup", name, pkg))
		}
	}
	return errors.Join(missing...)
}

// command is one program run with a controlled environment.
type command struct {
	argv []string
	dir  string
	env  []string // added to a minimal environment; nothing of the caller's but PATH is passed on
	log  io.Writer
}

// run returns what the program printed, stdout and stderr together; a non-zero exit becomes an error that carries it.
func (c command) run(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "TERM=dumb"}, c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a group to kill, and no terminal that touchmark-gpg could speak to
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = graceAfterCancel
	var out bytes.Buffer
	cmd.Stdout = &out
	if c.log != nil {
		cmd.Stdout = io.MultiWriter(&out, c.log)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return out.String(), &ProgramError{Argv: c.argv, Output: out.String(), Err: err}
	}
	return out.String(), nil
}

// ProgramError is a consumer's refusal: what was run, what it said, how it ended.
type ProgramError struct {
	Argv   []string
	Output string
	Err    error
}

func (e *ProgramError) Error() string {
	return fmt.Sprintf("%s: %v: %s", strings.Join(e.Argv, " "), e.Err, strings.TrimSpace(e.Output))
}

func (e *ProgramError) Unwrap() error { return e.Err }

// copyFile copies a finished file; the copy belongs to us.
func copyFile(dst, src string) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, 0o644)
}

// mkdirs makes the given folders below dir and returns their paths in order.
func mkdirs(dir string, names ...string) ([]string, error) {
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = filepath.Join(dir, n)
		if err := os.MkdirAll(paths[i], 0o755); err != nil {
			return nil, err
		}
	}
	return paths, nil
}
