package sigformat

import (
	"io"

	"touchmark/hostlink/message"
)

// Format is a kind of file signature. What an item of an approval is in digest
// and size is what the format's Canonical makes of the file.
type Format struct {
	Name   string // in approvals and policies
	Family string // of the token keys that make it: no other key does
	Over   string // what digest and size are of, for people

	kind byte // OpenPGP signature type
	trim bool // of text: blanks at the ends of lines, and the last line's end
}

// FamilyOpenPGP is that of keys that sign data with OpenPGP.
const FamilyOpenPGP = "openpgp-data"

// The formats that there are.
var (
	OpenPGPBinary    = Format{Name: "openpgp-binary", Family: FamilyOpenPGP, Over: "the file", kind: typeBinary}
	OpenPGPText      = Format{Name: "openpgp-text", Family: FamilyOpenPGP, Over: "the text with CR LF line ends", kind: typeText}
	OpenPGPCleartext = Format{Name: "openpgp-cleartext", Family: FamilyOpenPGP, Over: "the text without blanks at line ends", kind: typeText, trim: true}
)

// Formats are all of them.
func Formats() []Format { return []Format{OpenPGPBinary, OpenPGPText, OpenPGPCleartext} }

// FormatOf finds a format by its name.
func FormatOf(name string) (Format, bool) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, true
		}
	}
	return Format{}, false
}

// FormatNames are the names of all formats.
func FormatNames() []string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return names
}

// Text reports whether the format is over text, not over any bytes.
func (f Format) Text() bool { return f.kind == typeText }

// Cleartext reports whether a signature of this format stands below its text, in
// one file (Clearsign).
func (f Format) Cleartext() bool { return f.trim }

// Digest hashes a file of this format.
func (f Format) Digest(alg message.Alg, r io.Reader) (State, error) {
	h := NewHasher(alg)
	w := f.Canonical(h)
	if _, err := io.Copy(w, r); err != nil {
		return State{}, err
	}
	if err := w.Close(); err != nil {
		return State{}, err
	}
	return h.State(), nil
}

// Canonical passes on to h what the format hashes of a file that is written to
// it. Write and Close fail where a text is none (docs/spec/signature.md §4.1);
// h has all of it only after Close.
func (f Format) Canonical(h *Hasher) io.WriteCloser {
	if f.Text() {
		return &text{h: h, trim: f.trim}
	}
	return bytesAsTheyAre{h}
}

type bytesAsTheyAre struct{ *Hasher }

func (bytesAsTheyAre) Close() error { return nil }
