package staging

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

// Look gives a short text that changes when a file that is signed does, by what
// the file system says of it, or the rule. It is "" while there is none.
func (r *Repository) Look() (string, error) {
	now, err := r.staged()
	if err != nil || len(now.list) == 0 {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, r.Form())
	for _, a := range now.list {
		st, err := os.Lstat(filepath.Join(r.Dir, a.name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", ErrMoved
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, a.name, durable.Identity(st))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// staged lists what is signed of the staging directory as it is now.
func (r *Repository) staged() (picked, error) {
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		return picked{}, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	now := r.pick(names)
	for i := range r.Sign {
		if s := &r.Sign[i]; len(now.list) > 0 && !s.pattern() && !slices.Contains(names, s.File) {
			return picked{}, fmt.Errorf("%w: %s", ErrPartial, s.File)
		}
	}
	return now, nil
}

// Snapshot takes snapshot number of the staging directory as it is now, durably,
// and gives what of it is to be signed, and Look as it was. ErrLocked, ErrMoved
// and ErrPartial pass: try again later.
func (r *Repository) Snapshot(number uint64) (items []round.Item, look string, err error) {
	if _, err := r.Published(); err != nil {
		return nil, "", err
	}
	if err := durable.OS.Mkdir(r.base(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, "", unwritable(err, "the directory that into is in")
	}
	dir := r.generation(number) + ".new"
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(r.generation(number))); err != nil {
		return nil, "", err
	}
	list, look, err := r.link(dir)
	if err == nil {
		items, err = r.own(dir, list)
	}
	if err == nil {
		r.at("taken")
		err = durable.OS.Rename(dir, r.generation(number))
	}
	if err == nil {
		err = durable.SyncAll(r.base())
	}
	if err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(dir))
	}
	return items, look, nil
}

// link makes dir a picture of the staging directory, under its lock.
func (r *Repository) link(dir string) (list []artifact, look string, err error) {
	release, err := r.lock()
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	r.at("locked")
	if look, err = r.Look(); err != nil {
		return nil, "", err
	}
	now, err := r.staged()
	if err == nil && len(now.list) == 0 {
		err = fmt.Errorf("%s has no file that the rule signs", r.Dir)
	}
	if err != nil {
		return nil, "", err
	}
	if err = r.takeAll(dir, now.outputs); err != nil {
		return nil, "", err
	}
	r.at("linked")
	if again, err := r.Look(); err != nil || again != look {
		return nil, "", cmp.Or(err, ErrMoved) // who changes it does not lock it
	}
	return now.list, look, nil
}

// Read gives a signed file of a snapshot that is not published yet, if it is no
// larger than one that somebody is shown.
func (r *Repository) Read(number uint64, name string) ([]byte, error) {
	return durable.ReadRegular(filepath.Join(r.generation(number), name), openpgp.MaxClear)
}

// own replaces the links of what is signed by copies that nobody else can
// change, and hashes them.
func (r *Repository) own(dir string, list []artifact) ([]round.Item, error) {
	var items []round.Item
	for _, a := range list {
		if err := a.check(); err != nil {
			return nil, err
		}
		path := filepath.Join(dir, a.name)
		if err := a.fits(path); err != nil {
			return nil, err
		}
		hashes, all := a.hashes()
		if err := durable.Copy(path, path+".new", all); err != nil {
			return nil, err
		}
		if err := durable.OS.Rename(path+".new", path); err != nil {
			return nil, err
		}
		for i, s := range a.sign {
			it, err := hashes[i].item(a.name, s)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.name, err)
			}
			items = append(items, it)
		}
	}
	return items, nil
}

// fits refuses what is too large for a format.
func (a artifact) fits(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	for _, s := range a.sign {
		if s.Format.Cleartext() && st.Size() > openpgp.MaxClear {
			return fmt.Errorf("%s has %d bytes: a text with its signature in one file has at most %d", a.name, st.Size(), openpgp.MaxClear)
		}
	}
	return nil
}

// hashing is one format's view of a file.
type hashing struct {
	h    *hashstate.Hasher
	into io.WriteCloser
}

// hashes prepares one for each format of an artifact; what is written to all
// goes to each.
func (a artifact) hashes() (list []hashing, all io.Writer) {
	var writers []io.Writer
	for _, s := range a.sign {
		h := hashstate.New(s.Alg)
		list = append(list, hashing{h, s.Format.Canonical(h)})
		writers = append(writers, list[len(list)-1].into)
	}
	return list, io.MultiWriter(writers...)
}

func (x hashing) item(name string, s *Sign) (round.Item, error) {
	if err := x.into.Close(); err != nil {
		return round.Item{}, err
	}
	st := x.h.State()
	digest := message.Digest{Alg: s.Alg, Sum: st.Digest()}
	return round.Item{Name: name, Format: s.Format.Name, Digest: digest.String(), Size: st.Count(), State: st.Bytes()}, nil
}
