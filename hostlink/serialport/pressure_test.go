package serialport_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
)

// wire is one end of a line in memory that takes no time.
type wire struct {
	*io.PipeReader
	*io.PipeWriter
	drop atomic.Int32 // so many writes are lost on the way
}

func (w *wire) Write(p []byte) (int, error) {
	if w.drop.Load() > 0 {
		w.drop.Add(-1)
		return len(p), nil
	}
	return w.PipeWriter.Write(p)
}

func (w *wire) SetWriteDeadline(time.Time) error { return w.PipeWriter.Close() } // set once, when the line ends
func (w *wire) Close() error                     { w.PipeReader.Close(); return w.PipeWriter.Close() }

// end is an endpoint on such a line.
type end struct {
	*serialport.Endpoint
	t   *testing.T
	w   *wire
	sid uint32
}

func (e *end) send(channel int, body string) {
	e.t.Helper()
	if err := e.Send(e.t.Context(), e.sid, channel, []byte(body)); err != nil {
		e.t.Fatal(err)
	}
}

// take wants the next event to be a message.
func (e *end) take() string {
	e.t.Helper()
	ev := <-e.Events()
	if ev.Kind != serialport.Message {
		e.t.Fatalf("%+v", ev)
	}
	return string(ev.Body)
}

// overWires runs f with two ends of a line that takes no time, a session between
// them, on a clock that stands still while anybody has something to do.
func overWires(t *testing.T, f func(t *testing.T, host, board *end)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		upR, upW := io.Pipe()
		downR, downW := io.Pipe()
		start := func(w *wire, initiator bool) *end {
			var opened atomic.Bool
			return &end{t: t, w: w, Endpoint: serialport.Start(ctx, serialport.EndpointConfig{Path: "x", Initiator: initiator,
				Open: func(string, int) (serialport.Port, error) {
					if opened.Swap(true) {
						return nil, errors.New("there is no other line")
					}
					return w, nil
				}})}
		}
		host, board := start(&wire{PipeReader: downR, PipeWriter: upW}, true), start(&wire{PipeReader: upR, PipeWriter: downW}, false)
		for _, e := range []*end{host, board} {
			for ev := range e.Events() {
				if ev.Kind == serialport.Up {
					e.sid = ev.SID
					break
				}
			}
		}
		f(t, host, board)
		cancel()
		for _, e := range []*end{host, board} {
			for range e.Events() {
			}
			e.Wait()
		}
	})
}

// TestAnswersDoNotWaitForTimers: with any timer of the session on the path, time
// would have passed.
func TestAnswersDoNotWaitForTimers(t *testing.T) {
	overWires(t, func(t *testing.T, host, board *end) {
		begin := time.Now()
		for range 200 {
			host.send(session.Interactive, "question")
			board.take()
			board.send(session.Interactive, "answer")
			host.take()
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("200 exchanges took %v", took)
		}
	})
}

// TestPeerGoesOnAtOnce: a side that took no messages for a while and takes them again has the other go on at once, and
// not when a timer of the session comes by.
func TestPeerGoesOnAtOnce(t *testing.T) {
	overWires(t, func(t *testing.T, host, board *end) {
		const messages = 200
		go func() {
			for range messages {
				if board.Send(t.Context(), board.sid, session.Bulk, make([]byte, 32<<10)) != nil {
					return
				}
			}
		}()
		<-time.After(5 * time.Second) // everything is full
		begin := time.Now()
		for range messages {
			host.take()
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("the rest took %v", took)
		}
	})
}

// TestNothingReceivedIsLostWithTheLine: what had arrived when the device went away
// is handed over whenever it is asked for, in order and whole, and then Down.
func TestNothingReceivedIsLostWithTheLine(t *testing.T) {
	overWires(t, func(t *testing.T, host, board *end) {
		const messages = 40 // more than the queue of events holds, less than makes the session hold
		for i := range messages {
			board.send(session.Interactive, string(rune('A'+i)))
		}
		synctest.Wait() // all of them are here, one in the pump's hand
		host.w.PipeReader.Close()
		synctest.Wait()
		for i := range messages {
			if body := host.take(); body != string(rune('A'+i)) {
				t.Fatalf("message %d is %q", i, body)
			}
		}
		if ev := <-host.Events(); ev.Kind != serialport.Down || !errors.Is(ev.Err, serialport.ErrLost) {
			t.Fatalf("%+v", ev)
		}
	})
}

// TestLostLineFreesSenders: a Send that waits for room hears that the device has
// gone.
func TestLostLineFreesSenders(t *testing.T) {
	overWires(t, func(t *testing.T, host, board *end) {
		stuck := make(chan error, 1)
		go func() {
			for {
				if err := host.Send(t.Context(), host.sid, session.Bulk, make([]byte, session.MaxMessage)); err != nil {
					stuck <- err
					return
				}
			}
		}()
		synctest.Wait() // nobody takes events at the board: every queue is full
		host.w.PipeReader.Close()
		if err := <-stuck; !errors.Is(err, session.ErrDown) {
			t.Errorf("%v", err)
		}
	})
}

// TestIdleSessionLives: with nothing to say each side's timers still make it say
// so, for as long as one likes.
func TestIdleSessionLives(t *testing.T) {
	overWires(t, func(t *testing.T, host, board *end) {
		select {
		case ev := <-host.Events():
			t.Errorf("host: %+v", ev)
		case ev := <-board.Events():
			t.Errorf("board: %+v", ev)
		case <-time.After(time.Hour):
		}
	})
}

// TestLostFrameIsSentAgainInTime: the timer of a frame that was just written is the
// one that counts, not that of the keep-alive which was set before.
func TestLostFrameIsSentAgainInTime(t *testing.T) {
	overWires(t, func(t *testing.T, host, board *end) {
		<-time.After(time.Second) // all that opening a session needs is over
		host.w.drop.Store(1)
		begin := time.Now()
		host.send(session.Interactive, "x")
		board.take()
		if took := time.Since(begin); took == 0 || took > 2*time.Second {
			t.Errorf("a lost frame was there after %v", took)
		}
	})
}
