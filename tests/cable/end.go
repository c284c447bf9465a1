package cable

import (
	"os"
	"sync"
	"time"

	"github.com/creack/pty"
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
	gone   chan struct{}
}

// plug makes a new pty and names it.
func (e *end) plug() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.master != nil {
		return nil
	}
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	if _, err = term.MakeRaw(int(slave.Fd())); err == nil {
		os.Remove(e.link)
		err = os.Symlink(slave.Name(), e.link)
	}
	if err != nil {
		master.Close()
		slave.Close()
		return err
	}
	e.master, e.slave, e.gone = master, slave, make(chan struct{})
	go e.relay(master, e.gone)
	return nil
}

// unplug removes the name and hangs the device up.
func (e *end) unplug() {
	e.mu.Lock()
	master, slave, gone := e.master, e.slave, e.gone
	e.master, e.slave = nil, nil
	e.mu.Unlock()
	if master == nil {
		return
	}
	os.Remove(e.link)
	master.Close()
	slave.Close()
	<-gone
}

// relay carries what this end sends to the other, until the end is unplugged.
func (e *end) relay(master *os.File, gone chan struct{}) {
	defer close(gone)
	buf := make([]byte, 16<<10)
	for {
		n, err := master.Read(buf[:e.cable.chunk()])
		if err != nil {
			return
		}
		p, wait := e.cable.pass(e.sends, buf[:n])
		if wait > 0 {
			time.Sleep(wait)
		}
		if len(p) > 0 {
			e.cable.ends[1-e.sends].deliver(p)
		}
	}
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
