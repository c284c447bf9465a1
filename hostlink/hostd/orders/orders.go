// Package orders has the board given what administrators order: notes that clients hand over, until the proven log has them
// or the board says that they have no effect.
package orders

import (
	"fmt"
	"slices"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/conversation"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/outcome"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Orders are those that are with the board. They belong to the loop.
type Orders struct {
	Loop   *loop.Loop
	Board  *conversation.Board
	Mirror *mirror.Mirror

	handed []*handed // of clients that wait for what becomes of them
	told   bool      // they were handed over in this session
}

// Most bounds the orders that are with the board: it shows one at a time.
const Most = 16

// Over is the end of a session: the next is told anew.
func (o *Orders) Over() { o.told = false }

// handed is a note of the administrators, an order or a policy, that a client
// wants the appliance to have. It belongs to the loop.
//
// The board knows it by its hash, so it can be handed over again: after a link
// that went down nobody knows whether the board has it. What the board says of it
// is a hint; that it has effect is read in the proven log.
type handed struct {
	id     message.JobID // of the order, as refusals and events name it
	note   []byte
	waiter *waiter.Waiter
	wait   bool // for the operator's decision, not just until the board has it
	heard  bool // the board has said that it has it
}

// Hand gives the appliance an order for a client.
func (o *Orders) Hand(note []byte, wait bool, w *waiter.Waiter) {
	h := &handed{note: note, waiter: w, wait: wait}
	if resp := o.unhanded(h); resp != nil {
		w.Final <- resp
		return
	}
	o.handed = append(o.handed, h)
	o.handOver(h)
	o.Loop.After(o.Loop.Waits.AnswerWait, func() {
		if !h.heard {
			o.end(h, api.Fail(api.LinkDown, "the appliance has not said whether it has the order (%s): look at its display, or submit the same order again", o.Board.State()))
		}
	})
}

// unhanded says why an order is not handed over, or that it need not be.
func (o *Orders) unhanded(h *handed) *api.Response {
	hash, err := order.Hash(h.note)
	m := message.Order{Note: h.note}
	switch h.id = hash; {
	case err != nil || len(h.note) > message.MaxOrderNote || m.Marshal() == nil:
		return api.Fail(api.BadInput, "this is no signed note of at most %d bytes", message.MaxOrderNote)
	case !o.Board.Listens():
		return api.Fail(api.LinkDown, "no conversation with the appliance: %s", o.Board.State())
	case len(o.handed) >= Most:
		return api.Fail(api.DeviceFault, "%d orders are with the appliance already: try again when some are decided", len(o.handed))
	}
	return o.inForce(h)
}

// handOver sends an order, for the first time or again.
func (o *Orders) handOver(h *handed) {
	m := message.Order{Note: h.note}
	o.Board.Send(m.Marshal())
}

// HandOverAll is for a new conversation, once: what was under way when the one
// before ended may not have arrived, and the board forgets what it shows when it
// starts.
func (o *Orders) HandOverAll() {
	if o.told {
		return
	}
	o.told = true
	for _, h := range o.handed {
		o.handOver(h)
	}
}

// end ends the wait for an order.
func (o *Orders) end(h *handed, resp *api.Response) {
	i := slices.Index(o.handed, h)
	if i < 0 {
		return
	}
	o.handed = slices.Delete(o.handed, i, i+1)
	resp.Job = h.id.String()
	h.waiter.Final <- resp
}

// Settle answers for the orders that the proven log has.
func (o *Orders) Settle() {
	for _, h := range slices.Clone(o.handed) {
		if resp := o.inForce(h); resp != nil {
			o.end(h, resp)
		}
	}
}

// inForce is the answer for an order that HEAD took, nil for another. One about a
// certificate has its end in the entries behind it, as jobs do.
func (o *Orders) inForce(h *handed) *api.Response {
	e := o.Mirror.Ordered(h.id)
	if e == nil {
		return nil
	}
	if e.Action != ledger.KindCert {
		return &api.Response{Final: true, OK: true, Order: &api.Order{State: api.OrderInForce, Entry: e.Index}}
	}
	items, err := o.Mirror.OutcomeOf(e.Index)
	switch {
	case err != nil:
		return api.Fail(api.CannotWrite, "the mirror of the log cannot be read: %v", err)
	case items == nil:
		return nil
	case items[0].State == ledger.Signed:
		if err := o.certified(e.Index, items[0].Signature); err != nil {
			return api.Fail(api.Evidence, "entry %d has the order, but what the appliance says the token signed for it is no such signature (%v): have the log audited", e.Index, err)
		}
		return &api.Response{Final: true, OK: true, Order: &api.Order{State: api.OrderInForce, Entry: e.Index}}
	}
	_, code, text := outcome.Decide(items)
	return api.Fail(code, "entry %d has the order, but the token signed nothing for it: %s; the order is used up, to ask the token again takes another one", e.Index, text)
}

// certified checks the signature of a cert entry's outcome: the entry, which HEAD
// took, announces what the token signs; the outcome may be hearsay.
func (o *Orders) certified(index uint64, sig []byte) error {
	raw, err := o.Mirror.Store.Entry(index)
	if err != nil {
		return err
	}
	_, body, err := ledger.Parse(raw)
	if err != nil {
		return err
	}
	entry, ok := body.(*ledger.Order)
	if !ok {
		return fmt.Errorf("entry %d is no order", index)
	}
	return o.Mirror.Trust().Keys.VerifyCertification(sig, entry.Sign)
}

// find gives the orders of an identity.
func (o *Orders) find(id message.JobID) (found []*handed) {
	for _, h := range o.handed {
		if h.id == id {
			found = append(found, h)
		}
	}
	return found
}

// Event takes the board's hint how an order goes.
func (o *Orders) Event(m *message.Event) {
	for _, h := range o.find(m.Job) {
		h.heard = true
		if !h.wait {
			o.end(h, &api.Response{Final: true, OK: true, Order: &api.Order{State: m.State}})
			continue
		}
		h.waiter.Emit(api.Event{State: m.State, Seconds: m.Seconds})
	}
}

// Refused takes the board's word that something has no effect, if that is an order.
func (o *Orders) Refused(m *message.Refused) {
	for _, h := range o.find(m.Job) {
		o.refused(h, m)
	}
}

func (o *Orders) refused(h *handed, m *message.Refused) {
	switch m.Code {
	case message.CodeNoHello:
		o.Board.HelloAgain() // and then once more
	case message.CodeInForce:
		h.heard = true // its entry is on its way
		o.Loop.After(o.Loop.Waits.CancelWait, func() {
			o.end(h, api.Fail(api.Refused, "the appliance says that this order took effect before; its entry is not in the log as far as this host has verified it"))
		})
	case message.CodeDenied:
		o.end(h, api.Fail(api.Denied, "the operator denied the order: it has no effect (%s)", m.Text))
	case message.CodeArmTimeout:
		o.end(h, api.Fail(api.TimedOut, "nobody armed the order: it has no effect (%s)", m.Text))
	case message.CodeBadMessage:
		o.end(h, api.Fail(api.Refused, "the appliance refuses the order (%s): %s", m.Code, m.Text))
	default:
		o.end(h, api.Fail(api.CodeFor(m.Code), "the appliance refuses the order (%s): %s", m.Code, m.Text))
	}
}

// Lost tells those who wait that the link went down.
func (o *Orders) Lost(why string) {
	for _, h := range o.handed {
		h.waiter.Emit(api.Event{State: "link-lost", Text: why})
	}
}

// Leave is the end of a client, or its wish to stop. The board keeps the
// order: only its operator drops it.
func (o *Orders) Leave(w *waiter.Waiter) {
	if i := slices.IndexFunc(o.handed, func(h *handed) bool { return h.waiter == w }); i >= 0 {
		h := o.handed[i]
		o.end(h, api.Fail(api.Interrupted, "not waited for any longer: the appliance may have the order on its display still, where its operator can deny it"))
	}
}
