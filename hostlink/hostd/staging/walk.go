package staging

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"touchmark/tpm/ledgerstore/durable"
)

// Bounds of a snapshot, each with its reason.
const (
	// maxFiles: each file is a link that is made under the lock.
	maxFiles = 1 << 18
	// maxDepth: each directory in another is one more that is open.
	maxDepth = 64
	// atOnce is how many names are read of a directory before they are looked at.
	atOnce = 1024
)

// walk puts a staging directory into a snapshot. Every name is one in an open
// directory: who swaps a directory for a symbolic link meanwhile has nothing
// taken that is elsewhere.
type walk struct {
	r       *Repository
	outputs map[string]bool // what is made by the rule is not taken
	left    int             // files that may yet be taken
}

// takeAll puts the staging directory, or the one that a link of its name leads
// to, into the snapshot.
func (r *Repository) takeAll(dir string, outputs map[string]bool) error {
	from, err := durable.OpenDir(r.Dir)
	if err != nil {
		return err
	}
	return (&walk{r, outputs, maxFiles}).directory(from, "", dir, 0)
}

// directory makes to a picture of an open directory, rel below the staging one,
// and closes it.
func (w *walk) directory(from *os.File, rel, to string, depth int) (err error) {
	defer func() { _ = from.Close() }() // read only: nothing can be lost
	if depth > maxDepth {
		return fmt.Errorf("%s: directories are nested more than %d deep", from.Name(), maxDepth)
	}
	if err := mkdirLike(to, from); err != nil {
		return err
	}
	for {
		entries, err := from.ReadDir(atOnce)
		for _, e := range entries {
			if err := w.take(from, e, filepath.Join(rel, e.Name()), filepath.Join(to, e.Name()), depth); err != nil {
				return err
			}
		}
		if err != nil {
			return ignoreEnd(err)
		}
	}
}

func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// take puts one entry of a directory into the snapshot.
func (w *walk) take(from *os.File, e fs.DirEntry, rel, to string, depth int) error {
	if w.left--; w.left < 0 {
		return fmt.Errorf("%s has more than %d files: have fewer in one rule", w.r.Dir, maxFiles)
	}
	switch {
	case w.r.skipped(e.Name()) || w.outputs[rel]:
		return nil
	case e.IsDir():
		w.r.at("directory")
		sub, err := durable.OpenDirAt(from, e.Name())
		if err != nil {
			return err
		}
		return w.directory(sub, rel, to, depth+1)
	case e.Type() == fs.ModeSymlink:
		target, err := durable.ReadlinkAt(from, e.Name())
		if err == nil {
			err = durable.Symlink(target, to)
		}
		return err
	case e.Type().IsRegular():
		return durable.LinkOrCopyAt(from, e.Name(), to)
	}
	return fmt.Errorf("%s is neither file, directory nor symbolic link: it cannot be published", filepath.Join(from.Name(), e.Name()))
}

// mkdirLike makes a directory with the permissions of another, whatever the
// umask; but nobody else may write in what is published.
func mkdirLike(dir string, like *os.File) error {
	st, err := like.Stat()
	if err != nil {
		return err
	}
	return errors.Join(durable.OS.Mkdir(dir, 0o700), os.Chmod(dir, st.Mode().Perm()&^0o022|0o700))
}
