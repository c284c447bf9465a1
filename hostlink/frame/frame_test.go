package frame

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// genFrame draws a frame that obeys the rules.
func genFrame(t *rapid.T) Frame {
	types := []Type{TypeSyn, TypeAccept, TypeAck, TypePing, TypePong, TypeReset}
	for flags := range Type(4) {
		types = append(types, TypeData|flags)
	}
	f := Frame{Type: rapid.SampledFrom(types).Draw(t, "type")}
	least, most, _ := payloadBounds(f.Type)
	n := rapid.OneOf(rapid.IntRange(least, most), rapid.SampledFrom([]int{least, most})).Draw(t, "length")
	f.Payload = make([]byte, n)
	fill := rapid.SampledFrom([]byte{0, 1, 0xff}).Draw(t, "fill")
	step := rapid.SampledFrom([]int{1, 2, 253, 254, 255, 5000}).Draw(t, "step")
	for i := range f.Payload {
		f.Payload[i] = fill
		if i%step == 0 {
			f.Payload[i] = byte(i / step)
		}
	}
	if f.Type != TypeSyn {
		f.SID = rapid.Uint32Min(1).Draw(t, "sid")
	}
	if f.Type.IsData() {
		f.Seq = rapid.Uint16().Draw(t, "seq")
	}
	if f.Type.IsData() || f.Type == TypeAck || f.Type == TypePing || f.Type == TypePong {
		f.Ack = rapid.Uint16().Draw(t, "ack")
	}
	return f
}

func equal(a, b Frame) bool {
	return a.Type == b.Type && a.SID == b.SID && a.Seq == b.Seq && a.Ack == b.Ack && bytes.Equal(a.Payload, b.Payload)
}

// feed decodes a stream given in pieces of at most n bytes.
func feed(d *Decoder, wire []byte, n int) (out []Frame) {
	for len(wire) > 0 {
		p := wire[:min(n, len(wire))]
		f, used, ok := d.Feed(p)
		wire = wire[used:]
		if ok {
			f.Payload = slices.Clone(f.Payload)
			out = append(out, f)
		}
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire []byte
		want := rapid.SliceOfN(rapid.Custom(genFrame), 1, 5).Draw(t, "frames")
		for i := range want {
			one := Append(nil, &want[i])
			if len(one) > MaxWire || bytes.IndexByte(one, 0) != len(one)-1 {
				t.Fatalf("%d bytes, first zero at %d", len(one), bytes.IndexByte(one, 0))
			}
			if len(want[i].Payload) < 200 && len(one) > Overhead+len(want[i].Payload) {
				t.Fatalf("%d bytes for %d of payload", len(one), len(want[i].Payload))
			}
			wire = append(wire, one...)
		}
		var d Decoder
		got := feed(&d, wire, rapid.IntRange(1, 9000).Draw(t, "piece"))
		if !slices.EqualFunc(got, want, equal) || d.Stats() != (Stats{Frames: uint64(len(want))}) {
			t.Fatalf("got %d of %d frames, stats %+v", len(got), len(want), d.Stats())
		}
	})
}

// TestEveryDamageIsNoticed flips every bit of a frame in turn, and deletes and
// doubles every byte. A flip may split the frame; nothing may be accepted.
func TestEveryDamageIsNoticed(t *testing.T) {
	f := Frame{Type: TypeData | FlagLast, SID: 0x01020304, Seq: 5, Ack: 6, Payload: []byte("hello\x00world")}
	good := Append(nil, &f)
	try := func(what string, at int, wire []byte) {
		var d Decoder
		if got := feed(&d, append(wire, 0), 4096); len(got) != 0 {
			t.Errorf("%s at %d: accepted %+v", what, at, got)
		}
	}
	for i := range len(good) * 8 {
		wire := slices.Clone(good)
		wire[i/8] ^= 1 << (i % 8)
		if i/8 == len(good)-1 { // the delimiter itself: more bytes follow it
			wire = append(wire, 1, 2, 3)
		}
		try("flip of bit", i, wire)
	}
	for i := range len(good) - 1 {
		try("lost byte", i, slices.Delete(slices.Clone(good), i, i+1))
		if good[i] != good[i+1] {
			try("doubled byte", i, slices.Insert(slices.Clone(good), i, good[i]))
		}
	}
}

func TestResynchronises(t *testing.T) {
	f := Frame{Type: TypePing, SID: 7}
	good := Append(nil, &f)
	garbage := map[string][]byte{
		"text":          []byte("\r\nlogin: "),
		"longest piece": bytes.Repeat([]byte{0xff}, MaxEncoded),
		"too long":      bytes.Repeat([]byte{1}, MaxEncoded+1),
		"megabyte":      bytes.Repeat([]byte{0xa5}, 1<<20),
		"half a frame":  good[:len(good)/2],
	}
	for name, g := range garbage {
		for _, piece := range []int{1, 7, 100000} {
			var d Decoder
			wire := slices.Concat(g, []byte{0}, good)
			if got := feed(&d, wire, piece); len(got) != 1 || !equal(got[0], f) || d.Stats().Bad != 1 {
				t.Errorf("%s in pieces of %d: %d frames, stats %+v", name, piece, len(got), d.Stats())
			}
		}
	}
	var d Decoder
	if got := feed(&d, slices.Concat([]byte{0, 0, 0}, good, []byte{0, 0}, good), 3); len(got) != 2 || d.Stats().Bad != 0 {
		t.Errorf("delimiters in a row: %d frames, stats %+v", len(got), d.Stats())
	}
}

