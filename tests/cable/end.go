package cable

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// end is one tty of the cable and the goroutine that reads what its user sends.
type end struct {
	cable *Cable
	sends Direction
	link  string

	mu     sync.Mutex
	master *os.File
	slave  *os.File // held open, so that the master survives a user's close
}

// plug makes a new pty and names it.
func (e *end) plug() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.master != nil {
		return nil
	}
	master, slave, name, err := openPTY()
	if err != nil {
		return err
	}
	os.Remove(e.link)
	if err := os.Symlink(name, e.link); err != nil {
		master.Close()
		slave.Close()
		return err
	}
	e.master, e.slave = master, slave
	e.cable.relays.Go(func() { e.relay(master) })
	return nil
}

// unplug removes the name and hangs the device up. Its relay ends by itself,
// at the latest when the other end is unplugged or read again.
func (e *end) unplug() {
	e.mu.Lock()
	master, slave := e.master, e.slave
	e.master, e.slave = nil, nil
	e.mu.Unlock()
	if master == nil {
		return
	}
	os.Remove(e.link)
	master.Close()
	slave.Close()
}

// piece is what arrives at a time.
type piece struct {
	p  []byte
	at time.Time
}

// relay carries what this end sends to the other, until the end is unplugged.
func (e *end) relay(master *os.File) {
	late := make(chan piece, maxDelayed)
	defer close(late)
	e.cable.relays.Go(func() { e.deliverLate(late) })
	buf := make([]byte, 16<<10)
	for {
		waited := pending(master) == 0
		n, err := master.Read(buf[:e.cable.chunk()])
		if err != nil {
			return
		}
		p, at := e.cable.pass(e.sends, buf[:n], waited)
		time.Sleep(time.Until(at))
		if d := e.cable.latency(); d > 0 {
			late <- piece{bytes.Clone(p), at.Add(d)}
		} else if len(p) > 0 {
			e.cable.ends[1-e.sends].deliver(p)
		}
	}
}

func (e *end) deliverLate(late <-chan piece) {
	for l := range late {
		time.Sleep(time.Until(l.at))
		e.cable.ends[1-e.sends].deliver(l.p)
	}
}

// pending is how many bytes lie ready to be read.
func pending(master *os.File) (n int) {
	if conn, err := master.SyscallConn(); err == nil {
		conn.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}

// deliver puts bytes into this end's device. They are lost if it is unplugged.
// A user that never reads blocks only the relay towards it.
func (e *end) deliver(p []byte) error {
	e.mu.Lock()
	master := e.master
	e.mu.Unlock()
	if master == nil {
		return nil
	}
	_, err := master.Write(p)
	return err
}

// openPTY makes a raw pseudo-terminal. Both descriptors are non-blocking, so
// that Close frees a read or write in progress.
func openPTY() (master, slave *os.File, name string, err error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	m, err := unix.Open("/dev/ptmx", flags, 0)
	if err != nil {
		return nil, nil, "", fmt.Errorf("/dev/ptmx: %w", err)
	}
	s, name, err := openSlave(m, flags)
	if err != nil {
		unix.Close(m)
		return nil, nil, "", err
	}
	return os.NewFile(uintptr(m), "/dev/ptmx"), os.NewFile(uintptr(s), name), name, nil
}

// openSlave unlocks, opens and sets raw the slave of a master.
func openSlave(master, flags int) (int, string, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return 0, "", fmt.Errorf("TIOCSPTLCK: %w", err)
	}
	n, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return 0, "", fmt.Errorf("TIOCGPTN: %w", err)
	}
	name := fmt.Sprintf("/dev/pts/%d", n)
	slave, err := unix.Open(name, flags, 0)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", name, err)
	}
	if _, err := term.MakeRaw(slave); err != nil {
		unix.Close(slave)
		return 0, "", fmt.Errorf("%s: %w", name, err)
	}
	return slave, name, nil
}
