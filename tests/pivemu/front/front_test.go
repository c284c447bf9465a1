package front

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/tests/pivemu"
)

// world is a token with both sockets.
type world struct {
	testing.TB
	card            *pivemu.Card
	port            *Port
	socket, control string
	quit            chan struct{}
}

func newWorld(t testing.TB, mode pivemu.TouchMode) *world {
	t.Helper()
	card, err := pivemu.New(pivemu.Config{Serial: 7, Touch: mode, TouchTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pivemu") // short enough for a socket path
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, card, NewPort(card), filepath.Join(dir, "s"), filepath.Join(dir, "c"), make(chan struct{})}
	c, err := w.port.ServeControl(w.control, func() { close(w.quit) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		w.port.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := w.port.ServeUnix(w.socket); err != nil {
		t.Fatal(err)
	}
	return w
}

// ask sends a control command that must succeed.
func (w *world) ask(command string) string {
	w.Helper()
	text, err := w.try(command)
	if err != nil {
		w.Fatalf("%s: %v", command, err)
	}
	return text
}

func (w *world) try(command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return Ask(ctx, w.control, command)
}

// readerEnd is the reader's side of the wire.
type readerEnd struct {
	testing.TB
	net.Conn
}

func (w *world) dial() *readerEnd {
	w.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		w.Fatal(err)
	}
	return newReaderEnd(w, conn)
}

func newReaderEnd(t testing.TB, conn net.Conn) *readerEnd {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &readerEnd{t, conn}
}

func (r *readerEnd) send(body string) {
	r.Helper()
	b, err := hex.DecodeString(body)
	if err != nil {
		r.Fatal(err)
	}
	if err := writeMessage(r, b); err != nil {
		r.Fatal(err)
	}
}

func (r *readerEnd) expect(body string) {
	r.Helper()
	b, err := readMessage(r)
	if err != nil || hex.EncodeToString(b) != body {
		r.Fatalf("got %x, %v, want %s", b, err, body)
	}
}

func (r *readerEnd) exchange(apdu, answer string) {
	r.Helper()
	r.send(apdu)
	r.expect(answer)
}

// ended: the token's side has closed the connection.
func (r *readerEnd) ended() {
	r.Helper()
	if b, err := readMessage(r); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		r.Fatalf("the connection goes on: %x, %v", b, err)
	}
}

const (
	selectPIV    = "00a4040005a000000308"
	selectAnswer = "61114f0600001000010079074f05a0000003089000"
	atrText      = "3bfd1300008131fe158073c021c057597562694b657940"
	sign         = "0087119e267c24820081200000000000000000000000000000000000000000000000000000000000000000"
)

// putKey puts a P-256 key into 9e that needs a touch and no PIN.
func (w *world) putKey() {
	w.Helper()
	r := w.dial()
	defer func() { _ = r.Close() }()
	r.exchange(selectPIV, selectAnswer)
	manage(r)
	r.send("0047009e0bac09800111aa0101ab0102")
	if b, err := readMessage(r); err != nil || !bytes.HasPrefix(b, []byte{0x7f, 0x49}) {
		w.Fatalf("generate: %x, %v", b, err)
	}
}

func TestPowerAndAPDUs(t *testing.T) {
	w := newWorld(t, pivemu.TouchAuto)
	r := w.dial()
	r.send("01")
	r.exchange("04", atrText)
	r.exchange(selectPIV, selectAnswer)
	r.exchange("00f80000", "000000079000")
	r.send("02") // a reset forgets the application
	r.exchange("00f80000", "6d00")
	r.exchange(selectPIV, selectAnswer)
	r.send("00")
	r.send("01")
	r.exchange("00f80000", "6d00")
	r.exchange("07", "6700") // a command of one byte is as wrong as one of three
	r.exchange("00f800", "6700")
	select {
	case <-w.port.Powered():
	default:
		t.Error("not powered")
	}
}

func TestBrokenReaders(t *testing.T) {
	w := newWorld(t, pivemu.TouchAsk)
	w.putKey()
	for name, wire := range map[string]string{
		"empty message": "0000",
		"cut":           "00ff00",
	} {
		r := w.dial()
		b, err := hex.DecodeString(wire)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Write(b); err != nil {
			t.Fatal(err)
		}
		if name == "cut" {
			if err := r.Conn.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		r.ended()
	}
	r := w.dial()
	r.exchange(selectPIV, selectAnswer)
	r.send(sign)
	w.ask("wait-touch 60")
	r.send(sign) // while the first one runs
	r.ended()
	w.dial().exchange(selectPIV, selectAnswer)
}

func TestTouchOverControl(t *testing.T) {
	w := newWorld(t, pivemu.TouchAsk)
	w.putKey()
	r := w.dial()
	r.exchange(selectPIV, selectAnswer)
	for range 2 { // each wait needs a touch of its own
		r.send(sign)
		w.ask("wait-touch 60")
		if _, err := w.try("wait-touch 60"); err != nil {
			t.Error("while it waits, wait-touch returns at once", err)
		}
		w.ask("touch")
		if b, err := readMessage(r); err != nil || !bytes.HasSuffix(b, []byte{0x90, 0}) {
			t.Fatalf("%x, %v", b, err)
		}
	}
	r.send(sign)
	w.ask("wait-touch")
	w.ask("timeout")
	r.expect("6982")
	w.ask("mode auto")
	r.send(sign)
	if b, err := readMessage(r); err != nil || !bytes.HasSuffix(b, []byte{0x90, 0}) {
		t.Fatalf("%x, %v", b, err)
	}
	w.ask("mode never")
	r.send(sign)
	w.ask("wait-touch")
	if _, err := w.try("touch"); err == nil {
		t.Error("touched in the mode never")
	}
	w.ask("timeout")
	r.expect("6982")
	if s := w.ask("status"); s != "serial=7 firmware=5.7.1 inserted=true mode=never waiting=false touches=3" {
		t.Error(s)
	}
}

// TestEndsOfATouchWait: whatever ends the wait from outside, nothing is signed,
// nobody hangs, and the token works afterwards.
func TestEndsOfATouchWait(t *testing.T) {
	for name, end := range map[string]func(w *world, r *readerEnd){
		"reader closes": func(_ *world, r *readerEnd) { _ = r.Close() },
		"pull":          func(w *world, r *readerEnd) { w.ask("pull"); r.ended(); w.ask("insert") },
		"power off":     func(_ *world, r *readerEnd) { r.send("00"); r.exchange("04", atrText) },
		"reset":         func(_ *world, r *readerEnd) { r.send("02"); r.exchange("00f80000", "6d00") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pivemu.TouchAsk)
			w.putKey()
			r := w.dial()
			r.exchange(selectPIV, selectAnswer)
			r.send(sign)
			w.ask("wait-touch 60")
			end(w, r)
			_ = r.Close()
			r = w.dial()
			r.exchange(selectPIV, selectAnswer)
			if s := w.ask("status"); !strings.HasSuffix(s, "inserted=true mode=ask waiting=false touches=0") {
				t.Error(s)
			}
			if _, err := w.try("touch"); err == nil {
				t.Error("a touch for nothing")
			}
		})
	}
}

