package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/hostd/verify"
	"touchmark/tpm/ledgerstore/durable"
)

// output is where a signature goes, and from fill on what is written there.
type output struct {
	path   string   // a file to be made or replaced, "" if there is none
	stream *os.File // else this: stdout, a descriptor, or something that is no regular file
	data   []byte
	proof  string // path of the proof, "" to keep none
	proven []byte
}

// room is more than a signature, or a text with one, takes on disk.
const room = openpgp.MaxSignatureFile

// newOutput finds out, before anybody is asked to sign, whether the result can
// be written.
func newOutput(c *gpgcompat.Call) (*output, error) {
	switch fd := c.FD(c.Output); {
	case c.Output == "-":
		return &output{stream: os.Stdout}, nil
	case fd >= 0:
		f := os.NewFile(uintptr(fd), c.Output)
		if f == nil {
			return nil, fmt.Errorf("%s is no file descriptor", c.Output)
		}
		return &output{stream: f}, nil
	}
	st, err := os.Stat(c.Output)
	switch {
	case err == nil && st.IsDir():
		return nil, fmt.Errorf("%s is a directory", c.Output)
	case err == nil && !st.Mode().IsRegular():
		f, err := os.OpenFile(c.Output, os.O_WRONLY, 0)
		return &output{stream: f}, err
	case err == nil && !c.Yes:
		return nil, fmt.Errorf("%s exists: remove it, or say --yes", c.Output)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	switch err := durable.Reserve(filepath.Dir(c.Output), room); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot write %s: there is no directory %s", c.Output, filepath.Dir(c.Output))
	case err != nil:
		return nil, fmt.Errorf("cannot write %s: %w", c.Output, err)
	}
	return &output{path: c.Output}, nil
}

// fill makes what is to be written of a signature.
func (o *output) fill(c *gpgcompat.Call, in *input, sig, proof []byte, f *verify.Facts) (err error) {
	switch {
	case c.Format.Cleartext():
		o.data, err = openpgp.Clearsign(in.kept, sig)
	case c.Armor:
		o.data = openpgp.ArmorSignature(sig)
	default:
		o.data = sig
	}
	if dir := os.Getenv("TOUCHMARK_PROOFS"); dir != "" {
		o.proof, o.proven = filepath.Join(dir, f.Job.String()+".tmproof"), proof
	}
	return err
}

// writeAll writes proofs, then signatures: files all or none, streams last,
// since what they took cannot be taken back.
func writeAll(outs []*output) error {
	for _, o := range outs {
		if o.proof != "" {
			if err := durable.WriteFile(o.proof, o.proven, 0o666&^umask); err != nil {
				return fmt.Errorf("keeping the proof: %w", err)
			}
		}
	}
	for i, o := range outs {
		if o.path == "" {
			continue
		}
		if err := durable.WriteFile(o.path, o.data, 0o666&^umask); err != nil {
			return errors.Join(err, remove(outs[:i]))
		}
	}
	for _, o := range outs {
		if o.stream == nil {
			continue
		}
		if _, err := o.stream.Write(o.data); err != nil {
			return errors.Join(err, remove(outs))
		}
	}
	return nil
}

// remove takes back what was written, rather than leave a part of it.
func remove(outs []*output) error {
	var errs []error
	for _, o := range outs {
		if o.path != "" {
			errs = append(errs, os.Remove(o.path))
		}
	}
	return errors.Join(errs...)
}

// umask is the process's file creation mask; reading it means setting it.
var umask = func() fs.FileMode {
	old := unix.Umask(0o077)
	unix.Umask(old)
	return fs.FileMode(old)
}()
