package ccid

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// script is a device that answers whatever comes with the next transfers of a
// list, and then is gone.
type script struct {
	answers  [][]byte
	sent     [][]byte
	receives int
}

var errGone = errors.New("gone")

func (s *script) Send(b []byte) error {
	s.sent = append(s.sent, bytes.Clone(b))
	return nil
}

func (s *script) Receive(b []byte) (int, error) {
	s.receives++
	if len(s.answers) == 0 {
		return 0, errGone
	}
	n := copy(b, s.answers[0])
	s.answers = s.answers[1:]
	return n, nil
}

var small = Interface{In: 0x82, Out: 2, PacketSize: 64, MaxMessage: 3072, Extended: true}

// reply is a message from the reader; the three bytes are status, error, chain.
func reply(kind, seq byte, three [3]byte, data ...byte) []byte {
	return command(kind, seq, three, data)
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var atr = []byte{0x3b, 0xfd, 0x13}

// TestMessages holds the bytes on the wire to the specification.
func TestMessages(t *testing.T) {
	p := &script{answers: [][]byte{
		unhex(t, "81 00000000 00 00 01 00 00"),
		unhex(t, "80 03000000 00 01 00 00 00 3bfd13"),
		unhex(t, "80 00000000 00 02 80 01 00"),
		unhex(t, "80 02000000 00 02 00 00 00 9000"),
		unhex(t, "81 00000000 00 03 01 00 00"),
	}}
	s := NewSlot(p, small)
	if err := s.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.PowerOn(); err != nil || !bytes.Equal(got, atr) {
		t.Fatalf("%x, %v", got, err)
	}
	apdu := unhex(t, "0020008008313233343536ffff")
	if got, err := s.Transmit(apdu); err != nil || hex.EncodeToString(got) != "9000" {
		t.Fatalf("%x, %v", got, err)
	}
	if err := s.PowerOff(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"63 00000000 00 00 000000", "62 00000000 00 01 000000",
		"6f 0d000000 00 02 000000 0020008008313233343536ffff", "63 00000000 00 03 000000",
	} {
		if !bytes.Equal(p.sent[i], unhex(t, want)) {
			t.Errorf("%x, want %s", p.sent[i], want)
		}
	}
}

// TestBadDevices: each answer ends the exchange with the error that fits, and
// nothing is sent twice.
func TestBadDevices(t *testing.T) {
	data := func(three [3]byte, b ...byte) []byte { return reply(dataBlock, 0, three, b...) }
	good := data([3]byte{}, 0x90, 0)
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	full := make([]byte, 64)
	for _, c := range []struct {
		name    string
		answers [][]byte
		want    error
	}{
		{"nothing", nil, errGone},
		{"short header", [][]byte{good[:9]}, ErrMalformed},
		{"cut", [][]byte{good[:11]}, ErrMalformed},
		{"a byte more", [][]byte{append(bytes.Clone(good), 0)}, ErrMalformed},
		{"length too small", [][]byte{change(1, 1)}, ErrMalformed},
		{"length too large", [][]byte{change(1, 3)}, ErrMalformed},
		{"length of a gigabyte", [][]byte{change(4, 0x40)}, ErrTooLong},
		{"length that wraps", [][]byte{append([]byte{0x80, 0xf6, 0xff, 0xff, 0xff}, good[5:]...)}, ErrTooLong},
		{"length beyond what was agreed", [][]byte{change(2, 0x0c)}, ErrTooLong},
		{"unknown type", [][]byte{change(0, 0x84)}, ErrMalformed},
		{"echo of a command", [][]byte{change(0, 0x6f)}, ErrMalformed},
		{"status for data", [][]byte{reply(slotStatus, 0, [3]byte{})}, ErrMalformed},
		{"status with data", [][]byte{reply(slotStatus, 0, [3]byte{}, 1)}, ErrMalformed},
		{"another slot", [][]byte{change(5, 1)}, ErrMalformed},
		{"reserved status", [][]byte{change(7, 0xc0)}, ErrMalformed},
		{"reserved card state", [][]byte{change(7, 0x03)}, ErrMalformed},
		{"reserved status bits", [][]byte{change(7, 0x04)}, ErrMalformed},
		{"data of an inactive card", [][]byte{change(7, 0x01)}, ErrMalformed},
		{"extension with data", [][]byte{data([3]byte{0x80, 1, 0}, 1)}, ErrMalformed},
		{"chain that ends before it begins", [][]byte{data([3]byte{0, 0, chainEnd}, 0x90, 0)}, ErrMalformed},
		{"unknown chain", [][]byte{data([3]byte{0, 0, 7}, 0x90, 0)}, ErrMalformed},
		{"asks for more of a whole command", [][]byte{data([3]byte{0, 0, chainMore})}, ErrMalformed},
		{"empty part", [][]byte{data([3]byte{0, 0, chainBegin})}, ErrMalformed},
		{"begins twice", [][]byte{data([3]byte{0, 0, chainBegin}, 1), reply(dataBlock, 1, [3]byte{0, 0, chainBegin}, 1)}, ErrMalformed},
		{"whole packets without a message", [][]byte{full, full, full}, ErrMalformed},
		{"nothing but empty transfers", slices.Repeat([][]byte{{}}, 100), ErrBabble},
		{"extensions without end", slices.Repeat([][]byte{data([3]byte{0x80, 1, 0})}, maxExtensions+2), ErrBabble},
		{"answers to others without end", slices.Repeat([][]byte{change(6, 9)}, maxStale+2), ErrBabble},
		{"no card", [][]byte{data([3]byte{0x42, codeMute, 0})}, ErrNoCard},
		{"no card, by a status", [][]byte{reply(slotStatus, 0, [3]byte{0x42, codeMute, 0})}, ErrNoCard},
	} {
		p := &script{answers: c.answers}
		got, err := NewSlot(p, small).Transmit([]byte{0, 0xa4, 4, 0})
		if !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %x, %v, want %v", c.name, got, err, c.want)
		}
		if sent := len(p.sent); sent > 2 || sent == 2 && p.sent[1][8] != chainMore {
			t.Errorf("%s: %d messages were sent", c.name, sent)
		}
	}
	for _, code := range []byte{codeMute, 0xfb, 0x42} {
		p := &script{answers: [][]byte{data([3]byte{0x41, code, 0})}}
		var failed *FailedError
		if _, err := NewSlot(p, small).PowerOn(); !errors.As(err, &failed) || failed.Code != code || err.Error() == "" {
			t.Errorf("error %02x: %v", code, err)
		}
	}
}

