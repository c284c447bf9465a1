package quote

import "crypto/sha256"

// The tags below go into the TPM as qualifyingData and come back signed as
// extraData. Each kind of statement has its own prefix, so that one can never
// be shown as another.

// CertifyTag tags the NV_Certify that is part of the checkpoint with
// x = SHA-256(checkpoint body).
func CertifyTag(x [32]byte) [32]byte { return tag("touchmark/certify/v1\n", x[:]) }

// QuoteTag tags the PCR quote made for the commit of x.
func QuoteTag(x [32]byte) [32]byte { return tag("touchmark/quote/v1\n", x[:]) }

// BootTag tags both attestations made at start, x being that of the newest
// committed size.
func BootTag(x [32]byte) [32]byte { return tag("touchmark/boot/v1\n", x[:]) }

// HelloTag tags the NV_Certify that answers a host's nonce.
func HelloTag(nonce []byte) [32]byte { return tag("touchmark/hello/v1\n", nonce) }

// ResumeTag tags the NV_Certify of HEAD as the board found it, before the
// commit of a resume order with this SHA-256 of its text.
func ResumeTag(order [32]byte) [32]byte { return tag("touchmark/resume/v1\n", order[:]) }

// ChallengeTag tags both attestations that answer an auditor's nonce.
func ChallengeTag(nonce [32]byte) [32]byte { return tag("touchmark/challenge/v1\n", nonce[:]) }

// CreationTag tags the AK's CertifyCreation of itself with its outsideInfo.
func CreationTag(outside []byte) [32]byte { return tag("touchmark/creation/v1\n", outside) }

func tag(prefix string, data []byte) [32]byte {
	return sha256.Sum256(append([]byte(prefix), data...))
}

// PCRDigest is the digest that a quote of a single PCR with this value
// carries: SHA-256(value) (Part 3, TPM2_Quote).
func PCRDigest(value [32]byte) [32]byte { return sha256.Sum256(value[:]) }
