package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
)

// A record is
//
//	type u8 | length u32 | crc u32 | payload
//
// big-endian; crc is CRC-32C over type, length and payload. The type says what
// the payload is and where the record stands in its append.
const (
	HeaderSize = 9           // type, length, crc
	PlanSize   = 8 + 32 + 32 // payload of a plan

	kindEntry = 0x10 // an entry's bytes
	kindPlan  = 0x20 // size u64 | X | Prev

	flagFirst = 0x01 // first record of an append
	flagLast  = 0x02 // last one: only then the append is whole
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is an entry or a plan, and where it stands in its append.
type Record struct {
	kind        byte
	First, Last bool
	Payload     []byte
}

// Plan reports whether the record is one; else it is an entry.
func (r Record) Plan() bool { return r.kind == kindPlan }

// Size is how many bytes the record takes.
func (r Record) Size() int64 { return HeaderSize + int64(len(r.Payload)) }

// Group is one append: its records, with the positions at which they begin,
// and the position after the last.
type Group struct {
	Records []Record
	At      []int64
	End     int64
}

func appendRecord(b []byte, r Record) []byte {
	typ := r.kind
	if r.First {
		typ |= flagFirst
	}
	if r.Last {
		typ |= flagLast
	}
	at := len(b)
	b = append(b, typ)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Payload)))
	b = binary.BigEndian.AppendUint32(b, checksum(b[at:], r.Payload))
	return append(b, r.Payload...)
}

func checksum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header[:5], castagnoli), castagnoli, payload)
}

// parseHeader reads type and length; ok is false when no record begins so.
func parseHeader(h []byte) (r Record, size int, ok bool) {
	typ := h[0]
	r = Record{kind: typ &^ (flagFirst | flagLast), First: typ&flagFirst != 0, Last: typ&flagLast != 0}
	n := binary.BigEndian.Uint32(h[1:])
	switch r.kind {
	case kindEntry:
		ok = n <= ledger.MaxEntry
	case kindPlan:
		ok = n == PlanSize && r.Last
	}
	return r, int(n), ok
}

// parseRecord reads the record that b begins with; size is its whole length.
func parseRecord(b []byte) (r Record, size int, ok bool) {
	if len(b) < HeaderSize {
		return Record{}, 0, false
	}
	r, n, ok := parseHeader(b)
	if !ok || len(b) < HeaderSize+n {
		return Record{}, 0, false
	}
	r.Payload = b[HeaderSize : HeaderSize+n]
	return r, HeaderSize + n, binary.BigEndian.Uint32(b[5:]) == checksum(b, r.Payload)
}

func encodePlan(p anchor.Plan) []byte {
	b := binary.BigEndian.AppendUint64(nil, p.Size)
	b = append(b, p.X[:]...)
	return append(b, p.Prev[:]...)
}

// DecodePlan reads the payload of a plan.
func DecodePlan(b []byte) anchor.Plan {
	return anchor.Plan{Size: binary.BigEndian.Uint64(b), X: [32]byte(b[8:40]), Prev: [32]byte(b[40:72])}
}

// Encode lays out one append: all entries, then the plan if any. The
// positions in the group are within it.
func Encode(entries [][]byte, plan *anchor.Plan) ([]byte, *Group, error) {
	g := &Group{Records: make([]Record, 0, len(entries)+1)}
	size := 0
	for _, e := range entries {
		if len(e) == 0 || len(e) > ledger.MaxEntry {
			return nil, nil, fmt.Errorf("append: entry of %d bytes, want 1 to %d", len(e), ledger.MaxEntry)
		}
		g.Records = append(g.Records, Record{kind: kindEntry, Payload: e})
		size += HeaderSize + len(e)
	}
	if plan != nil {
		g.Records = append(g.Records, Record{kind: kindPlan, Payload: encodePlan(*plan)})
		size += HeaderSize + PlanSize
	}
	if size == 0 || size > MaxAppend {
		return nil, nil, fmt.Errorf("append: %d bytes at once, want 1 to %d", size, MaxAppend)
	}
	g.Records[0].First, g.Records[len(g.Records)-1].Last = true, true
	b := make([]byte, 0, size)
	for _, r := range g.Records {
		g.At = append(g.At, int64(len(b)))
		b = appendRecord(b, r)
	}
	g.End = int64(len(b))
	return b, g, nil
}
