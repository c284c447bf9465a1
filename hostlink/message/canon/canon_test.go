package canon

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const testDomain = "touchmark/test/v1"

// sample is a text with every kind of value; readSample and writeSample are
// the parser and writer a user of this package would write for it.
type sample struct {
	Words []string
	Count uint64
	Hash  []byte
	Blob  []byte
	When  time.Time
	Body  []byte
}

func (s *sample) marshal() []byte {
	w := NewWriter(testDomain)
	for _, x := range s.Words {
		w.Line("word", x, x)
	}
	w.Line("values", Uint(s.Count), Hex(s.Hash), Base64(s.Blob), Time(s.When))
	w.Block("body", s.Body)
	return w.Bytes()
}

func readSample(text []byte) (*sample, error) {
	r := NewReader(text, testDomain)
	s := &sample{}
	for r.Peek() == "word" {
		f := r.Line("word", 2)
		if f[0] != f[1] {
			r.Failf("words differ")
		}
		s.Words = append(s.Words, f[0])
	}
	f := r.Line("values", 4)
	s.Count, s.Hash, s.Blob, s.When = r.Uint(f[0], 1<<40), r.Hex(f[1], 4), r.Base64(f[2], 100), r.Time(f[3])
	s.Body = r.Block("body", 1000)
	if err := r.Close(); err != nil {
		return nil, err
	}
	return s, nil
}

const good = testDomain + "\nword a a\nvalues 12 00ff00ff aGk= 2026-11-21T22:00:00Z\nbody 4\nx\ny\n"

