// Package decree judges what administrators order: a note, an order or a policy, is
// opened under the law in force and held against this log and the state of the
// board. It changes nothing; what becomes of an order that fits is the station's.
package decree

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/meaning"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Decree is what administrators order, opened.
type Decree struct {
	ID     string // of the order, hex
	Hash   [32]byte
	Note   []byte // with the signature of the log key that it brings, if this board has that
	Kind   string
	Order  *order.Order   // nil for a policy
	Policy *policy.Policy // nil for an order
}

// Board is what an order is held against.
type Board struct {
	Past   *past.Past
	Store  past.Log
	Key    func(public string) (note.Signer, error) // finds the private half of a log key
	Image  func(*order.Image) error                 // says why the board does not take an image
	Time   time.Time
	Busy   error // why it takes no order now, nil if it does
	Halted error // a *fault.HaltError, nil if it has not
}

// ErrDone refuses an order that needs not be given again.
var ErrDone = intake.Refuse(message.CodeInForce, "this order took effect already")

// ErrNextSecond is a renewal in the second of the newest self-signature: it has to
// wait for the next one.
var ErrNextSecond = errors.New("the certificate was signed this second")

// Named is an order's hash where messages name a job, or zeros if it has none.
func Named(note []byte) message.JobID {
	hash, err := order.Hash(note)
	if err != nil {
		return message.JobID{}
	}
	return hash
}

