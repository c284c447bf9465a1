package hostd

import (
	"crypto/sha256"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

func TestForgedHints(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.say(&message.Event{Job: r.Job, State: "done"})
	w.b.say(&message.Event{Job: r.Job, State: "denied"})
	w.b.say(&message.Refused{Job: message.JobID{1}, Code: message.CodeDenied, Text: "not yours"})
	w.b.say(&message.Done{Job: r.Job, Intent: 0, Outcome: 1})
	c.event("denied")
	if f := hear[*message.Fetch](w.b); f.From != w.b.Size() {
		t.Fatalf("a forged done makes the host fetch from %d", f.From)
	}
	w.b.run(r, nil)
	c.expect(api.OK, "")
}

func TestArmedIsNotRefused(t *testing.T) {
	for _, code := range []string{message.CodeDenied, message.CodeArmTimeout, message.CodeCancelled, message.CodeBusy, message.CodeNoHello, message.CodeForkedHead, "expired"} {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		i, items := w.b.intent(r)
		w.b.push(i)
		w.b.acked()
		w.b.say(&message.Refused{Job: r.Job, Code: code, Text: "forged"})
		w.b.Commit()
		w.b.push(w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items}))
		w.b.say(&message.Checkpoint{Note: w.b.Note})
		w.b.acked() // and nothing else was said
		if got := c.final(); !got.OK {
			t.Errorf("%s: %+v", code, got)
		}
	}
}

func TestWithdrawnAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	for range 4 {
		w.b.say(&message.Refused{Job: w.b.submitted().Job, Code: message.CodeCancelled, Text: "cancelled by the host"})
	}
	c.expect(api.Interrupted, "says that the request was withdrawn")
}

func TestAbsurdLength(t *testing.T) {
	w := newWorld(t)
	m := w.b.welcome(w.b.connect().Hello.Nonce)
	m.Total += 1<<24 + 1
	w.b.say(m)
	for !strings.Contains(w.status().Link, "absurd length") {
	}
	if w.status().Verified || len(w.b.in) > 0 {
		t.Error("its entries are asked for")
	}
}

func TestNoise(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.events <- serialport.Event{Kind: serialport.Message, Body: []byte("noise")}
	w.b.say(&message.Mirrored{Size: 5})
	w.b.say(&message.Event{Job: message.JobID{7}, State: "touch"})
	w.b.say(&message.Entries{Start: 9, Total: 10, Entries: [][]byte{[]byte("nonsense\n")}})
	if f := hear[*message.Fetch](w.b); f.From != w.b.Size() {
		t.Fatalf("fetches from %d", f.From)
	}
	w.b.say(&message.Checkpoint{Note: newBoard(t).Note})
	w.retry()
	w.b.say(w.b.welcome(w.b.hello().Hello.Nonce))
	w.b.run(r, nil)
	c.expect(api.OK, "")
	if s := w.status(); s.Evidence != "" {
		t.Fatalf("evidence %q", s.Evidence)
	}
}

func TestUncommitted(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	from := w.b.Size()
	i, items := w.b.intent(r)
	w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
	w.b.push(from)
	w.b.acked()
	w.b.say(&message.Checkpoint{Note: w.b.Note}) // the old one again
	w.b.say(&message.Done{Job: r.Job, Intent: i, Outcome: i + 1})
	w.b.say(&message.Event{Job: r.Job, State: "still-waiting"})
	c.event("still-waiting") // everything before it was handled
	w.b.Commit()
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	c.expect(api.OK, "")
}

