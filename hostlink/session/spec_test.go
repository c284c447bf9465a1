package session

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"touchmark/hostlink/frame"
)

// TestSpecConversation plays the conversation of the specification.
func TestSpecConversation(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec/session.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(spec), "```vector\n")
	block, _, _ = strings.Cut(block, "```")
	fixed := func(n [8]byte) func() [8]byte { return func() [8]byte { return n } }
	now := epoch
	ends := map[string]*Conn{
		"I": New(Config{Initiator: true, Nonce: fixed([8]byte{1, 2, 3, 4, 5, 6, 7, 8})}, now),
		"R": New(Config{Nonce: fixed([8]byte{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18})}, now),
	}
	lines := 0
	for line := range strings.Lines(block) {
		text, note, _ := strings.Cut(line, "#")
		who, text, _ := strings.Cut(text, " ")
		want, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil || ends[who] == nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if lines++; strings.Contains(note, "DATA") {
			body, channel := []byte("hello"), Interactive
			if who == "R" {
				body, channel = []byte("a\x00b"), Bulk
			}
			if err := ends[who].Send(0xa53238a4, channel, body); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(note, "20 ms later") {
			now = now.Add(ackDelay)
		}
		got := slices.Clone(ends[who].Output(now, 1<<16))
		if !bytes.Equal(got, want) {
			t.Fatalf("%s says\n%x, want\n%x", who, got, want)
		}
		if more := ends[who].Output(now, 1<<16); len(more) > 0 {
			t.Fatalf("%s goes on with %x", who, more)
		}
		if strings.Contains(note, "lost") {
			continue
		}
		for _, end := range ends {
			if end != ends[who] {
				end.Input(now, got)
			}
		}
	}
	if lines != 8 {
		t.Errorf("%d lines in the conversation", lines)
	}
	for who, end := range ends {
		if ev, _ := end.Next(); ev.Kind != Up || ev.SID != 0xa53238a4 {
			t.Errorf("%s: %+v", who, ev)
		}
		if ev, _ := end.Next(); ev.Kind != Message {
			t.Errorf("%s: %+v", who, ev)
		}
	}
}

// TestSpecOtherVersion plays the two lines about another version.
func TestSpecOtherVersion(t *testing.T) {
	spec, err := os.ReadFile("../../docs/spec/session.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(spec), "## Test vector: another version")
	_, block, _ = strings.Cut(block, "```vector\n")
	line := func(who string) []byte {
		_, text, _ := strings.Cut(block, who+" ")
		text, _, _ = strings.Cut(text, "#")
		b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil || len(b) == 0 {
			t.Fatalf("line %s: %v", who, err)
		}
		return b
	}
	l := newLone(t, false)
	l.Input(l.now, line("I"))
	if got, want := l.Output(l.now, 1<<16), line("R"); !bytes.Equal(got, want) {
		t.Errorf("answered\n%x, want\n%x", got, want)
	}
}

// TestFragments: the sizes of the specification.
func TestFragments(t *testing.T) {
	for baud, want := range map[int]int{300: 256, 9600: 256, 115200: 512, 230400: 1024, 921600: 1024, 0: frame.MaxPayload} {
		if got := fragmentFor(baud); got != want {
			t.Errorf("%d baud: %d, want %d", baud, got, want)
		}
	}
}
