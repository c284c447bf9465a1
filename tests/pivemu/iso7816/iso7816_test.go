package iso7816

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestParseForms has one row for each form of ISO/IEC 7816-3 §12.1.3 and for
// each way to miss it.
func TestParseForms(t *testing.T) {
	long := strings.Repeat("ab", 300)
	for _, tt := range []struct {
		name, apdu string
		data       int
		le         int
		extended   bool
		bad        bool
	}{
		{name: "1", apdu: "00fb0000"},
		{name: "2S", apdu: "00fd000003", le: 3},
		{name: "2S all", apdu: "00fd000000", le: 256},
		{name: "3S", apdu: "00a4040005a000000308", data: 5},
		{name: "4S", apdu: "00a4040005a00000030800", data: 5, le: 256},
		{name: "4S with Le", apdu: "00a4040005a00000030810", data: 5, le: 16},
		{name: "2E", apdu: "00fd0000000100", le: 256, extended: true},
		{name: "2E all", apdu: "00fd0000000000", le: 65536, extended: true},
		{name: "3E", apdu: "0087119c00012c" + long, data: 300, extended: true},
		{name: "4E", apdu: "0087119c00012c" + long + "0000", data: 300, le: 65536, extended: true},
		{name: "4E with Le", apdu: "0087119c00012c" + long + "0200", data: 300, le: 512, extended: true},
		{name: "empty", apdu: "", bad: true},
		{name: "header cut", apdu: "00fd00", bad: true},
		{name: "data cut", apdu: "00a4040005a0000003", bad: true},
		{name: "data too long", apdu: "00a4040005a0000003080000", bad: true},
		{name: "extended length cut", apdu: "00fd00000000", bad: true},
		{name: "extended data cut", apdu: "00fd000000000501", bad: true},
		{name: "extended data, half an Le", apdu: "00fd00000000010100", bad: true},
		{name: "extended without data", apdu: "00fd00000000000000", bad: true},
		{name: "over the bound", apdu: "00db3fff00ffff" + strings.Repeat("00", 0xffff), bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse(unhex(t, tt.apdu))
			if tt.bad {
				if err == nil {
					t.Fatalf("accepted as %+v", c)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Data) != tt.data || c.Le != tt.le || c.Extended != tt.extended {
				t.Errorf("data %d, Le %d, extended %t", len(c.Data), c.Le, c.Extended)
			}
			if got := hex.EncodeToString(c.Bytes()); got != tt.apdu {
				t.Errorf("encoded again: %s", got)
			}
		})
	}
}

func drawCommand(t *rapid.T) Command {
	return Command{
		CLA:      rapid.Byte().Draw(t, "cla"),
		INS:      rapid.Byte().Draw(t, "ins"),
		P1:       rapid.Byte().Draw(t, "p1"),
		P2:       rapid.Byte().Draw(t, "p2"),
		Data:     rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "data"),
		Le:       rapid.SampledFrom([]int{0, 1, 255, 256, 257, 65536}).Draw(t, "le"),
		Extended: rapid.Bool().Draw(t, "extended"),
	}
}

func TestBytesParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCommand(t)
		got, err := Parse(c.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got.CLA != c.CLA || got.INS != c.INS || got.P1 != c.P1 || got.P2 != c.P2 ||
			!bytes.Equal(got.Data, c.Data) || got.Le != c.Le {
			t.Fatalf("%+v became %+v", c, got)
		}
	})
}

