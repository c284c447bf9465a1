//go:build emulated

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/operator"
	"touchmark/appliance/piv"
	"touchmark/appliance/station"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tests/pivemu"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// patience bounds every wait: to run into it means a hang.
const patience = 5 * time.Minute

// run is one history of a board, over several lives.
type run struct {
	*bench
	base  *base
	disk  *disktest.Disk
	flash []byte // the TPM's, at some time

	stick string // directory that orders are brought in
	stop  func() // ends the station in good order
	ended chan struct{}
	lines transcript // what the board logged

	mu       sync.Mutex // guards what follows
	more     chan struct{}
	life     *life
	host     *host
	alone    bool // no host is on the line
	desk     *desk
	view     operator.View
	events   []string // of this life
	failed   error    // why the process did not come up
	touched  []touched
	orders   [][]byte
	advanced time.Duration // of the board's clock
}

// touched is a digest that the token was asked to sign, and HEAD then.
type touched struct {
	digest []byte
	head   [32]byte
}

// newRun begins where the base ends.
func newRun(h *bench, b *base) (*run, error) {
	if err := h.tpm.Restore(b.flash); err != nil {
		return nil, err
	}
	h.apdus.begin()
	if err := h.card.SetTouchMode(pivemu.TouchAuto); err != nil {
		return nil, err
	}
	stick, err := os.MkdirTemp(h.dir, "stick")
	if err != nil {
		return nil, err
	}
	r := &run{bench: h, base: b, stick: stick, disk: b.disk.Clone(), host: newHost(b, b.pinned), more: make(chan struct{})}
	r.begin()
	return r, nil
}

// changed wakes those who wait; called under mu.
func (r *run) changed() {
	close(r.more)
	r.more = make(chan struct{})
}

func (r *run) asked(digest []byte, head [32]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.touched = append(r.touched, touched{bytes.Clone(digest), head})
}

// head reads HEAD beside the board.
func (r *run) head() (h [32]byte, err error) {
	err = r.beside(func(t *device.TPM) (err error) { h, err = t.Head(); return err })
	return h, err
}

// beside uses the TPM between two commands of the board's.
func (r *run) beside(f func(*device.TPM) error) error {
	return r.tpm.Beside(func() error {
		t, err := device.Open(r.tpm.Direct())
		if err != nil {
			return err
		}
		return errors.Join(f(t), t.Close())
	})
}

// begin is the begin of a life, before the process does anything.
func (r *run) begin() *life {
	l := newLife()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life, r.view, r.events, r.failed = l, operator.View{}, nil, nil
	r.host.welcomed, r.host.helpless, r.host.link = "", false, nil
	r.tpm.Intercept(l.onTPM)
	r.disk.Intercept(l.onDisk)
	r.disk.Lie(l.lies)
	return l
}

// start starts the process. What keeps it from coming up is in failed.
func (r *run) start() {
	l := r.life
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.ended = cancel, make(chan struct{})
	store, err := ledgerstore.Options{Disk: r.disk}.Open(logDir)
	if err != nil {
		r.fail(err)
		return
	}
	s, err := r.station(l, store)
	if err != nil {
		r.fail(errors.Join(err, store.Close()))
		return
	}
	go func() {
		defer close(r.ended)
		s.Run(ctx)
		_ = store.Close() // the disk may have failed
	}()
}

func (r *run) station(l *life, store *ledgerstore.Store) (*station.Station, error) {
	tpm, err := r.openTPM()
	if err != nil {
		return nil, err
	}
	d := &desk{run: r, life: l, commands: make(chan operator.Command, room), said: map[string]bool{}}
	r.mu.Lock()
	r.desk = d
	r.mu.Unlock()
	r.lines.begin()
	return station.New(station.Config{
		Store: store, TPM: tpm, Panel: d, LogKeys: r.ring(), Confirm: true, Log: zerolog.New(&r.lines),
		Clock:  func() time.Time { return time.Now().Add(r.advanced) },
		Token:  func() (station.Token, error) { return r.openToken(l) },
		Link:   func(ctx context.Context) (station.Link, error) { return r.connect(ctx, l) },
		Orders: r.stick, OrderPoll: time.Millisecond,
		// Nothing here waits for any of these.
		TPMRetry: time.Millisecond, MirrorTimeout: patience, ArmTimeout: time.Hour,
	}), nil
}

