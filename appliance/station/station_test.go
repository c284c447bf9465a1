package station

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake"
	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
)

// signs runs one job of one file through to its signature and proves it.
func (b *board) signs(name, content string) *ledger.Outcome {
	b.t.Helper()
	id, m := b.job([]string{name}, content)
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	o := b.end(id)
	b.proves(o, content)
	return o
}

// proves checks a one-item outcome as a host does: signature over the content,
// intent under a checkpoint that carries the TPM's line.
func (b *board) proves(o *ledger.Outcome, content string) {
	b.t.Helper()
	if o.Items[0].State != ledger.Signed {
		b.t.Fatalf("item is %s %s", o.Items[0].State, o.Items[0].Reason)
	}
	h := hashstate.New(message.SHA256)
	_, _ = h.Write([]byte(content))
	sig, err := sigformat.OpenPGPBinary.Verify(b.key, o.Items[0].Signature, h.State())
	must(b.t, err)
	hdr, body, err := ledger.Parse(b.entries[o.Intent])
	must(b.t, err)
	intent := body.(*ledger.Intent)
	if !sig.Created.Equal(hdr.Time) || sig.Job != intent.Job || sig.Origin != origin {
		b.t.Fatalf("signature made %v for %s, intent at %v for %s", sig.Created, sig.Job, hdr.Time, intent.Job)
	}
	cp, err := b.trust.OpenCheckpoint(b.notes[len(b.notes)-1])
	must(b.t, err)
	var tree ledger.Tree
	for _, e := range b.entries[:cp.Size] {
		tree.Add(ledger.LeafHash(e))
	}
	if cp.Size <= o.Intent || tree.Root() != cp.Root {
		b.t.Fatalf("checkpoint of %d entries does not cover the intent", cp.Size)
	}
}

