// Package envelope is about files that hold what is signed together with its signatures,
// as JSON: in-toto's metadata, whose signatures are OpenPGP packets or of its own form
// (securesystemslib), and DSSE envelopes.
//
// Files are read strictly, so that no two readers find two things to be signed in one, and
// are bounded (strictjson.MaxBytes); no signature is verified here. The package is pure.
// docs/spec/signature.md §4.5 and §4.6 draw what is signed.
package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"

	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// Form is a form of files with signatures.
type Form struct {
	Name string // of the format, which errors begin with
	Kind Kind
	Type string // of payloads, of DSSE only
}

// Kind is how the signatures in a file look.
type Kind byte

// The kinds.
const (
	Packet Kind = iota // OpenPGP packets
	Native             // of in-toto's own
	DSSE
)

// signer is a kind of signatures with a type of keys.
type signer struct {
	kind      Kind
	algorithm string
}

// hashes are the hashes that verifiers take: in-toto's library knows
// OpenPGP over SHA-256 and no ECDSA there, of bare ECDSA the hash follows from the
// curve, and of bare RSA its schemes have SHA-256. An Ed25519 key would have to sign
// the whole document, which is more than tokens take, and which no log of digests
// could be checked by.
var hashes = map[signer]message.Alg{
	{Packet, "rsa2048"}: message.SHA256, {Packet, "rsa3072"}: message.SHA256, {Packet, "rsa4096"}: message.SHA256, {Packet, "ed25519"}: message.SHA256,
	{Native, "p256"}: message.SHA256, {Native, "p384"}: message.SHA384,
	{DSSE, "p256"}: message.SHA256, {DSSE, "p384"}: message.SHA384,
	{DSSE, "rsa2048"}: message.SHA256, {DSSE, "rsa3072"}: message.SHA256, {DSSE, "rsa4096"}: message.SHA256,
}

// Takes reports whether verifiers take signatures of this form by keys of the type that
// policies call algorithm over data hashed with alg.
func (f Form) Takes(algorithm string, alg message.Alg) bool {
	return hashes[signer{f.Kind, algorithm}] == alg && alg != ""
}

// Canonical passes on to h what is signed in a file that is written to it: one that holds
// metadata, or a payload, with or without signatures. h has all of it only after Close,
// which fails where the file is none.
func (f Form) Canonical(h io.Writer) io.WriteCloser { return &reader{f: f, h: h} }

type reader struct {
	f    Form
	h    io.Writer
	file bytes.Buffer
	long bool
}

// Write implements io.Writer. A file that is too long for one write is so for
// those after it and for Close: the beginning of a file is never taken for it.
func (e *reader) Write(p []byte) (int, error) {
	if e.long = e.long || e.file.Len()+len(p) > strictjson.MaxBytes; e.long {
		return 0, e.tooLong()
	}
	return e.file.Write(p)
}

func (e *reader) tooLong() error {
	return fmt.Errorf("%s: a file of more than %d bytes", e.f.Name, strictjson.MaxBytes)
}

// Close implements io.Closer.
func (e *reader) Close() error {
	if e.long {
		return e.tooLong()
	}
	c, err := e.f.open(e.file.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", e.f.Name, err)
	}
	_, err = e.h.Write(c.document)
	return err
}

// container is such a file, taken apart.
type container struct {
	document   []byte           // what signatures are over
	content    strictjson.Value // of the file: metadata, or base64 of the payload
	signatures strictjson.Array
}

