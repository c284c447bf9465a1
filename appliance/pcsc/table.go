package pcsc

import (
	"sync"
)

// table keeps contexts, handles, insertions and transactions: PC/SC without C.
type table struct {
	mu       sync.Mutex // guards everything here and the fields of insertion so marked
	backends []*registration
	last     int64 // last context or handle number given out; never reused
	contexts map[int64]struct{}
	handles  map[int64]*handle
	present  map[string]*insertion // by reader; at most one lives in each
}

type registration struct{ Backend }

// handle is one connection of one context to one insertion. Immutable.
type handle struct {
	context int64
	card    *insertion
}

// insertion is one Card in use. A handle points at its insertion, never at a
// reader, so nothing sent through an old handle can reach a new card.
type insertion struct {
	reader    string
	exclusive bool
	users     int   // open handles; guarded by table.mu
	owner     int64 // handle in a transaction, or 0; guarded by table.mu

	busy   sync.Mutex // held during a call on card; taken without table.mu
	card   Card       // set before the insertion has a handle
	closed bool       // guarded by busy: card is gone or powered off
}

func newTable() *table {
	return &table{
		contexts: map[int64]struct{}{},
		handles:  map[int64]*handle{},
		present:  map[string]*insertion{},
	}
}

func (t *table) register(b Backend) (remove func()) {
	r := &registration{b}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backends = append(t.backends, r)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for i, x := range t.backends {
			if x == r {
				t.backends = append(t.backends[:i:i], t.backends[i+1:]...)
				return
			}
		}
	}
}

func (t *table) list() []*registration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.backends[:len(t.backends):len(t.backends)]
}

func (t *table) establish() (int64, Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.contexts) >= maxObjects {
		return 0, ErrNoMemory
	}
	t.last++
	t.contexts[t.last] = struct{}{}
	return t.last, OK
}

// release ends a context and every handle made through it.
func (t *table) release(context int64) Errno {
	t.mu.Lock()
	_, ok := t.contexts[context]
	delete(t.contexts, context)
	var open []int64
	for n, h := range t.handles {
		if h.context == context {
			open = append(open, n)
		}
	}
	t.mu.Unlock()
	if !ok {
		return ErrInvalidHandle
	}
	for _, n := range open {
		t.disconnect(n, false)
	}
	return OK
}

// mark and releaseSince bracket a call that may leak contexts.
func (t *table) mark() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *table) releaseSince(mark int64) {
	t.mu.Lock()
	var leaked []int64
	for n := range t.contexts {
		if n > mark {
			leaked = append(leaked, n)
		}
	}
	t.mu.Unlock()
	for _, n := range leaked {
		t.release(n)
	}
}

// readers is the answer of SCardListReaders: names each ended by NUL, and one
// NUL more.
func (t *table) readers(context int64) ([]byte, Errno) {
	t.mu.Lock()
	_, ok := t.contexts[context]
	t.mu.Unlock()
	if !ok {
		return nil, ErrInvalidHandle
	}
	var out []byte
	for _, b := range t.list() {
		for _, name := range b.Readers() {
			out = append(append(out, name...), 0)
		}
	}
	if len(out) == 0 {
		return nil, ErrNoReaders
	}
	return append(out, 0), OK
}

func (t *table) backend(reader string) Backend {
	for _, b := range t.list() {
		for _, name := range b.Readers() {
			if name == reader {
				return b
			}
		}
	}
	return nil
}

// connect joins the insertion in the reader, or starts one.
func (t *table) connect(context int64, reader string, exclusive bool) (int64, Errno) {
	b := t.backend(reader)
	if b == nil {
		return 0, ErrUnknownReader
	}
	t.mu.Lock()
	if e := t.room(context); e != OK {
		t.mu.Unlock()
		return 0, e
	}
	ins := t.present[reader]
	if ins != nil {
		defer t.mu.Unlock()
		// No users: it is being powered on or off.
		if exclusive || ins.exclusive || ins.users == 0 {
			return 0, ErrSharingViolation
		}
		return t.open(context, ins), OK
	}
	ins = &insertion{reader: reader, exclusive: exclusive}
	t.present[reader] = ins // reserves the reader while the card powers on
	t.mu.Unlock()
	return t.powerOn(context, b, ins)
}

func (t *table) powerOn(context int64, b Backend, ins *insertion) (n int64, e Errno) {
	defer func() {
		if n == 0 { // error or panic
			t.vacate(ins)
		}
	}()
	card, err := b.Connect(ins.reader)
	if err != nil {
		return 0, errnoOf(err)
	}
	ins.card = card
	t.mu.Lock()
	if e = t.room(context); e == OK {
		n = t.open(context, ins)
	}
	t.mu.Unlock()
	if e != OK { // the context was released meanwhile
		ins.shut()
	}
	return n, e
}

