package device

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// charPair is a char whose other end is in the test's hands: a packet socket
// behaves as the TPM device does, one write a command, one read a response.
func charPair(t *testing.T) (*char, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(fds[1]), "peer")
	t.Cleanup(func() { peer.Close() })
	c := &char{path: "/does/not/exist", fd: fds[0]}
	t.Cleanup(func() { c.close() })
	return c, peer
}

var okResponse = []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0}

func TestCharExchange(t *testing.T) {
	c, peer := charPair(t)
	command := []byte{0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8}
	got := make(chan []byte)
	go func() {
		buffer := make([]byte, 100)
		n, _ := peer.Read(buffer)
		_, _ = peer.Write(okResponse)
		got <- buffer[:n]
	}()
	response, err := c.exchange(command, time.Now().Add(time.Minute))
	if err != nil || !bytes.Equal(response, okResponse) {
		t.Errorf("response %x, %v", response, err)
	}
	if sent := <-got; !bytes.Equal(sent, command) {
		t.Errorf("device got %x", sent)
	}
}

// TestCharHangs: no response by the deadline closes the device, and the next
// command opens it again rather than reading a late response.
func TestCharHangs(t *testing.T) {
	c, _ := charPair(t)
	began := time.Now()
	_, err := c.exchange(okResponse, began.Add(20*time.Millisecond))
	if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) < 20*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if c.fd != -1 {
		t.Error("still open")
	}
	if _, err := c.exchange(okResponse, time.Now().Add(time.Minute)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("next command: %v, want the device opened again", err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

func TestCharGone(t *testing.T) {
	c, peer := charPair(t)
	peer.Close()
	if _, err := c.exchange(okResponse, time.Now().Add(time.Minute)); err == nil {
		t.Error("answer from a device that is gone")
	}
}

func TestOpenChar(t *testing.T) {
	c, err := openChar("/dev/null") // a character device that is no TPM
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(c, time.Minute)
	var link *LinkError
	if _, err := w.Send(okResponse); !errors.As(err, &link) {
		t.Errorf("/dev/null answered: %v", err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}