// ring is where the board keeps its log keys.
func (r *run) ring() logkey.Ring { return logkey.Ring{Dir: keyDir, Disk: r.disk} }

func (r *run) openToken(l *life) (station.Token, error) {
	if l.ended() {
		return nil, errDead
	}
	t, err := piv.Open(piv.Options{Reader: r.reader})
	if err != nil {
		return nil, err
	}
	return token{t, r, l}, nil
}

// connect brings the line up, once in a life.
func (r *run) connect(ctx context.Context, l *life) (station.Link, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alone || l.ended() || r.host.link != nil && r.host.link.life == l {
		return nil, waitFor(ctx, &r.mu)
	}
	k := &link{run: r, life: l, in: make(chan linkpipe.Msg, room), closed: make(chan struct{})}
	k.in <- linkpipe.Msg{Kind: linkpipe.Up, SID: 1}
	r.host.link = k
	r.host.greet()
	return k, nil
}

func waitFor(ctx context.Context, mu *sync.Mutex) error {
	mu.Unlock()
	defer mu.Lock()
	<-ctx.Done()
	return ctx.Err()
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = err
	close(r.ended)
	r.changed()
}

// desk is the operator, who agrees to everything.
type desk struct {
	run      *run
	life     *life
	commands chan operator.Command
	gone     bool
	said     map[string]bool // what was answered already
}

func (d *desk) Commands() <-chan operator.Command { return d.commands }

func (d *desk) Show(v operator.View) {
	r := d.run
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.gone || d.life.ended() {
		return
	}
	r.view, r.events = v, append(r.events, v.Event)
	switch v.Event {
	case "ready", "order-done":
		r.host.greet()
	case "order-dropped", "pin-wrong":
		clear(d.said)
	}
	d.answer(v)
	r.changed()
}

func (d *desk) answer(v operator.View) {
	switch {
	case v.Ask == operator.AskTime:
		d.once("time", operator.Command{Verb: operator.Time})
	case v.Ask == operator.AskPIN:
		d.once("pin", operator.Command{Verb: operator.PIN, PIN: []byte(pin)})
	case v.Ask == operator.AskArm && v.Job != nil:
		d.once(v.Job.ID, operator.Command{Verb: operator.Arm, Job: v.Job.ID})
	case v.Ask == operator.AskArm && v.Order != nil:
		d.once(v.Order.ID, operator.Command{Verb: operator.Arm, Job: v.Order.ID})
	case v.Ask == operator.AskUnmirrored && v.Order != nil:
		d.once("alone "+v.Order.ID, operator.Command{Verb: operator.Unmirrored, Job: v.Order.ID})
	}
}

func (d *desk) once(what string, c operator.Command) {
	if !d.said[what] {
		d.said[what] = true
		d.commands <- c
	}
}

// leave is the operator's end, which ends the station.
func (d *desk) leave() {
	if d != nil && !d.gone {
		d.gone = true
		close(d.commands)
	}
}

// await waits until something is so, looked at under mu; it answers errDead if
// the process has ended before, and what kept it from coming up.
func (r *run) await(what string, so func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		r.mu.Lock()
		is, failed, more, life := so(), r.failed, r.more, r.life
		r.mu.Unlock()
		switch {
		case is:
			return nil
		case failed != nil:
			return failed
		}
		select {
		case <-more:
		case <-life.over:
			return errDead
		case <-ctx.Done():
			return r.hangs(what)
		}
	}
}

// hangError is a wait that was too long: always a fault of the board's.
type hangError struct{ text string }

func (e *hangError) Error() string { return e.text }

func (r *run) hangs(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &hangError{fmt.Sprintf("waiting for %s: the display shows %+v after %q, the host has %d entries of %d", what, r.view, r.events, len(r.host.entries), r.host.total)}
}

// ready: the board can sign, and host and board have the same log.
func (r *run) ready() bool {
	return r.view.Halted == "" && r.view.Token == "ready" && r.idle() &&
		r.view.Ask == operator.AskNothing && (r.alone || r.host.synced() && r.host.welcomed == message.StateReady)
}

func (r *run) halted() bool { return r.view.Halted != "" && r.idle() }

