package session

import (
	"time"

	"touchmark/hostlink/frame"
)

// Bounds that both ends must share: part of link version 1.
const (
	// Version is the link version in SYN and ACCEPT.
	Version = 1

	// MaxMessage bounds one message: 64 log entries of a ceremony, or one of
	// the largest (60 KiB) with room to spare, and not much memory.
	MaxMessage = 128 << 10

	// Window is the count of DATA frames that may be unacknowledged. 32 full
	// frames are 128 KiB, enough for any line speed a UART has; the receiver
	// needs no more memory than that for frames that came out of order.
	Window = 32

	// Channels are 0 (interactive) and 1 (bulk).
	Channels = 2
)

// The two channels. Each delivers its messages whole, once and in order; there
// is no order between them.
const (
	Interactive = 0
	Bulk        = 1
)

// Bounds and times of this implementation: another may choose its own.
const (
	// sendQueueBytes and sendQueueMessages bound what Send accepts per channel
	// before it answers ErrQueueFull: two of the longest messages.
	sendQueueBytes    = 2 * MaxMessage
	sendQueueMessages = 64

	// recvQueueBytes and recvQueueItems bound what waits for Next. Above either
	// the peer is told to hold. One message may overshoot.
	recvQueueBytes = 2 * MaxMessage
	recvQueueItems = 64

	// reserve frames of the window are kept for the interactive channel, so
	// that bulk data waiting for an acknowledgement never closes it.
	reserve = 4

	// interactiveRun interactive frames may pass in a row while bulk waits; the
	// next is a bulk one, so that neither channel starves.
	interactiveRun = 8

	// ackEvery frames are acknowledged at once; fewer may wait ackDelay for
	// data to travel on. A quarter of the window: the sender never stands.
	ackEvery = Window / 4

	// ackDelay is longer than an answer takes (a few ms) and much shorter than
	// any retransmission.
	ackDelay = 20 * time.Millisecond

	// quietAfter a silence the next bytes begin with a delimiter: one byte for
	// not losing a frame, and a time-out, to what noise put there meanwhile.
	quietAfter = 10 * time.Millisecond

	// bulkLead of line time may be written ahead before the next bulk frame: what
	// an interactive frame can find in front of it is that and one bulk frame. It
	// covers a writer that wakes late; longer pauses of ours leave the line idle.
	bulkLead = 100 * time.Millisecond

	// bulkStart, bulkLeast: bulk frames in flight at first and at least. The
	// count grows while round trips are short and shrinks when they pass their
	// line time by queueTarget and a frame: for lines slower than configured, or
	// of unknown rate, where bulkLead means nothing.
	bulkStart   = 8
	bulkLeast   = 3
	queueTarget = 150 * time.Millisecond

	// A loss halves the frames, at most shrinkMost times, since on a noisy line
	// the long ones are hit; growAfter frames without a loss double them again.
	shrinkMost = 3
	growAfter  = 64

	// rtoFirst is used before the first round trip is measured; rtoLeast covers
	// ackDelay and a peer whose machine is busy, so that nothing crosses twice for
	// that (what is lost in the middle is mended without it); rtoMost bounds the wait after a restored cable.
	// rtoFrames frames of line time are added to each: one the peer may be
	// sending when ours arrives, two in its driver's queue.
	rtoFirst  = 250 * time.Millisecond
	rtoLeast  = 200 * time.Millisecond
	rtoMost   = 2 * time.Second
	rtoFrames = 3

	// synFirst and synMost space the initiator's SYNs: a peer that appears is
	// met within a second, for 24 bytes a second until then.
	synFirst = 250 * time.Millisecond
	synMost  = time.Second

	// keepAlive without a word from the peer asks for a PONG, then again every
	// pingAgain; the responder waits longer, so that only one side asks.
	keepAliveInitiator = 5 * time.Second
	keepAliveResponder = 8 * time.Second
	pingAgain          = 2 * time.Second

	// deadAfter without a word ends the session. It covers three PINGs and the
	// longest frame at 9600 baud (4.3 s).
	deadAfter = 15 * time.Second

	// stallAfter ends a session whose peer answers but takes no data: it bounds
	// every wait of the layer above.
	stallAfter = 60 * time.Second

	// resetEvery spaces the RESETs for frames of unknown sessions, so that a
	// line full of them is not answered byte for byte.
	resetEvery = 200 * time.Millisecond

	// beginEvery spaces the sessions that a responder begins, so that a peer that
	// opens without end costs the layer above ten events a second. An initiator
	// asks again after 250 ms.
	beginEvery = 200 * time.Millisecond

	// steadyAfter a session is young: one that ends younger is followed by a
	// growing pause instead of an immediate SYN.
	steadyAfter = 2 * time.Second
)

// fragmentFor chooses the payload of a full frame on a UART: at most 45 ms of
// line, so that an interactive frame waits for little; from 256 bytes, below which
// overhead tells, to 1024, of which more than two in five still arrive when one
// bit in 10000 is wrong (of 4096 one in thirty).
func fragmentFor(baud int) int {
	if baud == 0 {
		return frame.MaxPayload
	}
	n := 256
	for n < 1024 && 2*n*bitsPerByte*1000 <= baud*45 {
		n *= 2
	}
	return n
}

// bitsPerByte on the line: start bit, eight data bits, stop bit (8N1).
const bitsPerByte = 10
