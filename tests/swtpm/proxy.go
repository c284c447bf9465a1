package swtpm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// Kind is what goes wrong with a command.
type Kind int

const (
	// Refuse answers with RC instead of passing the command on.
	Refuse Kind = iota
	// ApplyAndRefuse passes the command on, throws the response away and
	// answers with RC: the TPM did it and the caller is told otherwise.
	ApplyAndRefuse
	// Hang never answers and does not pass the command on.
	Hang
	// ApplyAndHang passes the command on and never answers.
	ApplyAndHang
	// Close closes the connection and does not pass the command on.
	Close
	// ApplyAndClose passes the command on and closes the connection.
	ApplyAndClose
	// Replace answers with Response instead of passing the command on, and
	// closes the connection.
	Replace
	// ResetFirst takes the TPM's power away, gives it back and starts the TPM before
	// it passes the command on.
	ResetFirst
)

// Applied tells whether the TPM carries the command out.
func (k Kind) Applied() bool {
	return k == ApplyAndRefuse || k == ApplyAndHang || k == ApplyAndClose || k == ResetFirst
}

// Command codes (Part 2, §6.5.2) that tests make fail.
const (
	EvictControl        = 0x120
	HierarchyChangeAuth = 0x129
	SelfTest            = 0x143
	Startup             = 0x144
	Shutdown            = 0x145
	NVDefineSpace       = 0x12a
	CreatePrimary       = 0x131
	NVIncrement         = 0x134
	NVExtend            = 0x136
	NVWrite             = 0x137
	NVWriteLock         = 0x138
	ActivateCredential  = 0x147
	CertifyCreation     = 0x14a
	PolicySecret        = 0x151
	NVRead              = 0x14e
	Quote               = 0x158
	FlushContext        = 0x165
	NVReadPublic        = 0x169
	ReadPublic          = 0x173
	GetCapability       = 0x17a
	GetRandom           = 0x17b
	StartAuthSession    = 0x176
	PCRRead             = 0x17e
	PCRExtend           = 0x182
	NVCertify           = 0x184
)

// Response codes for faults (Part 2, §6.6.3).
const (
	RCFailure = 0x101
	RCNVRate  = 0x920
	RCRetry   = 0x922
)

// Fault is one planned failure.
type Fault struct {
	Code     uint32 // command code, 0 for any
	Nth      int    // which command with this code counted from now, 1 (or 0) the next
	Times    int    // how many in a row, 1 (or 0) one, -1 all from then on
	Kind     Kind
	RC       uint32 // for the kinds that refuse
	Response []byte // for Replace

	happened chan struct{}
}

// Fail plans a fault; several may be pending, the first that applies is used.
// The channel is closed when the fault has happened for the last time, and the
// TPM has carried the command out if it is one that is applied: a caller that
// a Hang taught patience by a deadline may have been quicker.
func (s *Server) Fail(f Fault) (happened <-chan struct{}) {
	f.Nth, f.Times = max(f.Nth, 1), cmp.Or(f.Times, 1)
	f.happened = make(chan struct{})
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	s.proxy.faults = append(s.proxy.faults, &f)
	return f.happened
}

// Intercept has f say what happens to each command that comes from now on,
// before any planned fault: nil lets it pass. f is called for one command after
// the other and must not call the server; nil ends it.
func (s *Server) Intercept(f func(code uint32) *Fault) {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	s.proxy.intercept = f
}

// Beside runs f, which uses the TPM around the proxy (Direct), between two
// commands of those who use the proxy: swtpm serves one at a time.
func (s *Server) Beside(f func() error) error {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	return f()
}

// Heal forgets every planned fault.
func (s *Server) Heal() {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	s.proxy.faults = nil
}

// Pending is how many faults are still to come.
func (s *Server) Pending() int {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	return len(s.proxy.faults)
}

// Recorded is a command with the TPM's answer to it.
type Recorded struct{ Code, RC uint32 }

// Record begins to write down, from nothing, what the TPM carries out from now on: what passes the proxy, and each
// startup that PowerCycle, Cycle and Restore give it.
func (s *Server) Record() {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	s.proxy.recorded = make([]Recorded, 0, 64)
}

// Recorded is what was written down since, in order.
func (s *Server) Recorded() []Recorded {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	return slices.Clone(s.proxy.recorded)
}

