package front

import (
	"net"
	"syscall"
)

// quickConn makes the kernel acknowledge vpcd's segments at once. vpcd sends
// length and body with two writes and Nagle's algorithm on, so that without
// this each APDU waits for a delayed acknowledgement, 40 to 100 ms. The option
// does not last: what we send ends it, and so does time. So it is set before
// each read and after each write.
type quickConn struct{ *net.TCPConn }

// quick wraps TCP connections and returns others as they are.
func quick(conn net.Conn) net.Conn {
	if tcp, ok := conn.(*net.TCPConn); ok {
		return quickConn{tcp}
	}
	return conn
}

func (c quickConn) Read(b []byte) (int, error) {
	c.quickAck()
	return c.TCPConn.Read(b)
}

func (c quickConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.quickAck()
	return n, err
}

func (c quickConn) quickAck() {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
	})
}
