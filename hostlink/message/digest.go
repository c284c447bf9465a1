package message

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	_ "crypto/sha512" // so that Alg.Hash is always available
	"encoding/hex"
	"fmt"
	"strings"
)

// Alg names a hash algorithm.
type Alg string

// The algorithms a digest can have (FIPS 180-4).
const (
	SHA256 Alg = "sha256"
	SHA384 Alg = "sha384"
	SHA512 Alg = "sha512"
)

// Algs are all of them, the shortest digest first.
func Algs() []Alg { return []Alg{SHA256, SHA384, SHA512} }

// Valid reports whether a is one of the algorithms above.
func (a Alg) Valid() bool { return a == SHA256 || a == SHA384 || a == SHA512 }

// Size is the digest length in bytes, 0 for an unknown algorithm.
func (a Alg) Size() int {
	switch a {
	case SHA256:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}

// BlockSize is the compression block in bytes, 0 for an unknown algorithm.
func (a Alg) BlockSize() int {
	switch a {
	case SHA256:
		return 64
	case SHA384, SHA512:
		return 128
	}
	return 0
}

// Hash is the algorithm for the standard library, 0 when unknown.
func (a Alg) Hash() crypto.Hash {
	switch a {
	case SHA256:
		return crypto.SHA256
	case SHA384:
		return crypto.SHA384
	case SHA512:
		return crypto.SHA512
	}
	return 0
}

// Digest is a hash value with its algorithm.
type Digest struct {
	Alg Alg
	Sum []byte // Alg.Size() bytes
}

// String encodes d as "sha256:<64 hex>", "sha384:<96 hex>" or "sha512:<128 hex>".
func (d Digest) String() string { return string(d.Alg) + ":" + hex.EncodeToString(d.Sum) }

// Equal reports whether both algorithm and value are the same.
func (d Digest) Equal(o Digest) bool { return d.Alg == o.Alg && bytes.Equal(d.Sum, o.Sum) }

// ParseDigest is the inverse of Digest.String and accepts nothing else.
func ParseDigest(s string) (Digest, error) {
	alg, sum, _ := strings.Cut(s, ":")
	d := Digest{Alg: Alg(alg)}
	if !d.Alg.Valid() || len(sum) != 2*d.Alg.Size() {
		return Digest{}, fmt.Errorf("%s is not a digest: write sha256:<64 hex>, sha384:<96 hex> or sha512:<128 hex>", quote(s))
	}
	b, err := hex.DecodeString(sum)
	if d.Sum = b; err != nil || strings.ToLower(sum) != sum {
		return Digest{}, fmt.Errorf("%s is not a digest: the value must be lowercase hexadecimal", quote(s))
	}
	return d, nil
}

// JobID is the identity of a job: SHA-256 of its approval text.
type JobID [sha256.Size]byte

// JobOf gives the identity of the job that approvalText describes. The text
// is hashed as it stands, without the note's signatures, so approvers can
// sign later without changing the job.
func JobOf(approvalText []byte) JobID { return sha256.Sum256(approvalText) }

// String is the lowercase hexadecimal form.
func (j JobID) String() string { return hex.EncodeToString(j[:]) }

// ParseJobID is the inverse of JobID.String and accepts nothing else.
func ParseJobID(s string) (JobID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(JobID{}) || strings.ToLower(s) != s {
		return JobID{}, fmt.Errorf("%s is not a job: write 64 lowercase hexadecimal digits", quote(s))
	}
	return JobID(b), nil
}
