package pacman

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Own are the databases that repo-add makes of an approver's packages.
type Own struct{ dir string }

// Rebuild has repo-add make databases of the packages in a folder: of each name
// the newest version. Close removes them.
func Rebuild(ctx context.Context, pool string) (*Own, error) {
	packages, err := packagesIn(pool)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "touchmark-approve-")
	if err != nil {
		return nil, err
	}
	o := &Own{dir}
	args := []string{"--nocolor", "--quiet", "--prevent-downgrade", filepath.Join(dir, "own.db.tar.gz")}
	for _, p := range packages { // links: signatures beside the packages are not taken in
		link := filepath.Join(dir, filepath.Base(p))
		if err := os.Symlink(p, link); err != nil {
			return nil, errors.Join(err, o.Close())
		}
		args = append(args, link)
	}
	if err := run(ctx, dir, nil, "repo-add", args...); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// Close removes the databases.
func (o *Own) Close() error { return os.RemoveAll(o.dir) }

// Compare holds a host's database, a file NAME.db.tar.* or NAME.files.tar.*,
// against the approver's own.
func (o *Own) Compare(ctx context.Context, path string) error {
	own := filepath.Join(o.dir, "own.db.tar.gz")
	switch name := filepath.Base(path); {
	case strings.Contains(name, ".files.tar."):
		own = filepath.Join(o.dir, "own.files.tar.gz")
	case !strings.Contains(name, ".db.tar."):
		return fmt.Errorf("%s is not called NAME.db.tar.… or NAME.files.tar.…, as pacman databases are", path)
	}
	theirs, err := open(ctx, path)
	if err != nil {
		return err
	}
	mine, err := open(ctx, own)
	if err != nil {
		return err
	}
	if err := differ(theirs, mine); err != nil {
		return fmt.Errorf("%s %w", path, err)
	}
	return nil
}

func packagesIn(pool string) ([]string, error) {
	pool, err := filepath.Abs(pool)
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(pool, "*.pkg.tar*"))
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(p string) bool { return strings.HasSuffix(p, ".sig") || strings.HasSuffix(p, ".tmproof") })
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no package in %s: name the folder with your own packages", pool)
	}
	return found, nil
}

// open reads a database whatever its compression is.
func open(ctx context.Context, path string) (Database, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, "/", w, "bsdtar", "--format", "pax", "-cf", "-", "@"+path)
		ended <- err
		_ = w.CloseWithError(err) // a nil error is the end of the file
	}()
	d, err := read(r)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what fills an archive's last block
	}
	_ = r.Close() // bsdtar then ends too
	if failed := <-ended; err == nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// run runs a program that writes to out, and gives what it complains of as the
// error.
func run(ctx context.Context, dir string, out io.Writer, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Stdout = dir, out
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C"}
	var said bytes.Buffer
	c.Stderr = &said
	err := c.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed: get it with pacman (Debian: pacman-package-manager, libarchive-tools)", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, lastLine(said.String()))
	}
	return nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	s = s[strings.LastIndexByte(s, '\n')+1:]
	return strings.ToValidUTF8(s[:min(len(s), 200)], "?")
}
