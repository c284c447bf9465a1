//go:build linux && !pcscd && emulated

package pcsc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// peer is the card's end of the wire.
type peer struct {
	t    *testing.T
	path string
	l    net.Listener
}

func newPeer(t *testing.T) *peer {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &peer{t, path, l}
}

func readMessage(c net.Conn) ([]byte, error) {
	var n uint16
	if err := binary.Read(c, binary.BigEndian, &n); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	return b, err
}

func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// serve accepts one card connection, powers on, and runs script on it; the
// returned function waits for its end.
func (p *peer) serve(script func(net.Conn)) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for _, want := range []byte{cmdPowerOn, cmdATR} {
			if m, err := readMessage(c); err != nil || !bytes.Equal(m, []byte{want}) {
				p.t.Errorf("got %x, %v, want command %x", m, err, want)
			}
		}
		c.Write(frame([]byte{0x3b, 0x00}))
		script(c)
	}()
	return func() { <-done }
}

func (p *peer) connect() Card {
	p.t.Helper()
	b := DialBackend(p.path)
	c, err := b.Connect(b.Readers()[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func TestSocketExchange(t *testing.T) {
	p := newPeer(t)
	var seen [][]byte
	wait := p.serve(func(c net.Conn) {
		for {
			m, err := readMessage(c)
			if err != nil {
				return
			}
			seen = append(seen, m)
			if len(m) > 1 {
				c.Write(frame(append(m, 0x90, 0)))
			}
		}
	})
	c := p.connect()
	big := bytes.Repeat([]byte{7}, 60000)
	for _, apdu := range [][]byte{selectPIV, big} {
		resp, err := c.Transmit(apdu)
		if err != nil || !bytes.Equal(resp, append(append([]byte(nil), apdu...), 0x90, 0)) {
			t.Fatalf("%d bytes: %v", len(apdu), err)
		}
	}
	if err := errors.Join(c.Reset(), c.Close()); err != nil {
		t.Fatal(err)
	}
	wait()
	if len(seen) != 4 || !bytes.Equal(seen[2], []byte{cmdReset}) || !bytes.Equal(seen[3], []byte{cmdPowerOff}) {
		t.Fatalf("card saw %d messages, at the end %x", len(seen), seen[len(seen)-1])
	}
}

// Whatever the peer does instead of answering, the call ends, with the right
// code.
func TestSocketMisbehaviour(t *testing.T) {
	for _, c := range []struct {
		name   string
		script func(net.Conn)
		limit  time.Duration
		want   Errno
	}{
		{"closes", func(c net.Conn) {}, hangLimit, ErrRemovedCard},
		{"closes after the request", func(c net.Conn) { readMessage(c) }, hangLimit, ErrRemovedCard},
		{"closes in the header", func(c net.Conn) { readMessage(c); c.Write([]byte{0}) }, hangLimit, ErrRemovedCard},
		{"closes in the body", func(c net.Conn) { readMessage(c); c.Write([]byte{0, 4, 1}) }, hangLimit, ErrRemovedCard},
		{"never answers", func(c net.Conn) { io.Copy(io.Discard, c) }, 50 * time.Millisecond, ErrTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			wait := p.serve(c.script)
			b := &socketReader{p.path, hangLimit, c.limit}
			card, err := b.Connect(b.name())
			if err != nil {
				t.Fatal(err)
			}
			_, err = card.Transmit(selectPIV)
			if got := errnoOf(err); got != c.want {
				t.Errorf("%v, want %v", err, c.want)
			}
			card.Close()
			wait()
		})
	}
}

func TestSocketConnectFails(t *testing.T) {
	b := DialBackend(filepath.Join(t.TempDir(), "none"))
	if _, err := b.Connect(b.Readers()[0]); errnoOf(err) != ErrNoSmartcard {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := b.Connect("another"); errnoOf(err) != ErrUnknownReader {
		t.Errorf("another reader: %v", err)
	}
	for _, c := range []struct {
		name string
		atr  []byte
		want Errno
	}{
		{"hangs up", nil, ErrNoSmartcard},
		{"empty ATR", frame(nil), ErrNoSmartcard},
		{"endless ATR", frame(make([]byte, maxATR+1)), ErrCommError},
	} {
		p := newPeer(t)
		go func() {
			conn, err := p.l.Accept()
			if err != nil {
				return
			}
			readMessage(conn)
			readMessage(conn)
			conn.Write(c.atr)
			conn.Close()
		}()
		b := DialBackend(p.path)
		if _, err := b.Connect(b.Readers()[0]); errnoOf(err) != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	p := newPeer(t) // accepts (the kernel does), says nothing
	slow := &socketReader{p.path, 50 * time.Millisecond, time.Second}
	if _, err := slow.Connect(slow.name()); errnoOf(err) != ErrTimeout {
		t.Errorf("silent card: %v", err)
	}
}
