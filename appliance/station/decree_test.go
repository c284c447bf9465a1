package station

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/station/decree"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// obedient is a board that looks for orders in a directory.
func obedient(t *testing.T) *board {
	b := newBoard(t)
	b.cfg.Orders, b.cfg.OrderPoll = t.TempDir(), time.Millisecond
	return b
}

// bring puts a note before the board.
func (b *board) bring(note []byte) (id string) {
	b.t.Helper()
	hash, _ := order.Hash(note) // what is no note has none
	b.nonce++
	name := filepath.Join(b.cfg.Orders, fmt.Sprint(b.nonce))
	err := os.WriteFile(name, note, 0o600)
	must(b.t, err)
	must(b.t, os.Rename(name, name+".note"))
	return fmt.Sprintf("%x", hash)
}

// order is an order of the administrator's, about the log as the host has it.
func (b *board) order(a order.Action) []byte {
	b.t.Helper()
	size, root := b.root()
	o := &order.Order{Origin: origin, After: order.State{Size: size, Root: root}, Action: a, Reason: fmt.Sprintf("reason %d", b.nonce)}
	return b.signed(o)
}

func (b *board) signed(o *order.Order) []byte {
	b.t.Helper()
	text, err := o.Marshal()
	must(b.t, err)
	n, err := message.SignNote(text, b.admin)
	must(b.t, err)
	return n
}

// nextPolicy is the policy in force with something replaced, signed.
func (b *board) nextPolicy(old, with string) []byte {
	b.t.Helper()
	hash := sha256.Sum256([]byte(b.pol))
	var serial int
	_, err := fmt.Sscanf(b.pol[strings.Index(b.pol, "serial = "):], "serial = %d", &serial)
	must(b.t, err)
	prev := b.pol[strings.Index(b.pol, "previous = "):]
	prev = prev[:strings.Index(prev, "\n")]
	b.pol = strings.NewReplacer(fmt.Sprintf("serial = %d", serial), fmt.Sprintf("serial = %d", serial+1), prev, fmt.Sprintf("previous = \"%x\"", hash), old, with).Replace(b.pol)
	n, err := message.SignNote([]byte(b.pol), b.admin)
	must(b.t, err)
	return n
}

func (b *board) ordered(id string) operator.View {
	b.t.Helper()
	return b.view("the order", func(v operator.View) bool { return v.Order != nil && v.Order.ID == id && v.Order.State == "shown" })
}

// obeys brings an order, arms it and waits until it is in force.
func (b *board) obeys(note []byte) {
	b.t.Helper()
	id := b.bring(note)
	b.ordered(id)
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.inForce()
}

// inForce serves the host's side until an order is in force and its entries
// are here, if there is a host.
func (b *board) inForce() {
	b.t.Helper()
	v := b.serve("order-done", "order-dropped")
	if v.Event != "order-done" {
		b.t.Fatal(v.Message)
	}
	if v.Host == "repo1" {
		b.until(func() bool { return uint64(len(b.entries)) >= v.LogSize })
	}
}

// serve serves the host's side until one of these events is on display.
func (b *board) serve(events ...string) operator.View {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case v := <-b.panel.views:
			if slices.Contains(events, v.Event) {
				return *v
			}
		case m := <-b.link.out:
			p, err := fromBoard(m)
			must(b.t, err)
			b.take(p)
		case <-deadline:
			b.t.Fatalf("none of %v ever happened", events)
		}
	}
}

// A policy that the administrators changed is in force once it is armed, and
// stays so.
func TestPolicyChange(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	note := b.nextPolicy(`names = ["*.db"]`, `names = ["*.files"]`)
	id := b.bring(note)
	v := b.ordered(id)
	if text := strings.Join(v.Order.Lines, "\n"); v.Ask != operator.AskArm || !strings.Contains(text, "CHANGED class db") || !strings.Contains(text, "*.files") {
		t.Fatalf("asks %q and shows %s", v.Ask, text)
	}
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.inForce()
	for range 2 {
		w := b.connect()
		if hash := sha256.Sum256([]byte(b.pol)); w.Policy != hash {
			t.Fatalf("policy %x is in force, want %x", w.Policy, hash)
		}
		id, m := b.job([]string{"b.db"}, "content")
		b.submit(m)
		b.until(func() bool { return b.refused[id] != nil })
		if r := b.refused[id]; r.Code != message.CodeNameForbidden {
			t.Fatalf("%+v", r)
		}
		b.signs("b.files", "content")
		b.kill()
		b.start()
	}
	b.replays()
	if n := b.kinds(); n[ledger.KindPolicy] != 1 {
		t.Fatalf("%v", n)
	}
}