func (t *table) room(context int64) Errno {
	if _, ok := t.contexts[context]; !ok {
		return ErrInvalidHandle
	}
	if len(t.handles) >= maxObjects {
		return ErrNoMemory
	}
	return OK
}

func (t *table) open(context int64, ins *insertion) int64 {
	t.last++
	t.handles[t.last] = &handle{context, ins}
	ins.users++
	return t.last
}

// vacate makes the reader free for a next insertion.
func (t *table) vacate(ins *insertion) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.present[ins.reader] == ins {
		delete(t.present, ins.reader)
	}
}

// disconnect ends a handle; with the last one the card is powered off, and
// only then may the reader be connected again.
func (t *table) disconnect(n int64, reset bool) Errno {
	t.mu.Lock()
	h, ok := t.handles[n]
	if !ok {
		t.mu.Unlock()
		return ErrInvalidHandle
	}
	delete(t.handles, n)
	ins := h.card
	ins.users--
	if ins.owner == n {
		ins.owner = 0
	}
	last := ins.users == 0
	t.mu.Unlock()
	switch {
	case last:
		defer t.vacate(ins)
		ins.shut()
	case reset:
		return t.call(ins, Card.Reset)
	}
	return OK
}

func (t *table) begin(n int64) Errno {
	t.mu.Lock()
	defer t.mu.Unlock()
	h, ok := t.handles[n]
	if !ok {
		return ErrInvalidHandle
	}
	if h.card.owner != 0 && h.card.owner != n {
		return ErrSharingViolation
	}
	h.card.owner = n
	return OK
}

func (t *table) end(n int64, reset bool) Errno {
	t.mu.Lock()
	h, ok := t.handles[n]
	if !ok {
		t.mu.Unlock()
		return ErrInvalidHandle
	}
	if h.card.owner != n {
		t.mu.Unlock()
		return ErrNotTransacted
	}
	h.card.owner = 0
	t.mu.Unlock()
	if reset {
		return t.call(h.card, Card.Reset)
	}
	return OK
}

// transmit exchanges one APDU. apdu is cleared if it carries a secret.
func (t *table) transmit(n int64, apdu []byte) (resp []byte, e Errno) {
	defer clearSecret(apdu)
	if len(apdu) < minCommand || len(apdu) > MaxAPDU {
		return nil, ErrInvalidParameter
	}
	t.mu.Lock()
	h, ok := t.handles[n]
	taken := ok && h.card.owner != 0 && h.card.owner != n
	t.mu.Unlock()
	switch {
	case !ok:
		return nil, ErrInvalidHandle
	case taken:
		return nil, ErrSharingViolation
	}
	e = t.call(h.card, func(c Card) (err error) {
		resp, err = c.Transmit(apdu)
		if err == nil && (len(resp) < 2 || len(resp) > MaxAPDU) {
			err = ErrCommError
		}
		return err
	})
	if e != OK {
		return nil, e
	}
	return resp, OK
}

// call runs f on the card unless the insertion is over. Any error ends the
// insertion: what the card would say next is not to be trusted, and a fresh
// power-on is.
func (t *table) call(ins *insertion, f func(Card) error) Errno {
	ins.busy.Lock()
	if ins.closed {
		ins.busy.Unlock()
		return ErrRemovedCard
	}
	done := false
	defer func() {
		ins.busy.Unlock()
		if !done { // error or panic
			ins.shut()
			t.vacate(ins)
		}
	}()
	e := errnoOf(f(ins.card))
	done = e == OK
	return e
}

// shut powers the card off, once.
func (ins *insertion) shut() {
	ins.busy.Lock()
	defer ins.busy.Unlock()
	if !ins.closed {
		ins.closed = true
		// The card is let go either way; an error here has no one to act on it.
		_ = ins.card.Close()
	}
}

// Instructions whose data is a PIN or PUK: VERIFY, CHANGE REFERENCE DATA,
// RESET RETRY COUNTER (NIST SP 800-73-4 part 2, §3.2).
const (
	insVerify          = 0x20
	insChangeReference = 0x24
	insResetRetry      = 0x2c
)

func carriesSecret(apdu []byte) bool {
	if len(apdu) < minCommand {
		return false
	}
	switch apdu[1] {
	case insVerify, insChangeReference, insResetRetry:
		return true
	}
	return false
}

func clearSecret(apdu []byte) {
	if carriesSecret(apdu) {
		clear(apdu)
	}
}
