package sigformat

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/sshsig"
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
	label string // namespace of an SSH signature; of others what they are for
}

// Families of token keys that there are formats for.
const (
	FamilyOpenPGP = "openpgp-data"
	FamilySSH     = "sshsig"
	FamilyRaw     = "raw"
	FamilyInToto  = "in-toto"
	FamilyDSSE    = "dsse"
)

// The formats with one name, and how the names of the others begin: a label
// follows, which is a namespace for SSH and says the payload type for DSSE.
var (
	OpenPGPBinary    = Format{Name: "openpgp-binary", Family: FamilyOpenPGP, Over: "the file", kind: openpgp.TypeBinary}
	OpenPGPText      = Format{Name: "openpgp-text", Family: FamilyOpenPGP, Over: "the text with CR LF line ends", kind: openpgp.TypeText}
	OpenPGPCleartext = Format{Name: "openpgp-cleartext", Family: FamilyOpenPGP, Over: "the text without blanks at line ends", kind: openpgp.TypeText, trim: true}
	InTotoGPG        = Format{Name: "in-toto-gpg", Family: FamilyInToto, Over: "the metadata in canonical JSON", kind: openpgp.TypeBinary}
	InTotoNative     = Format{Name: "in-toto-native", Family: FamilyInToto, Over: "the metadata in canonical JSON", label: "native"}
)

const (
	sshPrefix  = "sshsig-"
	rawPrefix  = "raw-"
	dssePrefix = "dsse-"
)

// Formats are those with one name.
func Formats() []Format {
	return []Format{OpenPGPBinary, OpenPGPText, OpenPGPCleartext, InTotoGPG, InTotoNative}
}