func TestCheckRefuses(t *testing.T) {
	hello := make([]byte, HelloPayload)
	bad := []Frame{
		{Type: 0, SID: 1},
		{Type: 0x07, SID: 1},
		{Type: 0x14, SID: 1, Payload: []byte{1}},
		{Type: 0x90, SID: 1, Payload: []byte{1}},
		{Type: TypeSyn, SID: 1, Payload: hello},
		{Type: TypeSyn, Seq: 1, Payload: hello},
		{Type: TypeSyn, Ack: 1, Payload: hello},
		{Type: TypeSyn, Payload: hello[1:]},
		{Type: TypeAccept, Payload: hello},
		{Type: TypeAccept, SID: 1, Ack: 1, Payload: hello},
		{Type: TypeAck},
		{Type: TypeAck, SID: 1, Seq: 1},
		{Type: TypeAck, SID: 1, Payload: make([]byte, MaxAckPayload+1)},
		{Type: TypePing, SID: 1, Payload: []byte{1}},
		{Type: TypePong, SID: 1, Seq: 1},
		{Type: TypeReset, SID: 1},
		{Type: TypeReset, SID: 1, Payload: []byte{1, 2}},
		{Type: TypeReset, SID: 1, Ack: 1, Payload: []byte{1}},
		{Type: TypeData, Payload: []byte{1}},
		{Type: TypeData, SID: 1},
		{Type: TypeData, SID: 1, Payload: make([]byte, MaxPayload+1)},
	}
	for _, f := range bad {
		if f.Check() == nil {
			t.Errorf("%v sid %d seq %d ack %d, %d bytes: accepted", f.Type, f.SID, f.Seq, f.Ack, len(f.Payload))
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: Append did not panic", f.Type)
				}
			}()
			Append(nil, &f)
		}()
	}
}

// TestOneEncoding: the redundant spelling of COBS is refused, as are its errors.
func TestOneEncoding(t *testing.T) {
	full := append([]byte{0xff}, bytes.Repeat([]byte{9}, 254)...)
	if got, err := decodeCOBS(slices.Clone(full)); err != nil || len(got) != 254 {
		t.Errorf("full group: %d bytes, %v", len(got), err)
	}
	for name, b := range map[string][]byte{
		"empty group after a full last one": append(slices.Clone(full), 1),
		"group longer than the rest":        {5, 1, 2},
		"zero code":                         {2, 1, 0},
	} {
		if got, err := decodeCOBS(slices.Clone(b)); err == nil {
			t.Errorf("%s: decoded to %x", name, got)
		}
	}
	if got, err := decodeCOBS(append(slices.Clone(full), 1, 1)); err != nil || len(got) != 255 {
		t.Errorf("full group and a zero: %d bytes, %v", len(got), err)
	}
}

func TestDecoderDoesNotAllocate(t *testing.T) {
	f := Frame{Type: TypeData, SID: 7, Payload: make([]byte, MaxPayload)}
	wire := append(Append(nil, &f), bytes.Repeat([]byte{3}, 2*MaxEncoded)...)
	var d Decoder
	if n := testing.AllocsPerRun(100, func() { d.Feed(wire) }); n != 0 {
		t.Errorf("%v allocations for one frame and garbage", n)
	}
}

// TestSpecVectors checks the vectors of the specification: fields, checksum and
// wire bytes, both ways.
func TestSpecVectors(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec/frame.md")
	if err != nil {
		t.Fatal(err)
	}
	vectors := 0
	for block := range strings.SplitSeq(string(spec), "```vector\n") {
		block, _, ok := strings.Cut(block, "```")
		if !ok || !strings.HasPrefix(block, "frame ") {
			continue
		}
		vectors++
		raw, wire := vectorLine(t, block, "frame "), vectorLine(t, block, "wire ")
		raw = append(raw, vectorLine(t, block, "crc ")...)
		f, err := parse(slices.Clone(raw))
		if err != nil {
			t.Errorf("%x: %v", raw, err)
			continue
		}
		if got := Append(nil, &f); !bytes.Equal(got, wire) {
			t.Errorf("encoded\n%x, want\n%x", got, wire)
		}
		var d Decoder
		if got := feed(&d, wire, 5); len(got) != 1 || !equal(got[0], f) {
			t.Errorf("%x decodes to %+v", wire, got)
		}
	}
	if vectors < 8 {
		t.Errorf("only %d vectors found in the specification", vectors)
	}
}

// vectorLine joins the hexadecimal of the lines that begin with key, up to '#'.
func vectorLine(t *testing.T, block, key string) []byte {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(block) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			rest, _, _ = strings.Cut(rest, "#")
			text.WriteString(strings.Join(strings.Fields(rest), ""))
		}
	}
	b, err := hex.DecodeString(text.String())
	if err != nil || len(b) == 0 {
		t.Fatalf("line %q of vector:\n%s\n%v", key, block, err)
	}
	return b
}

func BenchmarkEncodeDecode(b *testing.B) {
	f := Frame{Type: TypeData, SID: 7, Payload: make([]byte, MaxPayload)}
	for i := range f.Payload {
		f.Payload[i] = byte(i * 7)
	}
	var d Decoder
	var wire []byte
	b.SetBytes(MaxPayload)
	for b.Loop() {
		wire = Append(wire[:0], &f)
		d.Feed(wire)
	}
}
