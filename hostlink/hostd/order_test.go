package hostd

import (
	"crypto"
	"testing"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/orders"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// handed asks for an order to be handed over, and waits until the board has it.
func (w *world) handed(note []byte, decision bool) (*client, message.JobID) {
	w.t.Helper()
	c := w.ask(&api.Request{Op: api.OpOrder, Note: note, Decision: decision})
	if m := hear[*message.Order](w.b); string(m.Note) != string(note) {
		w.t.Fatalf("the board got %q", m.Note)
	}
	return c, must(order.Hash(note))
}

func (w *world) met() *world {
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	return w
}

func (w *world) note() []byte { return w.b.Order(&order.Note{}, w.b.parties.Admin) }

// taken has the board take an order.
func (w *world) taken(kind string, note []byte) (entry uint64) {
	w.t.Helper()
	entry = w.b.Decree(kind, 0, note)
	w.told(entry)
	return entry
}

// TestOrderIsShown: a client hears that the board has its order, and nothing that
// is about another.
func TestOrderIsShown(t *testing.T) {
	w := newWorld(t).met()
	c, id := w.handed(w.note(), false)
	w.b.say(&message.Event{Job: message.JobID{1}, State: message.EventShown})
	w.b.say(&message.Refused{Job: message.JobID{1}, Code: message.CodeDenied, Text: "another"})
	w.b.say(&message.Event{Job: id, State: message.EventQueued})
	if r := c.expect(api.OK, ""); r.Order == nil || r.Order.State != message.EventQueued || r.Job != id.String() {
		t.Fatalf("%+v", r)
	}
}

// TestOrderIsRefused: what the board says of an order is the client's answer, with
// a code of its own for each kind of refusal.
func TestOrderIsRefused(t *testing.T) {
	w := newWorld(t).met()
	for code, exit := range map[string]int{
		message.CodeBadSignature: api.Refused,
		message.CodeBadMessage:   api.Refused,
		message.CodeWrongOrigin:  api.Refused,
		message.CodeKeyRevoked:   api.Refused,
		message.CodeDenied:       api.Denied,
		message.CodeArmTimeout:   api.TimedOut,
		message.CodeBusy:         api.DeviceFault,
		message.CodeTooMany:      api.DeviceFault,
		message.CodeHalted:       api.DeviceFault,
		message.CodeForkedHead:   api.Evidence,
	} {
		for _, decision := range []bool{false, true} {
			c, id := w.handed(w.note(), decision)
			if decision {
				w.b.say(&message.Event{Job: id, State: message.EventShown})
				c.event(message.EventShown)
			}
			w.b.say(&message.Refused{Job: id, Code: code, Text: "so says the board"})
			if r := c.expect(exit, "so says the board"); r.Job != id.String() {
				t.Fatalf("%s: %+v", code, r)
			}
			if code == message.CodeHalted { // the board is asked whether it is so
				w.b.say(w.b.welcome(w.b.hello().Hello.Nonce))
				for !w.status().Verified {
					continue
				}
			}
		}
	}
}

// TestOrderInForce: only the proven log says that an order is in force; then it
// need not be handed over again.
func TestOrderInForce(t *testing.T) {
	w := newWorld(t).met()
	note := w.note()
	c, id := w.handed(note, true)
	w.b.say(&message.Event{Job: id, State: message.EventArmed})
	c.event(message.EventArmed)
	entry := w.taken(ledger.KindNote, note)
	if r := c.expect(api.OK, ""); r.Order == nil || r.Order.State != api.OrderInForce || r.Order.Entry != entry {
		t.Fatalf("%+v", r)
	}
	r := w.ask(&api.Request{Op: api.OpOrder, Note: note}).expect(api.OK, "")
	if r.Order.State != api.OrderInForce || r.Order.Entry != entry {
		t.Fatalf("%+v", r)
	}
	w.quiet()
}

// TestOrderSaidToBeInForce: the board says that an order had effect before; as long
// as the log does not, that is no success.
func TestOrderSaidToBeInForce(t *testing.T) {
	w := newWorld(t).met()
	note := w.note()
	said := func(id message.JobID) {
		w.b.say(&message.Refused{Job: id, Code: message.CodeInForce, Text: "it took effect already"})
	}
	c, id := w.handed(note, false)
	said(id)
	entry := w.taken(ledger.KindNote, note)
	if r := c.expect(api.OK, ""); r.Order.Entry != entry {
		t.Fatalf("%+v", r)
	}
	w.look(func() { w.d.loop.Waits.CancelWait = time.Millisecond })
	c, id = w.handed(w.b.Order(&order.Close{}, w.b.parties.Admin), false)
	said(id)
	c.expect(api.Refused, "not in the log")
}

// TestOrderIsHandedOverAgain: a conversation that ends under an order, whether the
// board has it or not, makes it go over again; what the log has by then does not.
func TestOrderIsHandedOverAgain(t *testing.T) {
	w := newWorld(t).met()
	w.b.up.Store(false) // dead, and this host does not know
	note := w.note()
	c := w.ask(&api.Request{Op: api.OpOrder, Note: note, Decision: true})
	for len(w.timers.of(w.timing.AnswerWait)) == 0 { // until the daemon has it
		w.look(func() {})
	}
	again := func() message.JobID {
		w.b.drop()
		c.event("link-lost")
		w.b.meet()
		if m := hear[*message.Order](w.b); string(m.Note) != string(note) {
			t.Fatalf("the board got %q", m.Note)
		}
		return must(order.Hash(note))
	}
	w.b.say(&message.Event{Job: again(), State: message.EventShown})
	c.event(message.EventShown)
	again()
	w.b.drop()
	c.event("link-lost")
	w.b.Decree(ledger.KindNote, 0, note)
	w.b.Commit()
	w.b.meet()
	c.expect(api.OK, "")
	w.quiet()
}

// TestOrderToNobody: without a word from the board the client is told that nobody
// knows.
func TestOrderToNobody(t *testing.T) {
	w := newWorld(t)
	w.ask(&api.Request{Op: api.OpOrder, Note: w.note()}).expect(api.LinkDown, "no conversation")
	w.met()
	w.ask(&api.Request{Op: api.OpOrder, Note: []byte("nonsense")}).expect(api.BadInput, "no signed note")
	w.look(func() { w.d.loop.Waits.AnswerWait = time.Millisecond })
	c, _ := w.handed(w.note(), true)
	c.expect(api.LinkDown, "has not said")
}

// TestOrdersAreBounded: so many are with the board, and a client that leaves makes
// room; what the board has it keeps.
func TestOrdersAreBounded(t *testing.T) {
	w := newWorld(t).met()
	var clients []*client
	for range orders.Most {
		c, _ := w.handed(w.note(), true)
		clients = append(clients, c)
	}
	w.ask(&api.Request{Op: api.OpOrder, Note: w.note()}).expect(api.DeviceFault, "with the appliance already")
	if err := clients[0].lines.Write(&api.Request{Op: api.OpCancel}); err != nil {
		t.Fatal(err)
	}
	clients[0].expect(api.Interrupted, "on its display")
	if err := clients[1].conn.Close(); err != nil {
		t.Fatal(err)
	}
	note := w.note()
	for room := 2; room > 0; {
		w.look(func() {
			another := waiter.New()
			if w.d.orders.Hand(note, true, another); len(another.Final) == 0 {
				room--
			}
		})
	}
}

// TestOrderToHaltedBoard: a board that has halted takes orders: a resume leads out.
func TestOrderToHaltedBoard(t *testing.T) {
	w := newWorld(t)
	h := w.b.connect()
	m := w.b.welcome(h.Hello.Nonce)
	m.State, m.Halt, m.Attest, m.Sig = message.StateHalted, "head-unknown", nil, nil
	w.b.say(m)
	for w.status().Board != message.StateHalted {
		continue
	}
	c, id := w.handed(w.note(), false)
	w.b.say(&message.Refused{Job: id, Code: message.CodeHalted, Text: "no resume"})
	c.expect(api.DeviceFault, "no resume")
}

// TestBoardLedOut: what an order led out of its halt signs at once, and what was led out
// without the host is known to when somebody asks.
func TestBoardLedOut(t *testing.T) {
	for name, out := range map[string]func(w *world){
		"by an order": func(w *world) { w.taken(ledger.KindNote, w.note()) },
		"by its operator": func(w *world) {
			w.back.Store(-60)
			_ = w.ask(&api.Request{Op: api.OpStatus})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			h := w.b.connect()
			m := w.b.welcome(h.Hello.Nonce)
			m.State, m.Halt = message.StateHalted, "pcr-unexplained"
			w.b.say(m)
			w.b.serve()
			for ready := false; !ready; {
				w.look(func() { ready = w.d.board.Met() })
			}
			w.sign("core.db").expect(api.DeviceFault, "halted (pcr-unexplained)")
			out(w)
			w.b.say(w.b.welcome(w.b.hello().Hello.Nonce))
			for halted := true; halted; {
				w.look(func() { halted = w.d.board.Halted() })
			}
			c := w.sign("core.db")
			w.b.run(w.b.submitted(), nil)
			c.expect(api.OK, "")
		})
	}
}

