// Package order holds the texts by which administrators order an appliance
// about, and what each of them says.
//
// An order is a C2SP signed note over a canonical text (package canon):
//
//	touchmark/order-<kind>/v1
//	origin ORIGIN
//	after SIZE ROOT
//	...                      lines of the kind
//	reason BASE64
//
// signed by a quorum of the administrators of the policy in force. It names
// the log and a state of it that the administrators saw, so that it can be
// carried to no other log and to no fork. As an entry of the log (package
// ledger, kind policy excepted, whose text is TOML) it has effect once the
// TPM took it; docs/spec/ledger.md, section 5, describes every byte.
//
// Guarantees: parsing and marshalling again gives the same bytes. The package
// checks form and signatures; whether an order fits a log is for whoever has
// the log. It is pure.
//
// Compatibility: a kind never changes its meaning; an unknown one is refused.
package order

import (
	"crypto/sha256"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
)

// Order is what administrators want done and why.
type Order struct {
	Origin string // of the log
	After  State  // a beginning of the log, as the administrators know it
	Action Action
	Reason string // for people, and for ever: one printable line
}

// State names a beginning of a log.
type State struct {
	Size uint64 // at least 1
	Root [32]byte
}

// Action is a *Time, *Resume, *Note, *Close, *Key, *Cert or *Image.
type Action interface {
	// Kind is the kind of the order's entry in the log.
	Kind() string

	write(w *canon.Writer)
	read(r *canon.Reader, origin string)
}

// Time sets the clock, back before the last entry if need be.
type Time struct{ To time.Time } // whole seconds

// Resume leads a board out of a halt state, HEAD being what it is.
type Resume struct {
	Halt string   // the halt state that the board shows
	Head [32]byte // HEAD as the board shows it
	PCR  [32]byte // likewise; a TPM reset since then may have cleared it
}

// Note is for its reason alone.
type Note struct{}

// Close ends the log.
type Close struct {
	Successor ledger.LogID // the log that goes on, zero for none
}

// Key brings a key: one that replaces the log key, or one of a token, which the
// log signs with from then on beside those that it has.
type Key struct {
	LogKey string           // note verifier key, named after the origin; "" if Token is set
	Token  *ledger.TokenKey // package tokenkey says what it must be; nil if LogKey is set
}

// Kind is ledger.KindTime.
func (*Time) Kind() string { return ledger.KindTime }

// Kind is ledger.KindResume.
func (*Resume) Kind() string { return ledger.KindResume }

// Kind is ledger.KindNote.
func (*Note) Kind() string { return ledger.KindNote }

// Kind is ledger.KindClose.
func (*Close) Kind() string { return ledger.KindClose }

// Kind is ledger.KindKey.
func (*Key) Kind() string { return ledger.KindKey }

func (a *Time) write(w *canon.Writer)          { w.Line("time", canon.Time(a.To)) }
func (a *Time) read(r *canon.Reader, _ string) { a.To = r.Time(r.Line("time", 1)[0]) }

func (a *Resume) write(w *canon.Writer) {
	w.Line("halt", a.Halt)
	w.Line("head", canon.Hex(a.Head[:]))
	w.Line("pcr", canon.Hex(a.PCR[:]))
}

func (a *Resume) read(r *canon.Reader, _ string) {
	a.Halt = r.Line("halt", 1)[0]
	if r.Err() == nil && !message.ValidToken(a.Halt) {
		r.Failf("%q is not the name of a halt state", a.Halt)
	}
	a.Head = [32]byte(r.Hex(r.Line("head", 1)[0], 32))
	a.PCR = [32]byte(r.Hex(r.Line("pcr", 1)[0], 32))
}

func (*Note) write(*canon.Writer)        {}
func (*Note) read(*canon.Reader, string) {}

func (a *Close) write(w *canon.Writer)          { ledger.WriteLogID(w, "successor", a.Successor) }
func (a *Close) read(r *canon.Reader, _ string) { a.Successor = ledger.ReadLogID(r, "successor") }

func (a *Key) write(w *canon.Writer) {
	if a.Token != nil {
		a.Token.Write(w)
		return
	}
	w.Line("log-key", a.LogKey)
}

