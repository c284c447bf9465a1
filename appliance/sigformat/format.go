package sigformat

import (
	"fmt"
	"io"
	"strings"
	"time"

	"touchmark/hostlink/message"
)

// Format is a kind of file signature. What an item of an approval is in digest
// and size is what the format's Canonical makes of the file.
type Format struct {
	Name   string // in approvals and policies
	Family string // of the token keys that make it: no other key does
	Over   string // what digest and size are of, for people

	kind  byte   // OpenPGP signature type
	trim  bool   // of text: blanks at the ends of lines, and the last line's end
	label string // namespace of an SSH signature; of a raw one what it is for
}

// Families of token keys that there are formats for.
const (
	FamilyOpenPGP = "openpgp-data"
	FamilySSH     = "sshsig"
	FamilyRaw     = "raw"
)

// The formats of OpenPGP, and how the names of the others begin: a label follows,
// which is a namespace for SSH.
var (
	OpenPGPBinary    = Format{Name: "openpgp-binary", Family: FamilyOpenPGP, Over: "the file", kind: typeBinary}
	OpenPGPText      = Format{Name: "openpgp-text", Family: FamilyOpenPGP, Over: "the text with CR LF line ends", kind: typeText}
	OpenPGPCleartext = Format{Name: "openpgp-cleartext", Family: FamilyOpenPGP, Over: "the text without blanks at line ends", kind: typeText, trim: true}
)

const (
	sshPrefix = "sshsig-"
	rawPrefix = "raw-"
)

// Formats are those with one name.
func Formats() []Format { return []Format{OpenPGPBinary, OpenPGPText, OpenPGPCleartext} }

// FormatOf finds a format by its name.
func FormatOf(name string) (Format, bool) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, true
		}
	}
	for prefix, family := range map[string]string{sshPrefix: FamilySSH, rawPrefix: FamilyRaw} {
		if label, ok := strings.CutPrefix(name, prefix); ok && label != "" && message.ValidToken(name) {
			return Format{Name: name, Family: family, Over: "the file", label: label}, true
		}
	}
	return Format{}, false
}

// FormatNames are the names of all formats, for people.
func FormatNames() []string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return append(names, sshPrefix+"NAMESPACE", rawPrefix+"LABEL")
}

// Signs says why a key of the type that policies call algorithm does not make
// signatures of this format over files hashed with alg, nil if it does: tools
// would not accept them.
func (f Format) Signs(algorithm string, alg message.Alg) error {
	switch {
	case f.Family == FamilySSH && sshHashes[alg] == "":
		return fmt.Errorf("%s: SSH signatures are over sha256 or sha512", f.Name)
	case f.Family == FamilySSH && keyTypes[algorithm] != nil:
		return nil
	case f.Family == FamilyRaw && algorithm == "ed25519":
		return fmt.Errorf("%s: an Ed25519 key signs messages, no digests", f.Name)
	}
	return CheckHash(algorithm, alg)
}

// Check checks a signature without its file: file is the digest of that, sign the
// one that the log announced; at, origin and job are the intent's. Of OpenPGP it
// cannot tell whether sign continues file, of the others it does.
func (f Format) Check(k *Key, file, sign message.Digest, sig []byte, at time.Time, origin string, job message.JobID) error {
	if err := f.Signs(k.name, file.Alg); err != nil {
		return err
	}
	if p := f.planDigest(k, file); p != nil {
		if err := f.CheckSign(k, file, sign); err != nil {
			return err
		}
		return p.Verify(sig)
	}
	s, err := k.VerifyDigest(sig, sign.Sum)
	switch {
	case err != nil:
		return err
	case s.Alg != sign.Alg:
		return fmt.Errorf("signed with %s, announced was %s", s.Alg, sign.Alg)
	case s.Text != f.Text():
		return fmt.Errorf("a signature of another type than %s", f.Name)
	case !s.Created.Equal(at):
		return fmt.Errorf("creation time %s is not the intent's %s", s.Created.Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case s.Origin != origin || s.Job != job:
		return fmt.Errorf("its notation names log %q and job %s", s.Origin, s.Job)
	}
	return nil
}

// CheckSign checks that sign is what a key of this type signs for a file, as far
// as the file's digest tells.
func (f Format) CheckSign(k *Key, file, sign message.Digest) error {
	want := message.Digest{Alg: file.Alg, Sum: sign.Sum}
	if p := f.planDigest(k, file); p != nil {
		want = message.Digest{Alg: p.Alg, Sum: p.Digest}
	}
	if !want.Equal(sign) {
		return fmt.Errorf("%s over %s is not signed as %s", f.Name, file, sign)
	}
	return nil
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