func TestPullAndInsert(t *testing.T) {
	w := newWorld(t, pivemu.TouchAuto)
	r := w.dial()
	r.exchange(selectPIV, selectAnswer)
	w.ask("pull")
	r.ended()
	if conn, err := net.Dial("unix", w.socket); err == nil {
		t.Error("a pulled token can be reached")
		_ = conn.Close()
	}
	if _, err := w.try("pull"); err == nil {
		t.Error("pulled twice")
	}
	w.ask("insert")
	if _, err := w.try("insert"); err == nil {
		t.Error("inserted twice")
	}
	r = w.dial()
	r.exchange("00f80000", "6d00") // power was lost
	r.exchange(selectPIV, selectAnswer)
}

// TestOneReaderAtATime: a second reader is turned away while the first one uses
// the token, a connection that says nothing disturbs nobody, and the next
// reader finds the token as after power on.
func TestOneReaderAtATime(t *testing.T) {
	w := newWorld(t, pivemu.TouchAuto)
	idle := w.dial()
	r := w.dial()
	r.exchange(selectPIV, selectAnswer)
	busy := w.dial()
	busy.send("04")
	busy.ended()
	r.exchange("00f80000", "000000079000")
	next := w.dial()
	next.send("00f80000") // waits its turn
	_ = r.Close()
	next.expect("6d00")
	_ = idle.Close()
}

func TestFaultsOverControl(t *testing.T) {
	w := newWorld(t, pivemu.TouchAuto)
	r := w.dial()
	r.exchange(selectPIV, selectAnswer)
	w.ask("fail 6f01 2")
	w.ask("fail-after 6f02 1 f8")
	r.exchange("00fd0000", "6f01")
	r.exchange("00fd0000", "6f01")
	r.exchange("00fd0000", "0507019000")
	r.exchange("00f80000", "6f02")
	r.exchange("00f80000", "000000079000")
	w.ask("fail 6f03")
	r.exchange("00f80000", "6f03")
	r.exchange("00f80000", "000000079000")
}

