package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/hostd/api"
	"touchmark/tpm/ledgerstore/durable"
)

// Suffixes of what sign writes beside a file.
const (
	sigSuffix   = ".sig"
	textSuffix  = ".asc" // armored, or a text with its signature
	proofSuffix = ".tmproof"
)

// roomPerFile is more than a signature and its proof take on disk together.
const roomPerFile = 128 << 10

// checkOutputs finds out, before anybody is asked to sign, whether the results
// can be written beside the files: permission, room, and nothing in the way.
func checkOutputs(paths []string, format sigformat.Format) error {
	room := int64(roomPerFile)
	if format.Cleartext() || format.Enclosed() {
		room += openpgp.MaxSignatureFile
	}
	dirs := map[string]int{}
	for _, p := range paths {
		dirs[filepath.Dir(p)]++
		for _, s := range []string{sigSuffix, textSuffix, proofSuffix} {
			st, err := os.Lstat(p + s)
			if err == nil && !st.Mode().IsRegular() {
				return exitf(api.CannotWrite, "%s is in the way and not a regular file: move it away", p+s)
			}
		}
	}
	for dir, n := range dirs {
		if err := checkRoom(dir, int64(n)*room); err != nil {
			return exitf(api.CannotWrite, "cannot write signatures in %s: %w", dir, err)
		}
	}
	return nil
}

// checkRoom finds out whether there is room in dir.
func checkRoom(dir string, size int64) error {
	return plainWrite(durable.Reserve(dir, size))
}

func plainWrite(err error) error {
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

// signatureFile is what is written of a key's signature over h. One that stands
// in a file with what it is over is put into what the file holds now, if that
// still is what was signed.
func (h *hashed) signatureFile(k *signing.Key, sig []byte, armor bool) (*output, error) {
	switch {
	case h.format.Enclosed() || h.format.Cleartext():
		return h.wholeFile(k, sig)
	case h.format.Family == sigformat.FamilyOpenPGP && armor:
		return &output{path: h.path + textSuffix, data: openpgp.ArmorSignature(sig)}, nil
	}
	return &output{path: h.path + sigSuffix, data: sig}, nil
}

func (h *hashed) wholeFile(k *signing.Key, sig []byte) (*output, error) {
	content, err := h.again()
	if err != nil {
		return nil, err
	}
	o := &output{path: h.path + textSuffix}
	if h.format.Enclosed() {
		if o.path = h.path + sigSuffix; h.inPlace {
			o.path = h.path
		}
		o.data, err = h.format.Enclose(k, content, sig)
	} else {
		o.data, err = openpgp.Clearsign(content, sig)
	}
	if err != nil {
		return nil, exitf(api.Evidence, "%w", err)
	}
	return o, nil
}

// output is a file to be written, and what stood there before.
type output struct {
	path     string
	data     []byte
	old      []byte
	existed  bool
	replaced bool
}

// writeAll writes all files or, as far as the disk lets it, none: after a
// failure what was there before is there again. The writes wait for the disk,
// so they wait together.
func writeAll(outs []*output) error {
	perm := 0o666 &^ umask
	errs := make([]error, len(outs))
	var wg sync.WaitGroup
	for i, o := range outs {
		wg.Go(func() { errs[i] = o.write(perm) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return exitf(api.CannotWrite, "%s: %w; nothing was written", outs[i].path, errors.Join(plainWrite(err), undo(outs, perm)))
		}
	}
	return nil
}

func (o *output) write(perm fs.FileMode) error {
	old, err := os.ReadFile(o.path)
	o.old, o.existed = old, err == nil
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = durable.WriteFile(o.path, o.data, perm)
	}
	o.replaced = err == nil
	return err
}

func undo(outs []*output, perm fs.FileMode) error {
	var errs []error
	for _, o := range outs {
		switch {
		case !o.replaced:
		case o.existed:
			errs = append(errs, durable.WriteFile(o.path, o.old, perm))
		default:
			errs = append(errs, os.Remove(o.path))
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
