package redir

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/usb"
)

// host is the virtual machine's end of the connection.
type host struct {
	testing.TB
	net.Conn
	plug *Plug
}

// newHost plugs a token in and reads its hello.
func newHost(t *testing.T) *host {
	t.Helper()
	card, err := pivemu.New(pivemu.Config{Serial: 7, Touch: pivemu.TouchAuto})
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := net.Pipe()
	h := &host{t, mine, Connect(theirs, usb.Plug(card, 0))}
	t.Cleanup(func() { mine.Close(); _ = h.plug.Pull() })
	if err := mine.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 12+helloSize)
	if _, err := io.ReadFull(mine, first); err != nil || binary.LittleEndian.Uint32(first[12+64:]) != capabilities {
		t.Fatalf("%x, %v", first, err)
	}
	return h
}

// greet says hello and reads what is plugged in.
func (h *host) greet() {
	h.Helper()
	h.hello(helloSize, capabilities|1)
	for _, want := range []uint32{interfaceInfo, endpointInfo, deviceConnect} {
		if kind, _, body := h.read(); kind != want {
			h.Fatalf("packet %d, want %d", kind, want)
		} else if kind == deviceConnect && hex.EncodeToString(body) != "01000000501004047105" {
			h.Errorf("device %x", body)
		}
	}
}

func (h *host) hello(size int, have uint32) {
	h.Helper()
	m := make([]byte, 12+helloSize)
	binary.LittleEndian.PutUint32(m[4:], uint32(size))
	binary.LittleEndian.PutUint32(m[12+64:], have)
	if size < helloSize { // nobody reads more
		m = m[:12]
	}
	if _, err := h.Write(m); err != nil {
		h.Fatal(err)
	}
}

func (h *host) send(kind uint32, id uint64, parts ...string) {
	h.Helper()
	if err := h.trySend(kind, id, parts...); err != nil {
		h.Fatal(err)
	}
}

func (h *host) trySend(kind uint32, id uint64, parts ...string) error {
	h.Helper()
	body, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		h.Fatal(err)
	}
	m := binary.LittleEndian.AppendUint32(nil, kind)
	m = binary.LittleEndian.AppendUint32(m, uint32(len(body)))
	m = binary.LittleEndian.AppendUint64(m, id)
	_, err = h.Write(append(m, body...))
	return err
}

func (h *host) read() (uint32, uint64, []byte) {
	h.Helper()
	head := make([]byte, 16)
	if _, err := io.ReadFull(h, head); err != nil {
		h.Fatal(err)
	}
	body := make([]byte, binary.LittleEndian.Uint32(head[4:]))
	if _, err := io.ReadFull(h, body); err != nil {
		h.Fatal(err)
	}
	return binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint64(head[8:]), body
}

func (h *host) want(kind uint32, id uint64, parts ...string) {
	h.Helper()
	gotKind, gotID, body := h.read()
	if want := strings.Join(parts, ""); gotKind != kind || gotID != id || hex.EncodeToString(body) != want {
		h.Fatalf("packet %d, id %d: %x\nwant %d, id %d: %s", gotKind, gotID, body, kind, id, want)
	}
}

func TestRequests(t *testing.T) {
	h := newHost(t)
	h.greet()
	device := hex.EncodeToString(usb.Descriptors()[:18])
	h.send(controlPacket, 1, "8006800000010000", "1200")
	h.want(controlPacket, 1, "8006800000010000", "1200", device)
	h.send(controlPacket, 2, "8006800001030904", "ff00") // a text
	h.want(controlPacket, 2, "8006800001030904", "0e00", "0e03"+"5900750062006900"+"63006f00")
	h.send(controlPacket, 3, "8006800009030904", "ff00") // one that is not there
	h.want(controlPacket, 3, "8006800409030904", "0000")
	h.send(controlPacket, 4, "80fea10000000000", "0100") // of a class: none
	h.want(controlPacket, 4, "80fea10400000000", "0000")
	h.send(setConfiguration, 5, "01")
	h.want(configurationState, 5, "0001")
	h.send(getConfiguration, 6)
	h.want(configurationState, 6, "0001")
	h.send(setAlternate, 7, "0000")
	h.want(alternateState, 7, "000000")
	h.send(getAlternate, 8, "00")
	h.want(alternateState, 8, "000000")
	h.send(startInterrupts, 9, "83")
	h.want(interruptState, 9, "0083")
	h.send(reset, 10)
	h.send(stopInterrupts, 11, "83")
	h.want(interruptState, 11, "0083")

	const power = "62000000000003000000"
	h.send(bulkPacket, 20, "8200", "0800", "00000000", "0000") // reads in pieces of eight bytes
	h.send(bulkPacket, 21, "0200", "0a00", "00000000", "0000", power)
	h.want(bulkPacket, 21, "0200", "0a00", "00000000", "0000")
	h.want(bulkPacket, 20, "8200", "0800", "00000000", "0000", "8017000000000300")
	h.send(bulkPacket, 22, "8200", "0002", "00000000", "0000")
	h.want(bulkPacket, 22, "8200", "1900", "00000000", "0000", "0000", "3bfd1300008131fe158073c021c057597562694b657940")
	h.send(bulkPacket, 23, "8200", "0002", "00000000", "0000")
	h.send(cancelData, 23)
	h.want(bulkPacket, 23, "8201", "0000", "00000000", "0000")
	h.send(cancelData, 24) // of nothing
	if err := h.plug.Pull(); err != nil {
		t.Error(err)
	}
}

// TestWrongHosts: what breaks the protocol ends the connection, and Pull says why.
func TestWrongHosts(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(h *host)
		want string
	}{
		{"short hello", func(h *host) { h.hello(20, capabilities) }, "begins with"},
		{"old host", func(h *host) { h.hello(helloSize, 1) }, "capabilities"},
		{"huge packet", func(h *host) {
			h.greet()
			_, _ = h.Write(bytes.Repeat([]byte{0xff}, 16))
		}, "a packet of"},
		{"short request", func(h *host) { h.greet(); h.send(bulkPacket, 1, "82") }, "packet 101 of 1 bytes"},
		{"reads without end", func(h *host) {
			h.greet()
			for id := uint64(0); h.trySend(bulkPacket, id, "8200", "0800", "00000000", "0000") == nil; id++ {
				if id > 2*maxReads {
					h.Fatal("they are all taken")
				}
			}
		}, "too many requests"},
	} {
		h := newHost(t)
		c.act(h)
		<-h.plug.Done()
		if err := h.plug.Pull(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