// TestChainingIsTransparent: a command cut into links anywhere, its answer
// fetched in pieces of any size, is the command and the answer as one.
func TestChainingIsTransparent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, MaxData).Draw(t, "data")
		answer := rapid.SliceOfN(rapid.Byte(), 0, MaxResponse).Draw(t, "answer")
		calls := 0
		h := func(c Command) ([]byte, SW) {
			calls++
			if c.INS != 0xdb || !bytes.Equal(c.Data, data) {
				t.Fatalf("got %x with %d bytes", c.INS, len(c.Data))
			}
			return answer, OK
		}
		var ch Channel
		rest := data
		for len(rest) > 255 {
			n := rapid.IntRange(1, 255).Draw(t, "link")
			link := Command{CLA: 0x10, INS: 0xdb, Data: rest[:n]}
			if out := ch.Transmit(link.Bytes(), h); !bytes.Equal(out, []byte{0x90, 0}) {
				t.Fatalf("link answered %x", out)
			}
			rest = rest[n:]
		}
		le := rapid.IntRange(1, 256).Draw(t, "le")
		out := ch.Transmit(Command{INS: 0xdb, Data: rest, Le: le}.Bytes(), h)
		var got []byte
		for {
			n := len(out) - 2
			got = append(got, out[:n]...)
			if n > le {
				t.Fatalf("%d bytes for an Le of %d", n, le)
			}
			if out[n] != 0x61 {
				break
			}
			out = ch.Transmit(Command{INS: 0xc0, Le: le}.Bytes(), h)
		}
		if !bytes.Equal(out[len(out)-2:], []byte{0x90, 0}) || !bytes.Equal(got, answer) || calls != 1 {
			t.Fatalf("%d of %d bytes, SW %x, %d calls", len(got), len(answer), out[len(out)-2:], calls)
		}
	})
}

// echo answers with instruction, P2 and data.
func echo(c Command) ([]byte, SW) { return append([]byte{c.INS, c.P2}, c.Data...), OK }

func TestChannel(t *testing.T) {
	big := strings.Repeat("00", 255)
	overflow := strings.TrimSuffix(strings.Repeat("10db0000ff"+big+">9000,", MaxData/255), ",")
	for name, script := range map[string]string{
		"another command ends a chain":     "10db000001aa>9000,0020008001bb>2080bb9000,00db000001cc>db00cc9000",
		"a chain ends with its last link":  "10db000001aa>9000,00db000001bb>db00aabb9000,00db000001cc>db00cc9000",
		"another chain replaces it":        "10db000001aa>9000,10cb000001bb>9000,00cb000001cc>cb00bbcc9000",
		"nothing to fetch":                 "00c0000000>6a80",
		"the rest is lost by a command":    "00db00000311223302>db006103,00fd000000>fd009000,00c0000000>6a80",
		"the rest comes in pieces":         "00db00000311223302>db006103,00c0000002>11226101,00c0000002>339000,00c0000000>6a80",
		"malformed ends a chain":           "10db000001aa>9000,00>6700,00db000001bb>db00bb9000",
		"secure messaging":                 "0cdb0000>6e00",
		"logical channel":                  "01db0000>6881",
		"chain over the bound":             overflow + ",10db0000ff" + big + ">6700,00db000001bb>db00bb9000",
		"last link over the bound":         overflow + ",00db0000ff" + big + ">6700",
		"extended answer at once":          "00db0000000003112233>db001122339000",
		"extended with a small Le":         "00db00000000031122330002>db006103,00c0000000>1122339000",
		"GET RESPONSE does not disturb it": "10db000001aa>9000,00c0000000>6a80,00db000001bb>db00aabb9000",
	} {
		t.Run(name, func(t *testing.T) {
			var ch Channel
			for i, step := range strings.Split(script, ",") {
				in, want, _ := strings.Cut(step, ">")
				if got := hex.EncodeToString(ch.Transmit(unhex(t, in), echo)); got != want {
					t.Fatalf("step %d: %.40s answered %.40s, want %.40s", i, in, got, want)
				}
			}
		})
	}
}

func TestTooLongAnswerIsRefused(t *testing.T) {
	var ch Channel
	out := ch.Transmit([]byte{0, 0xfd, 0, 0}, func(Command) ([]byte, SW) { return make([]byte, MaxResponse+1), OK })
	if !bytes.Equal(out, []byte{0x6f, 0}) {
		t.Errorf("%x", out)
	}
}

