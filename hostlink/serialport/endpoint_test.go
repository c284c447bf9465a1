package serialport_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tests/cable"
)

// patience bounds every wait of a test; it is not a pause.
const patience = 2 * time.Minute

// side is an endpoint with its events.
type side struct {
	*serialport.Endpoint
	t    testing.TB
	name string
	sid  uint32 // of the latest Up that until has seen
}

func newCable(t testing.TB) *cable.Cable {
	t.Helper()
	c, err := cable.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func startSide(t testing.TB, name, path string, cfg serialport.EndpointConfig) *side {
	t.Helper()
	cfg.Path = path
	e := serialport.Start(context.Background(), cfg)
	t.Cleanup(func() { drainClose(e) })
	return &side{Endpoint: e, t: t, name: name}
}

func drainClose(e *serialport.Endpoint) {
	go e.Close()
	for range e.Events() {
	}
	e.Wait()
}

func pair(t testing.TB) (*cable.Cable, *side, *side) {
	t.Helper()
	c := newCable(t)
	board := startSide(t, "board", c.BoardPath(), serialport.EndpointConfig{})
	host := startSide(t, "host", c.HostPath(), serialport.EndpointConfig{Initiator: true})
	host.until(serialport.Up)
	board.until(serialport.Up)
	return c, host, board
}

// until returns the next event of a kind, skipping others.
func (s *side) until(kind serialport.Kind) serialport.Event {
	s.t.Helper()
	late := time.After(patience)
	for {
		select {
		case ev, ok := <-s.Events():
			if !ok {
				s.t.Fatalf("%s: endpoint ended while waiting for event %d", s.name, kind)
			}
			if ev.Kind == serialport.Up {
				s.sid = ev.SID
			}
			if ev.Kind == kind {
				return ev
			}
		case <-late:
			s.t.Fatalf("%s: no event %d", s.name, kind)
		}
	}
}

func (s *side) send(channel int, msg []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Send(ctx, s.sid, channel, msg); err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
}

func TestExchange(t *testing.T) {
	_, host, board := pair(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), session.MaxMessage/16)
	host.send(session.Bulk, big)
	if ev := board.until(serialport.Message); ev.Channel != session.Bulk || !bytes.Equal(ev.Body, big) {
		t.Errorf("bulk message arrived as channel %d, %d bytes", ev.Channel, len(ev.Body))
	}
	board.send(session.Interactive, []byte("answer"))
	if ev := host.until(serialport.Message); ev.Channel != session.Interactive || string(ev.Body) != "answer" {
		t.Errorf("got channel %d, %q", ev.Channel, ev.Body)
	}
}

// BenchmarkRoundTrip is one small message and its answer over an unthrottled pty.
func BenchmarkRoundTrip(b *testing.B) {
	_, host, board := pair(b)
	ping, pong := bytes.Repeat([]byte{'a'}, 400), bytes.Repeat([]byte{'b'}, 400)
	for b.Loop() {
		host.send(0, ping)
		board.until(serialport.Message)
		board.send(0, pong)
		host.until(serialport.Message)
	}
}

// BenchmarkBulk is bulk messages one way over an unthrottled pty.
func BenchmarkBulk(b *testing.B) {
	_, host, board := pair(b)
	msg := make([]byte, session.MaxMessage)
	for i := range msg {
		msg[i] = byte(i * 7)
	}
	b.SetBytes(int64(len(msg)))
	go func() {
		for b.Context().Err() == nil {
			if host.Send(b.Context(), host.sid, 1, msg) != nil {
				return
			}
		}
	}()
	for b.Loop() {
		board.until(serialport.Message)
	}
}
