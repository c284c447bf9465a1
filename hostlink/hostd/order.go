package hostd

import (
	"fmt"
	"slices"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

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

// order hands the appliance an order for a client.
func (d *Daemon) order(note []byte, wait bool, w *waiter.Waiter) {
	h := &handed{note: note, waiter: w, wait: wait}
	if resp := d.unhanded(h); resp != nil {
		w.Final <- resp
		return
	}
	d.orders = append(d.orders, h)
	d.handOver(h)
	d.loop.After(d.loop.Waits.AnswerWait, func() {
		if !h.heard {
			d.ordered(h, api.Fail(api.LinkDown, "the appliance has not said whether it has the order (%s): look at its display, or submit the same order again", d.linkState()))
		}
	})
}

// unhanded says why an order is not handed over, or that it need not be.
func (d *Daemon) unhanded(h *handed) *api.Response {
	hash, err := order.Hash(h.note)
	m := message.Order{Note: h.note}
	switch h.id = hash; {
	case err != nil || len(h.note) > message.MaxOrderNote || m.Marshal() == nil:
		return api.Fail(api.BadInput, "this is no signed note of at most %d bytes", message.MaxOrderNote)
	case d.conv == nil || !d.conv.ready && !d.conv.halted:
		return api.Fail(api.LinkDown, "no conversation with the appliance: %s", d.linkState())
	case len(d.orders) >= maxOrders:
		return api.Fail(api.DeviceFault, "%d orders are with the appliance already: try again when some are decided", len(d.orders))
	}
	return d.inForce(h)
}

// handOver sends an order, for the first time or again.
func (d *Daemon) handOver(h *handed) {
	m := message.Order{Note: h.note}
	d.send(m.Marshal())
}

// handOverAll is for a new conversation, once: what was under way when the one
// before ended may not have arrived, and the board forgets what it shows when it
// starts.
func (d *Daemon) handOverAll() {
	if d.conv.handed {
		return
	}
	d.conv.handed = true
	for _, h := range d.orders {
		d.handOver(h)
	}
}

// ordered ends the wait for an order.
func (d *Daemon) ordered(h *handed, resp *api.Response) {
	i := slices.Index(d.orders, h)
	if i < 0 {
		return
	}
	d.orders = slices.Delete(d.orders, i, i+1)
	resp.Job = h.id.String()
	h.waiter.Final <- resp
}

// settleOrders answers for the orders that the proven log has.
func (d *Daemon) settleOrders() {
	for _, h := range slices.Clone(d.orders) {
		if resp := d.inForce(h); resp != nil {
			d.ordered(h, resp)
		}
	}
}

// inForce is the answer for an order that HEAD took, nil for another. One about a
// certificate has its end in the entries behind it, as jobs do.
func (d *Daemon) inForce(h *handed) *api.Response {
	e := d.mirror.Ordered(h.id)
	if e == nil {
		return nil
	}
	if e.Action != ledger.KindCert {
		return &api.Response{Final: true, OK: true, Order: &api.Order{State: api.OrderInForce, Entry: e.Index}}
	}
	items, err := d.mirror.OutcomeOf(e.Index)
	switch {
	case err != nil:
		return api.Fail(api.CannotWrite, "the mirror of the log cannot be read: %v", err)
	case items == nil:
		return nil
	case items[0].State == ledger.Signed:
		if err := d.certified(e.Index, items[0].Signature); err != nil {
			return api.Fail(api.Evidence, "entry %d has the order, but what the appliance says the token signed for it is no such signature (%v): have the log audited", e.Index, err)
		}
		return &api.Response{Final: true, OK: true, Order: &api.Order{State: api.OrderInForce, Entry: e.Index}}
	}
	_, code, text := verdictOf(items)
	return api.Fail(code, "entry %d has the order, but the token signed nothing for it: %s; the order is used up, to ask the token again takes another one", e.Index, text)
}

// certified checks the signature of a cert entry's outcome: the entry, which HEAD
// took, announces what the token signs; the outcome may be hearsay.
func (d *Daemon) certified(index uint64, sig []byte) error {
	raw, err := d.mirror.Store.Entry(index)
	if err != nil {
		return err
	}
	_, body, err := ledger.Parse(raw)
	if err != nil {
		return err
	}
	o, ok := body.(*ledger.Order)
	if !ok {
		return fmt.Errorf("entry %d is no order", index)
	}
	return d.mirror.Trust().Keys.VerifyCertification(sig, o.Sign)
}

// findOrders gives the orders of an identity.
func (d *Daemon) findOrders(id message.JobID) (found []*handed) {
	for _, h := range d.orders {
		if h.id == id {
			found = append(found, h)
		}
	}
	return found
}

// orderEvent takes the board's hint how an order goes.
func (d *Daemon) orderEvent(m *message.Event) {
	for _, h := range d.findOrders(m.Job) {
		h.heard = true
		if !h.wait {
			d.ordered(h, &api.Response{Final: true, OK: true, Order: &api.Order{State: m.State}})
			continue
		}
		h.waiter.Emit(api.Event{State: m.State, Seconds: m.Seconds})
	}
}

// refuseOrder takes the board's word that an order has no effect.
func (d *Daemon) refuseOrder(h *handed, m *message.Refused) {
	switch m.Code {
	case message.CodeNoHello:
		d.helloAgain() // and then once more
	case message.CodeInForce:
		h.heard = true // its entry is on its way
		d.loop.After(d.loop.Waits.CancelWait, func() {
			d.ordered(h, api.Fail(api.Refused, "the appliance says that this order took effect before; its entry is not in the log as far as this host has verified it"))
		})
	case message.CodeDenied:
		d.ordered(h, api.Fail(api.Denied, "the operator denied the order: it has no effect (%s)", m.Text))
	case message.CodeArmTimeout:
		d.ordered(h, api.Fail(api.TimedOut, "nobody armed the order: it has no effect (%s)", m.Text))
	case message.CodeBadMessage:
		d.ordered(h, api.Fail(api.Refused, "the appliance refuses the order (%s): %s", m.Code, m.Text))
	default:
		d.ordered(h, api.Fail(api.CodeFor(m.Code), "the appliance refuses the order (%s): %s", m.Code, m.Text))
	}
}

// orderLost tells those who wait that the link went down.
func (d *Daemon) orderLost() {
	for _, h := range d.orders {
		h.waiter.Emit(api.Event{State: "link-lost", Text: d.linkText})
	}
}

// leaveOrder is the end of a client, or its wish to stop. The board keeps the
// order: only its operator drops it.
func (d *Daemon) leaveOrder(w *waiter.Waiter) {
	if i := slices.IndexFunc(d.orders, func(h *handed) bool { return h.waiter == w }); i >= 0 {
		h := d.orders[i]
		d.ordered(h, api.Fail(api.Interrupted, "not waited for any longer: the appliance may have the order on its display still, where its operator can deny it"))
	}
}

// serveOrder hands an order over and waits for the board's word, or for the
// order's end.
func (d *Daemon) serveOrder(lines *api.Lines, req *api.Request, say func(*api.Response) error) {
	w := waiter.New()
	if d.loop.Post(func() { d.order(req.Note, req.Decision, w) }) {
		d.follow(lines, say, w, func(string) { d.leaveOrder(w) })
	}
}
