package message

import (
	"bytes"
	"compress/flate"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"touchmark/hostlink/message/canon"
)

func deflated(t testing.TB, data []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append([]byte{packed}, out.Bytes()...)
}

func TestPackIsUndone(t *testing.T) {
	p := NewPacker()
	rapid.Check(t, func(t *rapid.T) {
		msg := []byte(strings.Repeat(rapid.StringMatching(`[a-f0-9]{1,64}\n`).Draw(t, "line"), rapid.IntRange(1, 40).Draw(t, "lines")))
		wire := p.Pack(msg)
		if len(wire) > len(msg) {
			t.Fatalf("%d bytes became %d", len(msg), len(wire))
		}
		got, err := NewUnpacker().Unpack(wire)
		if err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("%q: %v", got, err)
		}
	})
}

func TestPackSaves(t *testing.T) {
	msg := []byte(strings.Repeat("path 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n", 10))
	if wire := NewPacker().Pack(msg); len(wire) > len(msg)/3 {
		t.Errorf("%d bytes became %d", len(msg), len(wire))
	}
	short := msg[:minPack-1]
	if wire := NewPacker().Pack(short); !bytes.Equal(wire, short) {
		t.Error("a short message was packed")
	}
}

func TestUnpackRefuses(t *testing.T) {
	good := deflated(t, []byte(strings.Repeat("0123456789abcdef", 64)))
	for what, c := range map[string]struct {
		b    []byte
		want canon.Problem
	}{
		"too much":       {deflated(t, make([]byte, MaxMessage+1)), canon.TooLong},
		"a bomb":         {deflated(t, make([]byte, 64<<20)), canon.TooLong},
		"nothing":        {[]byte{packed}, canon.CutOff},
		"cut off":        {good[:len(good)-1], canon.CutOff},
		"trailing bytes": {append(bytes.Clone(good), 0), canon.Surplus},
		"two streams":    {append(bytes.Clone(good), good[1:]...), canon.Surplus},
		"no DEFLATE":     {append([]byte{packed}, "touchmark/done/v1\n"...), canon.BadValue},
	} {
		var e *canon.Error
		if msg, err := NewUnpacker().Unpack(c.b); !errors.As(err, &e) || e.Problem != c.want {
			t.Errorf("%s gave %d bytes, %v, want %s", what, len(msg), err, c.want)
		}
	}
	if msg, err := NewUnpacker().Unpack(deflated(t, make([]byte, MaxMessage))); err != nil || len(msg) != MaxMessage {
		t.Errorf("the largest message: %d bytes, %v", len(msg), err)
	}
}

// The board never unpacks: to its parser a packed message is no message.
func TestParseDoesNotUnpack(t *testing.T) {
	plain := (&Fetch{From: 7}).Marshal()
	if _, err := Parse(deflated(t, plain)); err == nil {
		t.Error("a packed message was parsed")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("touchmark/done/v1\n"))
	f.Add([]byte{packed})
	f.Add(deflated(f, []byte("touchmark/done/v1\n")))
	f.Add(append(deflated(f, make([]byte, 4096)), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := NewUnpacker().Unpack(b)
		if err == nil && len(msg) > max(MaxMessage, len(b)) {
			t.Errorf("%d bytes became %d", len(b), len(msg))
		}
	})
}
