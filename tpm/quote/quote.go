// Package quote reads and verifies what the TPM's attestation key (AK) signs:
// NV_Certify of the log's HEAD, a Quote of the log's PCR, and CertifyCreation
// of the AK itself.
//
// It is pure: it opens nothing, asks no clock and holds no state, so that the
// appliance, the host and the offline auditor judge by the same code. Every
// structure is parsed with bounds, to its last byte, and accepted only in the
// single form the appliance produces; anything else, and any doubt, is an
// error. Nothing is returned from an attestation whose signature, magic, type,
// signer, tag or object is not exactly the expected one.
//
// Formats: TPM 2.0 Library, Part 2 "Structures" (section numbers beside each
// parser) and docs/spec/tpm.md, which draws the bytes.
package quote

import "fmt"

// Attestation is one signed statement of the TPM.
type Attestation struct {
	Attest []byte // TPMS_ATTEST: the body of TPM2B_ATTEST without its size (Part 2, §10.12.12)
	Sig    []byte // TPMT_SIGNATURE over SHA-256(Attest) (Part 2, §11.3.4)
}

// Clock is TPMS_CLOCK_INFO (Part 2, §10.11.1).
type Clock struct {
	// Millis counts milliseconds of powered-on time since the last Clear.
	Millis uint64
	// ResetCount and RestartCount count TPM Resets, and Restarts and Resumes.
	// In attestations by an owner-hierarchy key the TPM adds to each a
	// constant derived from the key (Part 1, "Timing Components"): differences modulo 2³²
	// mean something, the values do not.
	ResetCount, RestartCount uint32
	// Safe is false when the clock may repeat values after an unorderly
	// shutdown.
	Safe bool
}

// NVFacts is what a verified NV_Certify says.
type NVFacts struct {
	Clock    Clock
	Firmware uint64   // firmwareVersion, obfuscated like the reset counts
	Contents [32]byte // HEAD
}

// QuoteFacts is what a verified Quote says.
type QuoteFacts struct {
	Clock     Clock
	PCRDigest [32]byte // compare with PCRDigest(value)
}

// VerifyNV verifies an NV_Certify of the whole of HEAD (TPMS_NV_CERTIFY_INFO,
// Part 2, §10.12.8): signature by k, magic,
// type ATTEST_NV, signer, extraData equal to extra, Name equal to headName,
// offset 0 and 32 bytes of contents.
func (k *AK) VerifyNV(a Attestation, headName []byte, extra [32]byte) (NVFacts, error) {
	r, clock, firmware, err := k.open(a, typeNV, extra)
	if err != nil {
		return NVFacts{}, err
	}
	name := r.sized(maxName, "indexName")
	offset := r.u16("offset")
	contents := r.sized(HeadSize, "nvContents")
	if err := r.close(); err != nil {
		return NVFacts{}, err
	}
	if len(headName) != maxName || string(name) != string(headName) {
		return NVFacts{}, fmt.Errorf("quote: NV attestation is about index %x, not about HEAD %x", name, headName)
	}
	if offset != 0 || len(contents) != HeadSize {
		return NVFacts{}, fmt.Errorf("quote: NV attestation covers %d bytes at offset %d, not all %d of HEAD", len(contents), offset, HeadSize)
	}
	return NVFacts{Clock: clock, Firmware: firmware, Contents: [32]byte(contents)}, nil
}

// VerifyQuote verifies a Quote (TPMS_QUOTE_INFO, Part 2, §10.12.4) of exactly
// one PCR of the SHA-256 bank:
// signature by k, magic, type ATTEST_QUOTE, signer, extraData equal to extra,
// and a selection of that bank and that PCR only. A TPM whose bank is not
// allocated quotes an empty selection with success; that is refused here.
func (k *AK) VerifyQuote(a Attestation, pcr int, extra [32]byte) (QuoteFacts, error) {
	r, clock, _, err := k.open(a, typeQuote, extra)
	if err != nil {
		return QuoteFacts{}, err
	}
	sel := r.selection()
	digest := r.sized(32, "pcrDigest")
	if err := r.close(); err != nil {
		return QuoteFacts{}, err
	}
	if err := onlyPCR(sel, pcr); err != nil {
		return QuoteFacts{}, err
	}
	if len(digest) != 32 {
		return QuoteFacts{}, fmt.Errorf("quote: pcrDigest has %d bytes, not 32", len(digest))
	}
	return QuoteFacts{Clock: clock, PCRDigest: [32]byte(digest)}, nil
}

// onlyPCR refuses every selection but SHA-256:pcr.
func onlyPCR(sel []pcrSelection, pcr int) error {
	if len(sel) != 1 {
		return fmt.Errorf("quote: %d PCR banks quoted, not one (is the SHA-256 bank allocated?)", len(sel))
	}
	if sel[0].bank != algSHA256 {
		return fmt.Errorf("quote: PCR bank %#04x quoted, not SHA-256", sel[0].bank)
	}
	for i, octet := range sel[0].bits {
		for bit := 0; bit < 8; bit++ {
			if set := octet>>bit&1 == 1; set != (i*8+bit == pcr) {
				return fmt.Errorf("quote: quoted PCR selection %x is not exactly PCR %d", sel[0].bits, pcr)
			}
		}
	}
	if pcr < 0 || pcr >= 8*len(sel[0].bits) {
		return fmt.Errorf("quote: PCR %d is outside of the quoted selection %x", pcr, sel[0].bits)
	}
	return nil
}

// open verifies the signature and the part that all attestations share
// (TPMS_ATTEST, Part 2, §10.12.12) and returns a reader standing at the union.
func (k *AK) open(a Attestation, want uint16, extra [32]byte) (*reader, Clock, uint64, error) {
	fail := func(err error) (*reader, Clock, uint64, error) { return nil, Clock{}, 0, err }
	if len(a.Attest) > MaxAttest {
		return fail(fmt.Errorf("quote: attestation of %d bytes, over the limit of %d", len(a.Attest), MaxAttest))
	}
	if err := k.verify(a); err != nil {
		return fail(err)
	}
	r := &reader{b: a.Attest}
	magic, kind := r.u32("magic"), r.u16("type")
	signer := r.sized(maxName, "qualifiedSigner")
	data := r.sized(maxName, "extraData")
	clock := r.clock()
	firmware := r.u64("firmwareVersion")
	switch {
	case r.err != nil:
		return fail(r.err)
	case magic != magicGenerated:
		return fail(fmt.Errorf("quote: magic %#08x: not made by a TPM", magic))
	case kind != want:
		return fail(fmt.Errorf("quote: attestation type %#04x, not %#04x", kind, want))
	case string(signer) != string(k.qualified):
		return fail(fmt.Errorf("quote: signed as %x, but the AK as an owner-hierarchy primary is %x", signer, k.qualified))
	case string(data) != string(extra[:]):
		return fail(fmt.Errorf("quote: extraData %x is not the expected tag %x", data, extra))
	}
	return r, clock, firmware, nil
}