// open reads a file with or without signatures.
func (f Form) open(file []byte) (*container, error) {
	v, err := strictjson.Parse(file)
	if err != nil && f.Kind != DSSE {
		// The document itself is no JSON where control characters stand in strings.
		if v, _ = strictjson.ParseCanonical(file); v != nil {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	o, ok := v.(*strictjson.Object)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	if f.Kind == DSSE {
		return f.openEnvelope(o, file)
	}
	return openMetablock(o)
}

// openMetablock reads in-toto's metadata: {"signatures": …, "signed": …}, or what
// would stand in signed.
func openMetablock(o *strictjson.Object) (c *container, err error) {
	c = &container{content: o}
	if signed, ok := o.Get("signed"); ok {
		if c.signatures, err = signaturesOf(o, 2); err != nil {
			return nil, err
		}
		c.content = signed
	}
	c.document, err = strictjson.Canonical(c.content)
	return c, err
}

// signaturesOf are those of an object that must have so many members.
func signaturesOf(o *strictjson.Object, members int) (strictjson.Array, error) {
	v, _ := o.Get("signatures")
	list, ok := v.(strictjson.Array)
	if !ok || len(o.Members) != members {
		return nil, errors.New(`no list "signatures", or other members beside it`)
	}
	for _, s := range list {
		if _, ok := s.(*strictjson.Object); !ok {
			return nil, errors.New(`"signatures" has something that is no object`)
		}
	}
	return list, nil
}

// openEnvelope reads a DSSE envelope or what would be the payload of one.
func (f Form) openEnvelope(o *strictjson.Object, file []byte) (c *container, err error) {
	kind, enveloped := o.Get("payloadType")
	if !enveloped {
		return &container{document: f.PAE(file), content: base64.StdEncoding.EncodeToString(file)}, nil
	}
	if kind != f.PayloadType() {
		return nil, fmt.Errorf("a payload of another type than %s", f.PayloadType())
	}
	c = new(container)
	if c.signatures, err = signaturesOf(o, 3); err != nil {
		return nil, err
	}
	c.content, _ = o.Get("payload")
	text, ok := c.content.(string)
	payload, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok || err != nil || base64.StdEncoding.EncodeToString(payload) != text {
		return nil, errors.New(`"payload" is no base64`)
	}
	if _, err := strictjson.Parse(payload); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	c.document = f.PAE(payload)
	return c, nil
}

// PayloadType is what DSSE's payloads are: application/vnd.TYPE+json. It is empty for
// other kinds.
func (f Form) PayloadType() string {
	if f.Kind != DSSE {
		return ""
	}
	return "application/vnd." + f.Type + "+json"
}

// PAE is DSSE's pre-authentication encoding of a payload: what is signed.
func (f Form) PAE(payload []byte) []byte {
	return append(f.paeHead(len(payload)), payload...)
}

func (f Form) paeHead(payload int) []byte {
	kind := f.PayloadType()
	return fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(kind), kind, payload)
}

// PayloadOf is the inverse of PAE: nothing else is read.
func (f Form) PayloadOf(pae []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(pae, f.paeStart())
	digits, payload, found := bytes.Cut(rest, []byte(" "))
	n, err := strconv.Atoi(string(digits))
	if !ok || !found || err != nil || n != len(payload) || !bytes.Equal(f.PAE(payload), pae) {
		return nil, fmt.Errorf("not DSSE's encoding (PAE) of a payload of type %s", f.PayloadType())
	}
	return payload, nil
}

func (f Form) paeStart() []byte {
	kind := f.PayloadType()
	return fmt.Appendf(nil, "DSSEv1 %d %s ", len(kind), kind)
}

// Enclose puts a signature, as signing.Plan.Finish made it, into a file: one with or
// without signatures. Those by other keys are kept, one by this key is replaced.
func (f Form) Enclose(k *signing.Key, file, sig []byte) ([]byte, error) {
	c, err := f.open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	made, err := f.object(k, sig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	var kept strictjson.Array
	for _, s := range c.signatures {
		if !f.By(k, s.(*strictjson.Object)) {
			kept = append(kept, s)
		}
	}
	whole := new(strictjson.Object)
	if f.Kind == DSSE {
		whole.Set("payload", c.content)
		whole.Set("payloadType", f.PayloadType())
	}
	whole.Set("signatures", append(kept, made))
	if f.Kind != DSSE {
		whole.Set("signed", c.content)
	}
	if text := strictjson.Text(whole); len(text) <= strictjson.MaxBytes {
		return text, nil
	}
	return nil, fmt.Errorf("%s: with its signatures the file is longer than %d bytes", f.Name, strictjson.MaxBytes)
}

// By reports whether a signature of a file names this key.
func (f Form) By(k *signing.Key, o *strictjson.Object) bool {
	id, _ := o.Get("keyid")
	return id == f.KeyID(k)
}

// Open takes a key's signature out of a file, as signing.Plan.Finish made it, and
// what the file says is signed. It verifies nothing.
func (f Form) Open(k *signing.Key, file []byte) (document, sig []byte, err error) {
	c, err := f.open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	for _, s := range c.signatures {
		if !f.By(k, s.(*strictjson.Object)) {
			continue
		}
		if sig, err = f.Signature(k, s.(*strictjson.Object), c.document); err != nil {
			return nil, nil, fmt.Errorf("%s: signature by %s: %w", f.Name, f.KeyID(k), err)
		}
		return c.document, sig, nil
	}
	return nil, nil, fmt.Errorf("%s: no signature by key %s in the file", f.Name, f.KeyID(k))
}