// FormatOf finds a format by its name.
func FormatOf(name string) (Format, bool) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, true
		}
	}
	for _, f := range []Format{{Name: sshPrefix, Family: FamilySSH, Over: "the file"}, {Name: rawPrefix, Family: FamilyRaw, Over: "the file"},
		{Name: dssePrefix, Family: FamilyDSSE, Over: "the payload with its type (PAE)"}} {
		if label, ok := strings.CutPrefix(name, f.Name); ok && label != "" && (message.ValidToken(name) || f.Family == FamilySSH && message.ValidFormat(name)) {
			f.Name, f.label = name, label
			return f, true
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
	return append(names, sshPrefix+"NAMESPACE", rawPrefix+"LABEL", dssePrefix+"TYPE")
}

// Signs says why a key of the type that policies call algorithm does not make
// signatures of this format over files hashed with alg, nil if it does: tools
// would not accept them.
func (f Format) Signs(algorithm string, alg message.Alg) error {
	switch {
	case f.Family == FamilySSH && !sshsig.Takes(alg):
		return fmt.Errorf("%s: SSH signatures are over sha256 or sha512", f.Name)
	case f.Family == FamilySSH && signing.Known(algorithm):
		return nil
	case f.Family == FamilyRaw && algorithm == "ed25519":
		return fmt.Errorf("%s: an Ed25519 key signs messages, no digests", f.Name)
	case f.Enclosed() && !f.envelope().Takes(algorithm, alg):
		return fmt.Errorf("%s: nothing that verifies it takes a %s key over %s", f.Name, algorithm, alg)
	}
	return signing.CheckHash(algorithm, alg)
}

// Check checks a signature without its file: file is the digest of that, sign the
// one that the log announced; at, origin and job are the intent's. Of OpenPGP it
// cannot tell whether sign continues file, of the others it does.
func (f Format) Check(k *signing.Key, file, sign message.Digest, sig []byte, at time.Time, origin string, job message.JobID) error {
	if err := f.Signs(k.Algorithm(), file.Alg); err != nil {
		return err
	}
	if p := f.planDigest(k, file); p != nil {
		if err := f.CheckSign(k, file, sign); err != nil {
			return err
		}
		return p.Verify(sig)
	}
	s, err := openpgp.VerifyDigest(k, sig, sign.Sum)
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

// Plan plans the signature over the data whose state is s. The job and the log's
// origin go into a notation; created is the appliance's time in whole seconds,
// not before the key's creation.
func (f Format) Plan(k *signing.Key, s hashstate.State, created time.Time, origin string, job message.JobID) (*signing.Plan, error) {
	if !s.Alg().Valid() {
		return nil, errors.New(f.Name + ": no hash state")
	}
	if err := f.Signs(k.Algorithm(), s.Alg()); err != nil {
		return nil, err
	}
	if p := f.planDigest(k, message.Digest{Alg: s.Alg(), Sum: s.Digest()}); p != nil {
		return p, nil
	}
	return openpgp.PlanFile(k, f.kind, s, created, origin, job)
}

// planDigest plans a signature that is made of the file's digest alone, nil if
// this format's is not.
func (f Format) planDigest(k *signing.Key, file message.Digest) *signing.Plan {
	switch {
	case f.Packet():
		return nil
	case f.Family == FamilySSH:
		return sshsig.Plan(k, f.label, file)
	}
	return planRaw(k, file)
}

// Verify verifies sig over the file whose hash state, as the format has it, is s. The
// format's signatures are OpenPGP packets.
func (f Format) Verify(k *signing.Key, sig []byte, s hashstate.State) (*openpgp.Signature, error) {
	p, err := openpgp.ParseSignature(sig)
	if err != nil {
		return nil, err
	}
	if p.Type() != f.kind {
		return nil, fmt.Errorf("openpgp signature: of type %#02x, one of format %s has %#02x", p.Type(), f.Name, f.kind)
	}
	if p.Alg != s.Alg() {
		return nil, fmt.Errorf("openpgp signature: made with %s, the file was hashed with %s", p.Alg, s.Alg())
	}
	if err := p.Verify(k, s.Hash()); err != nil {
		return nil, err
	}
	return p, nil
}

// Made reports whether the key made a signature that is not OpenPGP's, in any
// namespace or for any purpose, over a file with one of these states.
func Made(k *signing.Key, sig []byte, over []hashstate.State) bool {
	namespace := sshsig.Namespace(sig)
	for _, s := range over {
		file := message.Digest{Alg: s.Alg(), Sum: s.Digest()}
		if sshsig.Takes(s.Alg()) && sshsig.Plan(k, namespace, file).Verify(sig) == nil || planRaw(k, file).Verify(sig) == nil {
			return true
		}
	}
	return false
}

// FileFormat is the format that the signature in a file is of, and what it says; nothing
// is verified.
func FileFormat(file *openpgp.SignatureFile) (Format, *openpgp.Signature, error) {
	s, err := file.Signature()
	switch {
	case err != nil:
		return Format{}, nil, err
	case file.Clear:
		return OpenPGPCleartext, s, nil
	case s.Text:
		return OpenPGPText, s, nil
	}
	return OpenPGPBinary, s, nil
}

// CheckSign checks that sign is what a key of this type signs for a file, as far
// as the file's digest tells.
func (f Format) CheckSign(k *signing.Key, file, sign message.Digest) error {
	want := message.Digest{Alg: file.Alg, Sum: sign.Sum}
	if p := f.planDigest(k, file); p != nil {
		want = message.Digest{Alg: p.Alg, Sum: p.Digest}
	}
	if !want.Equal(sign) {
		return fmt.Errorf("%s over %s is not signed as %s", f.Name, file, sign)
	}
	return nil
}

// Packet reports whether a signature of this format is an OpenPGP packet.
func (f Format) Packet() bool {
	return f.Family == FamilyOpenPGP || f.Family == FamilyInToto && f.label == ""
}

// Enclosed reports whether a signature of this format stands in one file with
// what it is over, as JSON (Enclose).
func (f Format) Enclosed() bool { return f.Family == FamilyInToto || f.Family == FamilyDSSE }

// Document says whether a request brings what the format is over as a document,
// which the appliance reads and shows by meaning, and not as a hash state.
func (f Format) Document() Use {
	switch {
	case f.Enclosed():
		return Demanded
	case f.Family == FamilyOpenPGP:
		return Allowed
	}
	return Never
}

// Use is whether there may be something.
type Use int

// The uses.
const (
	Never Use = iota
	Allowed
	Demanded
)

// Certified reports whether a key of a family and a type that policies call
// algorithm has an OpenPGP certificate with a user id: where its signatures are
// OpenPGP packets. Of family in-toto the type decides which of both forms it is.
func Certified(family, algorithm string) bool {
	for _, f := range Formats() {
		if f.Family == family && f.Packet() && slices.ContainsFunc(message.Algs(), func(a message.Alg) bool { return f.Signs(algorithm, a) == nil }) {
			return true
		}
	}
	return false
}

// Text reports whether the format is over text, not over any bytes.
func (f Format) Text() bool { return f.kind == openpgp.TypeText }

// Cleartext reports whether a signature of this format stands below its text, in
// one file (Clearsign).
func (f Format) Cleartext() bool { return f.trim }

// Digest hashes a file of this format.
func (f Format) Digest(alg message.Alg, r io.Reader) (hashstate.State, error) {
	h := hashstate.New(alg)
	w := f.Canonical(h)
	if _, err := io.Copy(w, r); err != nil {
		return hashstate.State{}, err
	}
	if err := w.Close(); err != nil {
		return hashstate.State{}, err
	}
	return h.State(), nil
}

// Canonical passes on to h what the format hashes of a file that is written to
// it. Write and Close fail where a text is none (docs/spec/signature.md §4.1), or
// metadata none (§4.5, §4.6); h has all of it only after Close.
func (f Format) Canonical(h io.Writer) io.WriteCloser {
	switch {
	case f.Text():
		return &text{h: h, trim: f.trim}
	case f.Enclosed():
		return f.envelope().Canonical(h)
	}
	return bytesAsTheyAre{h}
}

type bytesAsTheyAre struct{ io.Writer }

func (bytesAsTheyAre) Close() error { return nil }
