package sigformat

import (
	"bytes"

	"touchmark/appliance/sigformat/envelope"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

// envelope is the form of the files that the format's signatures stand in with what they
// are over.
func (f Format) envelope() envelope.Form {
	form := envelope.Form{Name: f.Name, Kind: envelope.Native}
	switch {
	case f.Family == FamilyDSSE:
		form.Kind, form.Type = envelope.DSSE, f.label
	case f.Packet():
		form.Kind = envelope.Packet
	}
	return form
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

// PayloadType is what a DSSE format's payloads are: application/vnd.TYPE+json.
func (f Format) PayloadType() string { return f.envelope().PayloadType() }

// PAE is DSSE's pre-authentication encoding of a payload: what is signed.
func (f Format) PAE(payload []byte) []byte { return f.envelope().PAE(payload) }

// PayloadOf is the inverse of PAE: nothing else is read.
func (f Format) PayloadOf(pae []byte) ([]byte, error) { return f.envelope().PayloadOf(pae) }

// KeyID is how files of an enclosed format name a key: see [envelope.Form.KeyID].
func (f Format) KeyID(k *signing.Key) string { return f.envelope().KeyID(k) }

// Enclose puts a signature, as Plan's Finish made it, into a file: see
// [envelope.Form.Enclose].
func (f Format) Enclose(k *signing.Key, file, sig []byte) ([]byte, error) {
	return f.envelope().Enclose(k, file, sig)
}

// OpenEnclosed takes a key's signature out of a file, and what the file says is signed:
// see [envelope.Form.Open]. It verifies nothing.
func (f Format) OpenEnclosed(k *signing.Key, file []byte) (document, sig []byte, err error) {
	return f.envelope().Open(k, file)
}

// Claimed takes all signatures over a document out of a file's objects that a reader
// may take for a key's, as Plan's Finish made them: those that name the key, and of DSSE,
// where names are hints, those that the key has made. It verifies no others.
func (f Format) Claimed(k *signing.Key, document []byte, objects []*strictjson.Object) (sigs [][]byte) {
	form := f.envelope()
	var over []hashstate.State
	for _, alg := range message.Algs() {
		h := hashstate.New(alg)
		_, _ = h.Write(document) // a hash never fails
		over = append(over, h.State())
	}
	for _, o := range objects {
		named := form.By(k, o)
		if !named && f.Family != FamilyDSSE {
			continue
		}
		sig, err := form.Signature(k, o, document)
		if err == nil && (named || Made(k, sig, over)) {
			sigs = append(sigs, sig)
		}
	}
	return sigs
}
