package ledger

import (
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/quote"
)

// Boot is written at every start, before anything else is done. Certify and
// Quote carry BootTag(x) of the committed size's checkpoint body.
type Boot struct {
	Number    uint64   // starts with 1, rises by 1
	Firmware  string   // version of the appliance
	Clock     string   // Clock…
	Policy    [32]byte // hash of the policy in force
	Admin     uint64   // newest administrative entry that HEAD took, 0 for the genesis
	Committed uint64   // size that HEAD stands at
	Head      [32]byte // HEAD as read
	PCR       [32]byte // PCR as read, after recovery
	Certify   quote.Attestation
	Quote     quote.Attestation
	Recovery  string // what recovery did, one word; "clean" when nothing
	Measured  Measured
}

func (b *Boot) kind() string { return KindBoot }

func (b *Boot) write(w *canon.Writer) {
	w.Line("boot", canon.Uint(b.Number))
	w.Line("firmware", b.Firmware)
	w.Line("clock", b.Clock)
	w.Line("policy", canon.Hex(b.Policy[:]))
	w.Line("admin", canon.Uint(b.Admin))
	w.Line("committed", canon.Uint(b.Committed))
	w.Line("head", canon.Hex(b.Head[:]))
	w.Line("pcr", canon.Hex(b.PCR[:]))
	writeAttestation(w, "certify", b.Certify)
	writeAttestation(w, "quote", b.Quote)
	w.Line("recovery", b.Recovery)
	w.Line("measured", b.Measured.Fields()...)
}

func (b *Boot) read(r *canon.Reader) {
	b.Number = r.Uint(r.Line("boot", 1)[0], MaxSize)
	b.Firmware = readName(r, r.Line("firmware", 1)[0])
	b.Clock = readClock(r, r.Line("clock", 1)[0])
	b.Policy = readHash(r, r.Line("policy", 1)[0])
	b.Admin = r.Uint(r.Line("admin", 1)[0], MaxSize)
	b.Committed = r.Uint(r.Line("committed", 1)[0], MaxSize)
	b.Head = readHash(r, r.Line("head", 1)[0])
	b.PCR = readHash(r, r.Line("pcr", 1)[0])
	b.Certify = readAttestation(r, "certify")
	b.Quote = readAttestation(r, "quote")
	b.Recovery = readToken(r, r.Line("recovery", 1)[0])
	b.Measured = ReadMeasured(r, r.Line("measured", 3))
}

// Attest records the attestations made right after the commit of size Size:
// Certify carries CertifyTag(x), Quote carries QuoteTag(x). Quote is empty
// when the boot ended before it was made.
type Attest struct {
	Size    uint64
	Certify quote.Attestation
	Quote   quote.Attestation
}

// HasQuote reports whether the quote was made.
func (a *Attest) HasQuote() bool { return len(a.Quote.Attest) > 0 }

func (a *Attest) kind() string { return KindAttest }

func (a *Attest) write(w *canon.Writer) {
	w.Line("size", canon.Uint(a.Size))
	writeAttestation(w, "certify", a.Certify)
	writeAttestation(w, "quote", a.Quote)
}

func (a *Attest) read(r *canon.Reader) {
	a.Size = r.Uint(r.Line("size", 1)[0], MaxSize)
	if r.Err() == nil && a.Size == 0 {
		r.Failf("size 0 is never committed")
	}
	a.Certify = readAttestation(r, "certify")
	f := r.Line("quote", 2)
	a.Quote = quote.Attestation{Attest: r.Base64(f[0], MaxAttest), Sig: r.Base64(f[1], MaxSig)}
	if (len(a.Quote.Attest) == 0) != (len(a.Quote.Sig) == 0) {
		r.Failf("quote: attestation and signature stand or fall together")
	}
}
