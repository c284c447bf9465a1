package device

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// char talks to a TPM character device. It is opened non-blocking: the kernel
// then runs the command by itself after write returns, and poll says when the
// response is there (drivers/char/tpm/tpm-dev-common.c), so that a TPM which
// never answers cannot take this process with it.
type char struct {
	path string
	fd   int // -1 when closed
}

func openChar(path string) (*char, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return nil, fmt.Errorf("%s is not a character device", path)
	}
	c := &char{path: path, fd: -1}
	return c, c.reopen()
}

func (c *char) reopen() error {
	fd, err := unix.Open(c.path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: c.path, Err: err}
	}
	c.fd = fd
	return nil
}

func (c *char) exchange(command []byte, deadline time.Time) ([]byte, error) {
	if c.fd < 0 {
		if err := c.reopen(); err != nil {
			return nil, err
		}
	}
	response, err := c.ask(command, deadline)
	if err != nil {
		// A late response must not be taken for that of the next command.
		// Releasing the device waits for the driver's own time-out: not here.
		go unix.Close(c.fd)
		c.fd = -1
	}
	return response, err
}

func (c *char) ask(command []byte, deadline time.Time) ([]byte, error) {
	n, err := unix.Write(c.fd, command)
	if err != nil {
		return nil, &os.PathError{Op: "write", Path: c.path, Err: err}
	}
	if n != len(command) {
		return nil, fmt.Errorf("%s took %d of %d bytes", c.path, n, len(command))
	}
	if err := c.await(deadline); err != nil {
		return nil, &os.PathError{Op: "wait for", Path: c.path, Err: err}
	}
	response := make([]byte, maxResponse)
	n, err = unix.Read(c.fd, response)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: c.path, Err: err}
	}
	return response[:n], nil
}

// await returns when the response can be read.
func (c *char) await(deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left/time.Millisecond)+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 && fds[0].Revents&unix.POLLIN == 0 {
			return fmt.Errorf("device is gone (poll events %#x)", fds[0].Revents)
		}
		if n > 0 {
			return nil
		}
	}
}

func (c *char) close() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}
