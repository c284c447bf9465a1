// Package debian fetches Debian packages of one pinned version each, without installing anything: apt-get with lists and a
// cache of its own, so that neither this machine's sources nor its packages matter. Debian's mirrors drop a version when
// the next one comes: then it comes from Debian's archive of all versions, by its SHA-1. apt checks Debian's signatures;
// what counts here, wherever a file is from, is the pinned SHA-256.
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
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Package is one pinned package.
type Package struct {
	Name, Version, Arch string
	SHA256              string // hexadecimal
	SHA1                string // the same; how a [Sources.Snapshot] names the file
}

// File is its name in Debian's archive, where a version's colon is written in hexadecimal.
func (p Package) File() string {
	return p.Name + "_" + strings.ReplaceAll(p.Version, ":", "%3a") + "_" + p.Arch + ".deb"
}

// Sources are where packages come from.
type Sources struct {
	Mirrors  []string // lines of a sources.list
	Snapshot string   // what a package's SHA-1 is put behind for one that the mirrors do not have; empty: nothing
}

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Snapshot is Debian's archive of all that it ever published, which gives files by their SHA-1.
const Snapshot = "https://snapshot.debian.org/file/"

// Mirrors are Debian's own: of Debian 12, and of what is not free in Debian 13, the Raspberry Pi's firmware.
var Mirrors = []string{
	"deb [signed-by=" + keyring + "] http://deb.debian.org/debian bookworm main",
	"deb [signed-by=" + keyring + "] http://deb.debian.org/debian trixie non-free-firmware",
	"deb [signed-by=" + keyring + "] http://deb.debian.org/debian-security bookworm-security main",
}

// Fetch brings packages into a folder and returns the path of each. One that lies there with the right hash is not fetched
// again: a package that Debian no longer offers can be put there by hand.
func Fetch(ctx context.Context, dir string, from Sources, log io.Writer, packages ...Package) (paths []string, err error) {
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
		if err := fetch(ctx, dir, from, log, missing); err != nil {
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

func fetch(ctx context.Context, dir string, from Sources, log io.Writer, packages []Package) (err error) {
	tmp, err := os.MkdirTemp(dir, "apt.")
	if err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	a := apt{tmp, log}
	if err := a.prepare(from.Mirrors); err != nil {
		return fmt.Errorf("debian: %w", err)
	}
	lists := a.get(ctx, "update")
	if lists != nil {
		lists = fmt.Errorf("apt-get update: %w", lists)
	}
	for _, p := range packages {
		got := filepath.Join(tmp, p.File())
		fault := lists
		if fault == nil {
			fault = a.get(ctx, "download", p.Name+"="+p.Version)
		}
		if fault != nil && ctx.Err() == nil {
			fault = from.archived(ctx, got, p, log, fault)
		}
		if fault != nil {
			return missing(dir, p, fault)
		}
		if err := Check(got, p); err != nil {
			return err
		}
		if err := os.Rename(got, filepath.Join(dir, p.File())); err != nil {
			return fmt.Errorf("debian: %w", err)
		}
	}
	return nil
}

// missing says what to do about a package that is not to be had.
func missing(dir string, p Package, fault error) error {
	return fmt.Errorf("debian: %s %s is not to be had: %w: Debian's mirrors keep a version until the next one; "+
		"put %s with SHA-256 %s into %s by hand, or name other places by --mirror and --snapshot", p.Name, p.Version, fault, p.File(), p.SHA256, dir)
}

// archived fetches a package that the mirrors did not give.
func (s Sources) archived(ctx context.Context, path string, p Package, log io.Writer, mirrors error) error {
	if s.Snapshot == "" || p.SHA1 == "" {
		return mirrors
	}
	url := s.Snapshot + p.SHA1
	fmt.Fprintf(log, "debian: the mirrors do not have %s %s (%v): fetching %s\n", p.Name, p.Version, mirrors, url)
	if err := download(ctx, url, path); err != nil {
		return fmt.Errorf("mirrors: %w; archive: %w", mirrors, err)
	}
	return nil
}

// download fetches a file over HTTP. What it holds is for the caller to check.
func download(ctx context.Context, url, path string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(answer.Body, maxPackage+1))
	if n > maxPackage {
		err = fmt.Errorf("%s: over %d bytes", url, maxPackage)
	}
	return errors.Join(err, f.Close())
}

// maxPackage bounds what an archive may give: the largest package has a seventh of it.
const maxPackage = 1 << 30

// apt is an apt-get that knows nothing of this machine's sources and packages.
type apt struct {
	dir string
	log io.Writer
}

func (a apt) prepare(mirrors []string) error {
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