func TestTLV(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // tag=value …, or "" for refused
	}{
		{"5c035fc102", "5c=5fc102"},
		{"7f4903860104", "7f49=860104"},
		{"5fc1020153", "5fc102=53"},
		{"8000 8101aa", "80= 81=aa"},
		{"80810155", "80=55"},
		{"8082000155", "80=55"},
		{"", "-"},
		{"80", ""},
		{"8002aa", ""},
		{"8080aa0000", ""},
		{"808300000155", ""},
		{"7f", ""},
		{"7f8181810155", ""},
		{"5f", ""},
	} {
		o, err := ParseTLV(unhex(t, tt.in))
		if (err != nil) != (tt.want == "") {
			t.Errorf("%s: %v, %v", tt.in, o, err)
			continue
		}
		var text []string
		for _, v := range o {
			text = append(text, fmt.Sprintf("%x=%x", v.Tag, v.Value))
		}
		if got := strings.Join(text, " "); err == nil && got != strings.Trim(tt.want, "-") {
			t.Errorf("%s: %s", tt.in, got)
		}
	}
}

func TestTLVRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tag := rapid.SampledFrom([]uint32{0x01, 0x53, 0x7c, 0x80, 0x7f49, 0x5fc10a}).Draw(t, "tag")
		value := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "value")
		cut := rapid.IntRange(0, len(value)).Draw(t, "cut")
		o, err := ParseTLV(TLV(tag, value[:cut], value[cut:]))
		if err != nil {
			t.Fatal(err)
		}
		got, ok := o.Only(tag)
		if !ok || !bytes.Equal(got, value) {
			t.Fatalf("%x: %x", tag, got)
		}
	})
}

// FuzzChannel: no bytes a reader could send make the channel panic, answer with
// less than a status word, or hand on more data than the bound; what parses
// encodes and parses again to the same command.
func FuzzChannel(f *testing.F) {
	for _, s := range []string{
		"00a4040005a000000308", "10db000001aa", "00c0000000", "00fd0000000000",
		"0087119c0000247c22820081200000000000000000000000000000000000000000000000000000000000000000",
	} {
		f.Add(unhex(f, s), unhex(f, "00db000001bb"))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var ch Channel
		h := func(c Command) ([]byte, SW) {
			if len(c.Data) > MaxData {
				t.Fatalf("%d bytes of data", len(c.Data))
			}
			return echo(c)
		}
		for _, in := range [][]byte{first, second, first} {
			if out := ch.Transmit(in, h); len(out) < 2 {
				t.Fatalf("answer %x", out)
			}
			c, err := Parse(in)
			if err != nil {
				continue
			}
			again, err := Parse(c.Bytes())
			if err != nil || !bytes.Equal(again.Bytes(), c.Bytes()) {
				t.Fatalf("%x: %v", in, err)
			}
		}
	})
}

// FuzzTLV: what parses, encoded again, parses to the same objects.
func FuzzTLV(f *testing.F) {
	f.Add(unhex(f, "7c0482008100"))
	f.Add(unhex(f, "5c035fc1095382000188"))
	f.Add(unhex(f, "7f4943864104"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseTLV(b)
		if err != nil {
			return
		}
		var again []byte
		for _, v := range o {
			if len(v.Value) > 0xffff {
				t.Fatal("a value longer than two length bytes can say")
			}
			again = append(again, TLV(v.Tag, v.Value)...)
		}
		p, err := ParseTLV(again)
		if err != nil || len(p) != len(o) {
			t.Fatalf("%x: %v", again, err)
		}
		for i := range p {
			if p[i].Tag != o[i].Tag || !bytes.Equal(p[i].Value, o[i].Value) {
				t.Fatalf("object %d of %x changed", i, b)
			}
		}
	})
}