func TestLyingOutcomes(t *testing.T) {
	lies := map[string]func(w *world, r *request){
		"signature of another file": func(w *world, r *request) {
			w.b.run(r, func(items []ledger.ItemResult) { items[0], items[1] = items[1], items[0] })
		},
		"no signature at all": func(w *world, r *request) {
			w.b.run(r, func(items []ledger.ItemResult) { items[0].Signature = []byte("nonsense") })
		},
		"other intent index": func(w *world, r *request) {
			from := w.b.Size()
			i, items := w.b.intent(r)
			w.b.Append(&ledger.Outcome{Intent: i - 1, Job: r.Job, Items: items})
			w.b.Commit()
			w.b.push(from)
			w.b.say(&message.Checkpoint{Note: w.b.Note})
		},
		"fewer items": func(w *world, r *request) {
			from := w.b.Size()
			i, items := w.b.intent(r)
			w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items[:1]})
			w.b.Commit()
			w.b.push(from)
			w.b.say(&message.Checkpoint{Note: w.b.Note})
		},
		"other announced digests": func(w *world, r *request) {
			s := r.states
			r.states = []hashstate.State{s[1], s[0]}
			w.b.run(r, func(items []ledger.ItemResult) { items[0], items[1] = items[1], items[0] })
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.b.meet()
			c := w.sign("core.db", "extra.db")
			lie(w, w.b.submitted())
			stop := w.b.attend() // it may come from the cable: the host asks again
			defer stop()
			c.expect(api.Evidence, "does not verify")
			if s := w.status(); s.Evidence != "" {
				t.Fatalf("hearsay is taken for evidence: %+v", s)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	first := w.sign("core.db")
	old := w.b.Note
	r1 := w.b.submitted()
	w.b.run(r1, nil)
	first.expect(api.OK, "")
	c := w.sign("core.db")
	r := w.b.submitted()
	if r.Job == r1.Job {
		t.Fatal("two requests have one job identity")
	}
	w.b.push(0)
	w.b.say(&message.Checkpoint{Note: old})
	w.b.say(&message.Done{Job: r1.Job, Intent: 1, Outcome: 2})
	w.b.run(r, nil)
	c.expect(api.OK, "")
	if s := w.status(); s.Evidence != "" || s.Committed != w.b.Size()-1 {
		t.Fatalf("status %+v", s)
	}
}

func (w *world) forked(part string) {
	w.t.Helper()
	w.sign("core.db").expect(api.Evidence, part)
	if s := w.status(); !strings.Contains(s.Evidence, part) || s.Verified {
		w.t.Fatalf("status hides the evidence: %+v", s)
	}
	w.stop()
	w.start()
	w.sign("core.db").expect(api.Evidence, part)
	if found := must(filepath.Glob(filepath.Join(w.dir, "state", "evidence-*"))); len(found) == 0 {
		w.t.Fatal("no evidence kept")
	}
}

func TestFork(t *testing.T) {
	w := newWorld(t)
	w.b.Filler(noon)
	w.b.Commit()
	w.b.meet()
	w.b.Entries = w.b.Entries[:1]
	w.b.Filler(noon.Add(time.Second))
	w.b.Commit()
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	w.forked("two logs")
}

func TestCommitUnderWay(t *testing.T) {
	w := newWorld(t)
	w.b.Filler(noon)
	w.b.Extend()
	w.b.Filler(noon)
	w.b.meet()
	w.sign("core.db")
	w.b.submitted()
}

func TestNotOurBoard(t *testing.T) {
	w := newWorld(t)
	other := newBoard(t)
	h := w.b.connect()
	recorded := w.b.welcome(h.Hello.Nonce)
	say := func(change func(*message.Welcome)) {
		wel := w.b.welcome(h.Hello.Nonce)
		change(wel)
		w.b.say(wel)
		w.retry()
		h = w.b.hello() // it asks again instead of going on
	}
	say(func(m *message.Welcome) { o := other.welcome(m.Nonce); m.Attest, m.Sig = o.Attest, o.Sig })
	say(func(m *message.Welcome) { o := w.b.welcome([16]byte{1}); m.Attest, m.Sig = o.Attest, o.Sig })
	say(func(m *message.Welcome) { m.Attest, m.Sig = nil, nil })
	say(func(m *message.Welcome) { *m = *recorded })
	for _, tag := range [][32]byte{quote.CertifyTag(sha256.Sum256(h.Hello.Nonce[:])), quote.BootTag([32]byte{}), {}} {
		say(func(m *message.Welcome) { a := w.b.TPM.CertifyHead(tag); m.Attest, m.Sig = a.Attest, a.Sig })
	}
	say(func(m *message.Welcome) {
		a := w.b.TPM.QuotePCR(quote.HelloTag(m.Nonce[:])) // no NV_Certify
		m.Attest, m.Sig = a.Attest, a.Sig
	})
	say(func(m *message.Welcome) { m.Checkpoint = other.Note })
	say(func(m *message.Welcome) { m.Nonce[0] ^= 1 })
	say(func(m *message.Welcome) { m.Origin = "other.example/log" })
	if s := w.status(); s.Verified || !strings.HasPrefix(s.Link, "not verified") {
		t.Fatalf("status %+v", s)
	}
	w.b.say(w.b.welcome(h.Hello.Nonce))
	w.b.serve()
	w.sign("core.db")
	w.b.submitted()
}

func TestGreetsUntilProven(t *testing.T) {
	w := newWorldTimed(t, loop.Timing{HelloRetry: 20 * time.Millisecond})
	nonces := map[[16]byte]bool{w.b.connect().Hello.Nonce: true}
	for range 3 {
		nonces[w.b.hello().Hello.Nonce] = true
	}
	if len(nonces) != 4 {
		t.Errorf("%d nonces in 4 greetings", len(nonces))
	}
	w.b.drop()
	w.stop()

	w = newWorld(t)
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	w.d.loop.Post(func() { w.d.loop.Waits.HelloRetry = time.Millisecond })
	w.b.say(&message.Checkpoint{Note: newBoard(t).Note})
	w.b.hello()
	w.b.drop()
}
