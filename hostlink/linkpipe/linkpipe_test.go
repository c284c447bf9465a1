package linkpipe

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"touchmark/hostlink/session"
)

func genMsg(t *rapid.T) Msg {
	m := Msg{Kind: Kind(rapid.IntRange(1, 5).Draw(t, "kind"))}
	switch m.Kind {
	case Message:
		m.SID = rapid.Uint32().Draw(t, "sid")
		m.Channel = rapid.IntRange(0, 1).Draw(t, "channel")
		m.Body = bytes.Repeat([]byte{0, 1}, rapid.SampledFrom([]int{1, 100, MaxBody / 2}).Draw(t, "size"))
	case Up:
		m.SID = rapid.Uint32().Draw(t, "sid")
	default:
		m.Text = rapid.StringMatching(`[ -~]{0,80}`).Draw(t, "text")
	}
	return m
}

func equal(a, b Msg) bool {
	return a.Kind == b.Kind && a.Channel == b.Channel && a.SID == b.SID && a.Text == b.Text && bytes.Equal(a.Body, b.Body)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(genMsg), 1, 6).Draw(t, "messages")
		var pipe bytes.Buffer
		c := NewConn(&pipe, &pipe)
		for _, m := range want {
			if err := c.Write(m); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range want {
			if got, err := c.Read(); err != nil || !equal(got, m) {
				t.Fatalf("%v, %+v", err, got)
			}
		}
		if _, err := c.Read(); !errors.Is(err, io.EOF) || errors.Is(err, ErrFormat) {
			t.Fatalf("at the end: %v", err)
		}
	})
}

func TestBoundEqualsTheSessions(t *testing.T) {
	if MaxBody != session.MaxMessage {
		t.Errorf("%d, but a session carries %d", MaxBody, session.MaxMessage)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, b := range map[string]string{
		"no kind":           "\x00\x00\x00\x00\x01",
		"unknown kind":      "\x00\x00\x00\x03\x06ab",
		"kind zero":         "\x00\x00\x00\x03\x00ab",
		"empty message":     "\x00\x00\x00\x06\x01sess\x00",
		"only a session":    "\x00\x00\x00\x05\x01sess",
		"half a session":    "\x00\x00\x00\x03\x01se",
		"third channel":     "\x00\x00\x00\x07\x01sess\x02x",
		"message too long":  "\x00\x02\x00\x07\x01sess\x00" + strings.Repeat("x", MaxBody+1),
		"huge length":       "\xff\xff\xff\xff\x01sess\x00",
		"short session id":  "\x00\x00\x00\x04\x02abc",
		"long session id":   "\x00\x00\x00\x06\x02abcde",
		"text too long":     "\x00\x00\x04\x02\x04" + strings.Repeat("x", MaxText+1),
		"escape in text":    "\x00\x00\x00\x04\x04a\x1bb",
		"newline in text":   "\x00\x00\x00\x02\x03\n",
		"cut in the header": "\x00\x00\x00",
		"cut in the body":   "\x00\x00\x00\x09\x04ab",
	} {
		m, err := NewConn(strings.NewReader(b), nil).Read()
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, %+v", name, err, m)
		}
	}
}

func TestWriteRefusesAndCleans(t *testing.T) {
	var pipe bytes.Buffer
	c := NewConn(&pipe, &pipe)
	for _, m := range []Msg{
		{}, {Kind: 6}, {Kind: Message}, {Kind: Message, Channel: 2, Body: []byte("x")},
		{Kind: Message, Channel: -1, Body: []byte("x")}, {Kind: Message, Body: make([]byte, MaxBody+1)},
	} {
		if err := c.Write(m); !errors.Is(err, ErrFormat) || pipe.Len() > 0 {
			t.Errorf("%d, channel %d, %d bytes: %v", m.Kind, m.Channel, len(m.Body), err)
		}
	}
	if err := c.Write(Msg{Kind: Log, Text: "a\x1b[2Jé\n" + strings.Repeat("x", 2*MaxText)}); err != nil {
		t.Fatal(err)
	}
	m, err := c.Read()
	if err != nil || len(m.Text) != MaxText || !strings.HasPrefix(m.Text, "a?[2J??x") {
		t.Errorf("%v, %d bytes: %.20q", err, len(m.Text), m.Text)
	}
}

// TestConcurrentWrites: whole messages, whoever writes.
func TestConcurrentWrites(t *testing.T) {
	r, w := io.Pipe()
	c := NewConn(r, w)
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for range 20 {
				c.Write(Msg{Kind: Message, Body: bytes.Repeat([]byte{byte(i)}, 3000)})
			}
		})
	}
	go func() { writers.Wait(); w.Close() }()
	n := 0
	for ; ; n++ {
		m, err := c.Read()
		if err != nil {
			break
		}
		if len(m.Body) != 3000 || bytes.Count(m.Body, m.Body[:1]) != 3000 {
			t.Fatal("messages mixed")
		}
	}
	if n != 160 {
		t.Errorf("%d messages of 160", n)
	}
}

// FuzzRead: what is accepted writes back to the bytes that were read.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x07\x01sess\x00x\x00\x00\x00\x05\x02abcd\x00\x00\x00\x03\x04ab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var back bytes.Buffer
		c := NewConn(bytes.NewReader(b), &back)
		for {
			m, err := c.Read()
			if err != nil {
				break
			}
			if err := c.Write(m); err != nil {
				t.Fatalf("read %+v, but: %v", m, err)
			}
		}
		if !bytes.HasPrefix(b, back.Bytes()) {
			t.Fatalf("read %x, wrote %x", b, back.Bytes())
		}
	})
}
