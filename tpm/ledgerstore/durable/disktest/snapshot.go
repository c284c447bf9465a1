package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// snapshotTries bounds Snapshot; a program that is being stopped settles long before.
const snapshotTries = 1000

// Snapshot copies the directory src, whose files a live program may be writing,
// into the new directory dst, as they were at one moment: what changes under
// the copy is copied again, since a name that was moved between the listing
// and the reading would be in the copy under neither name.
func Snapshot(dst, src string) error {
	if _, err := os.Stat(src); err != nil {
		return err
	}
	for range snapshotTries {
		before, err := stamps(src)
		if err == nil {
			err = os.CopyFS(dst, os.DirFS(src))
		}
		after, lost := stamps(src)
		if err == nil && lost == nil && slices.Equal(before, after) {
			return nil
		}
		if err := errors.Join(err, lost); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.RemoveAll(dst); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: still changing after %d copies", src, snapshotTries)
}

// stamps are the names under dir with what a write changes.
func stamps(dir string) (all []string, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := e.Info()
		if err != nil {
			return err
		}
		all = append(all, fmt.Sprint(path, i.Mode(), i.Size(), i.ModTime().UnixNano()))
		return nil
	})
	return all, err
}
