//go:build linux && !pcscd && emulated

package pcsc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Commands of the vpcd wire protocol (vsmartcard, virtualsmartcard/src/vpcd):
// each message is a length, two bytes big-endian, and that many bytes; a body
// of one byte is a command to the card, any other a C-APDU. Only cmdATR and an
// APDU are answered.
//
//	+--------+--------+---------------+
//	| length u16 BE   | body          |
//	+--------+--------+---------------+
const (
	cmdPowerOff = 0x00
	cmdPowerOn  = 0x01
	cmdReset    = 0x02
	cmdATR      = 0x04
)

// maxATR is the longest answer to reset (ISO/IEC 7816-3 §8.2.1: TS and up to 32
// characters).
const maxATR = 33

// DialBackend is a reader whose card is the program listening on a unix socket,
// such as tests/pivemu; it exists with the build tag emulated only. The reader
// is always there; each insertion is one connection, and a connection that
// closes is a card that was pulled. The reader's name ends in the socket path.
func DialBackend(socketPath string) Backend {
	return &socketReader{socketPath, ConnectLimit, ExchangeLimit}
}

type socketReader struct {
	path              string
	connect, exchange time.Duration // limits
}

func (r *socketReader) name() string { return "Emulated reader " + r.path }

func (r *socketReader) Readers() []string { return []string{r.name()} }

func (r *socketReader) Connect(reader string) (Card, error) {
	if reader != r.name() {
		return nil, ErrUnknownReader
	}
	conn, err := net.DialTimeout("unix", r.path, r.connect)
	if err != nil {
		return nil, fmt.Errorf("emulated card: %w (%w)", ErrNoSmartcard, err)
	}
	c := &socketCard{conn, r.connect, r.exchange}
	if err := c.powerOn(); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// socketCard is one connection. Everything it does, it does on that
// connection, so it can not touch a card inserted later.
type socketCard struct {
	conn              net.Conn
	control, exchange time.Duration // limits
}

func (c *socketCard) powerOn() error {
	c.limit(c.control)
	for _, cmd := range []byte{cmdPowerOn, cmdATR} {
		if err := c.send([]byte{cmd}); err != nil {
			return noCard(err)
		}
	}
	atr, err := c.receive(maxATR)
	if err != nil {
		return noCard(err)
	}
	if len(atr) == 0 {
		return ErrNoSmartcard
	}
	return nil
}

// noCard: a connection that ends before the ATR is an empty reader that still
// accepts (the program pulls its card that way).
func noCard(err error) error {
	if errors.Is(err, ErrRemovedCard) {
		return ErrNoSmartcard
	}
	return err
}

func (c *socketCard) Transmit(apdu []byte) ([]byte, error) {
	c.limit(c.exchange)
	if err := c.send(apdu); err != nil {
		return nil, err
	}
	return c.receive(MaxAPDU)
}

func (c *socketCard) Reset() error {
	c.limit(c.control)
	return c.send([]byte{cmdReset})
}

func (c *socketCard) Close() error {
	c.limit(c.control)
	err := c.send([]byte{cmdPowerOff})
	return errors.Join(err, c.conn.Close())
}

// limit sets the deadline for what follows. It fails only on a closed
// connection, where the next call fails too.
func (c *socketCard) limit(d time.Duration) { _ = c.conn.SetDeadline(time.Now().Add(d)) }

func (c *socketCard) send(body []byte) error {
	msg := make([]byte, 2+len(body))
	defer clear(msg) // it may hold a PIN
	binary.BigEndian.PutUint16(msg, uint16(len(body)))
	copy(msg[2:], body)
	_, err := c.conn.Write(msg)
	return wireError(err)
}

func (c *socketCard) receive(limit int) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return nil, wireError(err)
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > limit {
		return nil, fmt.Errorf("emulated card: message of %d bytes: %w", n, ErrCommError)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return nil, wireError(err)
	}
	return body, nil
}

// wireError: a time-out is a card that hangs; anything else on a stream socket
// means that the other end is gone.
func wireError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("emulated card: %w: %w", ErrTimeout, err)
	}
	return fmt.Errorf("emulated card: %w: %w", ErrRemovedCard, err)
}