// Without a host an order is committed only if the operator says so; the entry
// says that nobody held it.
func TestUnmirrored(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	b.kill()
	b.start()
	id := b.bring(b.order(&order.Note{}))
	if v := b.ordered(id); v.Ask != operator.AskUnmirrored || !v.Order.Unmirrored {
		t.Fatalf("asks %q", v.Ask)
	}
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.view("the question", func(v operator.View) bool { return strings.Contains(v.Message, "No host holds it") })
	if n := b.store.Size(); n != 4 {
		t.Fatalf("%d entries: the order was taken", n)
	}
	b.command(operator.Command{Verb: operator.Unmirrored, Job: id})
	b.inForce()
	b.connect()
	b.signs("a.db", "content")
	b.replays()
	if o := b.newestOrder(); o.Mirrored || o.Action != ledger.KindNote {
		t.Fatalf("%+v", o)
	}
}

// A host that does not acknowledge the order's entry leaves it void; then it is
// the operator's choice.
func TestMirrorTimesOut(t *testing.T) {
	b := obedient(t)
	b.cfg.MirrorTimeout = time.Millisecond
	b.start()
	b.connect()
	b.acks = false
	id := b.bring(b.order(&order.Note{}))
	b.ordered(id)
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.view("the question", func(v operator.View) bool { return v.Order != nil && v.Ask == operator.AskUnmirrored })
	b.command(operator.Command{Verb: operator.Unmirrored, Job: id})
	b.inForce()
	b.replays()
	if o := b.newestOrder(); o.Mirrored || b.kinds()[ledger.KindNote] != 2 {
		t.Fatalf("%+v", o)
	}
}

// newestOrder is the newest administrative entry of the host's mirror.
func (b *board) newestOrder() *ledger.Order {
	b.t.Helper()
	for _, raw := range slices.Backward(b.entries) {
		_, body, err := ledger.Parse(raw)
		must(b.t, err)
		if o, ok := body.(*ledger.Order); ok {
			return o
		}
	}
	b.t.Fatal("no order in the log")
	return nil
}

// The administrators set a clock that ran ahead back; what follows has the new
// time, over restarts too.
func TestTimeOrder(t *testing.T) {
	b := obedient(t)
	ahead := 100 * time.Hour
	b.wrongBy(ahead)
	b.start()
	b.kill()
	b.cfg.Clock = nil
	b.start()
	v := b.view("a halt", func(v operator.View) bool { return v.Halted != "" })
	if !strings.Contains(v.Halted, "have the administrators order a time") {
		t.Fatal(v.Halted)
	}
	b.connect()
	b.obeys(b.order(&order.Time{To: b.now()}))
	b.signs("a.db", "content")
	b.kill()
	b.start()
	b.connect()
	b.signs("b.db", "content")
	b.replays()
}

// A closed log stays closed.
func TestClose(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	note := b.order(&order.Close{})
	id := b.bring(note)
	b.ordered(id)
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	if v := b.serve("halted"); !strings.Contains(v.Halted, "administrators ended this log") {
		t.Fatal(v.Halted)
	}
	b.kill()
	b.start()
	b.view("a halt", func(v operator.View) bool { return v.Halt == "log-closed" })
	b.connect()
	job, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.until(func() bool { return b.refused[job] != nil })
	b.replays()
}

