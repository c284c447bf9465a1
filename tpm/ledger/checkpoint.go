package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
)

// CheckpointBody is the signed text of a checkpoint (C2SP tlog-checkpoint):
// origin, size in decimal, root in base64, each with a newline, and no
// extension lines. It is not a touchmark/… text: its form is C2SP's.
func CheckpointBody(origin string, size uint64, root [32]byte) []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}

// ParseCheckpointBody is the strict inverse of CheckpointBody.
func ParseCheckpointBody(text []byte) (origin string, size uint64, root [32]byte, err error) {
	lines := strings.Split(string(text), "\n")
	if len(text) > MaxCheckpoint || len(lines) != 4 || lines[3] != "" {
		return "", 0, root, fmt.Errorf("a checkpoint body has exactly three lines")
	}
	size, err = strconv.ParseUint(lines[1], 10, 64)
	if err != nil || size > MaxSize {
		return "", 0, root, fmt.Errorf("checkpoint size %q is not a number up to %d", lines[1], uint64(MaxSize))
	}
	sum, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(sum) != 32 {
		return "", 0, root, fmt.Errorf("checkpoint root %q is not 32 bytes of base64", lines[2])
	}
	root = [32]byte(sum)
	if message.ValidOrigin(lines[0]) != nil || !bytes.Equal(CheckpointBody(lines[0], size, root), text) {
		return "", 0, [32]byte{}, fmt.Errorf("checkpoint body is not in its one encoding")
	}
	return lines[0], size, root, nil
}

// X is what a commit extends into HEAD and PCR: SHA-256 of the checkpoint
// body.
func X(body []byte) [32]byte { return sha256.Sum256(body) }

// ProofDomain is the first line of a proof.
const ProofDomain = "touchmark/proof/v1"

// Proof shows that an intent stands in the log under a checkpoint that the
// TPM committed. Everything in it is checked by anchor.Trust.VerifyProof;
// this type is its form only.
type Proof struct {
	Origin     string
	Index      uint64     // of the intent entry
	Size       uint64     // of the tree that the checkpoint names; > Index
	Path       [][32]byte // RFC 6962 section 2.1.1 audit path, leaf's sibling first
	Intent     []byte     // entry text
	Checkpoint []byte     // note with both signature lines
}

// Marshal encodes the proof.
func (p *Proof) Marshal() ([]byte, error) {
	w := canon.NewWriter(ProofDomain)
	w.Line("origin", p.Origin)
	w.Line("index", canon.Uint(p.Index))
	w.Line("size", canon.Uint(p.Size))
	for _, h := range p.Path {
		w.Line("path", canon.Hex(h[:]))
	}
	w.Block("intent", p.Intent)
	w.Block("checkpoint", p.Checkpoint)
	text := w.Bytes()
	if text == nil {
		return nil, fmt.Errorf("proof: %w", w.Err())
	}
	if _, err := ParseProof(text); err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	return text, nil
}

// ParseProof decodes a proof.
func ParseProof(text []byte) (*Proof, error) {
	if len(text) > MaxProof {
		return nil, fmt.Errorf("proof of %d bytes, at most %d", len(text), MaxProof)
	}
	r := canon.NewReader(text, ProofDomain)
	p := &Proof{
		Origin: readOrigin(r),
		Index:  r.Uint(r.Line("index", 1)[0], MaxSize-1),
		Size:   r.Uint(r.Line("size", 1)[0], MaxSize),
	}
	for r.Peek() == "path" && len(p.Path) < MaxPath {
		p.Path = append(p.Path, readHash(r, r.Line("path", 1)[0]))
	}
	p.Intent = r.Block("intent", MaxEntry)
	p.Checkpoint = r.Block("checkpoint", MaxCheckpoint)
	if r.Err() == nil && p.Index >= p.Size {
		r.Failf("index %d is outside a tree of size %d", p.Index, p.Size)
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	return p, nil
}