// Read checks an order against the log and the law as they are. Its error is a
// refusal.
func (b *Board) Read(raw []byte) (*Decree, error) {
	if b.Past.Policy == nil {
		return nil, intake.Refuse(message.CodeHalted, "%v", b.Halted)
	}
	hash, err := order.Hash(raw)
	if err != nil {
		return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	d := &Decree{ID: hex.EncodeToString(hash[:]), Hash: hash, Note: raw}
	if b.Past.Done[hash] {
		return nil, ErrDone
	}
	text, err := message.NoteText(raw)
	if err != nil {
		return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	if o, perr := order.Parse(text); perr == nil {
		d.Kind = o.Action.Kind()
		var without error
		d.Note, without = b.possess(raw, o)
		if d.Order, err = order.Open(d.Note, b.Past.Policy.Administrators.Keys, b.Past.Policy.Administrators.Quorum); err != nil {
			err = joinLine(err, without)
		}
	} else {
		d.Kind = ledger.KindPolicy
		d.Policy, err = b.Past.Policy.Successor(raw)
	}
	if err != nil {
		return nil, intake.Refuse(message.CodeBadSignature, "%v", err)
	}
	return d, b.fits(d)
}

// joinLine is one line of two errors, of which the second may be nil.
func joinLine(err, more error) error {
	if more == nil {
		return err
	}
	return fmt.Errorf("%w; %w", err, more)
}

// possess adds to a key order the signature of the log key that it brings, if
// this board has it: that is what shows that it does; or says why it cannot. A
// note that it cannot be added to, or that has it, stays as it is, for order.Open
// to judge.
func (b *Board) possess(raw []byte, o *order.Order) ([]byte, error) {
	k, ok := o.Action.(*order.Key)
	if !ok || k.Token != nil {
		return raw, nil
	}
	signer, err := b.Key(k.LogKey)
	if err != nil {
		return raw, fmt.Errorf("this board cannot sign it with that key: %w", err)
	}
	if signed, err := message.CosignNote(raw, signer); err == nil {
		return signed, nil
	}
	return raw, nil
}

// fits says why an order does not fit this log, or the state of the board.
func (b *Board) fits(d *Decree) error {
	if b.Busy != nil {
		return b.Busy
	}
	if d.Order != nil {
		if err := b.after(d.Order); err != nil {
			return err
		}
		if err := b.able(d); err != nil {
			return err
		}
	}
	return b.leads(d)
}

// after says why an order was not made for this log as it is.
func (b *Board) after(o *order.Order) error {
	if o.Origin != b.Past.Trust.Origin {
		return intake.Refuse(message.CodeWrongOrigin, "the order is for %s", o.Origin)
	}
	if o.After.Size > b.Store.Size() {
		return intake.Refuse(message.CodeUnknownHead, "the order presumes %d entries, this log has %d", o.After.Size, b.Store.Size())
	}
	root, err := b.Store.Root(o.After.Size)
	if err != nil {
		return intake.Refuse(message.CodeBusy, "the log cannot be read: %v", err)
	}
	if root != o.After.Root {
		return intake.Refuse(message.CodeForkedHead, "the order was made for another log than this one")
	}
	return nil
}

// able says why this board cannot do what is ordered.
func (b *Board) able(d *Decree) error {
	switch a := d.Order.Action.(type) {
	case *order.Key:
		return b.takes(a)
	case *order.Image:
		return b.Image(a)
	case *order.Cert:
		if _, err := d.Signing(b.Past, b.Time); err != nil && !errors.Is(err, ErrNextSecond) {
			return err
		}
	}
	return nil
}

// takes says why the log key that is ordered cannot be the next, or the token's
// key none of this log's.
func (b *Board) takes(k *order.Key) error {
	if k.Token != nil {
		if err := b.Past.Join(&past.Law{Policy: b.Past.Policy, Keys: b.Past.Keys}, k.Token); err != nil {
			return intake.Refuse(message.CodeBadMessage, "%v", err)
		}
		return nil
	}
	if k.LogKey == b.Past.LogKey {
		return intake.Refuse(message.CodeBadMessage, "this is the log key in force")
	}
	if _, err := b.Key(k.LogKey); err != nil {
		return intake.Refuse(message.CodeBadMessage, "this board has not the private half of that log key, make it here ('touchmark-appliance log-key new') and order that one: %v", err)
	}
	return nil
}

// leads says why an order does not lead out of the state that the board has
// halted in. One that is not halted takes all but a resume.
func (b *Board) leads(d *Decree) error {
	var h *fault.HaltError
	switch {
	case b.Past.Closed:
		return intake.Refuse(message.CodeHalted, "%v", fault.ErrClosed)
	case errors.As(b.Halted, &h) && d.Kind == ledger.KindResume:
		if err := h.Decision.Resume(h.Observed, d.Order.Action.(*order.Resume)); err != nil {
			return intake.Refuse(message.CodeHalted, "%v", err)
		}
	case d.Kind == ledger.KindResume:
		return intake.Refuse(message.CodeBadMessage, "the board has not halted in a state that administrators can order to resume from")
	case fault.OverClock(b.Halted) && d.Kind == ledger.KindTime:
	case b.Halted != nil:
		return intake.Refuse(message.CodeHalted, "the appliance has halted: %v", b.Halted)
	}
	return nil
}

// Signing plans what a cert order has the token sign at a time. Its error is a refusal,
// or ErrNextSecond.
func (d *Decree) Signing(p *past.Past, now time.Time) (*signing.Plan, error) {
	a := d.Order.Action.(*order.Cert)
	k := p.Named(a.Key)
	if k == nil {
		return nil, intake.Refuse(message.CodeBadMessage, "the order is about key %q, which this log does not have", a.Key)
	}
	x, err := d.Order.Certification(now, d.Hash)
	if err != nil {
		return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
	}
	plan, err := k.Cert.Plan(x)
	if errors.Is(err, certificate.ErrTooEarly) {
		x.Created = now.Add(time.Second)
		if _, later := k.Cert.Plan(x); later == nil {
			return nil, ErrNextSecond
		}
	}
	switch {
	case err == nil:
		return plan, nil
	case errors.Is(err, certificate.ErrRevoked):
		return nil, intake.Refuse(message.CodeKeyRevoked, "%v", err)
	}
	return nil, intake.Refuse(message.CodeBadMessage, "%v", err)
}

// Lines say what an order means, for the operator, with this law in force.
func (d *Decree) Lines(now *past.Law, at time.Time) []string {
	if d.Policy != nil {
		return meaning.Policy(now.Policy, d.Policy)
	}
	return meaning.Order(d.Order, certificateOf(now, d.Order), at)
}

// certificateOf is what a cert order is about, nil for any other.
func certificateOf(now *past.Law, o *order.Order) *certificate.Certificate {
	a, ok := o.Action.(*order.Cert)
	if !ok {
		return nil
	}
	k := now.Named(a.Key)
	if k == nil {
		return nil
	}
	return k.Cert
}

// Image is the image that an order is about.
func (d *Decree) Image() (im *order.Image, ok bool) {
	if d.Order != nil {
		im, ok = d.Order.Action.(*order.Image)
	}
	return im, ok
}
