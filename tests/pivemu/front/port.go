package front

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/redir"
	"touchmark/tests/pivemu/usb"
)

// Port is the USB port a token is plugged into, or pulled from.
type Port struct {
	card *pivemu.Card
	user chan struct{} // holds a value while a connection uses the token

	once    sync.Once
	powered chan struct{} // closed once a reader has powered the token

	mu       sync.Mutex
	ends     []end
	inserted bool
	closed   bool
}

// end is one way to reach readers. open starts it, shut ends it and waits until
// nothing of it is left; both are called under the port's lock.
type end interface {
	open() error
	shut()
}

// NewPort holds the token, inserted, with no way to reach it yet.
func NewPort(card *pivemu.Card) *Port {
	return &Port{card: card, user: make(chan struct{}, 1), powered: make(chan struct{}), inserted: true}
}

// Powered is closed once a reader has powered the token.
func (p *Port) Powered() <-chan struct{} { return p.powered }

func (p *Port) power() { p.once.Do(func() { close(p.powered) }) }

var (
	// ErrInserted and ErrPulled: the token is in that state already.
	ErrInserted = errors.New("the token is inserted already")
	ErrPulled   = errors.New("the token is pulled already")
	errClosed   = errors.New("the port is closed")
)

// Pull removes the token: when it returns, connections and sockets are closed
// and a command that waited for a touch has been given up.
func (p *Port) Pull() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.inserted {
		return ErrPulled
	}
	p.inserted = false
	p.shutAll()
	return nil
}

// Insert plugs the token in again; when it returns, its unix socket listens.
func (p *Port) Insert() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	if p.inserted {
		return ErrInserted
	}
	for i, e := range p.ends {
		if err := e.open(); err != nil {
			for _, opened := range p.ends[:i] {
				opened.shut()
			}
			return err
		}
	}
	p.inserted = true
	return nil
}

// Inserted tells whether the token is in the port.
func (p *Port) Inserted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inserted
}

// Close ends everything for good.
func (p *Port) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inserted {
		p.shutAll()
	}
	p.inserted, p.closed = false, true
}

// shutAll needs the lock.
func (p *Port) shutAll() {
	for _, e := range p.ends {
		e.shut()
	}
	p.card.Reset()
}

func (p *Port) add(e end) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	if p.inserted {
		if err := e.open(); err != nil {
			return err
		}
	}
	p.ends = append(p.ends, e)
	return nil
}

// tasks are the goroutines of an end, with the context that ends them.
type tasks struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newTasks() *tasks {
	t := &tasks{}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

func (t *tasks) stop() {
	t.cancel()
	t.wg.Wait()
}

// ServeUnix lets readers connect to a unix socket at path. It listens when the
// function returns. A socket file left over from an earlier run is replaced.
func (p *Port) ServeUnix(path string) error { return p.add(&listener{port: p, path: path}) }

type listener struct {
	port *Port
	path string
	ln   net.Listener
	*tasks
}

func (l *listener) open() error {
	if err := removeSocket(l.path); err != nil {
		return err
	}
	ln, err := net.Listen("unix", l.path)
	if err != nil {
		return err
	}
	l.ln, l.tasks = ln, newTasks()
	l.wg.Go(l.accept)
	return nil
}

func (l *listener) accept() {
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.port.serve(l.ctx, conn) })
	}
}

func (l *listener) shut() {
	_ = l.ln.Close() // removes the socket file
	l.stop()
}

// removeSocket removes a stale socket, and nothing else.
func removeSocket(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode()&os.ModeSocket == 0 {
		return &os.PathError{Op: "listen", Path: path, Err: errors.New("exists and is not a socket")}
	}
	return os.Remove(path)
}

// DialVPCD keeps the token connected to a vpcd at a TCP address, and tries
// again for as long as there is none. A real pcscd looks at its reader every
// 400 ms only: a token pulled and inserted faster than that may be taken for the
// one that was there.
func (p *Port) DialVPCD(addr string) error {
	return p.add(&dialer{network: "tcp", addr: addr, serve: p.serve})
}

// DialUSB keeps the token plugged into the virtual machine whose usb-redir device
// listens on a unix socket at path: see package redir.
func (p *Port) DialUSB(path string) error {
	return p.add(&dialer{network: "unix", addr: path, serve: p.serveUSB})
}

// serveUSB is a token on a machine's USB until the machine ends or ctx is done.
func (p *Port) serveUSB(ctx context.Context, conn net.Conn) {
	select {
	case p.user <- struct{}{}:
		defer func() { <-p.user }()
	case <-ctx.Done():
		_ = conn.Close()
		return
	}
	token := usb.Plug(p.card, usb.ExtendEvery)
	plug := redir.Connect(conn, token)
	powered := token.Powered()
	for {
		select {
		case <-powered:
			p.power()
			powered = nil
			continue
		case <-plug.Done():
		case <-ctx.Done():
		}
		// What a machine did wrong is its own affair: it finds no token any more.
		_ = plug.Pull()
		return
	}
}

// dialer connects, serves and connects again, for as long as it is open.
type dialer struct {
	network, addr string
	serve         func(context.Context, net.Conn)
	*tasks
}

func (d *dialer) open() error {
	d.tasks = newTasks()
	d.wg.Go(d.run)
	return nil
}

func (d *dialer) run() {
	pause := redialFirst
	var nd net.Dialer
	for d.ctx.Err() == nil {
		conn, err := nd.DialContext(d.ctx, d.network, d.addr)
		if err == nil {
			d.serve(d.ctx, conn)
			pause = redialFirst
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-d.ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, redialLast)
	}
}

func (d *dialer) shut() { d.stop() }
