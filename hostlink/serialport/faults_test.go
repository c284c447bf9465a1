package serialport_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tests/cable"
)

// brisk makes silence noticed soon, and no machine is so slow that it is silent as long.
var brisk = serialport.EndpointConfig{KeepAlive: time.Second, DeadAfter: 8 * time.Second}

// briskPair is a pair whose sessions notice silence soon.
func briskPair(t *testing.T) (*cable.Cable, *side, *side) {
	t.Helper()
	c := newCable(t)
	host := brisk
	host.Initiator = true
	b := startSide(t, "board", c.BoardPath(), brisk)
	h := startSide(t, "host", c.HostPath(), host)
	h.until(serialport.Up)
	b.until(serialport.Up)
	return c, h, b
}

// expect sends one way and waits for it at the other side.
func expect(t *testing.T, from, to *side, body string) {
	t.Helper()
	from.send(session.Interactive, []byte(body))
	if ev := to.until(serialport.Message); string(ev.Body) != body {
		t.Fatalf("%s got %.40q, want %q", to.name, ev.Body, body)
	}
}

func TestShortCutLosesNothing(t *testing.T) {
	c, host, board := pair(t)
	lost := make(chan struct{}, 100)
	c.SetFault(cable.Up, func(p []byte) []byte { lost <- struct{}{}; return p })
	c.Cut()
	host.send(session.Interactive, []byte("one"))
	<-lost
	host.send(session.Bulk, bytes.Repeat([]byte("x"), 50000))
	<-lost
	c.SetFault(cable.Up, nil)
	c.Restore()
	got := map[int]int{}
	for range 2 {
		ev := board.until(serialport.Message)
		got[ev.Channel] = len(ev.Body)
	}
	if got[session.Interactive] != 3 || got[session.Bulk] != 50000 {
		t.Errorf("arrived: %v", got)
	}
}

func TestLongCutEndsAndRestoreBringsBack(t *testing.T) {
	t.Parallel()
	c, host, board := briskPair(t)
	c.Cut()
	for _, s := range []*side{host, board} {
		if ev := s.until(serialport.Down); !errors.Is(ev.Err, session.ReasonSilent) {
			t.Errorf("%s: %v", s.name, ev.Err)
		}
	}
	if err := host.Send(t.Context(), host.sid, 0, []byte("x")); !errors.Is(err, session.ErrDown) {
		t.Errorf("Send while down: %v", err)
	}
	c.Restore()
	host.until(serialport.Up)
	board.until(serialport.Up)
	expect(t, host, board, "again")
	expect(t, board, host, "and back")
}

func TestGarbageAndNoise(t *testing.T) {
	c, host, board := pair(t)
	for i := range 20 {
		c.Inject(cable.Up, bytes.Repeat([]byte{byte(i), 0xff, 0x11, 0x13, 0x0d}, 400*i))
		c.Inject(cable.Down, []byte("\r\nU-Boot 2026.01\r\n\x00\x1b[2J"))
		expect(t, host, board, "question "+string(rune('a'+i)))
		expect(t, board, host, "answer "+string(rune('a'+i)))
	}
	c.SetFault(cable.Up, cable.Noise(1, 1e-5, 1e-5))
	c.SetFault(cable.Down, cable.Noise(2, 1e-5, 1e-5))
	big := bytes.Repeat([]byte("0123456789abcdef"), 60000/16)
	for range 5 {
		host.send(session.Bulk, big)
		if ev := board.until(serialport.Message); !bytes.Equal(ev.Body, big) {
			t.Fatal("a damaged message was delivered")
		}
	}
}

func TestUnpluggedDeviceIsReopened(t *testing.T) {
	c, host, board := pair(t)
	for range 2 {
		c.Unplug(cable.Up)
		if ev := host.until(serialport.Down); !errors.Is(ev.Err, serialport.ErrLost) {
			t.Errorf("down: %v", ev.Err)
		}
		if ev := host.until(serialport.Unavailable); !errors.Is(ev.Err, serialport.ErrLost) {
			t.Errorf("unavailable: %v", ev.Err)
		}
		if ev := host.until(serialport.Unavailable); !errors.Is(ev.Err, serialport.ErrAbsent) {
			t.Errorf("unavailable: %v", ev.Err)
		}
		if err := c.Plug(cable.Up); err != nil {
			t.Fatal(err)
		}
		host.until(serialport.Opened)
		host.until(serialport.Up)
		if ev := board.until(serialport.Down); !errors.Is(ev.Err, session.ReasonReplaced) {
			t.Errorf("board: %v", ev.Err)
		}
		board.until(serialport.Up)
		expect(t, board, host, "back")
	}
}

