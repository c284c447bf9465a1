package ledger

import (
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/quote"
)

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
	Nonce       [32]byte       // of the auditor who watched, zero if none
	Keys        []TokenKey     // 1 to MaxKeys, no two with one name, slot or fingerprint
	Policy      []byte         // policy note
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
	w.Line("nonce", canon.Hex(g.Nonce[:]))
	for i := range g.Keys {
		g.Keys[i].Write(w)
	}
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
	g.Nonce = readHash(r, r.Line("nonce", 1)[0])
	g.readKeys(r)
	g.Policy = r.Block("policy", MaxNote)
}

// readKeys reads the keys, which the lines "key" begin.
func (g *Genesis) readKeys(r *canon.Reader) {
	for ok := true; ok; ok = r.Peek() == "key" && len(g.Keys) < MaxKeys {
		k := ReadTokenKey(r)
		if other := clash(g.Keys, k); r.Err() == nil && other != "" {
			r.Failf("keys %s and %s have a name, slot or fingerprint in common", other, k.Name)
		}
		g.Keys = append(g.Keys, k)
	}
}

// clash names the key that another must not stand beside: a key has a name, a
// slot and a family of its own.
func clash(keys []TokenKey, k TokenKey) string {
	for _, o := range keys {
		if o.Name == k.Name || o.Slot == k.Slot || o.Fingerprint == k.Fingerprint {
			return o.Name
		}
	}
	return ""
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
