package main

import (
	"fmt"
	"io"
	"os"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

// input is what a signature is to be over, reduced to what the appliance needs.
type input struct {
	path  string // "" for a pipe
	name  string // for the operator and the policy
	state hashstate.State
	kept  []byte // how it begins; all of it if it is small, or a text that the signature stands below
	was   os.FileInfo
	size  int64
}

// whole gives all of something small: the appliance reads and shows some of it.
func (in *input) whole() ([]byte, error) {
	if int64(len(in.kept)) != in.size {
		return nil, fmt.Errorf("%s is longer than %d bytes", in.describe(), len(in.kept))
	}
	return in.kept, nil
}

// read hashes what a call is over, to its end.
func read(c *gpgcompat.Call, alg message.Alg) (*input, error) {
	f, in, err := open(c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: nothing can be lost
	if in.was, err = f.Stat(); err != nil {
		return nil, api.Plain(err)
	}
	if in.was.IsDir() {
		return nil, fmt.Errorf("%s is a directory", c.File)
	}
	hasher, kept := hashstate.New(alg), &head{max: message.MaxDocument}
	if c.Format.Cleartext() {
		kept.max = openpgp.MaxClear + 1
	}
	into := c.Format.Canonical(hasher)
	in.size, err = io.CopyBuffer(io.MultiWriter(kept, into), struct{ io.Reader }{f}, make([]byte, chunk))
	if err == nil {
		err = into.Close()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", in.describe(), api.Plain(err))
	case in.size == 0:
		return nil, fmt.Errorf("%s is empty: what should have written it failed?", in.describe())
	case c.Format.Cleartext() && in.size > openpgp.MaxClear:
		return nil, fmt.Errorf("%s is longer than %d bytes: too much for a text with its signature", in.describe(), openpgp.MaxClear)
	}
	in.state, in.kept = hasher.State(), kept.kept
	if in.name = env("TOUCHMARK_NAME", ""); in.name == "" {
		in.name = c.Name(kept.kept)
	}
	return in, in.unchanged()
}

const chunk = 256 << 10 // stays in a processor's cache between read and hash

// open opens what a call names.
func open(c *gpgcompat.Call) (*os.File, *input, error) {
	in := &input{}
	if c.File == "-" {
		return os.Stdin, in, nil
	}
	if fd := c.FD(c.File); fd >= 0 {
		f := os.NewFile(uintptr(fd), c.File)
		if f == nil {
			return nil, nil, fmt.Errorf("%s is no file descriptor", c.File)
		}
		return f, in, nil
	}
	in.path = c.File
	f, err := os.Open(c.File)
	if err != nil {
		return nil, nil, api.Plain(err)
	}
	return f, in, nil
}

func (in *input) describe() string {
	if in.path == "" {
		return "what was piped in"
	}
	return in.path
}

// unchanged confirms that the path still names the file that was hashed.
func (in *input) unchanged() error {
	if in.path == "" || !in.was.Mode().IsRegular() {
		return nil
	}
	now, err := os.Stat(in.path)
	switch {
	case err != nil:
		return api.Plain(err)
	case !os.SameFile(now, in.was) || !now.ModTime().Equal(in.was.ModTime()) || now.Size() != in.size:
		return fmt.Errorf("%s was changed in the meantime: wait until nothing writes to it, then try again", in.path)
	}
	return nil
}

// head keeps how what is written to it begins.
type head struct {
	kept []byte
	max  int
}

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(h.max-len(h.kept), len(p))]...)
	return len(p), nil
}
