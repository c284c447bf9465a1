// Package keeper starts the link process for the board's core, which is not to
// execute anything itself once it runs (package sandbox): a keeper is started
// before, stays who started it, and does nothing else. So the two can be two
// users', and a link process that a hostile host made crash is followed by another.
//
// # Format
//
// Core and keeper talk over two pipes, because a board's kernel has no sockets:
//
//	length u32 (big-endian, of what follows) │ kind u8 │ body
//
//	kind  1 start  nothing: start a link process                 to the keeper
//	      2 data   at least one byte: its standard input         to the keeper
//	               its standard output                           to core
//	      3 stop   nothing: close its standard input, on which   to the keeper
//	               it ends
//	      4 log    what it wrote to standard error               to core
//	      5 ended  text: how it ended, "" in good order          to core
//
// On a third pipe each byte has the link process killed that was started last,
// if the byte is its number, counted from 1, modulo 256: a process that takes no
// data would keep a stop from being read.
//
// # Guarantees
//
// At most one link process at a time; each start is answered by one ended, after
// all its data. The keeper looks at no byte that a host sent. It ends, and with
// it the link process, when core does.
package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

type kind uint8

const (
	start kind = 1
	data  kind = 2
	stop  kind = 3
	logs  kind = 4
	ended kind = 5
)

const (
	// maxBody bounds a frame: more than the largest message of linkpipe, which
	// core writes at once.
	maxBody = 160 << 10

	// chunk is how much of a link process's output is passed on at a time: what a
	// pipe holds (pipe(7)).
	chunk = 64 << 10

	// grace is how long a link process that was told to end may take.
	grace = time.Second
)

// errFormat is of frames that no keeper and no core writes.
var errFormat = errors.New("keeper: bad frame")

func marshal(k kind, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 5+len(body)), uint32(1+len(body)))
	return append(append(b, byte(k)), body...)
}

// read reads a frame; io.EOF between two.
func read(r io.Reader) (kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n, k := binary.BigEndian.Uint32(head[:4]), kind(head[4])
	bare := k == start || k == stop
	if n < 1 || n > 1+maxBody || k < start || k > ended || bare && n != 1 || k == data && n == 1 {
		return 0, nil, fmt.Errorf("%w: kind %d, length %d", errFormat, k, n)
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, fmt.Errorf("%w: cut off", errFormat)
	}
	return k, body, nil
}
