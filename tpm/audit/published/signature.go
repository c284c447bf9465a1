package published

import (
	"bytes"
	"errors"
	"io"
	"path"
	"strings"

	"touchmark/appliance/sigformat"
)

// suffixes of files that hold detached signatures.
var suffixes = []string{".sig", ".asc", ".gpg", ".sign"}

// Covers names the file that a signature file is over, by its name as
// repositories give them: FILE.sig, FILE.asc, FILE.gpg, FILE.sign. ok is false
// for a name of another kind. InRelease is over itself.
func Covers(name string) (file string, ok bool) {
	if path.Base(name) == "InRelease" {
		return name, true
	}
	for _, s := range suffixes {
		if base, found := strings.CutSuffix(name, s); found && base != "" && !strings.HasSuffix(base, "/") {
			return base, true
		}
	}
	return "", false
}

// Hash hashes what a signature is over as its format has it: the file beside
// it, or the text that it stands below. No state and no error: the signature is
// of a form that this log has not, or its file is no text.
func Hash(signature []byte, file func() (io.ReadCloser, error)) (*sigformat.State, error) {
	format, s, f, err := read(signature)
	if err != nil {
		return nil, nil
	}
	over := file
	if f.Clear {
		over = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.Text)), nil }
	}
	r, err := over()
	if r == nil || err != nil {
		return nil, err
	}
	state, err := format.Digest(s.Alg, r)
	err = errors.Join(err, r.Close())
	var text *sigformat.TextError
	if errors.As(err, &text) {
		return nil, nil
	}
	return &state, err
}

// read takes the one signature out of a signature file.
func read(content []byte) (format sigformat.Format, s *sigformat.Signature, f *sigformat.SignatureFile, err error) {
	if f, err = sigformat.ReadSignatureFile(content); err == nil {
		format, s, err = f.Format()
	}
	return format, s, f, err
}
