package frame

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzDecode feeds any bytes: what is accepted must encode to the very bytes
// that were read, however the stream is cut, and nothing else may happen.
func FuzzDecode(f *testing.F) {
	ping := Frame{Type: TypePing, SID: 7}
	f.Add(Append(nil, &ping), 3)
	for _, m := range malformed {
		f.Add(append(slices.Clone(m.piece[:min(len(m.piece), MaxEncoded+5)]), Delimiter), 100)
	}
	f.Fuzz(func(t *testing.T, wire []byte, piece int) {
		var want []Frame
		pieces := bytes.Split(wire, []byte{Delimiter})
		for _, p := range pieces[:len(pieces)-1] {
			fr, err := decodePiece(slices.Clone(p), len(p) > MaxEncoded)
			if err != nil {
				continue
			}
			want = append(want, fr)
			if got := Append(nil, &fr); !bytes.Equal(got[:len(got)-1], p) {
				t.Fatalf("read %x, encodes to %x", p, got)
			}
		}
		var d Decoder
		got := feed(&d, wire, max(1, piece%5000))
		if !slices.EqualFunc(got, want, equal) {
			t.Fatalf("the decoder found %d frames, want %d", len(got), len(want))
		}
	})
}

// FuzzEncode makes a frame of any fields: a legal one must come back, also
// after garbage.
func FuzzEncode(f *testing.F) {
	f.Add(uint8(TypeData|FlagLast), uint32(1), uint16(2), uint16(3), []byte("payload"), []byte("garbage"))
	f.Fuzz(func(t *testing.T, typ uint8, sid uint32, seq, ack uint16, payload, garbage []byte) {
		fr := Frame{Type: Type(typ), SID: sid, Seq: seq, Ack: ack, Payload: payload}
		if fr.Check() != nil {
			return
		}
		var d Decoder
		feed(&d, append(slices.Clone(garbage), Delimiter), 4096) // the arguments may share memory
		got := feed(&d, Append(nil, &fr), 4096)
		if len(got) != 1 || !equal(got[0], fr) {
			t.Fatalf("%+v came back as %+v", fr, got)
		}
	})
}
