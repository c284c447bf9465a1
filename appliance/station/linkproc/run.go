// Package linkproc serves a process that parses the wire, touchmark-link, of which
// package keeper gives the station one after the other.
package linkproc

import (
	"context"
	"sync"
	"time"

	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
)

// Link is one life of the process that parses the wire.
type Link interface {
	Read() (linkpipe.Msg, error)
	Write(linkpipe.Msg) error
	Close() error
}

// Queue and BulkQueue bound what waits for the link process: answers to a
// host are small, but for the entries that it fetches, which a host asks for one
// message at a time. One that asks on and on and does not read loses its
// session, not the board its memory.
const (
	Queue     = 128
	BulkQueue = 4
)

// flush bounds how long a stopping board waits for its last words to
// leave.
const flush = time.Second

// Run serves one link process to its end. It first says where messages for it
// go, the bulk ones behind all others, and how to end it; then it hands on what
// the process says.
func Run(ctx context.Context, l Link, ready func(out, bulk chan linkpipe.Msg, cut func()), take func(linkpipe.Msg)) error {
	defer func() { _ = l.Close() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, bulk, flushed := make(chan linkpipe.Msg, Queue), make(chan linkpipe.Msg, BulkQueue), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		defer close(flushed)
		defer stop()
		write(ctx, l, out, bulk)
	})
	wg.Go(func() { // a process that neither reads nor dies must not hold the board up
		<-ctx.Done()
		select {
		case <-flushed:
		case <-time.After(flush):
		}
		_ = l.Close()
	})
	ready(out, bulk, stop)
	for {
		m, err := l.Read()
		if err != nil {
			return err
		}
		take(m)
	}
}

// write passes messages to the link process until either ends, and at the
// end what was still queued. Entries that a host fetches wait for everything
// else.
func write(ctx context.Context, l Link, out, bulk <-chan linkpipe.Msg) {
	packer := message.NewPacker()
	put := func(m linkpipe.Msg) error {
		m.Body = packer.Pack(m.Body)
		return l.Write(m)
	}
	for {
		rest := bulk
		if len(out) > 0 {
			rest = nil
		}
		var m linkpipe.Msg
		select {
		case m = <-out:
		case m = <-rest:
		case <-ctx.Done():
			for len(out) > 0 {
				if put(<-out) != nil {
					return
				}
			}
			return
		}
		if put(m) != nil {
			return
		}
	}
}
