package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/quote"
)

// TokenInfo names the token: its serial number, its firmware version and
// whether its attestation chain is not Yubico's ("emulated").
type TokenInfo struct {
	Serial   uint32
	Firmware string
	Emulated bool
}

// TokenKey is the one signing key this log speaks for.
type TokenKey struct {
	Name, Slot, Family, Algorithm string   // as in the policy's [[key]]
	Fingerprint                   [20]byte // OpenPGP v4, RFC 4880 section 12.2
	SPKI                          []byte   // DER SubjectPublicKeyInfo, RFC 5280
}

// TokenAttestation is the token's certificate for the slot and the one that
// signed it, both DER.
type TokenAttestation struct{ Slot, Intermediate []byte }

// Genesis is entry 0: everything the log is bound to.
type Genesis struct {
	Origin      string
	Predecessor LogID          // log that this one goes on from, zero for none
	LogKey      string         // note verifier key (C2SP signed-note vkey)
	AK          []byte         // TPMT_PUBLIC
	Creation    quote.Creation // AK certifying its own creation
	EK          []byte         // EK certificate as the TPM's NV holds it, nil if it holds none
	Head        uint32         // NV index handle
	HeadName    []byte         // its Name, 34 bytes: alg id and SHA-256
	Base        [32]byte       // HEAD before the first commit: zero for a new index
	PCR         int            // 8..15, SHA-256 bank
	Token       TokenInfo
	Key         TokenKey
	Attestation TokenAttestation
	Nonce       [32]byte // of the auditor who watched, zero if none
	Cert        []byte   // OpenPGP certificate, binary
	Policy      []byte   // policy note
}

func (g *Genesis) kind() string { return KindGenesis }

func (g *Genesis) write(w *canon.Writer) {
	w.Line("origin", g.Origin)
	WriteLogID(w, "predecessor", g.Predecessor)
	w.Line("log-key", g.LogKey)
	w.Line("ak", canon.Base64(g.AK))
	w.Line("creation", canon.Base64(g.Creation.Data), canon.Base64(g.Creation.Attest), canon.Base64(g.Creation.Sig))
	w.Line("ek", canon.Base64(g.EK))
	w.Line("head", canon.Uint(uint64(g.Head)), canon.Hex(g.HeadName))
	w.Line("base", canon.Hex(g.Base[:]))
	w.Line("pcr", canon.Uint(uint64(g.PCR)))
	w.Line("token", canon.Uint(uint64(g.Token.Serial)), g.Token.Firmware, EmulatedWord(g.Token.Emulated))
	k := g.Key
	w.Line("key", k.Name, k.Slot, k.Family, k.Algorithm, canon.Hex(k.Fingerprint[:]), canon.Base64(k.SPKI))
	w.Line("attestation", canon.Base64(g.Attestation.Slot), canon.Base64(g.Attestation.Intermediate))
	w.Line("nonce", canon.Hex(g.Nonce[:]))
	w.Line("cert", canon.Base64(g.Cert))
	w.Block("policy", g.Policy)
}

func (g *Genesis) read(r *canon.Reader) {
	g.Origin = readOrigin(r)
	g.Predecessor = ReadLogID(r, "predecessor")
	g.LogKey = ReadLogKey(r, r.Line("log-key", 1)[0], g.Origin)
	g.AK = readBytes(r, r.Line("ak", 1)[0], MaxPublic)
	f := r.Line("creation", 3)
	g.Creation = quote.Creation{Data: readBytes(r, f[0], MaxAttest), Attest: readBytes(r, f[1], MaxAttest), Sig: readBytes(r, f[2], MaxSig)}
	g.EK = r.Base64(r.Line("ek", 1)[0], MaxCert)
	g.Head, g.HeadName = ReadHead(r)
	g.Base = readHash(r, r.Line("base", 1)[0])
	g.PCR = ReadPCR(r)
	f = r.Line("token", 3)
	g.Token = TokenInfo{Serial: uint32(r.Uint(f[0], 1<<32-1)), Firmware: readToken(r, f[1]), Emulated: ReadEmulated(r, f[2])}
	g.readKey(r)
	f = r.Line("attestation", 2)
	g.Attestation = TokenAttestation{Slot: readBytes(r, f[0], MaxCert), Intermediate: readBytes(r, f[1], MaxCert)}
	g.Nonce = readHash(r, r.Line("nonce", 1)[0])
	g.Cert = readBytes(r, r.Line("cert", 1)[0], MaxCert)
	g.Policy = r.Block("policy", MaxNote)
}

func (g *Genesis) readKey(r *canon.Reader) {
	f := r.Line("key", 6)
	g.Key = TokenKey{
		Name: readName(r, f[0]), Slot: readToken(r, f[1]), Family: readToken(r, f[2]), Algorithm: readToken(r, f[3]),
		Fingerprint: [20]byte(r.Hex(f[4], 20)), SPKI: readBytes(r, f[5], MaxPublic),
	}
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

// ReadLogKey decodes a note verifier key, whose name must be the origin.
func ReadLogKey(r *canon.Reader, s, origin string) string {
	if r.Err() != nil {
		return ""
	}
	v, err := message.ParseKey(s)
	if err != nil {
		r.Failf("%v", err)
	} else if v.Name() != origin {
		r.Failf("the log key is named %q, not after the origin", v.Name())
	}
	return s
}

// ReadHead decodes "head HANDLE NAME": an NV index handle (TPM 2.0 part 2,
// section 7.4: 0x01xxxxxx) and the Name of the index, SHA-256.
func ReadHead(r *canon.Reader) (uint32, []byte) {
	f := r.Line("head", 2)
	h := uint32(r.Uint(f[0], 0x01ffffff))
	if r.Err() == nil && h < 0x01000000 {
		r.Failf("%#x is not the handle of an NV index", h)
	}
	name := r.Hex(f[1], 34)
	if r.Err() == nil && (name[0] != 0x00 || name[1] != 0x0b) {
		r.Failf("the Name of HEAD is not a SHA-256 Name")
	}
	return h, name
}

// ReadPCR decodes "pcr N": one of the PCRs that only a TPM reset clears and
// that firmware does not use.
func ReadPCR(r *canon.Reader) int {
	n := r.Uint(r.Line("pcr", 1)[0], 15)
	if r.Err() == nil && n < 8 {
		r.Failf("PCR %d is not in 8..15", n)
	}
	return int(n)
}

// OutsideInfo is what the AK's creation data must carry: it ties the TPM's key
// to this log, this token and the auditor's nonce before any of them is used.
//
//	SHA-256("touchmark/outside/v1\n" || origin || "\n" ||
//	        u32 length || slot certificate ||
//	        u32 length || intermediate certificate || nonce)
//
// with big-endian lengths.
func OutsideInfo(origin string, a TokenAttestation, nonce [32]byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "touchmark/outside/v1\n%s\n", origin)
	for _, cert := range [][]byte{a.Slot, a.Intermediate} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(cert))))
		h.Write(cert)
	}
	h.Write(nonce[:])
	return h.Sum(nil)
}
