package device

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// socket talks to swtpm. It connects for each command (8 µs): swtpm serves one
// connection at a time, so that holding one would lock out every other user.
type socket struct{ path string }

func openSocket(path string, timeout time.Duration) (*socket, error) {
	conn, err := net.DialTimeout("unix", path, timeout)
	if err != nil {
		return nil, fmt.Errorf("%w (is swtpm running?)", err)
	}
	return &socket{path}, conn.Close()
}

func (s *socket) exchange(command []byte, deadline time.Time) ([]byte, error) {
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.Dial("unix", s.path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(command); err != nil {
		return nil, err
	}
	return readResponse(conn)
}

func (s *socket) close() error { return nil }

// readResponse reads a header and then what it announces.
func readResponse(r io.Reader) ([]byte, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[2:])
	if size < headerSize || size > maxResponse {
		return nil, fmt.Errorf("response announces %d bytes, not %d–%d", size, headerSize, maxResponse)
	}
	response := append(header, make([]byte, size-headerSize)...)
	_, err := io.ReadFull(r, response[headerSize:])
	return response, err
}
