// Package anchor binds the log to the TPM: what a commit extends, what the
// attestations must say, what an auditor pins, and what recovery may conclude
// from a disk and a TPM that disagree.
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
// The package is pure: no clock, no files, no devices. Decide and Replay are
// plain functions of what is given to them.
package anchor

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// TrustDomain is the first line of a trust text.
const TrustDomain = "touchmark/trust/v1"

// Trust is what a verifier pins: all of it was fixed when the log began.
type Trust struct {
	Origin   string
	LogKey   string   // note verifier key
	AK       []byte   // TPMT_PUBLIC
	Head     uint32   // NV index handle
	HeadName []byte   // Name of HEAD, 34 bytes
	PCR      int      // 8..15
	Genesis  [32]byte // leaf hash of entry 0
	Cert     []byte   // OpenPGP certificate, binary
	Emulated bool     // the token's attestation chain is not Yubico's
}

// Marshal encodes the trust text; what ParseTrust would refuse is an error.
func (t *Trust) Marshal() ([]byte, error) {
	w := canon.NewWriter(TrustDomain)
	w.Line("origin", t.Origin)
	w.Line("log-key", t.LogKey)
	w.Line("ak", canon.Base64(t.AK))
	w.Line("head", canon.Uint(uint64(t.Head)), canon.Hex(t.HeadName))
	w.Line("pcr", canon.Uint(uint64(t.PCR)))
	w.Line("genesis", canon.Hex(t.Genesis[:]))
	w.Line("token", ledger.EmulatedWord(t.Emulated))
	w.Line("cert", canon.Base64(t.Cert))
	text := w.Bytes()
	if text == nil {
		return nil, fmt.Errorf("trust: %w", w.Err())
	}
	if _, err := ParseTrust(text); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return text, nil
}

// ParseTrust decodes a trust text. The AK must be one that package quote
// accepts: a trust that could never verify anything is refused here.
func ParseTrust(text []byte) (*Trust, error) {
	if len(text) > MaxTrust {
		return nil, fmt.Errorf("trust text of %d bytes, at most %d", len(text), MaxTrust)
	}
	r := canon.NewReader(text, TrustDomain)
	t := &Trust{Origin: r.Line("origin", 1)[0]}
	if err := message.ValidOrigin(t.Origin); err != nil {
		r.Failf("%v", err)
	}
	t.LogKey = ledger.ReadLogKey(r, r.Line("log-key", 1)[0], t.Origin)
	t.AK = r.Base64(r.Line("ak", 1)[0], ledger.MaxPublic)
	if _, err := quote.ParseAK(t.AK); err != nil {
		r.Failf("%v", err)
	}
	t.Head, t.HeadName = ledger.ReadHead(r)
	if !bytes.Equal(t.HeadName, quote.HeadName(t.Head)) {
		r.Failf("the Name is not that of an append-only index at this handle")
	}
	t.PCR = ledger.ReadPCR(r)
	t.Genesis = [32]byte(r.Hex(r.Line("genesis", 1)[0], 32))
	t.Emulated = ledger.ReadEmulated(r, r.Line("token", 1)[0])
	t.Cert = r.Base64(r.Line("cert", 1)[0], ledger.MaxCert)
	if len(t.Cert) == 0 {
		r.Failf("the certificate is missing")
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	return t, nil
}

// TrustOf is the trust that a genesis entry gives rise to: what the enroller
// writes out and what an auditor compares with the pinned one.
func TrustOf(entry []byte, g *ledger.Genesis) *Trust {
	return &Trust{
		Origin: g.Origin, LogKey: g.LogKey, AK: g.AK, Head: g.Head, HeadName: g.HeadName, PCR: g.PCR,
		Genesis: ledger.LeafHash(entry), Cert: g.Cert, Emulated: g.Token.Emulated,
	}
}

func (t *Trust) logVerifier() (note.Verifier, error) {
	v, err := message.ParseKey(t.LogKey)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return v, nil
}

// Extend is what TPM2_NV_Extend and TPM2_PCR_Extend do to a SHA-256 value:
// SHA-256(h || x) (TPM 2.0 part 1, section 11.4.7 and part 3, NV_Extend).
func Extend(h, x [32]byte) [32]byte { return sha256.Sum256(append(h[:], x[:]...)) }
