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
	switch { // what has one spelling
	case f.Type == TypeSyn || f.Type == TypeAccept:
		f.Payload[0] |= 1
	case f.Type == TypeAck && n > 0:
		f.Payload[0] &= AckHold
		f.Payload[n-1] |= 1
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
			if got := feed(&d, wire, piece); len(got) != 1 || !equal(got[0], f) || d.Stats().Refused() != 1 {
				t.Errorf("%s in pieces of %d: %d frames, stats %+v", name, piece, len(got), d.Stats())
			}
		}
	}
	var d Decoder
	if got := feed(&d, slices.Concat([]byte{0, 0, 0}, good, []byte{0, 0}, good), 3); len(got) != 2 || d.Stats().Refused() != 0 {
		t.Errorf("delimiters in a row: %d frames, stats %+v", len(got), d.Stats())
	}
}

// malformed is one piece, without its delimiter, of every kind that is refused.
var malformed = []struct {
	name  string
	class Error
	piece []byte
}{
	{"one byte too long", ErrLong, bytes.Repeat([]byte{1}, MaxEncoded+1)},
	{"a megabyte", ErrLong, bytes.Repeat([]byte{0xa5}, 1<<20)},
	{"group longer than the rest", ErrStuffing, []byte{5, 1, 2}},
	{"empty group after a full last one", ErrStuffing, append(append([]byte{0xff}, bytes.Repeat([]byte{9}, 254)...), 1)},
	{"longest piece of full groups", ErrStuffing, bytes.Repeat([]byte{0xff}, MaxEncoded)},
	{"text", ErrStuffing, []byte("\r\nlogin: ")},
	{"one byte", ErrShort, []byte{1}},
	{"twelve bytes", ErrShort, appendCOBS(nil, make([]byte, headerSize+crcSize-1))},
	{"zeros", ErrChecksum, appendCOBS(nil, make([]byte, headerSize+crcSize))},
	{"checksum of other bytes", ErrChecksum, appendCOBS(nil, append(appendRaw(nil, &Frame{Type: TypePing, SID: 7})[:headerSize+crcSize-1], 1))},
	{"longer than any frame, unstuffed", ErrLength, stuffed(Frame{Type: TypeData, SID: 1, Payload: make([]byte, MaxPayload+1)})},
	{"type 0", ErrType, stuffed(Frame{SID: 1})},
	{"type 7", ErrType, stuffed(Frame{Type: 7, SID: 1})},
	{"DATA with a third flag", ErrType, stuffed(Frame{Type: 0x14, SID: 1, Payload: []byte{1}})},
	{"DATA with the high bit", ErrType, stuffed(Frame{Type: 0x90, SID: 1, Payload: []byte{1}})},
	{"SYN, short", ErrLength, stuffed(Frame{Type: TypeSyn, Payload: hello[1:]})},
	{"ACCEPT, long", ErrLength, stuffed(Frame{Type: TypeAccept, SID: 1, Payload: append([]byte{1}, hello...)})},
	{"ACK, long", ErrLength, stuffed(Frame{Type: TypeAck, SID: 1, Payload: []byte{0, 1, 1, 1, 1, 1}})},
	{"PING with payload", ErrLength, stuffed(Frame{Type: TypePing, SID: 1, Payload: []byte{1}})},
	{"PONG with payload", ErrLength, stuffed(Frame{Type: TypePong, SID: 1, Payload: []byte{1}})},
	{"RESET without reason", ErrLength, stuffed(Frame{Type: TypeReset, SID: 1})},
	{"RESET, long", ErrLength, stuffed(Frame{Type: TypeReset, SID: 1, Payload: []byte{1, 2}})},
	{"DATA without payload", ErrLength, stuffed(Frame{Type: TypeData, SID: 1})},
	{"SYN with sid", ErrField, stuffed(Frame{Type: TypeSyn, SID: 1, Payload: hello})},
	{"SYN with seq", ErrField, stuffed(Frame{Type: TypeSyn, Seq: 1, Payload: hello})},
	{"SYN with ack", ErrField, stuffed(Frame{Type: TypeSyn, Ack: 1, Payload: hello})},
	{"SYN of version 0", ErrField, stuffed(Frame{Type: TypeSyn, Payload: make([]byte, HelloPayload)})},
	{"ACCEPT without sid", ErrField, stuffed(Frame{Type: TypeAccept, Payload: hello})},
	{"ACCEPT with seq", ErrField, stuffed(Frame{Type: TypeAccept, SID: 1, Seq: 1, Payload: hello})},
	{"ACCEPT with ack", ErrField, stuffed(Frame{Type: TypeAccept, SID: 1, Ack: 1, Payload: hello})},
	{"ACCEPT of version 0", ErrField, stuffed(Frame{Type: TypeAccept, SID: 1, Payload: make([]byte, HelloPayload)})},
	{"ACK without sid", ErrField, stuffed(Frame{Type: TypeAck})},
	{"ACK with seq", ErrField, stuffed(Frame{Type: TypeAck, SID: 1, Seq: 1})},
	{"ACK with no flag in a byte", ErrField, stuffed(Frame{Type: TypeAck, SID: 1, Payload: []byte{0}})},
	{"ACK with another flag", ErrField, stuffed(Frame{Type: TypeAck, SID: 1, Payload: []byte{2}})},
	{"ACK with a zero at the end", ErrField, stuffed(Frame{Type: TypeAck, SID: 1, Payload: []byte{1, 1, 0}})},
	{"PING without sid", ErrField, stuffed(Frame{Type: TypePing})},
	{"PING with seq", ErrField, stuffed(Frame{Type: TypePing, SID: 1, Seq: 1})},
	{"PONG without sid", ErrField, stuffed(Frame{Type: TypePong})},
	{"PONG with seq", ErrField, stuffed(Frame{Type: TypePong, SID: 1, Seq: 1})},
	{"RESET with seq", ErrField, stuffed(Frame{Type: TypeReset, SID: 1, Seq: 1, Payload: []byte{1}})},
	{"RESET with ack", ErrField, stuffed(Frame{Type: TypeReset, SID: 1, Ack: 1, Payload: []byte{1}})},
	{"DATA without sid", ErrField, stuffed(Frame{Type: TypeData, Payload: []byte{1}})},
}