func (a *Key) read(r *canon.Reader, origin string) {
	if r.Peek() == "key" {
		k := ledger.ReadTokenKey(r)
		a.Token = &k
		return
	}
	a.LogKey = ledger.ReadLogKey(r, r.Line("log-key", 1)[0], origin)
}

// domain is the first line of orders of a kind.
func domain(kind string) string { return "touchmark/order-" + kind + "/v1" }

// actions makes an empty action of the kind that a domain names.
func action(d string) (Action, bool) {
	for _, a := range []Action{new(Time), new(Resume), new(Note), new(Close), new(Key), new(Cert), new(Image)} {
		if d == domain(a.Kind()) {
			return a, true
		}
	}
	return nil, false
}

// Marshal encodes the text. What Parse would refuse is an error.
func (o *Order) Marshal() ([]byte, error) {
	if o.Action == nil {
		return nil, fmt.Errorf("order: it orders nothing")
	}
	w := canon.NewWriter(domain(o.Action.Kind()))
	w.Line("origin", o.Origin)
	w.Line("after", canon.Uint(o.After.Size), canon.Hex(o.After.Root[:]))
	o.Action.write(w)
	w.Line("reason", canon.Base64([]byte(o.Reason)))
	text := w.Bytes()
	if text == nil {
		return nil, fmt.Errorf("order: %w", w.Err())
	}
	if _, err := Parse(text); err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	return text, nil
}

// Parse decodes the text of an order.
func Parse(text []byte) (*Order, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("order of %d bytes, at most %d", len(text), MaxText)
	}
	d := canon.Domain(text)
	a, ok := action(d)
	if !ok {
		return nil, fmt.Errorf("%.64q is no kind of order that this version knows", d)
	}
	r := canon.NewReader(text, d)
	o := &Order{Origin: r.Line("origin", 1)[0], Action: a}
	if r.Err() == nil {
		if err := message.ValidOrigin(o.Origin); err != nil {
			r.Failf("%v", err)
		}
	}
	f := r.Line("after", 2)
	o.After = State{Size: r.Uint(f[0], ledger.MaxSize), Root: [32]byte(r.Hex(f[1], 32))}
	if r.Err() == nil && o.After.Size == 0 {
		r.Failf("an order comes after a state of the log, the genesis entry at least")
	}
	a.read(r, o.Origin)
	o.Reason = string(r.Base64(r.Line("reason", 1)[0], message.MaxHuman))
	if r.Err() == nil && !message.ValidHuman(o.Reason) {
		r.Failf("the reason is not one printable line of 1 to %d bytes", message.MaxHuman)
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	return o, nil
}

// Open verifies an order: at least quorum of the administrators signed it and
// nobody else, but for the log key that a key order brings, which must have
// signed too: so it is in the right hands.
func Open(msg []byte, administrators []note.Verifier, quorum int) (*Order, error) {
	text, err := message.NoteText(msg)
	if err != nil {
		return nil, fmt.Errorf("order: %w", err)
	}
	o, err := Parse(text)
	if err != nil {
		return nil, err
	}
	var holders []note.Verifier
	if k, ok := o.Action.(*Key); ok && k.Token == nil {
		v, err := message.ParseKey(k.LogKey)
		if err != nil {
			return nil, fmt.Errorf("order: %w", err)
		}
		holders = append(holders, v)
	}
	if _, err := message.OpenQuorum(msg, administrators, max(quorum, 1), holders...); err != nil {
		return nil, fmt.Errorf("%s order: %w", o.Action.Kind(), err)
	}
	return o, nil
}

// OpenEntry is Open for the note of an entry, whose kind must be the order's.
func OpenEntry(e *ledger.Order, administrators []note.Verifier, quorum int) (*Order, error) {
	o, err := Open(e.Note, administrators, quorum)
	if err != nil {
		return nil, err
	}
	if o.Action.Kind() != e.Action {
		return nil, fmt.Errorf("a %s order in a %s entry", o.Action.Kind(), e.Action)
	}
	return o, nil
}

// Hash tells one order from another, whoever signed it: SHA-256 of the text of
// an order's or a policy's note. An order that took effect never does so again.
func Hash(msg []byte) ([32]byte, error) {
	text, err := message.NoteText(msg)
	if err != nil {
		return [32]byte{}, fmt.Errorf("order: %w", err)
	}
	return sha256.Sum256(text), nil
}