// idle: what is on the display, if anything, has ended.
func (r *run) idle() bool {
	j := r.view.Job
	return r.view.Order == nil && (j == nil || j.State == ceremony.Released.String() || j.State == ceremony.Refused.String())
}

// rests: the board is ready, or halted and the host knows.
func (r *run) rests() bool {
	return r.ready() || r.halted() && (r.alone || r.host.link == nil || r.host.welcomed != "")
}

// up starts a life and wants it to be able to sign.
func (r *run) up() error {
	r.start()
	if err := r.await("a board that is back", r.back); err != nil {
		return err
	}
	if v := r.shown(); v.Halted != "" {
		return fmt.Errorf("halted: %s", v.Halted)
	}
	return nil
}

// shown is what the display shows now.
func (r *run) shown() operator.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// back: the board is ready, or nothing on the line helps it out of its halt.
func (r *run) back() bool {
	if r.ready() {
		return true
	}
	halt := recovery.Halt(r.view.Halt)
	heals := (halt == recovery.HeadAhead || halt == recovery.HeadUnknown) && !r.host.helpless && !strings.Contains(r.view.Message, "does not")
	return r.halted() && (r.alone || r.host.welcomed != "" && !heals)
}

// down ends it in good order, the files closed.
func (r *run) down() error {
	r.stop()
	return r.over()
}

// kill ends it at once, and waits until nothing of it is left.
func (r *run) kill() error {
	r.life.end()
	r.mu.Lock()
	r.desk.leave()
	r.mu.Unlock()
	if r.stop == nil {
		return nil
	}
	r.stop()
	// A token that waits is touched, too late for anybody to hear of it.
	return errors.Join(r.card.SetTouchMode(pivemu.TouchAuto), r.over())
}

func (r *run) over() error {
	select {
	case <-r.ended:
		return nil
	case <-time.After(patience):
		return r.hangs("the end of the process")
	}
}

// ask submits a job of n files and waits for its end.
func (r *run) ask(name string, n int) (*asking, error) {
	r.mu.Lock()
	if r.host.link == nil {
		r.mu.Unlock()
		return nil, errors.New("there is no line to ask over")
	}
	id, err := r.host.submit(name, n)
	j := r.host.jobs[id]
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return j, r.await("the end of the job", func() bool { return j.done != nil || j.refused != nil || r.halted() })
}

// signs wants a job to be signed.
func (r *run) signs(name string) error {
	j, err := r.ask(name, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case j.refused != nil:
		return fmt.Errorf("%s: refused: %s, %s", name, j.refused.Code, j.refused.Text)
	case j.done == nil:
		return fmt.Errorf("%s: the board has halted: %s", name, r.view.Halted)
	}
	for _, s := range r.host.released {
		if s.intent == j.done.Intent {
			return nil
		}
	}
	_, body, err := ledger.Parse(r.host.entries[j.done.Outcome])
	return fmt.Errorf("%s: it ended without a signature: %+v, %w", name, body, errors.Join(append(r.host.faults, err)...))
}

// bring sends an order and waits until something became of it.
func (r *run) bring(signed []byte) error {
	r.mu.Lock()
	events, refusals := len(r.events), len(r.host.refused)
	r.orders = append(r.orders, signed)
	if r.host.link == nil {
		r.mu.Unlock()
		return errors.New("there is no line to bring an order over")
	}
	r.host.link.put((&message.Order{Note: signed}).Marshal())
	r.mu.Unlock()
	return r.await("the end of an order", func() bool {
		for _, e := range r.events[min(events, len(r.events)):] {
			if e == "order-done" || e == "order-dropped" || e == "halted" {
				return r.rests()
			}
		}
		for _, m := range r.host.refused[refusals:] {
			if m.Code != message.CodeForkedHead { // that is about what the host acknowledged
				return r.rests()
			}
		}
		return false
	})
}

// order signs an order about what of the log host and board have for certain.
func (r *run) order(a order.Action) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := r.host.committed
	if r.host.welcomed != "" {
		size = min(size, r.host.total)
	}
	o := &order.Order{Origin: origin, After: order.State{Size: size, Root: r.host.root(size)}, Action: a, Reason: "a test of crashes"}
	text, err := o.Marshal()
	if err != nil {
		return nil, err
	}
	return message.SignNote(text, r.base.admin)
}