func TestRestartOfEitherSide(t *testing.T) {
	c, host, board := pair(t)
	board.Close()
	if ev := host.until(serialport.Down); !errors.Is(ev.Err, session.ReasonClosed) {
		t.Errorf("host: %v", ev.Err)
	}
	board = startSide(t, "board", c.BoardPath(), serialport.EndpointConfig{})
	board.until(serialport.Up)
	host.until(serialport.Up)
	expect(t, host, board, "to the new board")
	host.Close()
	if ev := board.until(serialport.Down); !errors.Is(ev.Err, session.ReasonClosed) {
		t.Errorf("board: %v", ev.Err)
	}
	host = startSide(t, "host", c.HostPath(), serialport.EndpointConfig{Initiator: true})
	host.until(serialport.Up)
	board.until(serialport.Up)
	expect(t, board, host, "to the new host")
}

func TestOpenErrors(t *testing.T) {
	c := newCable(t)
	p, err := serialport.Open(c.HostPath(), 115200)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		c.HostPath():  serialport.ErrBusy,
		file + "none": serialport.ErrAbsent,
		file:          serialport.ErrNotTTY,
		t.TempDir():   serialport.ErrNotTTY,
		"/dev/null":   serialport.ErrNotTTY,
	} {
		_, err := serialport.Open(path, 115200)
		var oe *serialport.OpenError
		if !errors.Is(err, want) || !errors.As(err, &oe) || oe.Path != path {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	for _, baud := range []int{0, -1, 1 << 30} {
		if _, err := serialport.Open(c.BoardPath(), baud); err == nil {
			t.Errorf("%d baud accepted", baud)
		}
	}
	p.Close()
	p, err = serialport.Open(c.HostPath(), 31250) // not in the table of termios
	if err != nil {
		t.Errorf("after Close: %v", err)
	} else {
		p.Close()
	}
}

func TestBusyDeviceIsReportedOnceAndTakenWhenFree(t *testing.T) {
	c := newCable(t)
	p, err := serialport.Open(c.HostPath(), 115200)
	if err != nil {
		t.Fatal(err)
	}
	host := startSide(t, "host", c.HostPath(), serialport.EndpointConfig{Initiator: true})
	if ev := host.until(serialport.Unavailable); !errors.Is(ev.Err, serialport.ErrBusy) {
		t.Errorf("%v", ev.Err)
	}
	p.Close()
	if ev := <-host.Events(); ev.Kind != serialport.Opened {
		t.Errorf("event %+v", ev)
	}
}

// TestBlockedWriter: the pair is open but nothing reads it. Writes fill
// the buffers and block; silence is still noticed and Close still returns.
func TestBlockedWriter(t *testing.T) {
	t.Parallel()
	c, host, board := briskPair(t)
	blocked := make(chan struct{})
	release := make(chan struct{})
	defer close(release)
	first := true
	c.SetFault(cable.Up, func(p []byte) []byte { // the relay stops reading the host
		if first {
			first = false
			close(blocked)
		}
		<-release
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	down := make(chan error, 1)
	go func() {
		msg := make([]byte, session.MaxMessage)
		for {
			if err := host.Send(ctx, host.sid, session.Bulk, msg); err != nil {
				down <- err
				return
			}
		}
	}()
	<-blocked
	if ev := host.until(serialport.Down); !errors.Is(ev.Err, session.ReasonSilent) {
		t.Errorf("host: %v", ev.Err)
	}
	if err := <-down; !errors.Is(err, session.ErrDown) {
		t.Errorf("Send: %v", err)
	}
	host.Close() // it returns, or the test never ends
	_ = board
}

func TestSendWaitsForRoomNoLongerThanItsContext(t *testing.T) {
	c, host, _ := pair(t)
	c.Cut()
	ctx, cancel := context.WithCancel(t.Context())
	full := make(chan error, 1)
	go func() {
		for {
			if err := host.Send(ctx, host.sid, session.Interactive, make([]byte, session.MaxMessage)); err != nil {
				full <- err
				return
			}
		}
	}()
	cancel()
	if err := <-full; !errors.Is(err, context.Canceled) {
		t.Errorf("Send: %v", err)
	}
}
