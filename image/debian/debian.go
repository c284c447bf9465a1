// Package debian fetches Debian packages of one pinned version each, without installing anything: apt-get with lists and a
// cache of its own, so that neither this machine's sources nor its packages matter. apt checks Debian's signatures; what
// counts here is the pinned hash.
//
// It also says which version of a tool is installed, for the manifest.
package debian

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Package is one pinned package.
type Package struct {
	Name, Version, Arch string
	SHA256              string // hexadecimal
}

// File is its name in Debian's archive, where a version's colon is written in hexadecimal.
func (p Package) File() string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
}

// Mirrors are where packages come from: lines of a sources.list.
type Mirrors []string

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Bookworm are Debian 12's own, with what is not free: the Raspberry Pi's firmware.
var Bookworm = Mirrors{
	"deb [signed-by=" + keyring + "] http://deb.debian.org/debian bookworm main non-free-firmware",
	"deb [signed-by=" + keyring + "] http://deb.debian.org/debian-security bookworm-security main",
}

// Fetch brings packages into a folder and returns the path of each. One that lies there with the right hash is not fetched
// again: a package that Debian no longer offers can be put there by hand.
func Fetch(ctx context.Context, dir string, mirrors Mirrors, log io.Writer, packages ...Package) (paths []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("debian: %w", err)
	}
	var missing []Package
	for _, p := range packages {
		path := filepath.Join(dir, p.File())
		paths = append(paths, path)
		switch err := Check(path, p); {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, p)
		case err != nil:
			return nil, fmt.Errorf("%w: remove it to have it fetched anew", err)
		}
	}
	if missing != nil {
		if err := fetch(ctx, dir, mirrors, log, missing); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// Check holds a file against a package's hash.
func Check(path string, p Package) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	if sum := fmt.Sprintf("%x", h.Sum(nil)); sum != p.SHA256 {
		return fmt.Errorf("debian: %s has SHA-256 %s, pinned is %s", path, sum, p.SHA256)
	}
	return nil
}

func fetch(ctx context.Context, dir string, mirrors Mirrors, log io.Writer, packages []Package) (err error) {
	tmp, err := os.MkdirTemp(dir, "apt.")
	if err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	a := apt{tmp, log}
	if err := a.prepare(mirrors); err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	if err := a.get(ctx, "update"); err != nil {
		return fmt.Errorf("debian: apt-get update: %w", err)
	}
	for _, p := range packages {
		if err := a.get(ctx, "download", p.Name+"="+p.Version); err != nil {
			return fmt.Errorf("debian: fetching %s %s: %w: if Debian no longer offers this version, put %s with SHA-256 %s (snapshot.debian.org keeps it) into %s",
				p.Name, p.Version, err, p.File(), p.SHA256, dir)
		}
		got := filepath.Join(tmp, p.File())
		if err := Check(got, p); err != nil {
			return err
		}
		if err := os.Rename(got, filepath.Join(dir, p.File())); err != nil {
			return fmt.Errorf("debian: %w", err)
		}
	}
	return nil
}

// apt is an apt-get that knows nothing of this machine's sources and packages.
type apt struct {
	dir string
	log io.Writer
}

func (a apt) prepare(mirrors Mirrors) error {
	return errors.Join(
		os.MkdirAll(filepath.Join(a.dir, "state/lists/partial"), 0o755),
		os.MkdirAll(filepath.Join(a.dir, "cache/archives/partial"), 0o755),
		os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(strings.Join(mirrors, "\n")+"\n"), 0o644))
}

func (a apt) get(ctx context.Context, args ...string) error {
	options := []string{"-q", "-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64", "-o", "APT::Sandbox::User=",
		"-o", "Acquire::Languages=none", "-o", "Acquire::Retries=2", "-o", "APT::Update::Error-Mode=any",
		"-o", "Dir::State=" + a.dir + "/state", "-o", "Dir::State::status=/dev/null", "-o", "Dir::Cache=" + a.dir + "/cache",
		"-o", "Dir::Etc::sourcelist=" + a.dir + "/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null"}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = a.dir, a.log, a.log
	return cmd.Run()
}

// Installed is the version of a package on this machine.
func Installed(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f=${db:Status-Abbrev}${Version}", name).Output()
	version, ok := strings.CutPrefix(string(out), "ii ")
	if err != nil || !ok {
		return "", fmt.Errorf("debian: %s is not installed: run make image, which installs it", name)
	}
	return version, nil
}

// Extract takes one file out of a package. name begins with a slash.
func Extract(ctx context.Context, deb, name string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -xO "$2"`, "extract", deb, "."+name)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("debian: %s from %s: %w", name, filepath.Base(deb), err)
	}
	return out, nil
}
