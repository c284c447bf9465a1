package front

import (
	"context"
	"net"
	"time"
)

// serve speaks with one reader until it goes away or ctx is done. It closes
// conn.
func (p *Port) serve(ctx context.Context, conn net.Conn) {
	conn = quick(conn)
	ctx, cancel := context.WithCancel(ctx)
	// A pull is seen at once, even if the token computes for a while yet.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	messages := make(chan []byte)
	done := make(chan struct{})
	go func() {
		defer close(done)
		readAll(ctx, conn, messages)
	}()
	r := reader{port: p, conn: conn}
	r.run(ctx, messages)
	cancel()
	_ = conn.Close()
	<-done
}

// readAll hands every message on until the connection ends, then closes the
// channel.
func readAll(ctx context.Context, conn net.Conn, messages chan<- []byte) {
	defer close(messages)
	for {
		m, err := readMessage(conn)
		if err != nil {
			return
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return
		}
	}
}

// reader is the card's side of one connection. Owner: its run method.
type reader struct {
	port    *Port
	conn    net.Conn
	claimed bool
	answer  chan []byte        // of the command under way, nil when there is none
	stop    context.CancelFunc // ends the command under way
}

func (r *reader) run(ctx context.Context, messages <-chan []byte) {
	defer r.release()
	defer r.abandon()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-messages:
			if !ok || !r.claim(ctx) || !r.message(ctx, m) {
				return
			}
		case a := <-r.answer:
			r.stop()
			r.answer = nil
			if writeMessage(r.conn, a) != nil {
				return
			}
		}
	}
}

// message handles one message; false ends the connection.
func (r *reader) message(ctx context.Context, m []byte) bool {
	if len(m) > 1 {
		return r.start(ctx, m)
	}
	switch m[0] {
	case powerOff, powerOn, reset:
		r.abandon()
		r.port.card.Reset()
		if m[0] == powerOn {
			r.port.power()
		}
		return true
	case atrWanted:
		return writeMessage(r.conn, r.port.card.ATR()) == nil
	}
	return r.start(ctx, m)
}

// start begins a command; a reader that does not wait for the answer to the
// last one breaks the protocol.
func (r *reader) start(ctx context.Context, apdu []byte) bool {
	if r.answer != nil {
		return false
	}
	ctx, r.stop = context.WithCancel(ctx)
	answer := make(chan []byte, 1)
	r.answer = answer
	go func() { answer <- r.port.card.Execute(ctx, apdu) }()
	return true
}

// abandon ends the command under way and drops its answer.
func (r *reader) abandon() {
	if r.answer == nil {
		return
	}
	r.stop()
	<-r.answer
	r.answer = nil
}

// claim makes this connection the one that uses the token.
func (r *reader) claim(ctx context.Context) bool {
	if r.claimed {
		return true
	}
	grace := time.NewTimer(busyGrace)
	defer grace.Stop()
	select {
	case r.port.user <- struct{}{}:
		r.claimed = true
	case <-grace.C:
	case <-ctx.Done():
	}
	return r.claimed
}

// release cuts the power and lets the next reader in.
func (r *reader) release() {
	if r.claimed {
		r.port.card.Reset()
		<-r.port.user
	}
}
