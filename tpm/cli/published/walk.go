package published

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"touchmark/tpm/audit/published"
	"touchmark/tpm/cli"
)

// walker goes through a repository as those see it who fetch from it: a symbolic link
// is what it leads to.
type walker struct {
	dir, real string // as given, and without symbolic links
	r         *published.Repository
	say       func(published.Found) error
}

// walk takes every signature below dir with the file it is over, and says which are
// not read: too large ones, and directories elsewhere that a link leads to, which on an
// auditor's machine may be anything. A directory below dir is met where it is.
func walk(dir string, r *published.Repository, say func(published.Found) error) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if st, err := os.Stat(real); err == nil && !st.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	w := &walker{dir, real, r, say}
	return filepath.WalkDir(dir+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Type().IsRegular():
			return w.file(path)
		case d.Type()&fs.ModeSymlink != 0:
			return w.link(path)
		}
		return nil
	})
}

// link takes what a symbolic link leads to; one that leads nowhere publishes nothing.
func (w *walker) link(path string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ELOOP):
		return nil
	case err != nil:
		return err
	case st.Mode().IsRegular():
		return w.file(path)
	case !st.IsDir():
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if strings.HasPrefix(real+string(filepath.Separator), w.real+string(filepath.Separator)) {
		return nil
	}
	return w.unread(path, "it leads to a directory elsewhere: compare a copy in which files stand in the place of links")
}

// unread says that something was not read.
func (w *walker) unread(path, why string) error {
	name, err := filepath.Rel(w.dir, path)
	if err != nil {
		return err
	}
	return w.say(published.Found{State: published.NotRead, File: filepath.ToSlash(name), Text: why})
}

// file takes a file if it is named like a signature.
func (w *walker) file(path string) error {
	covers, ok := published.Covers(path)
	if !ok {
		return nil
	}
	switch info, err := os.Stat(path); {
	case err != nil:
		return err
	case published.Encloses(path) && info.Size() > published.MaxEnclosed:
		return nil
	case info.Size() > published.MaxSignature:
		return w.unread(path, fmt.Sprintf("%d bytes; a signature has at most %d: look what it is", info.Size(), published.MaxSignature))
	}
	content, err := cli.ReadFile(path, published.MaxSignature)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(w.dir, path)
	if err != nil {
		return err
	}
	for _, sig := range w.r.Apart(content) {
		over, err := w.r.Hash(sig, func() (io.ReadCloser, error) { return open(covers) })
		if err != nil {
			return err
		}
		w.r.Add(filepath.ToSlash(name), sig, over)
	}
	return nil
}

// open opens a file, or what a symbolic link leads to; nil if no file is there, but a
// directory, say, or a pipe that nobody would ever close.
func open(path string) (io.ReadCloser, error) {
	switch st, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ELOOP), err == nil && !st.Mode().IsRegular():
		return nil, nil
	case err != nil:
		return nil, err
	}
	return os.Open(path)
}