func TestSignsABatchInOneCommit(t *testing.T) {
	b := newBoard(t)
	b.start()
	w := b.connect()
	if w.State != message.StateReady || len(w.Attest) == 0 {
		t.Fatalf("welcome: %+v", w)
	}
	b.tpm.counts()
	id, m := b.job([]string{"a.db", "b.db"}, "first", "second")
	b.submit(m)
	b.arm(id)
	for range 2 {
		b.awaitTouch()
		b.token.touch <- nil
	}
	o := b.end(id)
	if len(o.Items) != 2 || o.Items[1].State != ledger.Signed {
		t.Fatalf("%+v", o)
	}
	b.proves(o, "first")
	counts := b.tpm.counts()
	want := map[string]int{"NV_Extend": 1, "PCR_Extend": 1, "NV_Certify": 1, "Quote": 1}
	for c, n := range want {
		if counts[c] != n {
			t.Errorf("%d %s for one ceremony, want %d (all: %v)", counts[c], c, n, counts)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("other TPM commands were sent: %v", counts)
	}
}

func TestEndsAreRecordedAndTheNextJobWorks(t *testing.T) {
	for _, c := range []struct {
		name  string
		state ledger.State
		why   string
		run   func(b *board, id message.JobID)
	}{
		{"touch time-out", ledger.TimedOut, "", func(b *board, _ message.JobID) {
			b.awaitTouch()
			b.token.touch <- ceremony.ErrTouchTimeout
		}},
		{"token error", ledger.Failed, "token-error", func(b *board, _ message.JobID) {
			b.awaitTouch()
			b.token.touch <- errors.New("6F00")
		}},
		{"token removed", ledger.Failed, "token-removed", func(b *board, _ message.JobID) {
			b.awaitTouch()
			b.token.touch <- ceremony.ErrRemoved
			b.event("token-missing")
			b.token.set(false, false)
			b.event("pin-needed")
			b.command(operator.Command{Verb: operator.PIN, PIN: []byte("123456")})
		}},
		{"denied late, touched", ledger.Withheld, "", func(b *board, id message.JobID) {
			b.awaitTouch()
			b.command(operator.Command{Verb: operator.Deny, Job: id.String()})
			v := b.event("do-not-touch")
			if v.Ask != operator.AskNoTouch {
				b.t.Errorf("asks %q", v.Ask)
			}
			b.token.touch <- nil
		}},
		{"denied late, not touched", ledger.Denied, "", func(b *board, id message.JobID) {
			b.awaitTouch()
			b.command(operator.Command{Verb: operator.Deny, Job: id.String()})
			b.event("do-not-touch")
			b.token.touch <- ceremony.ErrTouchTimeout
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBoard(t)
			b.start()
			b.connect()
			id, m := b.job([]string{"a.db"}, "content")
			b.submit(m)
			b.arm(id)
			c.run(b, id)
			o := b.end(id)
			if o.Items[0].State != c.state || o.Items[0].Reason != c.why || len(o.Items[0].Signature) != 0 {
				t.Fatalf("outcome %+v, want %s %s", o.Items[0], c.state, c.why)
			}
			b.signs("next.db", "next")
		})
	}
}

func TestTPMFaults(t *testing.T) {
	for _, c := range []struct{ command, kind, state string }{
		{"NV_Extend", "before", "not-started tpm-error"},
		{"NV_Extend", "after", "signed "},
		{"PCR_Extend", "before", "not-started tpm-error"},
		{"PCR_Extend", "after", "signed "},
		{"NV_Certify", "before", "signed-withheld "},
		{"Quote", "after", "signed-withheld "},
	} {
		t.Run(c.command+" "+c.kind, func(t *testing.T) {
			b := newBoard(t)
			b.start()
			b.connect()
			id, m := b.job([]string{"a.db"}, "content")
			b.submit(m)
			b.shown(id)
			b.tpm.fail(c.command, c.kind)
			b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
			if !strings.HasPrefix(c.state, "not-started") {
				b.awaitTouch()
				b.token.touch <- nil
			}
			o := b.end(id)
			if got := string(o.Items[0].State) + " " + o.Items[0].Reason; got != c.state {
				t.Fatalf("outcome %q, want %q", got, c.state)
			}
			b.signs("next.db", "next")
			b.replays()
		})
	}
}

// replays replays the host's mirror as any auditor does: nothing in it is
// evidence, and HEAD is where it leads.
func (b *board) replays() {
	b.t.Helper()
	r, owed := b.replay()
	for _, p := range r.evidence {
		b.t.Errorf("entry %d: %s: %s", p.index, p.Code, p.Text)
	}
	if owed {
		b.t.Error("an intent follows a commit without a quote, and no boot entry stands in between")
	}
	if r.Head() != b.head() {
		b.t.Error("HEAD holds something that the log does not explain")
	}
}

// replayed is a replay with what it found.
type replayed struct {
	anchor.Replay
	evidence, warnings []found
}

type found struct {
	index int
	anchor.Problem
}

func (r *replayed) note(i int, problems []anchor.Problem) {
	for _, p := range problems {
		switch {
		case p.Warning:
			r.warnings = append(r.warnings, found{i, p})
		case !p.Info:
			r.evidence = append(r.evidence, found{i, p})
		}
	}
}

// replay folds the mirror; owed is an intent where a boot entry had to come
// first.
func (b *board) replay() (r *replayed, owed bool) {
	b.t.Helper()
	ak, err := quote.ParseAK(b.trust.AK)
	must(b.t, err)
	r = &replayed{}
	var tree ledger.Tree
	xs := map[uint64][32]byte{}
	unquoted := false
	nv := func(a quote.Attestation, tag [32]byte) *quote.NVFacts {
		facts, err := ak.VerifyNV(a, b.trust.HeadName, tag)
		must(b.t, err)
		return &facts
	}
	q := func(a quote.Attestation, tag [32]byte) *quote.QuoteFacts {
		facts, err := ak.VerifyQuote(a, b.trust.PCR, tag)
		must(b.t, err)
		return &facts
	}
	for i, raw := range b.entries {
		tree.Add(ledger.LeafHash(raw))
		xs[tree.Size()] = ledger.X(ledger.CheckpointBody(origin, tree.Size(), tree.Root()))
		_, body, err := ledger.Parse(raw)
		must(b.t, err)
		switch e := body.(type) {
		case *ledger.Genesis:
			r.note(i, r.Genesis(e))
		case *ledger.Boot:
			unquoted = false
			x := xs[e.Committed]
			r.note(i, r.Boot(e, x, nv(e.Certify, quote.BootTag(x)), q(e.Quote, quote.BootTag(x))))
		case *ledger.Attest:
			x := xs[e.Size]
			var facts *quote.QuoteFacts
			if unquoted = unquoted || !e.HasQuote(); e.HasQuote() {
				facts = q(e.Quote, quote.QuoteTag(x))
			}
			r.note(i, r.Attest(e, x, nv(e.Certify, quote.CertifyTag(x)), facts))
		case *ledger.Intent:
			owed = owed || unquoted
		case *ledger.Order:
			var facts *quote.NVFacts
			if e.Action == ledger.KindResume {
				hash, err := order.Hash(e.Note)
				must(b.t, err)
				facts = nv(e.Certify, quote.ResumeTag(hash))
			}
			r.Order(e, uint64(i), facts)
		}
	}
	return r, owed
}

// head is HEAD as the TPM has it.
func (b *board) head() [32]byte {
	if b.cfg.TPM == TPM(b.tpm) {
		return b.tpm.tpm.Head
	}
	h, err := b.cfg.TPM.Head()
	must(b.t, err)
	return h
}

// boots counts the boot entries of the mirror.
func (b *board) boots() (n int) {
	for _, raw := range b.entries {
		_, body, err := ledger.Parse(raw)
		must(b.t, err)
		if _, ok := body.(*ledger.Boot); ok {
			n++
		}
	}
	return n
}

// A TPM of which nobody knows whether it took an intent is asked until it
// answers; then the board goes on by itself, and the job ends as a restart ends
// it. Meanwhile hosts hear what is the matter.
func TestHeadInDoubtIsAskedAgain(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.shown(id)
	b.tpm.fail("NV_Extend", "after")
	b.tpm.fail("NV_Read", "always")
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	n := len(b.entries)
	b.until(func() bool { return len(b.entries) > n }) // the intent, which the host acknowledges
	b.view("that the TPM is silent", func(v operator.View) bool { return v.State == "tpm-silent" })
	if w := b.connect(); w.State != "tpm-silent" || len(w.Attest) > 0 || w.Halt != "" {
		t.Fatalf("%s %s", w.State, w.Halt)
	}
	id2, m2 := b.job([]string{"b.db"}, "content")
	b.submit(m2)
	b.until(func() bool { return b.refused[id2] != nil })
	if r := b.refused[id2]; r.Code != message.CodeBusy {
		t.Fatalf("%+v", r)
	}
	b.tpm.mu.Lock()
	clear(b.tpm.fault)
	b.tpm.mu.Unlock()
	b.event("ready")
	b.submit(m)
	if o := b.end(id); o.Items[0].State != ledger.Unknown {
		t.Fatalf("%+v", o)
	}
	b.signs("next.db", "next")
	b.replays()
}

func TestUnmirroredIntentIsNotCommitted(t *testing.T) {
	b := newBoard(t)
	b.cfg.MirrorTimeout = time.Millisecond
	b.start()
	b.connect()
	b.acks = false
	head := b.tpm.tpm.Head
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	o := b.end(id)
	if o.Items[0].State != ledger.NotStarted || o.Items[0].Reason != "not-mirrored" {
		t.Fatalf("%+v", o.Items[0])
	}
	if b.tpm.tpm.Head != head {
		t.Fatal("HEAD took an intent that no mirror holds")
	}
	b.kill()
	b.cfg.MirrorTimeout, b.acks = 0, true
	b.start()
	b.connect()
	b.signs("next.db", "next")
	b.replays()
}

func TestDeniedBeforeArmingLeavesOnlyACount(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	before := len(b.entries)
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.shown(id)
	b.command(operator.Command{Verb: operator.Deny, Job: id.String()})
	b.until(func() bool { return b.refused[id] != nil })
	if b.refused[id].Code != message.CodeDenied || len(b.entries) != before {
		t.Fatalf("%+v, %d new entries", b.refused[id], len(b.entries)-before)
	}
	o := b.signs("next.db", "next")
	_, body, err := ledger.Parse(b.entries[o.Intent])
	must(t, err)
	if n := body.(*ledger.Intent).Refusals; n != 1 {
		t.Fatalf("%d refusals counted, want 1", n)
	}
}

func TestSameJobIsNeverSignedTwice(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.submit(m) // while it is on display
	b.arm(id)
	b.awaitTouch()
	b.submit(m) // while the token waits
	b.token.touch <- nil
	first := b.end(id)
	for _, restart := range []bool{false, true} {
		if restart {
			b.kill()
			b.start()
			b.connect()
		}
		delete(b.ended, id)
		entries := len(b.entries)
		b.submit(m)
		again := b.end(id)
		if again.Intent != first.Intent || len(b.entries) != entries {
			t.Fatal("the job was executed again")
		}
	}
}

func TestStopWhileTouchingRecordsTheEnd(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.arm(id)
	b.awaitTouch()
	b.command(operator.Command{Verb: operator.Quit})
	b.event("do-not-touch")
	b.token.touch <- nil
	if o := b.end(id); o.Items[0].State != ledger.Withheld {
		t.Fatalf("%+v", o.Items[0])
	}
	b.kill()
}

func TestArmNeedsTheJobOnDisplayAndTheToken(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.shown(id)
	b.command(operator.Command{Verb: operator.Arm, Job: strings.Repeat("0", 64)})
	b.view("a complaint", func(v operator.View) bool { return strings.Contains(v.Message, "not the job on display") })
	b.token.set(false, true)
	b.event("token-missing")
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	b.view("a complaint", func(v operator.View) bool { return strings.Contains(v.Message, "nothing was armed") })
	b.token.set(false, false)
	b.event("pin-needed")
	b.command(operator.Command{Verb: operator.PIN, PIN: []byte("000000")})
	if v := b.event("pin-wrong"); !strings.Contains(v.Message, "2 tries left") {
		t.Fatal(v.Message)
	}
	b.command(operator.Command{Verb: operator.PIN, PIN: []byte("123456")})
	b.arm(id)
	b.awaitTouch()
	b.token.touch <- nil
	b.proves(b.end(id), "content")
}

func TestRefusals(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	stranger, _ := newSigner(t, "repo1")
	for _, c := range []struct {
		code string
		bend func(*message.Submit, *message.Approval)
	}{
		{message.CodeNameForbidden, func(_ *message.Submit, a *message.Approval) { a.Items[0].Name = "evil.iso" }},
		{message.CodeUnknownClass, func(_ *message.Submit, a *message.Approval) { a.Class = "iso" }},
		{message.CodeWrongOrigin, func(_ *message.Submit, a *message.Approval) { a.Origin = "other.example/log" }},
		{message.CodeExpired, func(_ *message.Submit, a *message.Approval) { a.NotAfter = a.NotAfter.Add(-2 * time.Hour) }},
		{message.CodeNotAfterTooFar, func(_ *message.Submit, a *message.Approval) { a.NotAfter = a.NotAfter.Add(48 * time.Hour) }},
		{message.CodeTooLarge, func(_ *message.Submit, a *message.Approval) { a.Items[0].Size = 2 << 20 }},
		{message.CodeStateMismatch, func(_ *message.Submit, a *message.Approval) { a.Items[0].Size++ }},
		{message.CodeStateMismatch, func(m *message.Submit, a *message.Approval) {
			sum := sha256.Sum256([]byte("another file"))
			a.Items[0].Digest.Sum = sum[:]
		}},
		{message.CodeBadState, func(m *message.Submit, _ *message.Approval) { m.Contents = append(m.Contents, m.Contents[0]) }},
		{message.CodeBadState, func(m *message.Submit, _ *message.Approval) {
			m.Contents[0].State = append([]byte(nil), m.Contents[0].State...)
			m.Contents[0].State[0] ^= 1 // a chosen chaining value on short input
		}},
	} {
		_, m := b.job([]string{"a.db"}, "content")
		text, err := message.NoteText(m.Approval)
		must(t, err)
		a, err := message.ParseApproval(text)
		must(t, err)
		c.bend(m, &a)
		b.sign(m, a, b.host)
		b.refusedAs(message.JobOf(a.Marshal()), m, c.code)
	}
	id, m := b.job([]string{"a.db"}, "content")
	text, err := message.NoteText(m.Approval)
	must(t, err)
	a, err := message.ParseApproval(text)
	must(t, err)
	b.sign(m, a, stranger)
	b.refusedAs(id, m, message.CodeUnknownHost)
	b.signs("next.db", "next")
}

func (b *board) refusedAs(id message.JobID, m *message.Submit, code string) {
	b.t.Helper()
	b.submit(m)
	b.until(func() bool { return b.refused[id] != nil })
	if got := b.refused[id]; got.Code != code {
		b.t.Errorf("refused as %s (%s), want %s", got.Code, got.Text, code)
	}
}

func TestForkedAndFutureHeads(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	real := b.entries
	b.entries = append(append([][]byte{}, real[:1]...), []byte("another history"))
	id, m := b.job([]string{"a.db"}, "content")
	b.refusedAs(id, m, message.CodeForkedHead)
	b.entries = append(append([][]byte{}, real...), []byte("more"), []byte("and more"))
	id, m = b.job([]string{"a.db"}, "content")
	b.refusedAs(id, m, message.CodeUnknownHead)
	b.entries = real
	b.signs("next.db", "next")
}

func TestNothingBeforeHello(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.link.in <- linkpipe.Msg{Kind: linkpipe.Up, SID: 1}
	id, m := b.job([]string{"a.db"}, "content")
	b.submit(m)
	b.send((&message.Fetch{}).Marshal())
	b.send([]byte("garbage"))
	stranger, _ := newSigner(t, "repo1")
	h := message.Hello{Origin: origin, HostTime: time.Now().UTC().Truncate(time.Second)}
	bad, err := message.SignNote(h.Marshal(), stranger)
	must(t, err)
	b.send(bad)
	h.Origin = "other.example/log"
	elsewhere, err := message.SignNote(h.Marshal(), b.host)
	must(t, err)
	b.send(elsewhere)
	b.until(func() bool { return b.refused[id] != nil })
	if b.refused[id].Code != message.CodeNoHello {
		t.Fatalf("%+v", b.refused[id])
	}
	if w := b.connect(); w.Nonce != [16]byte{b.nonce} { // the first answer is this welcome: nothing else was said
		t.Fatalf("a hello that is not for this board, or not by a host, was answered: %+v", w)
	}
	b.signs("next.db", "next")
}

func TestCancelAndQueue(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	first, m1 := b.job([]string{"a.db"}, "one")
	second, m2 := b.job([]string{"b.db"}, "two")
	third, m3 := b.job([]string{"c.db"}, "three")
	b.submit(m1)
	b.submit(m2)
	b.submit(m3)
	b.shown(first)
	for _, id := range []message.JobID{second, first} {
		c := message.Cancel{Origin: origin, Job: id, HostTime: time.Now().UTC().Truncate(time.Second)}
		n, err := message.SignNote(c.Marshal(), b.host)
		must(t, err)
		b.send(n)
		b.until(func() bool { return b.refused[id] != nil })
		if b.refused[id].Code != message.CodeCancelled {
			t.Fatalf("%+v", b.refused[id])
		}
	}
	b.arm(third)
	b.awaitTouch()
	b.token.touch <- nil
	b.proves(b.end(third), "three")
}

func TestRestartAtARestedBoardIsClean(t *testing.T) {
	b := newBoard(t)
	for range 3 {
		b.start()
		b.connect()
		b.signs("a.db", "content")
		b.kill()
	}
	b.tpm.tpm.PowerCycle()
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.replays()
}

func TestForeignPCRExtendHalts(t *testing.T) {
	b := newBoard(t)
	b.tpm.tpm.ExtendPCR([32]byte{1})
	b.start()
	if v := b.event("halted"); !strings.Contains(v.Halted, "pcr-unexplained") {
		t.Fatal(v.Halted)
	}
}

func TestHeadRolledForwardHalts(t *testing.T) {
	b := newBoard(t)
	b.tpm.tpm.ExtendHead([32]byte{1})
	b.start()
	if v := b.event("halted"); !strings.Contains(v.Halted, "head-") {
		t.Fatal(v.Halted)
	}
	if w := b.connect(); w.State != message.StateHalted {
		t.Fatalf("says it is %s", w.State)
	}
}

func TestWrongTokenIsNotUsed(t *testing.T) {
	b := newBoard(t)
	b.token.slots = newBoard(t).token.slots
	b.start()
	if v := b.event("token-wrong"); !strings.Contains(v.Message, "enrolled") {
		t.Fatal(v.Message)
	}
}

func TestStaleHeadMustFetchFirst(t *testing.T) {
	b := newBoard(t)
	store, err := ledgerstore.Open(b.dir)
	must(t, err)
	raw, err := store.Entry(1)
	must(t, err)
	h, attest, err := ledger.Parse(raw)
	must(t, err)
	var more [][]byte
	for range intake.MaxHeadAge {
		h.Index = store.Size() + uint64(len(more))
		e, err := ledger.Marshal(h, attest)
		must(t, err)
		more = append(more, e)
	}
	must(t, store.Append(more, nil))
	must(t, store.Close())
	b.start()
	b.connect()
	all := b.entries
	b.entries = all[:1]
	id, m := b.job([]string{"a.db"}, "content")
	b.refusedAs(id, m, message.CodeStaleHead)
	b.entries = all
	b.signs("next.db", "next")
}
