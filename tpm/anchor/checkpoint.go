package anchor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// SigType is the identifier of the TPM line's signature type: it follows the
// byte 0xff in the key hash (C2SP signed-note, "Signature types").
const SigType = "touchmark-nv-certify-v1"

// keyHash is SHA-256(name || 0x0a || 0xff || SigType || AK || HEAD Name)[:4],
// where AK is the TPMT_PUBLIC.
func keyHash(origin string, ak, headName []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(origin + "\n\xff" + SigType))
	h.Write(ak)
	h.Write(headName)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// TPMSignature encodes the bytes of a TPM line after the key hash:
//
//	prev (32) || TPM2B_ATTEST (u16 size || TPMS_ATTEST) || TPMT_SIGNATURE
func TPMSignature(prev [32]byte, a quote.Attestation) []byte {
	b := append([]byte(nil), prev[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Attest)))
	b = append(b, a.Attest...)
	return append(b, a.Sig...)
}

func parseTPMSignature(b []byte) (prev [32]byte, a quote.Attestation, err error) {
	if len(b) < 34 || len(b) > maxTPMLine {
		return prev, a, fmt.Errorf("TPM line of %d bytes", len(b))
	}
	n := int(binary.BigEndian.Uint16(b[32:]))
	if n == 0 || n >= len(b)-34 {
		return prev, a, fmt.Errorf("TPM line: attestation of %d bytes in a line of %d", n, len(b))
	}
	return [32]byte(b[:32]), quote.Attestation{Attest: b[34 : 34+n], Sig: b[34+n:]}, nil
}

// tpmLine is the TPM line's note.Signer and note.Verifier. As a verifier it
// keeps what the last verified signature said.
type tpmLine struct {
	origin   string
	ak       *quote.AK
	headName []byte
	prev     [32]byte          // signer: HEAD before the commit
	attest   quote.Attestation // signer: NV_Certify after it
	facts    quote.NVFacts     // verifier: from the attestation
	err      error             // verifier: why Verify said no
}

// TPMLine gives the signer of a checkpoint's TPM line: its "signature" is the
// attestation, made beforehand by the TPM.
func TPMLine(origin string, ak *quote.AK, headName []byte, prev [32]byte, a quote.Attestation) note.Signer {
	return &tpmLine{origin: origin, ak: ak, headName: headName, prev: prev, attest: a}
}

func (l *tpmLine) Name() string                { return l.origin }
func (l *tpmLine) KeyHash() uint32             { return keyHash(l.origin, l.ak.Marshal(), l.headName) }
func (l *tpmLine) Sign([]byte) ([]byte, error) { return TPMSignature(l.prev, l.attest), nil }

// Verify checks a TPM line over a checkpoint body.
func (l *tpmLine) Verify(body, sig []byte) bool {
	l.err = l.verify(body, sig)
	return l.err == nil
}

func (l *tpmLine) verify(body, sig []byte) error {
	prev, a, err := parseTPMSignature(sig)
	if err != nil {
		return err
	}
	x := ledger.X(body)
	facts, err := l.ak.VerifyNV(a, l.headName, quote.CertifyTag(x))
	if err != nil {
		return err
	}
	if facts.Contents != Extend(prev, x) {
		return errors.New("the certified HEAD is not the previous HEAD extended by this checkpoint")
	}
	l.prev, l.facts = prev, facts
	l.attest = quote.Attestation{Attest: bytes.Clone(a.Attest), Sig: bytes.Clone(a.Sig)}
	return nil
}

// SignCheckpoint makes the checkpoint note of a committed size: body is its
// ledger.CheckpointBody, prev the HEAD before the commit, a the NV_Certify
// after it with CertifyTag(x). The note, and so the NV_Certify, is verified before it is
// returned, with what it says.
func SignCheckpoint(body []byte, logKey note.Signer, tr Trust, prev [32]byte, a quote.Attestation) ([]byte, *Checkpoint, error) {
	ak, err := quote.ParseAK(tr.AK)
	if err != nil {
		return nil, nil, fmt.Errorf("checkpoint: %w", err)
	}
	msg, err := message.SignNote(body, logKey, TPMLine(tr.Origin, ak, tr.HeadName, prev, a))
	if err != nil {
		return nil, nil, fmt.Errorf("checkpoint: %w", err)
	}
	cp, err := tr.OpenCheckpoint(msg)
	if err != nil {
		return nil, nil, err
	}
	return msg, cp, nil
}

// Checkpoint is a verified checkpoint: the log key and the TPM both say it.
type Checkpoint struct {
	Size     uint64
	Root     [32]byte
	X        [32]byte // SHA-256 of the body
	HeadPrev [32]byte // HEAD before this commit
	Head     [32]byte // HEAD after it, as certified
	Attest   quote.Attestation
	Facts    quote.NVFacts
	LogKey   string // the log key that signed it, a note verifier key
}

