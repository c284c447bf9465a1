package ceremony

import (
	"crypto/sha256"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"touchmark/tpm/ledger"
)

var errBoom = errors.New("boom")

func wantEffects(t *testing.T, got []Effect, want ...Effect) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("effects %#v, want %#v", got, want)
	}
}

// arm takes a fresh ceremony to the point where the token has its first APDU.
func arm(t *testing.T, n int) *Machine {
	t.Helper()
	m := New(n)
	wantEffects(t, m.Step(Arm{}), AppendIntent{})
	wantEffects(t, m.Step(Appended{}), AwaitMirror{})
	wantEffects(t, m.Step(Mirrored{}), ExtendHead{})
	wantEffects(t, m.Step(HeadExtended{}), ExtendPCR{})
	wantEffects(t, m.Step(PCRExtended{}), Attest{}, Sign{0})
	return m
}

func TestBatchOfTwo(t *testing.T) {
	m := arm(t, 2)
	wantEffects(t, m.Step(TokenAnswered{Signature: []byte("one")}), Sign{1})
	wantEffects(t, m.Step(Attested{}))
	want := []ledger.ItemResult{{State: ledger.Signed, Signature: []byte("one")}, {State: ledger.Signed, Signature: []byte("two")}}
	wantEffects(t, m.Step(TokenAnswered{Signature: []byte("two")}), Record{want, true})
	wantEffects(t, m.Step(Recorded{}), Release{want})
	if m.Phase() != Released {
		t.Fatal(m.Phase())
	}
}

func TestReleaseWaitsForAttestation(t *testing.T) {
	m := arm(t, 1)
	wantEffects(t, m.Step(TokenAnswered{Signature: []byte("s")}))
	if m.Phase() != Settling {
		t.Fatal(m.Phase())
	}
	wantEffects(t, m.Step(Attested{}), Record{[]ledger.ItemResult{{State: ledger.Signed, Signature: []byte("s")}}, true})
}

func TestEnds(t *testing.T) {
	withheld := ledger.ItemResult{State: ledger.Withheld, Hash: sha256.Sum256([]byte("s"))}
	notStarted := func(r string) ledger.ItemResult { return ledger.ItemResult{State: ledger.NotStarted, Reason: r} }
	for _, c := range []struct {
		name     string
		events   []Event // after Shown, n = 2
		want     []ledger.ItemResult
		attested bool
	}{
		{"denied while appending", []Event{Arm{}, Deny{}, Appended{}}, []ledger.ItemResult{{State: ledger.Denied}, {State: ledger.Denied}}, false},
		{"denied while mirroring", []Event{Arm{}, Appended{}, Deny{}}, []ledger.ItemResult{{State: ledger.Denied}, {State: ledger.Denied}}, false},
		{"denied while extending", []Event{Arm{}, Appended{}, Mirrored{}, Deny{}, HeadExtended{}, PCRExtended{}, Attested{}}, []ledger.ItemResult{{State: ledger.Denied}, {State: ledger.Denied}}, true},
		{"not mirrored", []Event{Arm{}, Appended{}, Unmirrored{}}, []ledger.ItemResult{notStarted("not-mirrored"), notStarted("not-mirrored")}, false},
		{"HEAD refused", []Event{Arm{}, Appended{}, Mirrored{}, HeadExtended{errBoom}}, []ledger.ItemResult{notStarted("tpm-error"), notStarted("tpm-error")}, false},
		{"PCR refused", []Event{Arm{}, Appended{}, Mirrored{}, HeadExtended{}, PCRExtended{errBoom}}, []ledger.ItemResult{notStarted("tpm-error"), notStarted("tpm-error")}, false},
		{"touch time-out", committedThen(Attested{}, TokenAnswered{Err: ErrTouchTimeout}), []ledger.ItemResult{{State: ledger.TimedOut}, notStarted("batch-stopped")}, true},
		{"removed", committedThen(Attested{}, TokenAnswered{Err: ErrRemoved}), []ledger.ItemResult{{State: ledger.Failed, Reason: "token-removed"}, notStarted("batch-stopped")}, true},
		{"PIN lost", committedThen(Attested{}, TokenAnswered{Err: ErrPIN}), []ledger.ItemResult{{State: ledger.Failed, Reason: "pin-required"}, notStarted("batch-stopped")}, true},
		{"token error", committedThen(Attested{}, TokenAnswered{Err: errBoom}), []ledger.ItemResult{{State: ledger.Failed, Reason: "token-error"}, notStarted("batch-stopped")}, true},
		{"denied late, still signed", committedThen(Attested{}, Deny{}, TokenAnswered{Signature: []byte("s")}), []ledger.ItemResult{withheld, {State: ledger.Denied}}, true},
		{"denied late, timed out", committedThen(Attested{}, Deny{}, TokenAnswered{Err: ErrTouchTimeout}), []ledger.ItemResult{{State: ledger.Denied}, {State: ledger.Denied}}, true},
		{"denied at the second touch", committedThen(Attested{}, TokenAnswered{Signature: []byte("s")}, Deny{}, TokenAnswered{Err: ErrTouchTimeout}), []ledger.ItemResult{withheld, {State: ledger.Denied}}, true},
		{"not attested", committedThen(TokenAnswered{Signature: []byte("s")}, TokenAnswered{Signature: []byte("s")}, Attested{errBoom}), []ledger.ItemResult{withheld, withheld}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := New(2)
			var last []Effect
			for _, e := range c.events {
				last = m.Step(clone(e))
			}
			wantEffects(t, last, Record{c.want, c.attested})
			wantEffects(t, m.Step(Recorded{}), Release{c.want})
		})
	}
}

