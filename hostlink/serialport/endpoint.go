package serialport

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"touchmark/hostlink/serialport/usbtty"
	"touchmark/hostlink/session"
)

// Kind tells the events of an endpoint apart.
type Kind uint8

// The kinds of event.
const (
	// Opened: the device is open. Nothing is said about the other side yet.
	Opened Kind = iota + 1
	// Unavailable: the device cannot be opened or was lost; Err says why. Tries
	// go on; the event comes again only when the cause changes.
	Unavailable
	// Up: a session with the other side stands; SID names it.
	Up
	// Down: it ended; Err says why (a session.Reason or ErrLost). What was
	// sent and not answered may or may not have arrived.
	Down
	// Message: Channel, Body.
	Message
)

// Event is what the user of an endpoint must know, in the order it happened.
type Event struct {
	Kind    Kind
	Device  string // Opened: its path now
	SID     uint32
	Err     error
	Channel int    // session.Interactive or session.Bulk
	Body    []byte // owned by the receiver
}

// EndpointConfig describes one end of the link.
type EndpointConfig struct {
	// Path of the device, or "auto" in the form of usbtty.ParseAuto. Links and
	// "auto" are resolved anew at every opening, so that a device is found
	// again under another name.
	Path      string
	Baud      int // 0: DefaultBaud
	Initiator bool

	// USB is where "auto" looks, for tests; its IDs are those in Path.
	USB usbtty.Finder

	// Open replaces Open of this package, for tests.
	Open func(path string, baud int) (Port, error)
	// KeepAlive and DeadAfter go to the session; 0 is its default.
	KeepAlive, DeadAfter time.Duration
}

// Endpoint is one end of the link on one device. Its methods may be called from
// any goroutine. Events must be read until the channel closes.
type Endpoint struct {
	cfg    EndpointConfig
	events chan Event
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	line  *line         // nil while the device is closed
	space chan struct{} // closed when a full queue may have room again; nil: nobody waits
}

// Start opens the device, now and whenever it vanished, until ctx ends or Close
// is called.
func Start(ctx context.Context, cfg EndpointConfig) *Endpoint {
	if cfg.Baud == 0 {
		cfg.Baud = DefaultBaud
	}
	if cfg.Open == nil {
		cfg.Open = Open
	}
	ctx, cancel := context.WithCancel(ctx)
	e := &Endpoint{cfg: cfg, cancel: cancel, events: make(chan Event, eventQueue), done: make(chan struct{})}
	go e.run(ctx)
	return e
}

// Events returns what happens. It is closed after the endpoint has ended.
func (e *Endpoint) Events() <-chan Event { return e.events }

// Close ends the endpoint in good order: the other side is told if the line
// takes it. It waits for the end.
func (e *Endpoint) Close() error {
	e.cancel()
	e.Wait()
	return nil
}

// Wait returns when the endpoint has ended.
func (e *Endpoint) Wait() { <-e.done }

// Up reports whether a session stands.
func (e *Endpoint) Up() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.line != nil && e.line.conn.Up()
}

// Send queues a message of 1 to session.MaxMessage bytes for the other side of
// session sid, as Up named it. It waits while the queue of the channel is full.
// session.ErrDown says that this session is not, or no more; nil says that the
// message is queued, no more.
func (e *Endpoint) Send(ctx context.Context, sid uint32, channel int, msg []byte) error {
	for {
		space, err := e.trySend(sid, channel, msg)
		if !errors.Is(err, session.ErrQueueFull) {
			return err
		}
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *Endpoint) trySend(sid uint32, channel int, msg []byte) (<-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.line == nil {
		return nil, session.ErrDown
	}
	err := e.line.conn.Send(sid, channel, msg)
	if err == nil {
		e.line.writer.wake()
		return nil, nil
	}
	if e.space == nil {
		e.space = make(chan struct{})
	}
	return e.space, err
}

// freed wakes the senders that wait for room. The caller holds e.mu.
func (e *Endpoint) freed() {
	if e.space != nil {
		close(e.space)
		e.space = nil
	}
}

// run opens the device again and again.
func (e *Endpoint) run(ctx context.Context) {
	defer close(e.done)
	defer close(e.events)
	var last string
	for pause := retryFirst; ctx.Err() == nil; pause = min(2*pause, retryMost) {
		path, p, err := e.open()
		if err == nil {
			opened := time.Now()
			e.emit(ctx, Event{Kind: Opened, Device: path})
			e.serve(ctx, p)
			if time.Since(opened) > retryMost { // else it fails as soon as it is open
				pause = retryFirst
			}
			last, err = "", &OpenError{path, ErrLost}
		}
		if err.Error() != last && ctx.Err() == nil {
			last = err.Error()
			e.emit(ctx, Event{Kind: Unavailable, Err: err})
		}
		sleep(ctx, pause)
	}
}

// open opens the device under the name it has now.
func (e *Endpoint) open() (path string, p Port, err error) {
	path = e.cfg.Path
	ids, auto, err := usbtty.ParseAuto(path)
	if err != nil {
		return path, nil, &OpenError{path, err}
	}
	if auto {
		e.cfg.USB.IDs = ids
		d, err := e.cfg.USB.Find()
		if err != nil {
			return path, nil, &OpenError{path, err}
		}
		path = d.Path
	}
	p, err = e.cfg.Open(path, e.cfg.Baud)
	return path, p, err
}

// emit hands an event over unless the endpoint ends first.
func (e *Endpoint) emit(ctx context.Context, ev Event) {
	select {
	case e.events <- ev:
	case <-ctx.Done():
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// newConn makes the session for a device just opened.
func (e *Endpoint) newConn() *session.Conn {
	return session.New(session.Config{
		Initiator: e.cfg.Initiator,
		Nonce:     nonce,
		Baud:      e.cfg.Baud,
		KeepAlive: e.cfg.KeepAlive,
		DeadAfter: e.cfg.DeadAfter,
	}, time.Now())
}

func nonce() (n [8]byte) {
	rand.Read(n[:]) // never fails: crypto/rand ends the program instead
	return n
}