func TestControlErrors(t *testing.T) {
	w := newWorld(t, pivemu.TouchAuto)
	for _, bad := range []string{
		"dance", "touch", "touch twice", "timeout", "mode", "mode x", "mode auto auto", "fail", "fail xyz",
		"fail 0", "fail 10000", "fail 6f00 0", "fail 6f00 -1", "fail 6f00 1 0", "fail 6f00 1 100", "fail 6f00 1 1 1",
		"wait-touch x", "wait-touch 0", "wait-touch -1", "wait-touch 1e9", "wait-touch NaN", "wait-touch 1 1", "insert", "status x",
	} {
		if text, err := w.try(bad); err == nil {
			t.Errorf("%q: ok %s", bad, text)
		}
	}
	if _, err := w.try(strings.Repeat("x", maxControlLine+1)); err == nil {
		t.Error("a line that is too long")
	}
	conn, err := net.Dial("unix", w.control)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "\nmode ask\ntouch\nquit\n"); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if err != nil || string(out) != "ok\nerr the token is not waiting for a touch\nok\n" {
		t.Errorf("%q, %v", out, err)
	}
	<-w.quit
}

// TestAbandonedWaits: clients that give up waiting leave nothing behind.
func TestAbandonedWaits(t *testing.T) {
	w := newWorld(t, pivemu.TouchAsk)
	for range 2 * maxControls {
		conn, err := net.Dial("unix", w.control)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "status\nwait-touch\n"); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(out), "ok serial=7") || !strings.HasSuffix(string(out), "\nerr no touch was awaited\n") {
			t.Fatalf("%q, %v", out, err)
		}
		_ = conn.Close()
	}
}

// TestSocketsAreNotOverwritten: a stale socket is replaced, a file is not.
func TestSocketsAreNotOverwritten(t *testing.T) {
	w := newWorld(t, pivemu.TouchAuto)
	file := w.socket + "2"
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.port.ServeUnix(file); err == nil {
		t.Error("a file was replaced")
	}
	if _, err := w.port.ServeControl(file, nil); err == nil {
		t.Error("a file was replaced")
	}
	stale := w.socket + "3"
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.port.ServeUnix(stale); err != nil {
		t.Error(err)
	}
}

// TestVPCD plays vpcd: the token calls, is pulled, and calls again, also after
// vpcd was gone.
func TestVPCD(t *testing.T) {
	w := newWorld(t, pivemu.TouchAsk)
	// Not 127.0.0.1, where the port could be taken by somebody else while
	// nobody listens.
	ln, err := net.Listen("tcp", "127.55.44.33:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	accept := func() *readerEnd {
		t.Helper()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return newReaderEnd(t, conn)
	}
	if err := w.port.DialVPCD(addr); err != nil {
		t.Fatal(err)
	}
	w.putKey()
	r := accept()
	r.exchange("04", atrText)
	r.exchange(selectPIV, selectAnswer)
	r.send(sign)
	w.ask("wait-touch 60")
	w.ask("pull")
	r.ended()
	w.ask("insert")
	r = accept()
	r.exchange(selectPIV, selectAnswer)
	_ = r.Close()
	r = accept()
	r.exchange(selectPIV, selectAnswer)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if ln, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	r = accept()
	r.exchange(selectPIV, selectAnswer)
	w.port.Close()
	r.ended()
	if err := w.port.DialVPCD(addr); err == nil {
		t.Error("a closed port takes tokens")
	}
	if err := w.port.Insert(); err == nil {
		t.Error("a closed port takes tokens")
	}
	_ = ln.Close()
}

// BenchmarkSignOverSocket is a touched P-256 signature as the in-process reader
// gets it.
func BenchmarkSignOverSocket(b *testing.B) {
	w := newWorld(b, pivemu.TouchAuto)
	w.putKey()
	r := w.dial()
	r.exchange(selectPIV, selectAnswer)
	for b.Loop() {
		r.send(sign)
		if out, err := readMessage(r); err != nil || !bytes.HasSuffix(out, []byte{0x90, 0}) {
			b.Fatalf("%x, %v", out, err)
		}
	}
}

// FuzzWire: whatever a reader sends, the token's side ends or answers; it never
// panics and always lets the next reader in.
func FuzzWire(f *testing.F) {
	for _, s := range []string{"000101000104", "000a" + selectPIV + "000400f80000", "0000", "ffff00", "000102000101000104"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	w := newWorld(f, pivemu.TouchAuto)
	f.Fuzz(func(t *testing.T, wire []byte) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.port.serve(context.Background(), theirs)
		}()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_, _ = ours.Write(wire)
		_ = ours.Close()
		<-done
	})
}