func committedThen(more ...Event) []Event {
	return append([]Event{Arm{}, Appended{}, Mirrored{}, HeadExtended{}, PCRExtended{}}, more...)
}

// clone gives each case its own signature bytes, because withholding zeroes them.
func clone(e Event) Event {
	if a, ok := e.(TokenAnswered); ok {
		a.Signature = append([]byte(nil), a.Signature...)
		return a
	}
	return e
}

func TestNothingBeforeArming(t *testing.T) {
	m := New(1)
	wantEffects(t, m.Step(Deny{}), Refuse{"denied", "the operator denied it"})
	m = New(1)
	wantEffects(t, m.Step(Withdraw{"cancelled", "by the host"}), Refuse{"cancelled", "by the host"})
	wantEffects(t, m.Step(Arm{}))
	m = arm(t, 1)
	wantEffects(t, m.Step(Withdraw{"cancelled", "too late"}))
}

func TestLateDenialTellsTheOperatorOnce(t *testing.T) {
	m := arm(t, 1)
	wantEffects(t, m.Step(Deny{}), DoNotTouch{})
	wantEffects(t, m.Step(Deny{}))
}

func TestWithheldSignatureIsZeroed(t *testing.T) {
	m := arm(t, 1)
	m.Step(Attested{})
	m.Step(Deny{})
	sig := []byte("secret signature")
	m.Step(TokenAnswered{Signature: sig})
	if string(sig) != string(make([]byte, len(sig))) {
		t.Fatalf("signature still in memory: %q", sig)
	}
}

func TestHalts(t *testing.T) {
	for name, events := range map[string][]Event{
		"storage before the commit": {Arm{}, Appended{errBoom}},
		"HEAD in an unknown state":  {Arm{}, Appended{}, Mirrored{}, Lost{errBoom}},
		"storage after the touch":   committedThen(Attested{}, TokenAnswered{Signature: []byte("s")}, Recorded{errBoom}),
	} {
		m := New(1)
		var last []Effect
		for _, e := range events {
			last = m.Step(clone(e))
		}
		if !reflect.DeepEqual(last, []Effect{Halt{errBoom}}) || m.Phase() != Halted {
			t.Fatalf("%s: %v in phase %v", name, last, m.Phase())
		}
	}
}

