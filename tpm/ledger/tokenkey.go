package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"touchmark/hostlink/message/canon"
)

// TokenInfo names the token: its serial number, its firmware version and
// whether its attestation chain is not Yubico's ("emulated").
type TokenInfo struct {
	Serial   uint32
	Firmware string
	Emulated bool
}

// TokenAttestation is the token's certificate for the slot and the one that
// signed it, both DER.
type TokenAttestation struct{ Slot, Intermediate []byte }

// TokenKey is a key that a log signs with: what the policy calls it, the token
// that made it and what that says of it, its OpenPGP certificate.
type TokenKey struct {
	Name, Slot, Family, Algorithm string   // as in the policy's [[key]]
	Fingerprint                   [20]byte // OpenPGP v4, RFC 4880 section 12.2
	SPKI                          []byte   // DER SubjectPublicKeyInfo, RFC 5280
	Token                         TokenInfo
	Attestation                   TokenAttestation
	Cert                          []byte // OpenPGP certificate, binary
}

// Write writes the key's lines.
func (k *TokenKey) Write(w *canon.Writer) {
	w.Line("key", k.Name, k.Slot, k.Family, k.Algorithm, canon.Hex(k.Fingerprint[:]), canon.Base64(k.SPKI))
	w.Line("token", canon.Uint(uint64(k.Token.Serial)), k.Token.Firmware, EmulatedWord(k.Token.Emulated))
	w.Line("attestation", canon.Base64(k.Attestation.Slot), canon.Base64(k.Attestation.Intermediate))
	w.Line("cert", canon.Base64(k.Cert))
}

// ReadTokenKey reads the lines that Write writes.
func ReadTokenKey(r *canon.Reader) (k TokenKey) {
	f := r.Line("key", 6)
	k.Name, k.Slot, k.Family, k.Algorithm = readName(r, f[0]), readToken(r, f[1]), readToken(r, f[2]), readToken(r, f[3])
	k.Fingerprint, k.SPKI = [20]byte(r.Hex(f[4], 20)), readBytes(r, f[5], MaxPublic)
	f = r.Line("token", 3)
	k.Token = TokenInfo{Serial: uint32(r.Uint(f[0], 1<<32-1)), Firmware: readToken(r, f[1]), Emulated: ReadEmulated(r, f[2])}
	f = r.Line("attestation", 2)
	k.Attestation = TokenAttestation{Slot: readBytes(r, f[0], MaxCert), Intermediate: readBytes(r, f[1], MaxCert)}
	k.Cert = readBytes(r, r.Line("cert", 1)[0], MaxCert)
	return k
}

// ReadEmulated decodes the word that says where a token's attestation chain
// ends: "yubico" or "emulated". Shared with the trust text (package anchor).
func ReadEmulated(r *canon.Reader, s string) bool {
	return readChoice(r, s, "yubico", "emulated") == "emulated"
}

// EmulatedWord is the encoding that ReadEmulated decodes.
func EmulatedWord(e bool) string {
	if e {
		return "emulated"
	}
	return "yubico"
}

// OutsideInfo is what the AK's creation data must carry: it ties the TPM's key
// to this log, the attestations of all its keys and the auditor's nonce before
// any of them is used.
//
//	SHA-256("touchmark/outside/v1\n" || origin || "\n" ||
//	        for each key: u32 length || slot certificate ||
//	                      u32 length || intermediate certificate || nonce)
//
// with big-endian lengths.
func OutsideInfo(origin string, keys []TokenAttestation, nonce [32]byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "touchmark/outside/v1\n%s\n", origin)
	for _, a := range keys {
		for _, cert := range [][]byte{a.Slot, a.Intermediate} {
			h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(cert))))
			h.Write(cert)
		}
	}
	h.Write(nonce[:])
	return h.Sum(nil)
}

// Attestations are those of a genesis entry's keys, as OutsideInfo wants them.
func (g *Genesis) Attestations() []TokenAttestation {
	out := make([]TokenAttestation, len(g.Keys))
	for i, k := range g.Keys {
		out[i] = k.Attestation
	}
	return out
}

// Emulated reports whether one of the keys may exist in copies.
func (g *Genesis) Emulated() bool {
	for _, k := range g.Keys {
		if k.Token.Emulated {
			return true
		}
	}
	return false
}
