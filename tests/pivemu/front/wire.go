// Package front connects an emulated token to the world: to a reader over the
// wire protocol of vsmartcard's vpcd, and to a test over a control socket.
//
// # Wire
//
// Every message is a big-endian 16-bit length and that many bytes. From the
// reader: one byte 00 power off, 01 power on, 02 reset, 04 request for the ATR;
// anything else is a command APDU. From the card: the ATR, or a response
// APDU; the other power messages have no answer. The card either listens on a
// unix socket ([ServeUnix]) or calls vpcd's TCP port ([DialVPCD]). A program that
// transmits 00, 01 or 02 alone as a command, which no card understands, waits
// for ever, and pcscd with it: vpcd's protocol cannot tell it from power.
//
// A reader that closes its connection, or sends a power message while a
// command runs, ends that command: a touch is no longer awaited and no answer
// is sent. Only one reader uses the token at a time: a connection claims it
// with its first message, and another one that sends something meanwhile is
// closed after a short grace. A connection that never sends is harmless.
//
// # Removal
//
// [Port.Pull] closes the connection at once, also while a touch is awaited, and
// the unix socket is gone until [Port.Insert].
package front

import (
	"encoding/binary"
	"errors"
	"io"
)

// Power messages of the wire.
const (
	powerOff  = 0x00
	powerOn   = 0x01
	reset     = 0x02
	atrWanted = 0x04
)

var errMessage = errors.New("front: a message is empty")

// readMessage reads one message; it never returns an empty one.
func readMessage(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(head[:])
	if n == 0 {
		return nil, errMessage
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// writeMessage writes one message with one Write.
func writeMessage(w io.Writer, body []byte) error {
	if len(body) == 0 || len(body) > maxMessage {
		return errMessage
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(body)), uint16(len(body)))
	_, err := w.Write(append(b, body...))
	return err
}