// OpenCheckpoint verifies a checkpoint note: this origin, both lines in order,
// nothing else, and a certified HEAD that is HeadPrev extended by this body.
func (t *Trust) OpenCheckpoint(msg []byte) (*Checkpoint, error) {
	known, line, err := t.lines(msg)
	if err != nil {
		return nil, err
	}
	text, by, err := message.OpenNote(msg, append(known, line))
	if err != nil {
		if line.err != nil {
			err = fmt.Errorf("%w: %w", err, line.err)
		}
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if len(by) != 2 || by[1] != len(known) {
		return nil, errors.New("checkpoint: it needs both the log key's and the TPM's signature line")
	}
	if !linesInOrder(msg, text, known[by[0]]) {
		return nil, errors.New("checkpoint: the log key's line comes first, the TPM's second")
	}
	cp, err := t.checkpoint(text, line)
	if err == nil {
		cp.LogKey = t.logKeys()[by[0]]
	}
	return cp, err
}

// lines are the verifiers of a checkpoint of acceptable length: the log keys that
// t names, and the TPM's line.
func (t *Trust) lines(msg []byte) (known []note.Verifier, tpm *tpmLine, err error) {
	if len(msg) > ledger.MaxCheckpoint {
		return nil, nil, fmt.Errorf("checkpoint of %d bytes, at most %d", len(msg), ledger.MaxCheckpoint)
	}
	known, err = t.logVerifiers()
	if err != nil {
		return nil, nil, err
	}
	ak, err := quote.ParseAK(t.AK)
	if err != nil {
		return nil, nil, err
	}
	return known, &tpmLine{origin: t.Origin, ak: ak, headName: t.HeadName}, nil
}

// linesInOrder relies on OpenNote having accepted exactly one line of each.
func linesInOrder(msg, text []byte, first note.Verifier) bool {
	_, b64, ok := bytes.Cut(msg[len(text)+1:], []byte(first.Name()+" "))
	want := binary.BigEndian.AppendUint32(nil, first.KeyHash())
	return ok && len(b64) > 8 && bytes.Equal(firstFour(b64), want)
}

func (t *Trust) checkpoint(text []byte, line *tpmLine) (*Checkpoint, error) {
	origin, size, root, err := ledger.ParseCheckpointBody(text)
	if err != nil {
		return nil, err
	}
	if origin != t.Origin {
		return nil, fmt.Errorf("checkpoint of log %q, want %q", origin, t.Origin)
	}
	if size == 0 {
		return nil, errors.New("checkpoint: size 0 is never committed")
	}
	return &Checkpoint{
		Size: size, Root: root, X: ledger.X(text), HeadPrev: line.prev, Head: line.facts.Contents,
		Attest: line.attest, Facts: line.facts,
	}, nil
}

// VerifyProof verifies that the proof's intent is an entry of this log under
// a checkpoint that the TPM committed, and returns it. That the intent speaks
// of a particular file and signature is for the caller to compare.
func (t *Trust) VerifyProof(p *ledger.Proof) (*ledger.Intent, ledger.Header, error) {
	return VerifyProof(p, t.Origin, t.OpenCheckpoint)
}

// VerifyProof is that of a Trust, for who knows already what becomes of a checkpoint note:
// open gives what the OpenCheckpoint of a Trust of this origin gives.
func VerifyProof(p *ledger.Proof, origin string, open func(note []byte) (*Checkpoint, error)) (*ledger.Intent, ledger.Header, error) {
	fail := func(format string, a ...any) (*ledger.Intent, ledger.Header, error) {
		return nil, ledger.Header{}, fmt.Errorf("proof: "+format, a...)
	}
	if p.Origin != origin {
		return fail("it is from log %q, want %q", p.Origin, origin)
	}
	cp, err := open(p.Checkpoint)
	if err != nil {
		return fail("%w", err)
	}
	if cp.Size != p.Size {
		return fail("size %d, but its checkpoint has %d", p.Size, cp.Size)
	}
	h, body, err := ledger.Parse(p.Intent)
	if err != nil {
		return fail("%w", err)
	}
	intent, ok := body.(*ledger.Intent)
	if !ok || h.Index != p.Index {
		return fail("entry %d is a %s entry numbered %d, want the intent", p.Index, ledger.KindOf(body), h.Index)
	}
	if !ledger.CheckInclusion(p.Path, p.Index, p.Size, ledger.LeafHash(p.Intent), cp.Root) {
		return fail("the path does not lead from the intent to the checkpoint's root")
	}
	return intent, h, nil
}

// firstFour decodes the first four bytes of a canonical base64 text.
func firstFour(b64 []byte) []byte {
	out := make([]byte, 6)
	n, err := base64.StdEncoding.Decode(out, b64[:8])
	if err != nil || n < 4 {
		return nil
	}
	return out[:4]
}
