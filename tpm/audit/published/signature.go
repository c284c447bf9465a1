package published

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
)

// suffixes of files that hold detached signatures.
var suffixes = []string{".sig", ".asc", ".gpg", ".sign"}

// Covers names the file that a signature file is over, by its name as
// repositories give them: FILE.sig, FILE.asc, FILE.gpg, FILE.sign. ok is false
// for a name of another kind. InRelease is over itself, and so are in-toto's
// metadata and DSSE envelopes: see [Encloses].
func Covers(name string) (file string, ok bool) {
	if path.Base(name) == "InRelease" || Encloses(name) {
		return name, true
	}
	for _, s := range suffixes {
		if base, found := strings.CutSuffix(name, s); found && base != "" && !strings.HasSuffix(base, "/") {
			return base, true
		}
	}
	return "", false
}

// Encloses reports whether a file may hold signatures with what they are over, as
// JSON: *.link, *.layout, *.dsse and *.json, of at most MaxEnclosed bytes.
func Encloses(name string) bool {
	return slices.Contains([]string{".link", ".layout", ".dsse", ".json"}, path.Ext(name))
}

// MaxEnclosed bounds such a file in bytes: a document has 32 KiB, and whoever hides a
// signature in more than this hides it from the programs that would read it too.
const MaxEnclosed = 1 << 20

// Hash hashes what a signature is over as its format has it: the file beside
// it, or the text that it stands below. A signature that does not say with which
// hash it was made is taken for a raw one if the log has a key for such, or for
// SSH's. No states and no error: the signature is of a form that this log has not, or
// its file is not there or no text.
func (r *Repository) Hash(signature []byte, file func() (io.ReadCloser, error)) ([]hashstate.State, error) {
	format, s, f, err := read(signature)
	switch bare := slices.ContainsFunc(r.keys, (*certificate.Certificate).Bare); {
	case err != nil && !bare:
		return nil, nil
	case err != nil:
		return hash(sigformat.OpenPGPBinary, message.Algs(), file)
	case f.Clear:
		file = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.Text)), nil }
	}
	return hash(format, []message.Alg{s.Alg}, file)
}

// hash reads the file once for each hash.
func hash(format sigformat.Format, algs []message.Alg, file func() (io.ReadCloser, error)) (all []hashstate.State, err error) {
	for _, alg := range algs {
		r, err := file()
		if r == nil || err != nil {
			return nil, err
		}
		state, err := format.Digest(alg, r)
		err = errors.Join(err, r.Close())
		var text *sigformat.TextError
		switch {
		case errors.As(err, &text):
			return nil, nil
		case err != nil:
			return nil, err
		}
		all = append(all, state)
	}
	return all, nil
}

// read takes the one signature out of a signature file.
func read(content []byte) (format sigformat.Format, s *openpgp.Signature, f *openpgp.SignatureFile, err error) {
	if f, err = openpgp.ReadSignatureFile(content); err == nil {
		format, s, err = sigformat.FileFormat(f)
	}
	return format, s, f, err
}
