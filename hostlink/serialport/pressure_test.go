package serialport_test

import (
	"context"
	"io"
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
}

func (w wire) SetWriteDeadline(time.Time) error { return w.PipeWriter.Close() } // set once, when the line ends
func (w wire) Close() error                     { w.PipeReader.Close(); return w.PipeWriter.Close() }

// TestPeerGoesOnAtOnce: a side that took no messages for a while and takes them again has the other go on at once, and
// not when a timer of the session comes by.
func TestPeerGoesOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		upR, upW := io.Pipe()
		downR, downW := io.Pipe()
		start := func(w wire, initiator bool) *serialport.Endpoint {
			return serialport.Start(ctx, serialport.EndpointConfig{Path: "x", Initiator: initiator,
				Open: func(string, int) (serialport.Port, error) { return w, nil }})
		}
		host, board := start(wire{downR, upW}, true), start(wire{upR, downW}, false)
		var sid uint32
		for _, e := range []*serialport.Endpoint{host, board} {
			for ev := range e.Events() {
				if ev.Kind == serialport.Up {
					sid = ev.SID
					break
				}
			}
		}
		const messages = 200
		go func() {
			for range messages {
				if board.Send(ctx, sid, session.Bulk, make([]byte, 32<<10)) != nil {
					return
				}
			}
		}()
		<-time.After(5 * time.Second) // everything is full
		begin := time.Now()
		for n := 0; n < messages; n++ {
			if ev := <-host.Events(); ev.Kind != serialport.Message {
				t.Fatalf("%+v", ev)
			}
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("the rest took %v", took)
		}
		cancel()
		for _, e := range []*serialport.Endpoint{host, board} {
			for range e.Events() {
			}
			e.Wait()
		}
	})
}