// world is an ideal model of what the effects have done; it answers each
// effect at a moment and with a result of rapid's choosing.
type world struct {
	t                                    *rapid.T
	todo                                 []Effect
	appended, mirrored, head, pcr        bool
	attested, recorded, released, halted bool
	signing, refused                     bool
	armed                                bool
}

func (w *world) take(effects []Effect) {
	for _, e := range effects {
		w.check(e)
		w.todo = append(w.todo, e)
	}
}

// check holds the order of design §8 against each effect as it is asked for.
func (w *world) check(e Effect) {
	need := func(ok bool, what string) {
		if !ok {
			w.t.Fatalf("%T before %s", e, what)
		}
	}
	switch e := e.(type) {
	case AppendIntent:
		need(w.armed, "arming")
	case AwaitMirror:
		need(w.appended, "the intent was durable")
	case ExtendHead:
		need(w.mirrored, "the mirror had it")
	case ExtendPCR:
		need(w.head, "HEAD was extended")
	case Sign:
		need(w.pcr && w.head && w.mirrored && w.appended && !w.signing, "the commit")
		w.signing = true
	case Record:
		need(!w.signing, "the token answered")
		for _, o := range e.Items {
			need(o.State != "", "each item had an outcome")
			need(o.State != ledger.Signed || (e.Attested && w.attested), "the attestation")
			need(o.State == ledger.Signed == (len(o.Signature) > 0), "only signed items kept a signature")
		}
	case Release:
		need(w.recorded, "the outcome was durable")
		w.released = true
	case Refuse:
		need(!w.appended, "anything was appended")
		w.refused = true
	case Halt:
		w.halted = true
	}
}

func (w *world) answer(i int) Event {
	e := w.todo[i]
	w.todo = append(w.todo[:i], w.todo[i+1:]...)
	fail := rapid.IntRange(0, 5).Draw(w.t, "fault") == 0
	var err error
	if fail {
		err = errBoom
	}
	switch e.(type) {
	case AppendIntent:
		w.appended = true
		return Appended{err}
	case AwaitMirror:
		w.mirrored = !fail
		if fail {
			return Unmirrored{}
		}
		return Mirrored{}
	case ExtendHead:
		w.head = !fail
		return HeadExtended{err}
	case ExtendPCR:
		w.pcr = !fail
		return PCRExtended{err}
	case Attest:
		w.attested = !fail
		return Attested{err}
	case Sign:
		w.signing = false
		return w.token()
	case Record:
		w.recorded = !fail
		return Recorded{err}
	}
	return nil
}

func (w *world) token() Event {
	switch rapid.IntRange(0, 4).Draw(w.t, "token") {
	case 0:
		return TokenAnswered{Err: ErrTouchTimeout}
	case 1:
		return TokenAnswered{Err: ErrRemoved}
	}
	return TokenAnswered{Signature: []byte("signature")}
}

// TestAnyOrder plays buttons, cancels and faults at any moment: the order of
// the design holds, and every armed ceremony ends in one record or in a halt.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(rapid.IntRange(1, 4).Draw(t, "items"))
		w := &world{t: t}
		for step := 0; !m.Phase().Over(); step++ {
			var e Event
			choice := rapid.IntRange(0, 9).Draw(t, "choice")
			switch {
			case choice == 0 && step > 0:
				e = Deny{}
			case choice == 1 && step > 0:
				e = Withdraw{"cancelled", ""}
			case len(w.todo) == 0:
				w.armed, e = true, Arm{}
			default:
				e = w.answer(rapid.IntRange(0, len(w.todo)-1).Draw(t, "answer"))
			}
			if e != nil {
				w.take(m.Step(e))
			}
			if step > 200 {
				t.Fatalf("stuck in %v with %v", m.Phase(), w.todo)
			}
		}
		if !w.released && !w.refused && !w.halted {
			t.Fatalf("ended in %v without an end", m.Phase())
		}
	})
}
