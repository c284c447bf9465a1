package swtpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ForMachine runs a TPM for a virtual machine, whose state is kept in dir: QEMU
// connects to Control, and the machine's power is the TPM's. It serves one machine, to
// its end; Stop it, and another one goes on with the same state. What the machine
// says to its TPM passes a proxy, so beside it PowerCycle, Cycle, Tool and faults are there
// as for any other.
func ForMachine(dir string) (*Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sockets, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		return nil, err
	}
	s := &Server{state: dir, dir: sockets, ownDir: true, done: make(chan struct{})}
	if err := s.launch(dir, "startup-none"); err != nil { // it gets its power, and its startup, from the machine
		s.removeSockets()
		return nil, err
	}
	if err = s.ready(); err == nil {
		s.proxy, err = newProxy(s)
	}
	if err == nil {
		s.machine, err = s.serveMachine()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("swtpm: for a machine: %w", err), s.Stop())
	}
	return s, nil
}

// Control is the socket that QEMU is given: -chardev socket,id=tpm,path=CONTROL
// -tpmdev emulator,id=tpm,chardev=tpm.
func (s *Server) Control() string { return s.path("machine") }

// machine is the control channel that a machine has in the place of swtpm's own, which
// serves one caller at a time (swtpm_ioctls(3)).
type machine struct {
	server   *Server
	listener *net.UnixListener
	wg       sync.WaitGroup

	mu      sync.Mutex        // guards what follows
	unwired bool              // its resets do not reach the TPM
	first   map[string][]byte // the first answer to each order about the TPM's power
}

// Unwire takes the wire away by which the machine resets its TPM: a machine that starts anew finds its TPM as it was, as on a
// board whose TPM has a reset of its own. The TPM still gets its power when the machine does.
func (s *Server) Unwire() {
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	s.machine.unwired = true
}

func (s *Server) serveMachine() (*machine, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Control(), Net: "unix"})
	if err != nil {
		return nil, err
	}
	m := &machine{server: s, listener: l, first: map[string][]byte{}}
	m.wg.Go(func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			return // closed
		}
		if s.proxy.hold(conn) {
			defer s.proxy.release(conn)
			m.serve(conn)
		}
	})
	return m, nil
}

func (m *machine) close() {
	_ = m.listener.Close()
	m.wg.Wait()
}

// Control commands of a machine beside those that this package gives itself.
const (
	ctrlSetDataFD     = 16 // brings the socket on which the machine speaks to its TPM
	ctrlSetBufferSize = 17 // which only a TPM without power takes
)

// serve answers the machine's control commands: QEMU writes each in one piece.
func (m *machine) serve(conn *net.UnixConn) {
	request, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for {
		n, r, _, _, err := conn.ReadMsgUnix(request, rights)
		if err != nil || n < 4 {
			return
		}
		answer := make([]byte, 4) // zero: done
		if binary.BigEndian.Uint32(request) == ctrlSetDataFD {
			err = m.connect(rights[:r])
		} else {
			answer, err = m.obey(request[:n])
		}
		if err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// connect takes the machine's end of the line to its TPM.
func (m *machine) connect(rights []byte) error {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return errors.Join(err, errors.New("swtpm: the machine brought no socket"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fds[0]), "machine")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	if p := m.server.proxy; p.hold(conn) {
		p.wg.Go(func() { p.serve(conn) })
	}
	return nil
}

// obey carries a control command out. QEMU takes the TPM's power and gives it back at each start of its machine: where that
// wire is cut, what was done once is only said to be done again.
func (m *machine) obey(request []byte) (answer []byte, err error) {
	switch binary.BigEndian.Uint32(request) {
	default:
		return m.pass(request)
	case ctrlInit, ctrlStop, ctrlSetBufferSize:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if answer, again := m.first[string(request)]; again && m.unwired {
		return answer, nil
	}
	if answer, err = m.pass(request); err == nil {
		m.first[string(request)] = answer
	}
	return answer, err
}

// pass has swtpm carry a control command out, between two commands of the TPM.
func (m *machine) pass(request []byte) (answer []byte, err error) {
	err = m.server.Beside(func() error {
		conn, err := net.Dial("unix", m.server.path("raw.ctrl"))
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write(request); err != nil {
			return err
		}
		answer = make([]byte, 4096) // swtpm too answers in one piece
		n, err := conn.Read(answer)
		answer = answer[:n]
		return err
	})
	return answer, err
}

// Reset is the TPM's reset line: it forgets what a reset has it forget, and answers nothing but
// TPM_RC_INITIALIZE until somebody starts it (TPM2_Startup).
func (s *Server) Reset() error {
	return s.Beside(func() error { return s.order("reset", ctrlInit, 0) })
}
