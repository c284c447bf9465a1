package ledgerstore

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
	headerSize = 9
	planSize   = 8 + 32 + 32
	offsetSize = 8 // position u64
	markSize   = 9 // index u64 | kind u8

	kindEntry = 0x10 // an entry's bytes
	kindPlan  = 0x20 // size u64 | X | Prev

	flagFirst = 0x01 // first record of an append
	flagLast  = 0x02 // last one: only then the append is whole
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type record struct {
	kind        byte
	first, last bool
	payload     []byte
}

func appendRecord(b []byte, r record) []byte {
	typ := r.kind
	if r.first {
		typ |= flagFirst
	}
	if r.last {
		typ |= flagLast
	}
	at := len(b)
	b = append(b, typ)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.payload)))
	b = binary.BigEndian.AppendUint32(b, checksum(b[at:], r.payload))
	return append(b, r.payload...)
}

func checksum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header[:5], castagnoli), castagnoli, payload)
}

// parseHeader reads type and length; ok is false when no record begins so.
func parseHeader(h []byte) (r record, size int, ok bool) {
	typ := h[0]
	r = record{kind: typ &^ (flagFirst | flagLast), first: typ&flagFirst != 0, last: typ&flagLast != 0}
	n := binary.BigEndian.Uint32(h[1:])
	switch r.kind {
	case kindEntry:
		ok = n <= ledger.MaxEntry
	case kindPlan:
		ok = n == planSize && r.last
	}
	return r, int(n), ok
}

// parseRecord reads the record that b begins with; size is its whole length.
func parseRecord(b []byte) (r record, size int, ok bool) {
	if len(b) < headerSize {
		return record{}, 0, false
	}
	r, n, ok := parseHeader(b)
	if !ok || len(b) < headerSize+n {
		return record{}, 0, false
	}
	r.payload = b[headerSize : headerSize+n]
	return r, headerSize + n, binary.BigEndian.Uint32(b[5:]) == checksum(b, r.payload)
}

func encodePlan(p anchor.Plan) []byte {
	b := binary.BigEndian.AppendUint64(nil, p.Size)
	b = append(b, p.X[:]...)
	return append(b, p.Prev[:]...)
}

func decodePlan(b []byte) anchor.Plan {
	return anchor.Plan{Size: binary.BigEndian.Uint64(b), X: [32]byte(b[8:40]), Prev: [32]byte(b[40:72])}
}

// encodeAppend lays out one append: all entries, then the plan if any. The
// positions in the group are within it.
func encodeAppend(entries [][]byte, plan *anchor.Plan) ([]byte, *group, error) {
	g := &group{records: make([]record, 0, len(entries)+1)}
	size := 0
	for _, e := range entries {
		if len(e) == 0 || len(e) > ledger.MaxEntry {
			return nil, nil, fmt.Errorf("append: entry of %d bytes, want 1 to %d", len(e), ledger.MaxEntry)
		}
		g.records = append(g.records, record{kind: kindEntry, payload: e})
		size += headerSize + len(e)
	}
	if plan != nil {
		g.records = append(g.records, record{kind: kindPlan, payload: encodePlan(*plan)})
		size += headerSize + planSize
	}
	if size == 0 || size > maxAppend {
		return nil, nil, fmt.Errorf("append: %d bytes at once, want 1 to %d", size, maxAppend)
	}
	g.records[0].first, g.records[len(g.records)-1].last = true, true
	b := make([]byte, 0, size)
	for _, r := range g.records {
		g.at = append(g.at, int64(len(b)))
		b = appendRecord(b, r)
	}
	g.end = int64(len(b))
	return b, g, nil
}
