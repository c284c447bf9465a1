// Package anchor binds the log to the TPM: what a commit extends, what the
// attestations must say, and what a verifier pins.
//
// A commit of the first n leaves has the checkpoint body of size n and
// x = SHA-256(body). HEAD, an NV index that can only be extended, takes x for
// the life of the TPM; a PCR takes x since the last TPM reset. A checkpoint is
// a signed note over the body with exactly two lines, in this order:
//
//	the log key's Ed25519 line           (C2SP signed-note, type 0x01)
//	the TPM line                         (type 0xff, "touchmark-nv-certify-v1")
//
// and neither is proof without the other. docs/spec/anchor.md and trust.md
// describe every byte.
//
// The package is pure: no clock, no files, no devices. Package recovery says
// what a start may conclude from a disk and a TPM that disagree.
package anchor

import "crypto/sha256"

// Extend is what TPM2_NV_Extend and TPM2_PCR_Extend do to a SHA-256 value:
// SHA-256(h || x) (TPM 2.0 part 1, section 11.4.7 and part 3, NV_Extend).
func Extend(h, x [32]byte) [32]byte { return sha256.Sum256(append(h[:], x[:]...)) }

// Plan is a commit written to disk before the TPM is asked: the checkpoint of
// the first Size leaves has X, and HEAD stood at Prev. It was applied if HEAD
// ever stood at Head().
type Plan struct {
	Size    uint64
	X, Prev [32]byte
}

// Head is where HEAD stands right after the plan was applied.
func (p Plan) Head() [32]byte { return Extend(p.Prev, p.X) }
