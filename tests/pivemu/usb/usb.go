// Package usb is the USB side of an emulated token: what a YubiKey with only its
// CCID interface says of itself and answers on its bulk endpoints. It is written
// apart from appliance/pcsc/ccid, so that each holds the other to the
// specification (USB Device Class: Smart Card, CCID 1.1).
//
// There is no bus here: whoever has one (or a test that has none) brings
// transfers to [Token.Out] and fetches them from [Token.In].
package usb

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"touchmark/tests/pivemu"
)

const (
	// MaxMessage is dwMaxCCIDMessageLength of a YubiKey 5.
	MaxMessage = 3072
	// ExtendEvery is about how often a token that waits asks for more time.
	ExtendEvery = 500 * time.Millisecond
	// maxQueue bounds the messages that nobody fetches: more are lost.
	maxQueue = 64
	// maxCommand bounds a command that comes in parts.
	maxCommand = 65535
	headerSize = 10
)

// ErrUnplugged says that the token is no longer there.
var ErrUnplugged = errors.New("usb: the token is unplugged")

// Token is one insertion of an emulated token. Its methods may be called from
// any goroutine.
type Token struct {
	card  *pivemu.Card
	every time.Duration

	gone   context.Context // done once unplugged
	unplug context.CancelFunc
	work   sync.WaitGroup
	in     chan []byte

	once    sync.Once
	powered chan struct{}

	mu      sync.Mutex // guards everything below
	command []byte     // its parts so far
	rest    []byte     // of the response
	busy    bool       // the card computes, or waits for a touch
}

// Plug powers a token's USB side. While the token waits for a touch it asks for
// more time at once, and then each time every has passed (0: only once).
func Plug(card *pivemu.Card, every time.Duration) *Token {
	t := &Token{card: card, every: every, in: make(chan []byte, maxQueue), powered: make(chan struct{})}
	t.gone, t.unplug = context.WithCancel(context.Background())
	return t
}

// Unplug removes the token: what it does is given up, and what it would say lost.
func (t *Token) Unplug() {
	t.mu.Lock()
	t.unplug()
	t.mu.Unlock()
	t.work.Wait()
	t.card.Reset()
}

// Powered is closed once a host has powered the card.
func (t *Token) Powered() <-chan struct{} { return t.powered }

// In is the next transfer from the token.
func (t *Token) In(ctx context.Context) ([]byte, error) {
	if t.gone.Err() != nil {
		return nil, ErrUnplugged
	}
	select {
	case m := <-t.in:
		return m, nil
	case <-t.gone.Done():
		return nil, ErrUnplugged
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Types of messages (§6.1, §6.2), and what chains parts of an APDU.
const (
	iccPowerOn    = 0x62
	iccPowerOff   = 0x63
	getStatus     = 0x65
	getParameters = 0x6c
	setParameters = 0x61
	xfrBlock      = 0x6f
	dataBlock     = 0x80
	slotStatus    = 0x81
	parameters    = 0x82

	failed, extension, inactive = 0x40, 0x80, 0x01
	codeBusy, codeUnknown       = 0xe0, 0x00

	whole, begins, ends, inner, more = 0, 1, 2, 3, 0x10
)

// Out takes one transfer to the token: one whole message.
func (t *Token) Out(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone.Err() != nil {
		return ErrUnplugged
	}
	if len(b) < headerSize || int(binary.LittleEndian.Uint32(b[1:])) != len(b)-headerSize || b[5] != 0 {
		return nil // not a message: a token says nothing to that
	}
	kind, seq, data := b[0], b[6], b[headerSize:]
	if t.busy {
		t.say(slotStatus, seq, failed, codeBusy, 0, nil)
		return nil
	}
	switch kind {
	case iccPowerOn:
		t.once.Do(func() { close(t.powered) })
		t.reset()
		t.say(dataBlock, seq, 0, 0, 0, t.card.ATR())
	case iccPowerOff:
		t.reset()
		t.say(slotStatus, seq, inactive, 0, 0, nil)
	case getStatus:
		t.say(slotStatus, seq, 0, 0, 0, nil)
	case getParameters, setParameters:
		t.say(parameters, seq, 0, 0, 1, []byte{0x13, 0x10, 0, 0x15, 0, 0xfe, 0})
	case xfrBlock:
		t.transfer(seq, b[8], data)
	default:
		t.say(slotStatus, seq, failed, codeUnknown, 0, nil)
	}
	return nil
}

func (t *Token) reset() {
	t.command, t.rest = nil, nil
	t.card.Reset()
}

func (t *Token) say(kind, seq, status, code, chain byte, data []byte) {
	m := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	m = append(append(m, 0, seq, status, code, chain), data...)
	select {
	case t.in <- m:
	default:
	}
}

// transfer takes a command, or a part of one, or gives the next part of a
// response.
func (t *Token) transfer(seq, level byte, data []byte) {
	if level == more {
		t.part(seq, inner, ends)
		return
	}
	if level == whole || level == begins {
		t.command = nil
	}
	if len(t.command)+len(data) > maxCommand {
		t.say(dataBlock, seq, failed, 1, 0, nil) // bError 1: bad dwLength
		return
	}
	t.command = append(t.command, data...)
	if level == begins || level == inner {
		t.say(dataBlock, seq, 0, 0, more, nil)
		return
	}
	t.execute(seq, t.command)
}

// part says the next part of the response: middle if more follow, last if not.
func (t *Token) part(seq, middle, last byte) {
	n := min(len(t.rest), MaxMessage-headerSize)
	part := t.rest[:n]
	if t.rest = t.rest[n:]; len(t.rest) > 0 {
		last = middle
	}
	t.say(dataBlock, seq, 0, 0, last, part)
}

// execute lets the card work, and asks for time meanwhile.
func (t *Token) execute(seq byte, apdu []byte) {
	t.busy, t.command = true, nil
	done := make(chan []byte, 1)
	t.work.Go(func() { done <- t.card.Execute(t.gone, apdu) })
	t.work.Go(func() {
		t.extend(seq, done)
	})
}

// extend asks for time until the card has answered, then answers.
func (t *Token) extend(seq byte, done <-chan []byte) {
	ctx, cancel := context.WithCancel(t.gone)
	defer cancel()
	waits := make(chan struct{})
	t.work.Go(func() {
		if t.card.WaitTouch(ctx) == nil {
			close(waits)
		}
	})
	var tick <-chan time.Time
	for {
		select {
		case <-waits:
			waits = nil
			if t.every > 0 {
				ticker := time.NewTicker(t.every)
				defer ticker.Stop()
				tick = ticker.C
			}
			t.say(dataBlock, seq, extension, 1, 0, nil)
		case <-tick:
			t.say(dataBlock, seq, extension, 1, 0, nil)
		case response := <-done:
			t.mu.Lock()
			t.busy, t.rest = false, response
			t.part(seq, begins, whole)
			t.mu.Unlock()
			return
		}
	}
}