func TestBadATR(t *testing.T) {
	for _, n := range []int{0, maxATR + 1} {
		p := &script{answers: [][]byte{reply(dataBlock, 0, [3]byte{}, make([]byte, n)...)}}
		if _, err := NewSlot(p, small).PowerOn(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestLateAnswers: what answers an earlier command is skipped.
func TestLateAnswers(t *testing.T) {
	late := reply(dataBlock, 200, [3]byte{}, 0x6a, 0x82)
	answers := slices.Repeat([][]byte{late}, maxStale)
	p := &script{answers: append(answers, reply(dataBlock, 0, [3]byte{}, 0x90, 0))}
	if got, err := NewSlot(p, small).Transmit([]byte{0, 0xa4, 4, 0}); err != nil || !bytes.Equal(got, []byte{0x90, 0}) {
		t.Errorf("%x, %v", got, err)
	}
}

func TestSequenceNumbersWrap(t *testing.T) {
	p := &script{}
	s := NewSlot(p, small)
	for i := range 600 {
		p.answers = [][]byte{reply(slotStatus, byte(i), [3]byte{1})}
		if err := s.PowerOff(); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

func TestTooLong(t *testing.T) {
	short := small
	short.Extended, short.MaxMessage = false, minMessage
	for _, c := range []struct {
		device Interface
		n      int
	}{{small, MaxAPDU + 1}, {short, minMessage - headerSize + 1}} {
		p := &script{}
		if _, err := NewSlot(p, c.device).Transmit(make([]byte, c.n)); !errors.Is(err, ErrTooLong) || len(p.sent) > 0 {
			t.Errorf("%d bytes: %v, %d messages sent", c.n, err, len(p.sent))
		}
	}
	var answers [][]byte // a response of more than MaxAPDU bytes
	for i := range 30 {
		chain := byte(chainInner)
		if i == 0 {
			chain = chainBegin
		}
		answers = append(answers, reply(dataBlock, byte(i), [3]byte{0, 0, chain}, make([]byte, 3000)...))
	}
	if _, err := NewSlot(&script{answers: answers}, small).Transmit([]byte{0, 0, 0, 0}); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
	answers = nil // byte by byte
	for i := range 2 * maxParts {
		chain := byte(chainInner)
		if i == 0 {
			chain = chainBegin
		}
		answers = append(answers, reply(dataBlock, byte(i), [3]byte{0, 0, chain}, 0))
	}
	if _, err := NewSlot(&script{answers: answers}, small).Transmit([]byte{0, 0, 0, 0}); !errors.Is(err, ErrBabble) {
		t.Error(err)
	}
}

// keeper looks at the buffer it was given after the call.
type keeper struct {
	script
	kept []byte
}

func (k *keeper) Send(b []byte) error {
	k.kept = b
	return k.script.Send(b)
}

func TestCommandsAreCleared(t *testing.T) {
	k := &keeper{}
	if _, err := NewSlot(k, small).Transmit([]byte("\x00\x20\x00\x80\x08123456\xff\xff")); !errors.Is(err, errGone) {
		t.Fatal(err)
	}
	if !bytes.Equal(k.kept, make([]byte, len(k.kept))) {
		t.Errorf("%x", k.kept)
	}
}

// honest is a reader as the specification has it: its card echoes commands. It
// asks for time as often as it is told, and splits transfers when it does not
// end those of whole packets.
type honest struct {
	device     Interface
	extensions int
	part       int  // bytes in a part of a response
	splits     bool // sends packet by packet
	command    []byte
	response   []byte
	begun      bool
	transfers  [][]byte
}

func (h *honest) Send(m []byte) error {
	level, seq, data := m[8], m[6], m[headerSize:]
	if len(m) > h.device.MaxMessage || int(binary.LittleEndian.Uint32(m[1:])) != len(data) {
		return errors.New("a message that does not fit")
	}
	for range h.extensions {
		h.queue(reply(dataBlock, seq, [3]byte{0x80, 1, 0}))
	}
	h.command = append(h.command, data...)
	switch level {
	case chainBegin, chainInner:
		h.queue(reply(dataBlock, seq, [3]byte{0, 0, chainMore}))
		return nil
	case chainWhole, chainEnd:
		h.response, h.command, h.begun = append(h.command, 0x90, 0), nil, false
	}
	n := min(h.part, len(h.response))
	chain := byte(chainWhole)
	switch {
	case !h.begun && n < len(h.response):
		chain = chainBegin
	case n < len(h.response):
		chain = chainInner
	case h.begun:
		chain = chainEnd
	}
	h.begun = true
	h.queue(reply(dataBlock, seq, [3]byte{0, 0, chain}, h.response[:n]...))
	h.response = h.response[n:]
	return nil
}

func (h *honest) queue(m []byte) {
	for h.splits && len(m) > h.device.PacketSize {
		h.transfers = append(h.transfers, m[:h.device.PacketSize])
		m = m[h.device.PacketSize:]
	}
	h.transfers = append(h.transfers, m)
	if len(m)%h.device.PacketSize == 0 && !h.splits {
		h.transfers = append(h.transfers, nil) // the empty packet that ends the transfer, seen late
	}
}

func (h *honest) Receive(b []byte) (int, error) {
	if len(h.transfers) == 0 {
		return 0, errGone
	}
	n := copy(b, h.transfers[0])
	h.transfers = h.transfers[1:]
	return n, nil
}

// TestHonestReaders: whatever the sizes, command and response arrive whole.
func TestHonestReaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		device := small
		device.PacketSize = 1 << rapid.IntRange(3, 10).Draw(t, "packet")
		device.MaxMessage = rapid.IntRange(minMessage, 4096).Draw(t, "message")
		h := &honest{
			device: device, extensions: rapid.IntRange(0, 5).Draw(t, "extensions"), splits: rapid.Bool().Draw(t, "splits"),
			part: rapid.IntRange(min(261, device.MaxMessage-headerSize), device.MaxMessage-headerSize).Draw(t, "part"),
		}
		s := NewSlot(h, device)
		for range rapid.IntRange(1, 3).Draw(t, "commands") {
			n := rapid.OneOf(rapid.IntRange(4, 300), rapid.IntRange(4, MaxAPDU-2)).Draw(t, "length")
			apdu := bytes.Repeat([]byte{byte(n)}, n)
			got, err := s.Transmit(apdu)
			if err != nil || !bytes.Equal(got, append(apdu, 0x90, 0)) {
				t.Fatalf("%d bytes: %d bytes, %v", n, len(got), err)
			}
		}
	})
}
