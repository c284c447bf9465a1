// Package linkpipe carries link messages and events between the board's core
// process and its link process, over two inherited pipes.
//
// # Format
//
//	length u32 (big-endian, of what follows) │ kind u8 │ body
//
//	kind  1 message  session id u32 (big-endian), channel u8
//	                 (0 or 1), then 1 to 131072 bytes              both ways
//	      2 up       session id u32                                to core
//	      3 down     reason, text                                  to core
//	      4 log      one line of text                              to core
//	      5 device   state of the serial device, text              to core
//
// A message belongs to the session it names. Core names the one that it answers,
// and the link process drops what is for a session that has ended: what was
// meant for one peer is never said to the next, however late it comes.
//
// # Guarantees
//
// Reading allocates no more than one bounded message and refuses everything not
// listed. The link process parses what a hostile host sends; core treats the
// pipe as hostile too, so texts are bounded and cleaned of control bytes here.
//
// # Use
//
// Both ends must go on reading while they write, from a goroutine of its own:
// a pipe holds 64 KiB, and the link process stops taking messages of a channel
// while the host takes none (for 60 s at most, then its session ends).
package linkpipe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Kind of a message on the pipe.
type Kind uint8

// The kinds.
const (
	Message Kind = 1
	Up      Kind = 2
	Down    Kind = 3
	Log     Kind = 4
	Device  Kind = 5
)

// Bounds of the format.
const (
	// MaxBody equals session.MaxMessage; a test compares them.
	MaxBody = 128 << 10
	// MaxText bounds the texts of down, log and device: one line on a display.
	MaxText = 1024

	headerSize  = 5
	messageHead = 5 // session id and channel
)

// Msg is one message on the pipe; which fields count depends on Kind.
type Msg struct {
	Kind    Kind
	Channel int    // Message
	Body    []byte // Message
	SID     uint32 // Message, Up
	Text    string // Down, Log, Device
}

// ErrFormat wraps every refusal of what was read.
var ErrFormat = errors.New("linkpipe: bad message on the pipe")

// Conn reads and writes messages. One goroutine may read while any number write.
type Conn struct {
	r  *bufio.Reader
	mu sync.Mutex // w
	w  io.Writer
}

// NewConn makes a Conn of the two pipes.
func NewConn(r io.Reader, w io.Writer) *Conn {
	return &Conn{r: bufio.NewReader(r), w: w}
}

// Read returns the next message. io.EOF says that the other process closed the
// pipe between two messages.
func (c *Conn) Read() (Msg, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: cut off", ErrFormat)
		}
		return Msg{}, err
	}
	n, kind := binary.BigEndian.Uint32(head[:4]), Kind(head[4])
	least, most, ok := bounds(kind)
	if !ok || n < uint32(least)+1 || n > uint32(most)+1 {
		return Msg{}, fmt.Errorf("%w: kind %d, length %d", ErrFormat, kind, n)
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return Msg{}, fmt.Errorf("%w: cut off", ErrFormat)
	}
	return parse(kind, body)
}

// bounds gives the least and greatest body length of a kind.
func bounds(k Kind) (least, most int, ok bool) {
	switch k {
	case Message:
		return messageHead + 1, messageHead + MaxBody, true
	case Up:
		return 4, 4, true
	case Down, Log, Device:
		return 0, MaxText, true
	}
	return 0, 0, false
}

func parse(kind Kind, body []byte) (Msg, error) {
	m := Msg{Kind: kind}
	switch kind {
	case Message:
		m.SID, m.Channel, m.Body = binary.BigEndian.Uint32(body), int(body[4]), body[messageHead:]
		if m.Channel > 1 {
			return Msg{}, fmt.Errorf("%w: channel %d", ErrFormat, m.Channel)
		}
	case Up:
		m.SID = binary.BigEndian.Uint32(body)
	default:
		m.Text = string(body)
		if m.Text != clean(m.Text) {
			return Msg{}, fmt.Errorf("%w: control byte in text", ErrFormat)
		}
	}
	return m, nil
}

// Write sends one message with a single write. Texts are cut to MaxText and
// cleaned; a Message out of bounds is an error.
func (c *Conn) Write(m Msg) error {
	b, err := marshal(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.w.Write(b)
	return err
}

func marshal(m Msg) ([]byte, error) {
	b := append(make([]byte, 4, headerSize+messageHead+len(m.Body)), byte(m.Kind))
	switch m.Kind {
	case Message:
		if m.Channel < 0 || m.Channel > 1 || len(m.Body) == 0 || len(m.Body) > MaxBody {
			return nil, fmt.Errorf("%w: channel %d, %d bytes", ErrFormat, m.Channel, len(m.Body))
		}
		b = append(append(binary.BigEndian.AppendUint32(b, m.SID), byte(m.Channel)), m.Body...)
	case Up:
		b = binary.BigEndian.AppendUint32(b, m.SID)
	case Down, Log, Device:
		text := clean(m.Text)
		b = append(b, text[:min(len(text), MaxText)]...)
	default:
		return nil, fmt.Errorf("%w: kind %d", ErrFormat, m.Kind)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b, nil
}

// clean replaces every byte that is not printable ASCII.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