// TestCertOrder: an order about a certificate has its end in the outcome behind
// it, and its signature must be the token's, of what the entry announced.
func TestCertOrder(t *testing.T) {
	for name, c := range map[string]struct {
		state ledger.State
		flip  bool
		exit  int
	}{
		"signed":             {ledger.Signed, false, api.OK},
		"another signature":  {ledger.Signed, true, api.Evidence},
		"nobody touched":     {ledger.TimedOut, false, api.TimedOut},
		"nobody knows of it": {ledger.Unknown, false, api.MaySigned},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t).met()
			note := w.b.Order(&order.Cert{Key: "packages"}, w.b.parties.Admin)
			asked, id := w.handed(note, true)
			cert := must(certificate.Parse(w.b.Trust.Certs[0]))
			p := must(cert.Plan(certificate.Certification{Created: logtest.Noon, Origin: logtest.Origin, Order: id}))
			at := w.b.Append(&ledger.Order{Action: ledger.KindCert, Mirrored: true, Note: note, Sign: message.Digest{Alg: p.Alg, Sum: p.Digest}})
			w.told(at)
			item := ledger.ItemResult{State: c.state}
			if c.state == ledger.Signed {
				item.Signature = must(p.Finish(must(w.b.Token(p.Digest, crypto.SHA256))))
			}
			if c.flip {
				item.Signature[len(item.Signature)-1] ^= 1
			}
			w.b.push(w.b.Append(&ledger.Outcome{Intent: at, Job: id, Items: []ledger.ItemResult{item}}))
			if r := asked.expect(c.exit, ""); c.exit == api.OK && r.Order.Entry != at {
				t.Fatalf("%+v", r)
			}
		})
	}
}
