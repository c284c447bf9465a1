package serialport

import (
	"context"
	"sync"
	"time"

	"touchmark/hostlink/session"
)

// signal wakes one goroutine; wakes that come together count once.
type signal chan struct{}

func (s signal) wake() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// line is a session on an open device: from opening to loss. Three goroutines
// serve it: the reader feeds the session, the writer, which alone may stay
// blocked in the device, empties it, and the pump hands events over and keeps
// the session's timers, whatever the writer does.
type line struct {
	port   Port
	conn   *session.Conn // under Endpoint.mu
	writer signal
	pump   signal
}

// serve runs the session on p until the device fails or ctx ends.
func (e *Endpoint) serve(ctx context.Context, p Port) {
	l := &line{port: p, conn: e.newConn(), writer: make(signal, 1), pump: make(signal, 1)}
	e.attach(l)
	lost, fail := context.WithCancel(ctx)
	defer fail()
	var reader, writer sync.WaitGroup
	reader.Go(func() { e.read(l); fail() })
	writer.Go(func() { e.write(lost, l); fail() })
	pending, held := e.pumpEvents(lost, l)
	p.SetWriteDeadline(time.Now().Add(farewell)) // frees a blocked Write
	writer.Wait()
	if ctx.Err() != nil {
		e.sayGoodbye(l)
	}
	p.Close()
	reader.Wait()
	if held {
		e.emit(ctx, pending)
	}
	e.detach(ctx, l)
}

// sayGoodbye tells the other side, so that it need not wait for silence.
func (e *Endpoint) sayGoodbye(l *line) {
	e.mu.Lock()
	l.conn.Close()
	out := l.conn.Output(time.Now(), writeSize)
	e.mu.Unlock()
	if len(out) > 0 {
		l.port.Write(out) // best effort: the deadline is set
	}
}

func (e *Endpoint) attach(l *line) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.line = l
}

// detach reports what the session still has to say, ending with Down.
func (e *Endpoint) detach(ctx context.Context, l *line) {
	e.mu.Lock()
	e.line = nil
	l.conn.Close()
	e.freed()
	e.mu.Unlock()
	for {
		ev, ok := l.conn.Next()
		if !ok {
			return
		}
		out := convert(ev)
		if ev.Reason == session.ReasonLocal && ctx.Err() == nil {
			out.Err = ErrLost
		}
		e.emit(ctx, out)
	}
}

// read feeds the session until the device fails or is closed.
func (e *Endpoint) read(l *line) {
	buf := make([]byte, readSize)
	for {
		n, err := l.port.Read(buf)
		if err != nil || n == 0 {
			return
		}
		e.mu.Lock()
		l.conn.Input(time.Now(), buf[:n])
		e.freed()
		e.mu.Unlock()
		l.pump.wake()
		l.writer.wake()
	}
}

// write empties the session into the device until the line is lost.
func (e *Endpoint) write(lost context.Context, l *line) {
	for {
		e.mu.Lock()
		out := l.conn.Output(time.Now(), writeSize)
		e.freed()
		e.mu.Unlock()
		l.pump.wake() // the timers have moved
		if len(out) > 0 {
			if _, err := l.port.Write(out); err != nil {
				return
			}
			continue
		}
		select {
		case <-l.writer:
		case <-lost.Done():
			return
		}
	}
}

// pumpEvents hands over events and keeps time until the line is lost. It
// returns the event it could not hand over any more, if any.
func (e *Endpoint) pumpEvents(lost context.Context, l *line) (next Event, held bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var events chan<- Event // nil while no event is held
	for {
		if ev, ok := e.turn(l, timer, held); ok {
			next, held, events = ev, true, e.events
		}
		select {
		case events <- next:
			held, events = false, nil
		case <-l.pump:
		case <-timer.C:
		case <-lost.Done():
			return next, held
		}
	}
}

// turn runs the session's timers, takes an event unless one is held, and sets
// the timer to the session's next deadline.
func (e *Endpoint) turn(l *line, timer *time.Timer, held bool) (ev Event, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if l.conn.Tick(now) {
		e.freed()
		l.writer.wake()
	}
	if !held {
		var se session.Event
		if se, ok = l.conn.Next(); ok {
			ev = convert(se)
			l.writer.wake() // room for another may let the peer go on
		}
	}
	if at := l.conn.Deadline(); at.IsZero() {
		timer.Stop()
	} else {
		timer.Reset(max(0, at.Sub(now)))
	}
	return ev, ok
}

// convert gives a session event the form of an endpoint event.
func convert(s session.Event) Event {
	ev := Event{SID: s.SID, Channel: s.Channel, Body: s.Body}
	switch s.Kind {
	case session.Up:
		ev.Kind = Up
	case session.Down:
		ev.Kind, ev.Err = Down, s.Err()
	default:
		ev.Kind = Message
	}
	return ev
}
