package usb

import (
	"bytes"
	"context"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"touchmark/appliance/pcsc/ccid"
	"touchmark/tests/pivemu"
)

const hangLimit = 2 * time.Minute

func plug(t *testing.T, mode pivemu.TouchMode) (*Token, *pivemu.Card) {
	t.Helper()
	card, err := pivemu.New(pivemu.Config{Serial: 7, Touch: mode, TouchTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	token := Plug(card, 0)
	t.Cleanup(token.Unplug)
	return token, card
}

func (t *Token) ask(tb testing.TB, hexed string) string {
	tb.Helper()
	b, err := hex.DecodeString(hexed)
	if err != nil {
		tb.Fatal(err)
	}
	if err := t.Out(b); err != nil {
		tb.Fatal(err)
	}
	return t.next(tb)
}

func (t *Token) next(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	m, err := t.In(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return hex.EncodeToString(m)
}

func TestMessages(t *testing.T) {
	token, _ := plug(t, pivemu.TouchAuto)
	const atr = "3bfd1300008131fe158073c021c057597562694b657940"
	for _, c := range [][2]string{
		{"63000000000003000000", "81000000000003010000"},
		{"62000000000004000000", "80170000000004000000" + atr},
		{"65000000000005000000", "81000000000005000000"},
		{"6c000000000006000000", "82070000000006000001" + "13100015" + "00fe00"},
		{"6f0a0000000007000000" + "00a4040005a000000308", "80150000000007000000" + "61114f0600001000010079074f05a0000003089000"},
		{"6f050000000008000000" + "00f8000000", "80060000000008000000" + "000000079000"},
		{"6f020000000009000100" + "00f8", "80000000000009000010"}, // an APDU in parts
		{"6f03000000000a000200" + "000000", "8006000000000a000000" + "000000079000"},
		{"72000000000009000000", "81000000000009400000"}, // no such command
	} {
		if got := token.ask(t, c[0]); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
	for _, bad := range [][]byte{nil, {0x65}, make([]byte, 9), {0x65, 1, 0, 0, 0, 0, 0, 0, 0, 0}, {0x65, 0, 0, 0, 0, 1, 0, 0, 0, 0}} {
		if err := token.Out(bad); err != nil {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if got := token.ask(t, "65000000000011000000"); got != "81000000000011000000" {
		t.Errorf("after what is no message: %s", got)
	}
}

// TestBusyAndUnplugged: while it waits for a touch the token asks for time and
// refuses other commands; unplugged, it says nothing more.
func TestBusyAndUnplugged(t *testing.T) {
	token, card := plug(t, pivemu.TouchAsk)
	s := slot(t, token)
	send := func(apdu string) []byte {
		t.Helper()
		b, err := hex.DecodeString(apdu)
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Transmit(b)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	send("00a4040005a000000308")
	manage(t, s)
	if out := send("0047009a0bac09800111aa0101ab0102"); len(out) < 60 { // P-256, no PIN, always a touch
		t.Fatalf("no key: %x", out)
	}
	sign := "0087119a26" + "7c2482008120" + "00000000000000000000000000000000" + "00000000000000000000000000000000"
	head := make([]byte, headerSize)
	head[0], head[6] = xfrBlock, 99
	b, err := hex.DecodeString(sign)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(head[1:], uint32(len(b)))
	if err := token.Out(append(head, b...)); err != nil {
		t.Fatal(err)
	}
	if got := token.next(t); got != "80000000000063800100" {
		t.Errorf("no time extension: %s", got)
	}
	if got := token.ask(t, "65000000000064000000"); got != "8100000000006440e000" {
		t.Errorf("it is not busy: %s", got)
	}
	token.Unplug()
	if _, err := token.In(context.Background()); !errors.Is(err, ErrUnplugged) {
		t.Error(err)
	}
	if err := token.Out(head); !errors.Is(err, ErrUnplugged) {
		t.Error(err)
	}
	if _, waiting, _ := card.TouchStatus(); waiting {
		t.Error("it still waits for a touch")
	}
}

// manage authenticates with the factory's management key.
func manage(t *testing.T, s *ccid.Slot) {
	t.Helper()
	block, err := aes.NewCipher(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3))
	if err != nil {
		t.Fatal(err)
	}
	question, err := s.Transmit([]byte{0, 0x87, 0x0a, 0x9b, 4, 0x7c, 2, 0x81, 0})
	if err != nil || len(question) != 4+16+2 {
		t.Fatalf("%x, %v", question, err)
	}
	answer := make([]byte, 16)
	block.Encrypt(answer, question[4:20])
	out, err := s.Transmit(append([]byte{0, 0x87, 0x0a, 0x9b, 20, 0x7c, 18, 0x82, 16}, answer...))
	if err != nil || !bytes.Equal(out, []byte{0x90, 0}) {
		t.Fatalf("%x, %v", out, err)
	}
}

// pipe is a token as the host's driver sees it.
type pipe struct{ *Token }

func (p pipe) Send(b []byte) error { return p.Out(bytes.Clone(b)) }

func (p pipe) Receive(b []byte) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	m, err := p.In(ctx)
	return copy(b, m), err
}

func slot(t *testing.T, token *Token) *ccid.Slot {
	t.Helper()
	device, err := ccid.FindInterface(Descriptors(), Configuration)
	if err != nil {
		t.Fatal(err)
	}
	s := ccid.NewSlot(pipe{token}, device)
	if _, err := s.PowerOn(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestLongAPDUs: commands and responses longer than a message go in parts, in
// both directions.
func TestLongAPDUs(t *testing.T) {
	token, _ := plug(t, pivemu.TouchAuto)
	s := slot(t, token)
	if _, err := s.Transmit([]byte{0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8}); err != nil {
		t.Fatal(err)
	}
	manage(t, s)
	object := bytes.Repeat([]byte{0x55}, 3063)
	data := append([]byte{0x5c, 3, 0x5f, 0xff, 0x10, 0x53, 0x82, byte(len(object) >> 8), byte(len(object) & 0xff)}, object...)
	put := append([]byte{0, 0xdb, 0x3f, 0xff, 0, byte(len(data) >> 8), byte(len(data) & 0xff)}, data...)
	if len(put) <= MaxMessage-headerSize {
		t.Fatal("the command fits into one message")
	}
	if out, err := s.Transmit(put); err != nil || !bytes.Equal(out, []byte{0x90, 0}) {
		t.Fatalf("%x, %v", out, err)
	}
	get := []byte{0, 0xcb, 0x3f, 0xff, 0, 0, 5, 0x5c, 3, 0x5f, 0xff, 0x10, 0, 0}
	out, err := s.Transmit(get)
	if err != nil || !bytes.Equal(out, append(append([]byte{0x53, 0x82, 0x0b, 0xf7}, object...), 0x90, 0)) {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	if out, err := s.Transmit(make([]byte, ccid.MaxAPDU)); err != nil || !bytes.Equal(out, []byte{0x67, 0}) {
		t.Errorf("%x, %v", out, err) // as long as a message in parts may be: no command of this token
	}
}
