package durable

import (
	"errors"
	"path/filepath"
	"strings"
)

// Sweep removes what replacements left in a directory whose process died before
// it could rename or remove its new file. Nobody else may be writing there. A
// directory that does not exist holds none.
func Sweep(d Disk, dir string) error {
	names, err := d.List(dir)
	if err != nil {
		return Error("list", dir, IgnoreMissing(err))
	}
	var errs []error
	for _, n := range names {
		if strings.HasPrefix(n, tempPrefix) && strings.HasSuffix(n, tempSuffix) {
			errs = append(errs, Error("remove", filepath.Join(dir, n), IgnoreMissing(d.Remove(filepath.Join(dir, n)))))
		}
	}
	return errors.Join(errs...)
}