// hello is a good payload of SYN and ACCEPT.
var hello = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}

// stuffed encodes a frame whatever the rules say.
func stuffed(f Frame) []byte { return appendCOBS(nil, appendRaw(nil, &f)) }

// TestEveryMalformedFrameHasItsClass: each is counted under its own error, once,
// however the stream is cut; the frame behind it is found; nothing is allocated.
func TestEveryMalformedFrameHasItsClass(t *testing.T) {
	good := Append(nil, &Frame{Type: TypePing, SID: 7})
	seen := map[Error]bool{}
	for _, m := range malformed {
		seen[m.class] = true
		wire := slices.Concat(m.piece, []byte{Delimiter}, good)
		for _, piece := range []int{1, 7, 1 << 21} {
			var d Decoder
			got := feed(&d, wire, piece)
			want := Stats{Frames: 1}
			want.Bad[m.class] = 1
			if len(got) != 1 || d.Stats() != want {
				t.Errorf("%s in pieces of %d: %d frames, %v, want %q", m.name, piece, len(got), d.Stats(), m.class)
			}
		}
		var d Decoder
		if n := testing.AllocsPerRun(10, func() {
			for rest := wire; len(rest) > 0; {
				_, used, _ := d.Feed(rest)
				rest = rest[used:]
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", m.name, n)
		}
	}
	if len(seen) != Errors {
		t.Errorf("%d classes of %d have a frame here", len(seen), Errors)
	}
}

// TestErrorsStandInTheSpecification: each by the name it has here.
func TestErrorsStandInTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec/frame.md")
	if err != nil {
		t.Fatal(err)
	}
	for e := range Error(Errors) {
		if text := strings.TrimPrefix(e.Error(), "frame: "); !strings.Contains(string(spec), "| "+text+" |") {
			t.Errorf("docs/spec/frame.md does not list %q", text)
		}
	}
}

// TestAppendPanicsOnABadFrame: the programmer's error is not sent.
func TestAppendPanicsOnABadFrame(t *testing.T) {
	for _, f := range []Frame{{Type: 9, SID: 1}, {Type: TypeData, SID: 1}, {Type: TypePing}} {
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

func TestCodecDoesNotAllocate(t *testing.T) {
	f := Frame{Type: TypeData, SID: 7, Payload: make([]byte, MaxPayload)}
	wire := append(Append(nil, &f), bytes.Repeat([]byte{3}, 2*MaxEncoded)...)
	var d Decoder
	if n := testing.AllocsPerRun(100, func() { d.Feed(wire) }); n != 0 {
		t.Errorf("%v allocations for one frame and garbage", n)
	}
	out := make([]byte, 0, MaxWire)
	if n := testing.AllocsPerRun(100, func() { Append(out, &f) }); n != 0 {
		t.Errorf("%v allocations to encode a frame", n)
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