func TestReadsAndWritesTheSameBytes(t *testing.T) {
	s, err := readSample([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(s.marshal()); got != good {
		t.Errorf("got %q, want %q", got, good)
	}
	if s.Count != 12 || string(s.Blob) != "hi" || string(s.Body) != "x\ny\n" || s.When.Unix() != 1795298400 {
		t.Errorf("read %+v", s)
	}
}

// stray is the sample with an edit, or with nothing to replace a text of its own, and
// what is wrong with it.
type stray struct {
	name, old, new string
	want           Problem
}

// Lines, keys and fields.
var strayLines = []stray{
	{"what its own rules forbid", "word a a", "word a b", BadValue},
	{"empty", "", "", OtherDomain},
	{"no newline at all", "", testDomain, OtherDomain},
	{"other domain", "test/v1", "test/v2", OtherDomain},
	{"domain with space", "test/v1", "test/v1 ", OtherDomain},
	{"unknown key", "word", "wort", WrongLine},
	{"key in uppercase", "values", "Values", WrongLine},
	{"key with a space before", "values", " values", WrongLine},
	{"wrong order", "", testDomain + "\nbody 4\nx\ny\nvalues 12 00ff00ff aGk= 2026-11-21T22:00:00Z\n", WrongLine},
	{"missing line", "", testDomain + "\nword a a\nbody 4\nx\ny\n", WrongLine},
	{"two spaces", "values 12", "values  12", BadField},
	{"trailing space", "word a a\n", "word a a \n", BadField},
	{"tab", "values 12", "values\t12", WrongLine},
	{"carriage return", "word a a\n", "word a a\r\n", BadField},
	{"field too many", "word a a", "word a a a", FieldCount},
	{"field too few", "word a a", "word a", FieldCount},
	{"NUL in a field", "word a a", "word a\x00 a\x00", BadField},
	{"DEL in a field", "word a a", "word a\x7f a\x7f", BadField},
	{"umlaut in a field", "word a a", "word ä ä", BadField},
	{"homoglyph in a field", "word a a", "word \u0430 \u0430", BadField},
	{"escape sequence in a field", "word a a", "word \x1b[2J \x1b[2J", BadField},
	{"trailing line", "", good + "more\n", Surplus},
	{"trailing newline", "", good + "\n", Surplus},
	{"last line without newline", "body 4\nx\ny\n", "body 4", CutOff},
	{"line too long", "word a a", "word " + strings.Repeat("a", MaxLine) + " a", TooLong},
	{"very many fields", "word a a", "word" + strings.Repeat(" a", 20000), FieldCount},
	{"text too long", "", good + strings.Repeat("x", MaxText), TooLong},
	{"byte order mark", "", "\ufeff" + good, OtherDomain},
}

// Numbers, bytes and times.
var strayValues = []stray{
	{"leading zero", "12", "012", BadNumber},
	{"plus sign", "12", "+12", BadNumber},
	{"negative", "12", "-12", BadNumber},
	{"hexadecimal number", "12", "0x12", BadNumber},
	{"underscore in number", "12", "1_2", BadNumber},
	{"number beyond its bound", "12", "1099511627777", TooLarge},
	{"number beyond 64 bits", "12", "18446744073709551616", TooLarge},
	{"uppercase hex", "00ff00ff", "00FF00ff", BadHex},
	{"short hex", "00ff00ff", "00ff00", BadHex},
	{"odd hex", "00ff00ff", "00ff00f", BadHex},
	{"base64 without padding", "aGk=", "aGk", BadBase64},
	{"base64 with stray bits", "aGk=", "aGl=", BadBase64},
	{"base64 url alphabet", "aGk=", "__8=", BadBase64},
	{"base64 of nothing", "aGk=", "=", BadBase64},
	{"base64 too long", "aGk=", strings.Repeat("aaaa", 35), BadBase64},
	{"base64 just too long", "aGk=", strings.Repeat("aaaa", 33) + "aGk=", BadBase64},
	{"time with fraction", "22:00:00Z", "22:00:00.0Z", BadTime},
	{"time with comma fraction", "22:00:00Z", "22:00:00,5Z", BadTime},
	{"time with offset", "22:00:00Z", "22:00:00+00:00", BadTime},
	{"time in lowercase", "22:00:00Z", "22:00:00z", BadTime},
	{"leap second", "22:00:00Z", "23:59:60Z", BadTime},
	{"hour without zero", "T22:00:00Z", "T2:00:00Z", BadTime},
	{"day that is not", "2026-11-21", "2026-02-30", BadTime},
	{"year too early", "2026", "2019", BadTime},
	{"year too late", "2026", "2200", BadTime},
}

// Blocks.
var strayBlocks = []stray{
	{"block longer than the text", "body 4", "body 5", CutOff},
	{"block shorter than its body", "body 4", "body 2", Surplus},
	{"block beyond its bound", "body 4\nx\ny\n", "body 1001\n" + strings.Repeat("x", 1000) + "\n", TooLarge},
	{"empty block", "body 4\nx\ny\n", "body 0\n", BadBlock},
	{"block without newline", "body 4\nx\ny\n", "body 3\nx\ny", BadBlock},
	{"block with control byte", "x\ny", "x\x00\n", BadBlock},
	{"block with DEL", "x\ny", "x\x7f\n", BadBlock},
	{"block with broken UTF-8", "x\ny", "x\xff\n", BadBlock},
	{"block with huge length", "body 4", "body 99999999999999999999999", TooLarge},
}

func TestRefusesEverythingNotCanonical(t *testing.T) {
	seen := map[Problem]bool{}
	for _, c := range slices.Concat(strayLines, strayValues, strayBlocks) {
		t.Run(c.name, func(t *testing.T) { seen[c.refused(t)] = true })
	}
	for _, p := range []Problem{TooLong, OtherDomain, WrongLine, CutOff, Surplus, BadField, FieldCount, BadBlock, BadNumber, TooLarge, BadHex, BadBase64, BadTime, BadValue} {
		if !seen[p] {
			t.Errorf("no text here has the problem %s", p)
		}
	}
}

func (c *stray) refused(t *testing.T) Problem {
	t.Helper()
	text := c.new
	if c.old != "" {
		if strings.Count(good, c.old) != 1 {
			t.Fatalf("%q does not stand once in the sample", c.old)
		}
		text = strings.Replace(good, c.old, c.new, 1)
	}
	s, err := readSample([]byte(text))
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("accepted as %+v, err %v", s, err)
	}
	if e.Problem != c.want {
		t.Errorf("%s, want %s: %v", e.Problem, c.want, e)
	}
	if e.Domain != testDomain || e.Line < 1 || len(e.Error()) > 400 || strings.ContainsAny(e.Error(), "\x00\x1b\x7f\r\n") {
		t.Errorf("poor error: %q", e.Error())
	}
	return e.Problem
}

func TestErrorsNameTheLine(t *testing.T) {
	_, err := readSample([]byte(good + "surplus\n"))
	want := `touchmark/test/v1 line 7: nothing more expected, got "surplus"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = readSample([]byte(strings.Replace(good, "values", "value", 1)))
	want = `touchmark/test/v1 line 3: want "values", got "value 12 00ff00ff aGk= 2026-11-21T22:00:00Z"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Every single-byte change of a good text is refused or reads as something
// that is written exactly like it.
func TestEveryByteFlip(t *testing.T) {
	for i := range len(good) {
		for bit := range 8 {
			b := []byte(good)
			b[i] ^= 1 << bit
			if s, err := readSample(b); err == nil && !bytes.Equal(s.marshal(), b) {
				t.Errorf("byte %d bit %d: read %q, written %q", i, bit, b, s.marshal())
			}
		}
	}
}

func TestEveryTruncation(t *testing.T) {
	for i := range len(good) {
		if _, err := readSample([]byte(good[:i])); err == nil {
			t.Errorf("accepted the first %d bytes", i)
		}
	}
}

func TestReaderIsStickyAndKeepsShapes(t *testing.T) {
	r := NewReader([]byte("wrong\n"), testDomain)
	first := r.Err()
	if first == nil {
		t.Fatal("accepted a wrong domain")
	}
	if r.Peek() != "" || len(r.Line("k", 3)) != 3 || r.Block("b", 5) != nil || r.Uint("7", 9) != 0 ||
		len(r.Hex("00", 4)) != 4 || r.Base64("aGk=", 9) != nil || !r.Time("2026-11-21T22:00:00Z").IsZero() {
		t.Error("a value came out after an error")
	}
	r.Failf("later")
	if r.Err() != first || r.Close() != first {
		t.Error("the first error was replaced")
	}
}

func TestWriterFailsClosed(t *testing.T) {
	cases := map[string]func(w *Writer){
		"empty field":       func(w *Writer) { w.Line("k", "") },
		"space in field":    func(w *Writer) { w.Line("k", "a b") },
		"newline in field":  func(w *Writer) { w.Line("k", "a\nb") },
		"non-ASCII field":   func(w *Writer) { w.Line("k", "ä") },
		"bad key":           func(w *Writer) { w.Line("K") },
		"empty key":         func(w *Writer) { w.Line("") },
		"too many fields":   func(w *Writer) { w.Line("k", strings.Fields(strings.Repeat("a ", MaxFields+1))...) },
		"line too long":     func(w *Writer) { w.Line("k", strings.Repeat("a", MaxLine)) },
		"empty block":       func(w *Writer) { w.Block("k", nil) },
		"unfinished block":  func(w *Writer) { w.Block("k", []byte("a")) },
		"control in block":  func(w *Writer) { w.Block("k", []byte("a\t\n")) },
		"text too long":     func(w *Writer) { w.Block("k", append(bytes.Repeat([]byte("a"), MaxText), '\n')) },
		"good after failed": func(w *Writer) { w.Line("k", ""); w.Line("k", "fine") },
	}
	for name, write := range cases {
		w := NewWriter(testDomain)
		if write(w); w.Bytes() != nil || w.Err() == nil {
			t.Errorf("%s: wrote %q, error %v", name, w.Bytes(), w.Err())
		}
	}
	if w := NewWriter("two words"); w.Bytes() != nil || w.Err() == nil {
		t.Error("accepted a domain with a space")
	}
}

func TestDomain(t *testing.T) {
	for text, want := range map[string]string{
		good:                                    testDomain,
		"a\n":                                   "a",
		"\n":                                    "",
		"":                                      "",
		"no newline":                            "",
		"spaced out\n":                          "",
		strings.Repeat("d", MaxDomain) + "\n":   strings.Repeat("d", MaxDomain),
		strings.Repeat("d", MaxDomain+1) + "\n": "",
	} {
		if got := Domain([]byte(text)); got != want {
			t.Errorf("Domain(%.20q) = %q, want %q", text, got, want)
		}
	}
}

// What any writer writes, the reader reads back.
func TestPropertyWrittenIsRead(t *testing.T) {
	field := rapid.StringMatching(`[!-~]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		in := &sample{
			Words: rapid.SliceOfN(field, 0, 5).Draw(t, "words"),
			Count: rapid.Uint64Max(1<<40).Draw(t, "count"),
			Hash:  rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "hash"),
			Blob:  rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "blob"),
			When:  time.Unix(rapid.Int64Range(1577836800, 7258118399).Draw(t, "when"), 0),
			Body:  []byte(rapid.StringMatching(`[ -~ä\n]{0,200}`).Draw(t, "body") + "\n"),
		}
		text := in.marshal()
		out, err := readSample(text)
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if !bytes.Equal(out.marshal(), text) || fmt.Sprint(out.Words) != fmt.Sprint(in.Words) || !out.When.Equal(in.When) || !bytes.Equal(out.Blob, in.Blob) {
			t.Fatalf("in %+v, out %+v", in, out)
		}
	})
}

// FuzzText: whatever is accepted is written back byte for byte.
func FuzzText(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := readSample(b); err == nil && !bytes.Equal(s.marshal(), b) {
			t.Fatalf("read %q, written %q", b, s.marshal())
		}
	})
}

// FuzzValue: each value has one encoding.
func FuzzValue(f *testing.F) {
	for _, s := range []string{"0", "12", "00ff", "aGk=", "-", "2026-11-21T22:00:00Z", "007", "2026-11-21T22:00:00.0Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		check := func(what string, back func(r *Reader) string) {
			r := NewReader([]byte(testDomain+"\n"), testDomain)
			if got := back(r); r.Err() == nil && got != s {
				t.Fatalf("%s: %q reads as %q", what, s, got)
			}
		}
		check("number", func(r *Reader) string { return Uint(r.Uint(s, 1<<63)) })
		check("hex", func(r *Reader) string { return Hex(r.Hex(s, len(s)/2)) })
		check("base64", func(r *Reader) string { return Base64(r.Base64(s, 1<<16)) })
		check("time", func(r *Reader) string { return Time(r.Time(s)) })
	})
}
