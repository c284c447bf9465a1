// Package output writes the files that commands make, durably (tpm/ledgerstore/durable)
// and, where several belong together, all or none. Errors have the exit code
// api.CannotWrite and say what to do. It also names what lies beside a signed file, and
// shows what is known of a signature.
package output

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"touchmark/hostlink/hostd/api"
	"touchmark/tpm/ledgerstore/durable"
)

// Write writes a file durably, in the place of one that is there.
func Write(path string, content []byte, perm fs.FileMode) error {
	if err := durable.WriteFile(path, content, perm); err != nil {
		return api.Errorf(api.CannotWrite, "%s: %w", path, Plain(err))
	}
	return nil
}

// MakeDir makes a directory, and those above it, for everybody whom the process's
// file creation mask allows.
func MakeDir(dir string) error {
	if err := durable.MkdirAll(dir, 0o777&^umask); err != nil {
		return api.Errorf(api.CannotWrite, "%s: %w", dir, Plain(err))
	}
	return nil
}

// CheckRoom finds out whether there is room in dir.
func CheckRoom(dir string, size int64) error {
	return Plain(durable.Reserve(dir, size))
}

// Plain is an error of writing a file, with what to do about it where that is known.
func Plain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return errors.New("no room on the disk: make some, then try again")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("permission denied: sign as a user who may write there")
	case errors.Is(err, unix.EROFS):
		return errors.New("the file system is read-only")
	}
	return err
}

// File is a file to be written, and what stood there before.
type File struct {
	Path     string
	Data     []byte
	old      []byte
	existed  bool
	replaced bool
}

// WriteAll writes all files or, as far as the disk lets it, none: after a
// failure what was there before is there again. The writes wait for the disk,
// so they wait together.
func WriteAll(outs []*File) error {
	perm := 0o666 &^ umask
	errs := make([]error, len(outs))
	var wg sync.WaitGroup
	for i, o := range outs {
		wg.Go(func() { errs[i] = o.write(perm) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return api.Errorf(api.CannotWrite, "%s: %w; nothing was written", outs[i].Path, errors.Join(Plain(err), undo(outs, perm)))
		}
	}
	return nil
}

func (o *File) write(perm fs.FileMode) error {
	old, err := os.ReadFile(o.Path)
	o.old, o.existed = old, err == nil
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = durable.WriteFile(o.Path, o.Data, perm)
	}
	o.replaced = err == nil
	return err
}

func undo(outs []*File, perm fs.FileMode) error {
	var errs []error
	for _, o := range outs {
		switch {
		case !o.replaced:
		case o.existed:
			errs = append(errs, durable.WriteFile(o.Path, o.old, perm))
		default:
			errs = append(errs, os.Remove(o.Path))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("and putting back what was there failed: %w", err)
	}
	return nil
}

// umask is the process's file creation mask. Reading it means setting it, so it
// is read before anything else can be making a file.
var umask = func() fs.FileMode {
	old := unix.Umask(0o077)
	unix.Umask(old)
	return fs.FileMode(old)
}()

// WriteNew writes a file that must not be there yet.
func WriteNew(path string, content []byte) error {
	_, err := os.Lstat(path)
	if err == nil {
		return api.Errorf(api.CannotWrite, "%s exists already: name another file, or move it away", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = durable.WriteFile(path, content, 0o666&^umask)
	}
	if err != nil {
		return api.Errorf(api.CannotWrite, "%s: %w", path, Plain(err))
	}
	return nil
}

// WriteOnce writes a file, or finds it there from a call before.
func WriteOnce(path string, content []byte) error {
	if _, err := os.Lstat(path); err == nil {
		if old, err := api.ReadSmall(path, int64(len(content))); err == nil && bytes.Equal(old, content) {
			return nil
		}
	}
	return WriteNew(path, content)
}
