// Package conversation is the host daemon's side of what it and the board say to each other: greeting and proof, the entries
// of the log on their way into the mirror, and what is to be done when they contradict it. What requests become of it, others
// say (Hooks).
package conversation

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
)

// Link is the line to the board; *serialport.Endpoint is one.
type Link interface {
	Send(ctx context.Context, sid uint32, channel int, msg []byte) error
	Events() <-chan serialport.Event
	Close() error
}

// Options are what a conversation is made of.
type Options struct {
	State  string // directory of the evidence
	Mirror *mirror.Mirror
	Key    note.Signer // the host's
	Loop   *loop.Loop
	Log    zerolog.Logger
	Hooks  Hooks
}

// Hooks are called in the loop, for those who ask the board for something.
type Hooks struct {
	Over      func()                // what the session was told and asked for is void: it ended, or another begins
	Lost      func(why string)      // the link went down
	Halted    func()                // the board says that it has halted
	Met       func()                // the board has proven itself
	Grown     func()                // the mirror has other entries
	Moved     func(checkpoint bool) // entries or a checkpoint were taken: what waits may be settled
	Broken    func(err error)       // the mirror cannot be written
	Alarmed   func()                // the log contradicts the mirror: there is evidence
	Suspected func(text string)     // somebody on the cable may have made what came
	Said      func(m any)           // a message about requests: of message, an *Event, *Refused, *Done, *Answer or *OpenRound
}

// Board is the board as this host knows it. It belongs to the loop.
type Board struct {
	o        Options // read only
	link     Link
	linkText string   // why there is no session
	conv     *session // nil without one
	evidence string   // what contradicts the log, "" when nothing does
	unpacker *message.Unpacker
	stopping bool
}

// New makes a board that nobody has heard of yet, with the evidence that an earlier daemon left.
func New(o Options) (*Board, error) {
	evidence, err := mirror.LoadEvidence(o.State)
	return &Board{o: o, linkText: "not opened yet", evidence: evidence, unpacker: message.NewUnpacker()}, err
}

// Use gives the line over which the conversation goes from now on.
func (b *Board) Use(link Link) { b.link = link }

// Stop has nothing be asked for any more.
func (b *Board) Stop() { b.stopping = true }

// session is one conversation with the board. Until it is ready nothing is
// submitted.
type session struct {
	sid         uint32
	nonce       [16]byte
	welcome     *message.Welcome
	head        [32]byte // HEAD as attested for this nonce
	ready       bool     // attestation, checkpoint and mirror agree
	problem     string   // why it is not
	unexplained int
	halted      bool          // the board says so: it signs nothing
	halt        string        // the state that it has halted in, if it says
	seen        time.Time     // when the board proved itself last
	ahead       time.Duration // how far the board's clock was before this host's when it last said its time
	refresh     refresh
	suspect     bool   // what comes over the link contradicts what is proven
	fetching    uint64 // number of the fetch that is not answered yet, 0 if none
	fetches     uint64
	reread      bool   // entries were dropped and asked for again a moment ago
	total       uint64 // leaves the board says it holds
	offered     uint64 // entries up to which a board that lacks them was given them, 0 if none
}

// FromLink takes what happens on the line.
func (b *Board) FromLink(ev serialport.Event) {
	switch ev.Kind {
	case serialport.Opened:
		b.o.Log.Info().Str("device", ev.Device).Msg("serial device open")
		b.linkText = "the device is open, the appliance does not answer: check cable, power and baud rate"
	case serialport.Unavailable:
		b.linkText = ev.Err.Error()
		b.o.Log.Warn().Err(ev.Err).Msg("serial device")
	case serialport.Up:
		b.o.Log.Info().Uint32("session", ev.SID).Msg("link up")
		b.o.Hooks.Over()
		b.conv = &session{sid: ev.SID, problem: "the appliance has not answered yet; it never does if the host key " + b.o.Key.Name() + " is not in its policy"}
		b.hello(b.conv)
	case serialport.Down:
		b.down(ev.Err)
	case serialport.Message:
		if b.conv != nil {
			b.fromBoard(ev.Body)
		}
	}
}

func (b *Board) down(err error) {
	b.o.Hooks.Over()
	b.conv = nil
	b.linkText = "the link is down"
	if err != nil {
		b.linkText = err.Error()
	}
	b.o.Log.Warn().Str("why", b.linkText).Msg("link down")
	b.o.Hooks.Lost(b.linkText)
}

func (b *Board) fromBoard(raw []byte) {
	text, err := b.unpacker.Unpack(raw)
	var parsed any
	if err == nil {
		parsed, err = message.Parse(text)
	}
	if err != nil {
		b.o.Log.Warn().Err(err).Msg("malformed message from the board")
		return
	}
	switch m := parsed.(type) {
	case *message.Welcome:
		b.welcome(m)
	case *message.Entries:
		b.entries(m)
	case *message.Checkpoint:
		b.checkpoint(m)
	case *message.Fetch:
		b.offer(m.From)
	case *message.Event, *message.Refused, *message.Done, *message.Answer, *message.OpenRound:
		b.o.Hooks.Said(m)
	default:
		b.o.Log.Warn().Msgf("the board sent a %T, which only hosts send", m)
	}
}

// Send hands a message to the link, for the session of this conversation. A failure is not an error here: the link
// goes down or the answer does not come, and both are handled.
func (b *Board) Send(body []byte) {
	if b.conv == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.o.Loop.Waits.SendWait)
	defer cancel()
	if err := b.link.Send(ctx, b.conv.sid, interactive, body); err != nil {
		b.o.Log.Warn().Err(err).Msg("message not sent")
	}
}

// interactive is the session channel for everything a host sends
// (docs/spec/session.md).
const interactive = 0

// Signed makes a note of text with the host key. The text comes from Marshal:
// nil means a programming error, not a bad input.
func (b *Board) Signed(text []byte) ([]byte, error) {
	n, err := message.SignNote(text, b.o.Key)
	if err != nil {
		return nil, fmt.Errorf("sign with the host key: %w", err)
	}
	return n, nil
}