// Administrators lead a board out of a halt that no mirror can help with.
func TestResume(t *testing.T) {
	for _, c := range []string{"", "NV_Extend before", "NV_Extend after", "PCR_Extend before", "PCR_Extend after", "NV_Certify before", "Quote before"} {
		t.Run(c, func(t *testing.T) {
			b := obedient(t)
			b.start()
			b.connect()
			b.signs("a.db", "content")
			b.kill()
			b.tpm.tpm.ExtendHead([32]byte{1})
			b.start()
			b.view("a halt", func(v operator.View) bool { return strings.Contains(v.Halted, "head-unknown") })
			b.connect()
			note := b.order(&order.Resume{Halt: "head-unknown", Head: b.tpm.tpm.Head, PCR: b.tpm.tpm.PCR})
			id := b.bring(note)
			b.ordered(id)
			command, kind, _ := strings.Cut(c, " ")
			again := false
			if c != "" {
				b.tpm.fail(command, kind)
				again = kind == "before" && command == "NV_Extend" || command == "NV_Certify"
			}
			b.command(operator.Command{Verb: operator.Arm, Job: id})
			if again {
				b.serve("order-dropped")
				b.obeys(note)
			} else {
				b.inForce()
			}
			b.signs("b.db", "content")
			b.kill()
			b.start()
			b.connect()
			b.signs("c.db", "content")
		})
	}
}

// Whatever command of the commit fails, and whether it was carried out or not,
// the order is in force or not, the log explains the TPM, and the board goes on.
func TestOrderFaults(t *testing.T) {
	for _, c := range []string{"NV_Extend", "PCR_Extend", "NV_Certify", "Quote"} {
		for _, kind := range []string{"before", "after"} {
			t.Run(c+" "+kind, func(t *testing.T) {
				b := obedient(t)
				b.start()
				b.connect()
				id := b.bring(b.nextPolicy(`"20/1h"`, `"30/1h"`))
				b.ordered(id)
				b.tpm.fail(c, kind)
				b.command(operator.Command{Verb: operator.Arm, Job: id})
				want := "order-done"
				if c == "NV_Extend" && kind == "before" {
					want = "order-dropped"
				}
				v := b.serve("order-done", "order-dropped")
				if v.Event != want {
					t.Fatalf("%s: %s", v.Event, v.Message)
				}
				b.until(func() bool { return uint64(len(b.entries)) >= v.LogSize })
				w := b.connect()
				if inForce := w.Policy == sha256.Sum256([]byte(b.pol)); inForce != (want == "order-done") {
					t.Fatalf("in force: %v", inForce)
				}
				b.signs("a.db", "content")
				b.replays()
			})
		}
	}
}

// What does not fit is refused, says why, and changes nothing.
func TestOrdersRefused(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	done := b.order(&order.Note{})
	b.obeys(done)
	size, root := b.root()
	here := order.State{Size: size, Root: root}
	stranger, _ := newSigner(t, "admin")
	text, err := (&order.Order{Origin: origin, After: here, Action: &order.Note{}, Reason: "r"}).Marshal()
	must(t, err)
	foreign, err := message.SignNote(text, stranger)
	must(t, err)
	for name, c := range map[string]struct {
		note []byte
		want string
	}{
		"twice":         {done, "took effect already"},
		"garbage":       {[]byte("x"), "note"},
		"stranger":      {foreign, "signature"},
		"other log":     {b.signed(&order.Order{Origin: "touchmark.example/other", After: here, Action: &order.Note{}, Reason: "r"}), "for touchmark.example/other"},
		"future":        {b.signed(&order.Order{Origin: origin, After: order.State{Size: size + 1}, Action: &order.Note{}, Reason: "r"}), "presumes"},
		"fork":          {b.signed(&order.Order{Origin: origin, After: order.State{Size: size}, Action: &order.Note{}, Reason: "r"}), "another log"},
		"nothing wrong": {b.order(&order.Resume{Halt: "head-unknown"}), "has not halted"},
	} {
		b.bring(append(c.note, []byte(nil)...))
		v := b.serve("order-dropped")
		if !strings.Contains(v.Message, c.want) {
			t.Errorf("%s: %s", name, v.Message)
		}
	}
	if b.store.Size() != size {
		t.Error("something was written")
	}
	id := b.bring(b.order(&order.Note{}))
	b.ordered(id)
	b.command(operator.Command{Verb: operator.Deny, Job: id})
	b.serve("order-dropped")
	b.signs("a.db", "content")
	b.replays()
}

