// Package pacman holds a pacman database that a host made against the one that
// repo-add makes of an approver's own packages: names, versions, sums,
// dependencies and everything else that pacman acts on must be the same.
//
// A database is an archive of folders NAME-VERSION/ with a file desc and, in a
// .files database, a file files; both are blocks of a line %KEY%, values and an
// empty line. Anything else in it is refused. The host's archive is hostile: it
// is unpacked by no program here, only read as a stream (bsdtar takes off the
// compression), with bounds.
package pacman

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Database is what stands in a database, by folder: NAME-VERSION.
type Database map[string]Entry

// Entry is one package: its blocks by key, such as "SHA256SUM".
type Entry map[string][]string

// read takes an archive apart.
func read(r io.Reader) (Database, error) {
	d := Database{}
	t := tar.NewReader(&bounded{r: r, left: maxArchive})
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return d, nil
		case err != nil:
			return nil, fmt.Errorf("no archive that can be read: %w", err)
		case len(d) > maxPackages:
			return nil, fmt.Errorf("more than %d packages", maxPackages)
		}
		if err := d.member(h, t); err != nil {
			return nil, err
		}
	}
}

// bounded ends with an error, not with an end of file.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("more than %d bytes", int64(maxArchive))
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (d Database) member(h *tar.Header, r io.Reader) error {
	folder, file, _ := strings.Cut(h.Name, "/")
	known := h.Typeflag == tar.TypeDir && file == "" || h.Typeflag == tar.TypeReg && (file == "desc" || file == "files")
	if !known || folder == "" || folder[0] == '.' {
		return fmt.Errorf("it has a member %q, which repo-add does not write", h.Name)
	}
	if d[folder] == nil {
		d[folder] = Entry{}
	}
	if file == "" {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(r, maxMember+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", h.Name, err)
	case len(text) > maxMember:
		return fmt.Errorf("%s has more than %d bytes", h.Name, maxMember)
	}
	if err := d[folder].blocks(string(text)); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	if n, v := d[folder]["NAME"], d[folder]["VERSION"]; file == "desc" && (len(n) != 1 || len(v) != 1 || n[0]+"-"+v[0] != folder) {
		return fmt.Errorf("%s names %q %q, not the package of its folder", h.Name, n, v)
	}
	return nil
}

// blocks reads the text of a member.
func (e Entry) blocks(text string) error {
	for text = strings.TrimRight(text, "\n"); text != ""; {
		block, rest, _ := strings.Cut(text, "\n\n")
		text = strings.TrimLeft(rest, "\n")
		lines := strings.Split(block, "\n")
		key := strings.Trim(lines[0], "%")
		if len(key) == 0 || lines[0] != "%"+key+"%" {
			return fmt.Errorf("%.60q is no key", lines[0])
		}
		if _, twice := e[key]; twice {
			return fmt.Errorf("%s stands there twice", key)
		}
		if slices.Contains(ignored, key) && !oneWord(lines[1:]) {
			return fmt.Errorf("%s has the value %s, which repo-add does not write", key, short(lines[1:]))
		}
		e[key] = lines[1:]
	}
	return nil
}

// ignored are keys that repo-add writes or leaves out by its version or by what
// lies beside a package: the sum that counts is SHA256SUM, and pacman verifies a
// package's own signature by itself.
var ignored = []string{"MD5SUM", "PGPSIG"}

// oneWord: the value is one line of base64 or hex. pacman takes a line that is a
// key for one wherever it stands: behind a value that is left aside, it would
// bring in what nobody compared.
func oneWord(values []string) bool {
	const word = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/="
	return len(values) == 1 && values[0] != "" && strings.Trim(values[0], word) == ""
}

// ErrDiffers says that a host's database is not that of the approver's packages.
var ErrDiffers = errors.New("is not the database of your packages")

// differ names the first thing, in the order of folders and keys, in which the
// host's database is not the approver's own.
func differ(theirs, own Database) error {
	for _, folder := range slices.Sorted(maps.Keys(theirs)) {
		mine, ok := own[folder]
		if !ok {
			return fmt.Errorf("%w: it has %s, %s", ErrDiffers, folder, own.newest(theirs[folder]["NAME"]))
		}
		if key, ok := mine.same(theirs[folder]); !ok {
			return fmt.Errorf("%w: %s of %s is %s, with yours %s", ErrDiffers, key, folder, short(theirs[folder][key]), short(mine[key]))
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(own)) {
		if _, ok := theirs[folder]; !ok {
			return fmt.Errorf("%w: it has no %s, your packages have", ErrDiffers, folder)
		}
	}
	return nil
}

// newest says which version of a package the approver has in place of another.
func (d Database) newest(name []string) string {
	for folder, e := range d {
		if len(name) == 1 && slices.Equal(e["NAME"], name) {
			return "the newest of yours is " + folder
		}
	}
	return "your packages have not"
}

// short is a list of values in one line that can be read.
func short(values []string) string {
	s := fmt.Sprintf("%q", values)
	if len(s) > 160 {
		s = s[:160] + "…"
	}
	return s
}

// same names the first key whose values are not the same.
func (e Entry) same(o Entry) (key string, ok bool) {
	keys := append(slices.Collect(maps.Keys(e)), slices.Collect(maps.Keys(o))...)
	slices.Sort(keys)
	for _, k := range keys {
		_, here := e[k]
		_, there := o[k]
		if !slices.Contains(ignored, k) && (here != there || !slices.Equal(e[k], o[k])) {
			return k, false
		}
	}
	return "", true
}
