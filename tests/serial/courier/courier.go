// Package courier moves numbered messages both ways over a link whose device is pulled, mended and pulled again, and
// judges what arrives. It does what hostd and station do with jobs: what is not acknowledged by the other courier is
// sent again in the next session, and what comes twice over two sessions is taken once.
//
// # Format
//
//	kind u8 (0 data, 1 acknowledgement) │ number u32, big-endian │ data: Body(number)
//
// Data travels on the bulk channel, acknowledgements (number = count received) on the interactive one.
package courier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
)

const (
	data = 0
	ack  = 1

	header = 5

	// longest Body: some are several frames, most are less than one.
	longest = 6000

	// ackEvery messages are acknowledged together.
	ackEvery = 8
)

// Link is one end of the link: *serialport.Endpoint is one.
type Link interface {
	Send(ctx context.Context, sid uint32, channel int, msg []byte) error
	Events() <-chan serialport.Event
}

// Body is the content of message n: any length, any byte.
func Body(n uint32) []byte {
	x := uint64(n)*0x9e3779b97f4a7c15 + 1
	b := make([]byte, x>>32%longest)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// Courier is one end. What it does is reported to Tell, from one goroutine: an event of the link, or progress.
type Courier struct {
	link  Link
	count uint32
	tell  func(News)

	acked    uint32 // of ours, by the other side
	received uint32 // of theirs, in order
	sid      uint32 // of the session that stands; 0: none
	next     uint32 // expected in this session
	begun    bool   // something came in this session
	sender   func() // ends the sender of this session
	senders  sync.WaitGroup
}

// News is what happened: an event of the link, or, where Event is nil, that Sent of ours are acknowledged and Received
// of theirs are here.
type News struct {
	Event          *serialport.Event
	Sent, Received uint32
	Done           bool // both are complete
}

// Run sends count messages and takes count, and goes on acknowledging until the link's events end or ctx does. The error
// says what was lost, repeated, reordered or changed; nil is returned only at the end of the events after all was done.
func Run(ctx context.Context, link Link, count uint32, tell func(News)) error {
	c := &Courier{link: link, count: count, tell: tell, sender: func() {}}
	defer func() { c.sender(); c.senders.Wait() }()
	for {
		select {
		case ev, ok := <-link.Events():
			if !ok {
				return c.end()
			}
			if err := c.take(ctx, &ev); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *Courier) end() error {
	if n := c.news(); !n.Done {
		return fmt.Errorf("the link ended with %d of %d messages sent and %d received", n.Sent, c.count, n.Received)
	}
	return nil
}

func (c *Courier) news() News {
	return News{Sent: c.acked, Received: c.received, Done: c.acked == c.count && c.received == c.count}
}

func (c *Courier) take(ctx context.Context, ev *serialport.Event) error {
	switch ev.Kind {
	case serialport.Up:
		c.sid, c.begun = ev.SID, false
		c.sender = c.startSender(ctx, ev.SID)
		c.tell(News{Event: ev})
	case serialport.Down:
		c.sid = 0
		c.sender()
		c.sender = func() {}
		c.tell(News{Event: ev})
	case serialport.Message:
		return c.message(ctx, ev.Body)
	default:
		c.tell(News{Event: ev})
	}
	return nil
}

// startSender sends what is not acknowledged in a session until the answer is called. It is not waited for: the link
// takes nothing for a session that has ended.
func (c *Courier) startSender(ctx context.Context, sid uint32) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	first := c.acked
	c.senders.Go(func() {
		for n := first; n < c.count && ctx.Err() == nil; n++ {
			if c.link.Send(ctx, sid, session.Bulk, encode(data, n, Body(n))) != nil {
				return // down or ended: the next session begins at the first not acknowledged
			}
		}
	})
	return stop
}

func encode(kind byte, n uint32, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, n), body...)
}

func (c *Courier) message(ctx context.Context, msg []byte) error {
	if len(msg) < header {
		return fmt.Errorf("a message of %d bytes that nobody sent", len(msg))
	}
	n := binary.BigEndian.Uint32(msg[1:])
	if msg[0] == ack {
		return c.acknowledged(n)
	}
	return c.data(ctx, n, msg[header:])
}

func (c *Courier) acknowledged(n uint32) error {
	if n < c.acked || n > c.count {
		return fmt.Errorf("acknowledged up to %d after %d", n, c.acked)
	}
	c.acked = n
	c.tell(c.news())
	return nil
}

// data takes message n: the first of a session may be one that is known already, but then they follow each other.
func (c *Courier) data(ctx context.Context, n uint32, body []byte) error {
	switch {
	case c.begun && n != c.next:
		return fmt.Errorf("message %d instead of %d within a session", n, c.next)
	case n > c.received:
		return fmt.Errorf("message %d though %d never came", n, c.received)
	case !bytes.Equal(body, Body(n)):
		return fmt.Errorf("message %d was changed on the way", n)
	}
	c.begun, c.next = true, n+1
	if n == c.received {
		c.received++
		c.tell(c.news())
	}
	if (n+1)%ackEvery != 0 && n+1 != c.count {
		return nil
	}
	if err := c.link.Send(ctx, c.sid, session.Interactive, encode(ack, c.received, nil)); err != nil && !errors.Is(err, session.ErrDown) {
		return err
	}
	return nil
}
