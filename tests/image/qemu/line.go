package qemu

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Line is the cable in a machine's serial adapter. QEMU has the adapter in its USB port as long as the socket is connected,
// so Pull takes it out of the board and Plug puts it back, while the device itself stays: device_del of a usb-serial ends
// QEMU 7.2 by SIGSEGV if a byte comes before the object is gone too (usb_wakeup then finds no bus).
type Line struct {
	machine net.Conn
	tty     *os.File
	once    sync.Once
	err     error // of closing, after once
	copies  sync.WaitGroup
}

// Plug joins a tty, in raw mode, to the adapter's socket of a machine whose monitor has answered. When the machine or the tty
// goes, so does the line.
func Plug(socket, tty string) (*Line, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(tty, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // so that Close frees who reads
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := &Line{machine: conn, tty: f}
	l.copies.Go(func() { l.carry(conn, f) })
	l.copies.Go(func() { l.carry(f, conn) })
	return l, nil
}

// carry copies by read and write: splice and sendfile, which io.Copy would try, are not for terminals.
func (l *Line) carry(to io.Writer, from io.Reader) {
	_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	l.close()
}

func (l *Line) close() {
	l.once.Do(func() { l.err = errors.Join(l.machine.Close(), l.tty.Close()) })
}

// Pull takes the adapter out. What was on its way is lost.
func (l *Line) Pull() error {
	l.close()
	l.copies.Wait()
	return l.err
}