// An order that the operator denied, or nobody armed, cannot be sent again and
// again to keep jobs from the display; on a stick it comes again.
func TestDeclinedOrderDoesNotComeBack(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	note := b.order(&order.Note{})
	msg := (&message.Order{Note: note}).Marshal()
	hash, err := order.Hash(note)
	must(t, err)
	id := fmt.Sprintf("%x", hash)
	b.send(msg)
	b.ordered(id)
	b.send(msg) // while it is on display: how it goes
	b.until(func() bool { return len(b.heard(hash)) == 2 })
	if got := b.heard(hash); got[1] != message.EventShown {
		t.Fatalf("told %v", got)
	}
	b.command(operator.Command{Verb: operator.Deny, Job: id})
	b.serve("order-dropped")
	for range 3 {
		delete(b.refused, hash)
		b.send(msg)
		b.until(func() bool { return b.refused[hash] != nil })
		if r := b.refused[hash]; r.Code != message.CodeDenied {
			t.Fatalf("%+v", r)
		}
	}
	b.signs("a.db", "content")
	b.bring(note)
	b.ordered(id)
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.inForce()
	b.replays()
}

// What is remembered of declined orders is bounded: then hosts bring none.
func TestDeclinedOrdersAreBounded(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	for i := range decree.MaxDeclined + 1 {
		b.nonce++ // another reason
		note := b.order(&order.Note{})
		hash, err := order.Hash(note)
		must(t, err)
		delete(b.refused, hash)
		b.send((&message.Order{Note: note}).Marshal())
		want := message.CodeTooMany
		if i < decree.MaxDeclined {
			id := fmt.Sprintf("%x", hash)
			b.ordered(id)
			b.command(operator.Command{Verb: operator.Deny, Job: id})
			want = message.CodeDenied
		}
		b.until(func() bool { return b.refused[hash] != nil })
		if r := b.refused[hash]; r.Code != want {
			t.Fatalf("order %d: %+v", i, r)
		}
	}
	b.signs("a.db", "content")
}

func TestOrderThatNobodyArms(t *testing.T) {
	b := obedient(t)
	b.cfg.ArmTimeout = time.Millisecond
	b.start()
	b.connect()
	note := b.order(&order.Note{})
	hash, msg := decree.Named(note), (&message.Order{Note: note}).Marshal()
	for range 2 {
		delete(b.refused, hash)
		b.send(msg)
		b.until(func() bool { return b.refused[hash] != nil })
		if r := b.refused[hash]; r.Code != message.CodeArmTimeout {
			t.Fatalf("%+v", r)
		}
	}
}

// heard are the states of a job or order that the host heard of, in order.
func (b *board) heard(id message.JobID) (states []string) {
	for _, e := range b.events {
		if e.Job == id {
			states = append(states, e.State)
		}
	}
	return states
}

// A host hears how its order goes: that it waits behind a job, is shown, is armed;
// and that it is refused at once, by its hash.
func TestHostHearsOfItsOrder(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	job, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.shown(job)
	note := b.order(&order.Note{})
	id := decree.Named(note)
	b.send((&message.Order{Note: note}).Marshal())
	b.until(func() bool { return len(b.heard(id)) == 1 })
	text, err := message.NoteText(b.order(&order.Close{}))
	must(t, err)
	other, err := message.SignNote(text, b.host) // no administrator
	must(t, err)
	b.send((&message.Order{Note: other}).Marshal())
	b.until(func() bool { return b.refused[decree.Named(other)] != nil })
	b.command(operator.Command{Verb: operator.Deny, Job: job.String()})
	b.ordered(id.String())
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	b.inForce()
	want := []string{message.EventQueued, message.EventShown, message.EventArmed}
	if got := slices.Compact(b.heard(id)); !slices.Equal(got, want) {
		t.Fatalf("told %v, want %v", got, want)
	}
	if e := b.events[slices.IndexFunc(b.events, func(e *message.Event) bool { return e.Job == id && e.State == message.EventShown })]; e.Seconds < 1 {
		t.Fatalf("%d seconds left to arm it", e.Seconds)
	}
}

// A host brings an order as well as a stick does, and hears why it is refused.
func TestOrderOverTheLink(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	note := b.order(&order.Note{})
	hash, err := order.Hash(note)
	must(t, err)
	b.send((&message.Order{Note: note}).Marshal())
	id := fmt.Sprintf("%x", hash)
	b.ordered(id)
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.inForce()
	b.send((&message.Order{Note: note}).Marshal())
	b.until(func() bool { return b.refused[hash] != nil })
	if r := b.refused[hash]; r.Code != message.CodeInForce {
		t.Fatalf("%+v", r)
	}
	b.signs("a.db", "content")
	b.replays()
}
