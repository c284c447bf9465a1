package sigformat

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"

	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// enclosedKind is a form of enclosed signatures with a type of keys.
type enclosedKind struct {
	form      enclosedForm
	algorithm string
}

type enclosedForm byte

const (
	packetForm enclosedForm = iota // OpenPGP packets
	nativeForm                     // of in-toto's own
	dsseForm
)

func (f Format) form() enclosedForm {
	switch {
	case f.Family == FamilyDSSE:
		return dsseForm
	case f.Packet():
		return packetForm
	}
	return nativeForm
}

// enclosedHashes are the hashes that verifiers take: in-toto's library knows
// OpenPGP over SHA-256 and no ECDSA there, of bare ECDSA the hash follows from the
// curve, and of bare RSA its schemes have SHA-256. An Ed25519 key would have to sign
// the whole document, which is more than tokens take, and which no log of digests
// could be checked by.
var enclosedHashes = map[enclosedKind]only{
	{packetForm, "rsa2048"}: {message.SHA256}, {packetForm, "rsa3072"}: {message.SHA256}, {packetForm, "rsa4096"}: {message.SHA256}, {packetForm, "ed25519"}: {message.SHA256},
	{nativeForm, "p256"}: {message.SHA256}, {nativeForm, "p384"}: {message.SHA384},
	{dsseForm, "p256"}: {message.SHA256}, {dsseForm, "p384"}: {message.SHA384},
	{dsseForm, "rsa2048"}: {message.SHA256}, {dsseForm, "rsa3072"}: {message.SHA256}, {dsseForm, "rsa4096"}: {message.SHA256},
}

type only struct{ alg message.Alg }

func (o only) is(alg message.Alg) bool { return o.alg == alg }

// enclosed hashes what is signed in a file that holds metadata, or a payload,
// with or without signatures.
type enclosed struct {
	f    Format
	h    io.Writer
	file bytes.Buffer
	long bool
}

// Write implements io.Writer. A file that is too long for one write is so for
// those after it and for Close: the beginning of a file is never taken for it.
func (e *enclosed) Write(p []byte) (int, error) {
	if e.long = e.long || e.file.Len()+len(p) > strictjson.MaxBytes; e.long {
		return 0, e.tooLong()
	}
	return e.file.Write(p)
}

func (e *enclosed) tooLong() error {
	return fmt.Errorf("%s: a file of more than %d bytes", e.f.Name, strictjson.MaxBytes)
}

// Close implements io.Closer.
func (e *enclosed) Close() error {
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

// DocumentOf gives the bytes that the format is over: all that Canonical makes of
// a file.
func (f Format) DocumentOf(file []byte) ([]byte, error) {
	var b bytes.Buffer
	w := f.Canonical(&b)
	if _, err := w.Write(file); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// container is a file of an enclosed format, taken apart.
type container struct {
	document   []byte           // what signatures are over
	content    strictjson.Value // of the file: metadata, or base64 of the payload
	signatures strictjson.Array
}

// open reads a file with or without signatures.
func (f Format) open(file []byte) (*container, error) {
	v, err := strictjson.Parse(file)
	if err != nil && f.Family == FamilyInToto {
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
	if f.Family == FamilyDSSE {
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
func (f Format) openEnvelope(o *strictjson.Object, file []byte) (c *container, err error) {
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

// PayloadType is what a DSSE format's payloads are: application/vnd.TYPE+json.
func (f Format) PayloadType() string {
	if f.Family != FamilyDSSE {
		return ""
	}
	return "application/vnd." + f.label + "+json"
}

// PAE is DSSE's pre-authentication encoding of a payload: what is signed.
func (f Format) PAE(payload []byte) []byte {
	return append(f.paeHead(len(payload)), payload...)
}

func (f Format) paeHead(payload int) []byte {
	kind := f.PayloadType()
	return fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(kind), kind, payload)
}

// PayloadOf is the inverse of PAE: nothing else is read.
func (f Format) PayloadOf(pae []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(pae, f.paeStart())
	digits, payload, found := bytes.Cut(rest, []byte(" "))
	n, err := strconv.Atoi(string(digits))
	if !ok || !found || err != nil || n != len(payload) || !bytes.Equal(f.PAE(payload), pae) {
		return nil, fmt.Errorf("not DSSE's encoding (PAE) of a payload of type %s", f.PayloadType())
	}
	return payload, nil
}

func (f Format) paeStart() []byte {
	kind := f.PayloadType()
	return fmt.Appendf(nil, "DSSEv1 %d %s ", len(kind), kind)
}

// Enclose puts a signature, as Plan.Finish made it, into a file: one with or
// without signatures. Those by other keys are kept, one by this key is replaced.
func (f Format) Enclose(k *Key, file, sig []byte) ([]byte, error) {
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
		if !f.by(k, s) {
			kept = append(kept, s)
		}
	}
	whole := new(strictjson.Object)
	if f.Family == FamilyDSSE {
		whole.Set("payload", c.content)
		whole.Set("payloadType", f.PayloadType())
	}
	whole.Set("signatures", append(kept, made))
	if f.Family == FamilyInToto {
		whole.Set("signed", c.content)
	}
	if text := strictjson.Text(whole); len(text) <= strictjson.MaxBytes {
		return text, nil
	}
	return nil, fmt.Errorf("%s: with its signatures the file is longer than %d bytes", f.Name, strictjson.MaxBytes)
}

// by reports whether a signature of a file names this key.
func (f Format) by(k *Key, s strictjson.Value) bool {
	id, _ := s.(*strictjson.Object).Get("keyid")
	return id == f.KeyID(k)
}

// Claimed takes all signatures over a document out of a file's objects that a reader
// may take for a key's, as Plan.Finish made them: those that name the key, and of DSSE,
// where names are hints, those that the key has made. It verifies no others.
func (f Format) Claimed(k *Key, document []byte, objects []*strictjson.Object) (sigs [][]byte) {
	var over []State
	for _, alg := range message.Algs() {
		h := NewHasher(alg)
		_, _ = h.Write(document) // a hash never fails
		over = append(over, h.State())
	}
	for _, o := range objects {
		named := f.by(k, o)
		if !named && f.Family != FamilyDSSE {
			continue
		}
		sig, err := f.signature(k, o, document)
		if err == nil && (named || k.Made(sig, over)) {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}

// OpenEnclosed takes a key's signature out of a file, as Plan.Finish made it, and
// what the file says is signed. It verifies nothing.
func (f Format) OpenEnclosed(k *Key, file []byte) (document, sig []byte, err error) {
	c, err := f.open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	for _, s := range c.signatures {
		if !f.by(k, s) {
			continue
		}
		if sig, err = f.signature(k, s.(*strictjson.Object), c.document); err != nil {
			return nil, nil, fmt.Errorf("%s: signature by %s: %w", f.Name, f.KeyID(k), err)
		}
		return c.document, sig, nil
	}
	return nil, nil, fmt.Errorf("%s: no signature by key %s in the file", f.Name, f.KeyID(k))
}
