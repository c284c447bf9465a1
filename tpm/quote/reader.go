package quote

import (
	"encoding/binary"
	"fmt"
)

// TPM constants, Part 2: TPM_GENERATED (§6.2), TPM_ST (§6.9), TPM_ALG_ID (§6.3).
const (
	magicGenerated = 0xff544347
	typeNV         = 0x8014
	typeQuote      = 0x8018
	typeCreation   = 0x801a

	algSHA256 = 0x000b
	algNull   = 0x0010
	algECDSA  = 0x0018
	algECC    = 0x0023
	curveP256 = 0x0003

	rhOwner = 0x40000001
)

// reader walks big-endian TPM structures. After its first error every call
// returns zero values; close reports that error, or bytes left over.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int, what string) []byte {
	if r.err == nil && len(r.b) < n {
		r.err = fmt.Errorf("quote: truncated at %s", what)
	}
	if r.err != nil {
		return nil
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) u8(what string) uint8 {
	if b := r.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16(what string) uint16 {
	if b := r.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized reads a TPM2B of at most max bytes.
func (r *reader) sized(max int, what string) []byte {
	n := int(r.u16(what))
	if r.err == nil && n > max {
		r.err = fmt.Errorf("quote: %s of %d bytes, over the limit of %d", what, n, max)
	}
	return r.take(n, what)
}

// expect16 reads a u16 that can have only one value.
func (r *reader) expect16(want uint16, what string) {
	if got := r.u16(what); r.err == nil && got != want {
		r.err = fmt.Errorf("quote: %s is %#04x, not %#04x", what, got, want)
	}
}

// clock reads TPMS_CLOCK_INFO; safe is a TPMI_YES_NO, 0 or 1.
func (r *reader) clock() Clock {
	c := Clock{Millis: r.u64("clock"), ResetCount: r.u32("resetCount"), RestartCount: r.u32("restartCount")}
	safe := r.u8("safe")
	if r.err == nil && safe > 1 {
		r.err = fmt.Errorf("quote: safe is %#02x, neither yes nor no", safe)
	}
	c.Safe = safe == 1
	return c
}

// pcrSelection is TPMS_PCR_SELECTION (Part 2, §10.6.2).
type pcrSelection struct {
	bank uint16
	bits []byte
}

// selection reads a TPML_PCR_SELECTION (Part 2, §10.9.7) of at most one bank:
// nothing that we accept has more.
func (r *reader) selection() []pcrSelection {
	n := r.u32("pcrSelect count")
	if r.err == nil && n > 1 {
		r.err = fmt.Errorf("quote: %d PCR banks selected, not one", n)
	}
	if r.err != nil || n == 0 {
		return nil
	}
	bank, size := r.u16("PCR bank"), int(r.u8("sizeofSelect"))
	if r.err == nil && size > maxSelect {
		r.err = fmt.Errorf("quote: PCR selection of %d octets, over the limit of %d", size, maxSelect)
	}
	return []pcrSelection{{bank, r.take(size, "pcrSelect")}}
}

func (r *reader) close() error {
	if r.err == nil && len(r.b) != 0 {
		r.err = fmt.Errorf("quote: %d trailing bytes", len(r.b))
	}
	return r.err
}