// Count is how many commands of this code were sent so far, carried out or not.
func (s *Server) Count(code uint32) int {
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	return s.proxy.counts[code]
}

// proxy passes commands to swtpm, one connection and one command at a time.
type proxy struct {
	server   *Server
	listener net.Listener
	wg       sync.WaitGroup

	mu        sync.Mutex // one command at a time; guards what follows
	faults    []*Fault
	intercept func(code uint32) *Fault
	recorded  []Recorded // nil if nobody asked for it
	counts    map[uint32]int
	conns     map[net.Conn]bool
	closed    bool
}

func newProxy(s *Server) (*proxy, error) {
	l, err := net.Listen("unix", s.path("tpm"))
	if err != nil {
		return nil, err
	}
	p := &proxy{server: s, listener: l, counts: map[uint32]int{}, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		if p.hold(conn) {
			p.wg.Go(func() { p.serve(conn) })
		}
	}
}

func (p *proxy) hold(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *proxy) release(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
	conn.Close()
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.listener.Close()
	for conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) serve(conn net.Conn) {
	defer p.release(conn)
	for {
		command, err := readMessage(conn)
		if err != nil {
			return
		}
		response, then := p.handle(command)
		if then == hang {
			_, _ = io.Copy(io.Discard, conn) // until the caller has had enough
			return
		}
		if _, err := conn.Write(response); err != nil || then == hangUp {
			return
		}
	}
}

// What becomes of the connection after a response.
const (
	goOn = iota
	hangUp
	hang
)

// handle returns what to write and what then. Without swtpm it hangs up.
func (p *proxy) handle(command []byte) (response []byte, then int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	code := binary.BigEndian.Uint32(command[6:])
	p.counts[code]++
	f := p.due(code)
	if f == nil || f.Kind.Applied() {
		var err error
		if response, err = p.apply(f, command); err != nil {
			return nil, hangUp
		}
	}
	if f == nil {
		return response, goOn
	}
	if f.happened != nil && f.Times == 0 {
		close(f.happened)
	}
	switch f.Kind {
	case ResetFirst:
		return response, goOn
	case Hang, ApplyAndHang:
		return nil, hang
	case Close, ApplyAndClose:
		return nil, hangUp
	case Replace:
		return f.Response, hangUp
	}
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, f.RC), goOn
}

// apply has the TPM carry a command out.
func (p *proxy) apply(f *Fault, command []byte) ([]byte, error) {
	if f != nil && f.Kind == ResetFirst {
		if err := p.server.powerOn(); err != nil {
			return nil, err
		}
	}
	response, err := exchange(p.server.path("raw"), command)
	if err == nil {
		p.record(command, response)
	}
	return response, err
}

// record writes a command down, if anybody asked for it.
func (p *proxy) record(command, response []byte) {
	if p.recorded != nil {
		p.recorded = append(p.recorded, Recorded{binary.BigEndian.Uint32(command[6:]), binary.BigEndian.Uint32(response[6:])})
	}
}

// due is what goes wrong with this command, nil for nothing.
func (p *proxy) due(code uint32) *Fault {
	if p.intercept != nil {
		if f := p.intercept(code); f != nil {
			return f
		}
	}
	return p.fault(code)
}

// fault counts the command against every plan and returns the one to act on.
func (p *proxy) fault(code uint32) (due *Fault) {
	left := p.faults[:0]
	for _, f := range p.faults {
		if due == nil && (f.Code == 0 || f.Code == code) {
			if f.Nth--; f.Nth <= 0 {
				due = f
				f.Times--
			}
		}
		if f.Times != 0 {
			left = append(left, f)
		}
	}
	p.faults = left
	return due
}

// exchange sends one command on a connection of its own.
func exchange(path string, command []byte) ([]byte, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(command); err != nil {
		return nil, err
	}
	return readMessage(conn)
}

// readMessage reads a command or response: tag u16, size u32, code u32, rest.
func readMessage(r io.Reader) ([]byte, error) {
	header := make([]byte, 10)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[2:])
	if size < 10 || size > 4096 {
		return nil, errors.New("not a TPM message")
	}
	message := append(header, make([]byte, size-10)...)
	_, err := io.ReadFull(r, message[10:])
	return message, err
}
