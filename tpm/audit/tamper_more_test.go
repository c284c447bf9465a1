package audit

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// forged obeys an administrative entry that was tampered with.
func (w *world) forged(kind string, msg []byte, lies ...func(e *ledger.Order)) Input {
	w.t.Helper()
	e := w.entry(kind, msg)
	for _, lie := range lies {
		lie(e)
	}
	w.obey(e)
	return w.input()
}

// resumeEntry is that of a board whose HEAD took something nobody has.
func (w *world) resumeEntry(msg []byte) *ledger.Order {
	w.t.Helper()
	hash, err := order.Hash(msg)
	w.must(err)
	e := w.entry(ledger.KindResume, msg)
	e.PCR, e.Certify = w.tpm.PCR, w.tpm.CertifyHead(quote.ResumeTag(hash))
	return e
}

func (w *world) halted() order.Action {
	w.tpm.ExtendHead([32]byte{9})
	return &order.Resume{Halt: "head-unknown", Head: w.tpm.Head, PCR: w.tpm.PCR}
}

// commitWith commits an intent and writes whatever attestations are given.
func (w *world) commitWith(certify, q func() quote.Attestation) Input {
	w.t.Helper()
	w.pass(time.Minute)
	w.newJob(1).record()
	w.commit()
	w.add(&ledger.Attest{Size: w.committed, Certify: certify(), Quote: q()})
	return w.input()
}

func (w *world) goodCertify() quote.Attestation { return w.tpm.CertifyHead(quote.CertifyTag(w.x)) }
func (w *world) goodQuote() quote.Attestation   { return w.tpm.QuotePCR(quote.QuoteTag(w.x)) }

// quoteOf is a quote with any selection.
func (w *world) quoteOf(union []byte) quote.Attestation {
	tag := quote.QuoteTag(w.x)
	return w.tpm.Attest(0x8018, tag[:], union)
}

var moreAttacks = []attack{
	// Orders and policies.
	{"altered policy", finding.OrderInvalid, func(t *testing.T, w *world) Input {
		return w.forged(ledger.KindPolicy, replaceOnce(t, w.nextPolicy("4GiB", "5GiB"), "5GiB", "9GiB"))
	}, nil},
	{"replayed policy", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		first := w.nextPolicy("4GiB", "5GiB")
		w.adopt(first)
		w.adopt(w.nextPolicy("5GiB", "1GiB"))
		return w.forged(ledger.KindPolicy, first)
	}, nil},
	{"policy that skips one", finding.OrderInvalid, func(t *testing.T, w *world) Input {
		text := bytes.Replace(w.nextPolicy("4GiB", "5GiB"), []byte("serial = 2"), []byte("serial = 3"), 1)
		text, err := message.NoteText(text)
		w.must(err)
		msg, err := message.SignNote(text, w.admin)
		w.must(err)
		return w.forged(ledger.KindPolicy, msg)
	}, nil},
	{"policy signed by strangers", finding.OrderInvalid, func(t *testing.T, w *world) Input {
		other, _ := signer(t, "admin")
		text, err := message.NoteText(w.nextPolicy("4GiB", "5GiB"))
		w.must(err)
		msg, err := message.SignNote(text, other)
		w.must(err)
		return w.forged(ledger.KindPolicy, msg)
	}, nil},
	{"administrator who never held the key", finding.OrderInvalid, func(t *testing.T, w *world) Input {
		_, vkey := signer(t, "admin2")
		return w.forged(ledger.KindPolicy, w.nextPolicy("keys = [", "keys = [\""+vkey+"\", "))
	}, nil},
	{"old policy kept in force", finding.PolicyHash, func(_ *testing.T, w *world) Input {
		old, toml := w.pol, w.toml
		w.adopt(w.nextPolicy("4GiB", "5GiB"))
		w.pol, w.toml = old, toml
		w.ceremony(1)
		return w.input()
	}, nil},
	{"what the new policy forbids", finding.Breach, func(_ *testing.T, w *world) Input {
		w.adopt(w.nextPolicy("batch = 16", "batch = 1"))
		w.ceremony(2)
		return w.input()
	}, nil},
	{"order nobody signed", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		text, err := message.NoteText(w.orderNote(&order.Note{}))
		w.must(err)
		return w.forged(ledger.KindNote, append(text, '\n'))
	}, nil},
	{"altered order", finding.OrderInvalid, func(t *testing.T, w *world) Input {
		return w.forged(ledger.KindTime, replaceOnce(t, w.orderNote(&order.Time{To: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}), "time 2027", "time 2028"))
	}, nil},
	{"replayed order", finding.OrderRepeated, func(_ *testing.T, w *world) Input {
		msg := w.orderNote(&order.Note{})
		w.obey(w.entry(ledger.KindNote, msg))
		return w.forged(ledger.KindNote, msg)
	}, nil},
	{"order for another log", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		o := &order.Order{Origin: "touchmark.example/other", After: order.State{Size: 1, Root: w.root[1]}, Action: &order.Note{}, Reason: "x"}
		return w.forged(ledger.KindNote, w.signed(o, w.admin))
	}, nil},
	{"order of one kind in an entry of another", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		return w.forged(ledger.KindClose, w.orderNote(&order.Note{}))
	}, nil},
	{"order given on another history", finding.OrderForked, func(_ *testing.T, w *world) Input {
		o := &order.Order{Origin: origin, After: order.State{Size: 2, Root: [32]byte{1}}, Action: &order.Note{}, Reason: "x"}
		return w.forged(ledger.KindNote, w.signed(o, w.admin))
	}, nil},
	{"order given on a longer history", finding.OrderForked, func(_ *testing.T, w *world) Input {
		o := &order.Order{Origin: origin, After: order.State{Size: 1000, Root: [32]byte{1}}, Action: &order.Note{}, Reason: "x"}
		return w.forged(ledger.KindNote, w.signed(o, w.admin))
	}, nil},
	{"administrative entry left out of the chain", finding.OrderChain, func(_ *testing.T, w *world) Input {
		w.do(&order.Note{})
		return w.forged(ledger.KindNote, w.orderNote(&order.Note{}), func(e *ledger.Order) { e.Previous = 0 })
	}, nil},
	{"boot that forgets an order", finding.OrderChain, func(_ *testing.T, w *world) Input {
		w.do(&order.Note{})
		w.newest = 0
		w.boot()
		return w.input()
	}, nil},
	{"log key that nobody holds", finding.OrderInvalid, func(t *testing.T, w *world) Input {
		_, vkey := signer(t, origin)
		return w.forged(ledger.KindKey, w.orderNote(&order.Key{LogKey: vkey}))
	}, nil},
	{"stolen log key signs on after it was replaced", finding.LogKey, func(_ *testing.T, w *world) Input {
		stolen := w.log
		w.rotate()
		w.log = stolen
		w.ceremony(1)
		return w.input()
	}, nil},
	{"stolen log key signs a second root of one size", finding.Checkpoint, func(_ *testing.T, w *world) Input {
		in := w.input()
		cp, err := w.trust.OpenCheckpoint(w.checkpoint())
		w.must(err)
		other := ledger.CheckpointBody(origin, w.hostSize, [32]byte{7})
		ak, err := quote.ParseAK(w.trust.AK)
		w.must(err)
		in.Checkpoint, err = message.SignNote(other, w.log, anchor.TPMLine(origin, ak, w.trust.HeadName, cp.HeadPrev, cp.Attest))
		w.must(err)
		return in
	}, []string{finding.Root}},
	{"closed log goes on", anchor.CodeClosed, func(_ *testing.T, w *world) Input {
		w.do(&order.Close{})
		w.ceremony(1)
		return w.input()
	}, nil},
	{"closed log takes orders", anchor.CodeClosed, func(_ *testing.T, w *world) Input {
		w.do(&order.Close{})
		w.do(&order.Note{})
		return w.input()
	}, nil},
	{"resume without administrators", finding.OrderInvalid, func(t *testing.T, w *world) Input {
		act := w.halted()
		other, _ := signer(t, "admin")
		o := &order.Order{Origin: origin, After: order.State{Size: 1, Root: w.root[1]}, Action: act, Reason: "x"}
		w.obey(w.resumeEntry(w.signed(o, other)))
		w.boot()
		return w.input()
	}, nil},
	{"resume ordered for another HEAD", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		act := w.halted()
		w.tpm.ExtendHead([32]byte{8})
		w.obey(w.resumeEntry(w.orderNote(act)))
		return w.input()
	}, nil},
	{"resume with something that is no note", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		e := w.resumeEntry(w.orderNote(w.halted()))
		e.Note = []byte("resume, please\n")
		w.obey(e)
		return w.input()
	}, []string{finding.Attestation, anchor.CodeHead}},
	{"resume order used twice", finding.OrderInvalid, func(_ *testing.T, w *world) Input {
		msg := w.orderNote(w.halted())
		w.obey(w.resumeEntry(msg))
		w.tpm.ExtendHead([32]byte{8})
		w.obey(w.resumeEntry(msg))
		return w.input()
	}, []string{finding.OrderRepeated}},
	{"resume with an attestation from before", finding.Attestation, func(_ *testing.T, w *world) Input {
		old := w.tpm.CertifyHead(quote.CertifyTag(w.x))
		e := w.resumeEntry(w.orderNote(w.halted()))
		e.Certify = old
		w.obey(e)
		return w.input()
	}, []string{anchor.CodeHead}},

	// Firmware.
	{"firmware replaced without a word", finding.Firmware, func(_ *testing.T, w *world) Input {
		w.version = "evil"
		w.boot()
		return w.input()
	}, nil},
	{"another firmware than the update says", finding.Firmware, func(_ *testing.T, w *world) Input {
		w.add(&ledger.Update{From: w.version, To: "2"})
		w.version = "evil"
		w.boot()
		return w.input()
	}, nil},
	{"update from a firmware that never ran", finding.Firmware, func(_ *testing.T, w *world) Input {
		w.add(&ledger.Update{From: "1", To: "2"})
		w.version = "2"
		w.boot()
		return w.input()
	}, nil},

	{"update by an image that nobody ordered", finding.Firmware, func(_ *testing.T, w *world) Input {
		w.do(&order.Image{Board: "test", Version: "2", Serial: 2, Size: 512, Image: [32]byte{1}})
		w.add(&ledger.Update{From: w.version, To: "2", Image: make([]byte, 32)})
		w.version = "2"
		w.boot()
		return w.input()
	}, nil},
	{"update by an image of another version", finding.Firmware, func(_ *testing.T, w *world) Input {
		image := [32]byte{1}
		w.do(&order.Image{Board: "test", Version: "3", Serial: 2, Size: 512, Image: image})
		w.add(&ledger.Update{From: w.version, To: "2", Image: image[:]})
		w.version = "2"
		w.boot()
		return w.input()
	}, nil},

	// Approvals and time.
	{"approval used again with a new submission", finding.Repeated, func(_ *testing.T, w *world) Input {
		first := w.ceremony(1)
		w.pass(time.Minute)
		again := w.newJob(1)
		sub := message.Submission{Approval: first.intent.Job, HeadSize: w.hostSize, HeadRoot: w.root[w.hostSize], HostTime: w.now}
		msg, err := message.SignNote(sub.Marshal(), w.host)
		w.must(err)
		again.intent.Approval, again.intent.Submission, again.intent.Job = first.intent.Approval, msg, first.intent.Job
		again.record()
		w.commit()
		again.end(ledger.TimedOut, "")
		w.attest()
		w.add(again.outcome)
		return w.input()
	}, nil},
	{"clock set to 2062", finding.Breach, func(_ *testing.T, w *world) Input {
		asked := w.newJob(1)
		w.now = time.Date(2062, 1, 1, 0, 0, 0, 0, time.UTC)
		w.boot()
		asked.intent.Sequence = w.seq
		asked.run()
		return w.input()
	}, []string{finding.Signature}},
	{"clock set back from 2062 without an order", finding.Time, func(_ *testing.T, w *world) Input {
		now := w.now
		w.now = time.Date(2062, 1, 1, 0, 0, 0, 0, time.UTC)
		w.boot()
		w.now = now
		w.boot()
		w.ceremony(1)
		return w.input()
	}, nil},
	{"before the time that administrators set", finding.Time, func(_ *testing.T, w *world) Input {
		now := w.now
		w.setClock(now.Add(24 * time.Hour))
		w.now = now
		w.ceremony(1)
		return w.input()
	}, nil},

	// Whole TPMs, registers and tags.
	{"swapped TPM", finding.Attestation, func(t *testing.T, w *world) Input {
		head, pcr := w.tpm.Head, w.tpm.PCR
		w.tpm = newWorld(t, parts{}).tpm
		w.tpm.Head, w.tpm.PCR = head, pcr
		return w.commitWith(w.goodCertify, w.goodQuote)
	}, nil},
	{"HEAD hidden, another index shown", finding.Attestation, func(_ *testing.T, w *world) Input {
		return w.commitWith(func() quote.Attestation {
			w.tpm.HeadIndex++
			defer func() { w.tpm.HeadIndex-- }()
			return w.goodCertify()
		}, w.goodQuote)
	}, nil},
	{"HEAD redefined and begun anew", anchor.CodeHead, func(_ *testing.T, w *world) Input {
		w.tpm.Head = [32]byte{}
		w.ceremony(1)
		return w.input()
	}, nil},
	{"cleared and enrolled again as if new", anchor.CodeHead, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{head: [32]byte{5}})
		w.boot()
		return w.input()
	}, nil},
	{"bank not allocated: an empty selection quoted", finding.Attestation, func(_ *testing.T, w *world) Input {
		none := digestOf("")
		return w.commitWith(w.goodCertify, func() quote.Attestation { return w.quoteOf(slices.Concat([]byte{0, 0, 0, 0, 0, 32}, none)) })
	}, nil},
	{"two PCRs quoted", finding.Attestation, func(_ *testing.T, w *world) Input {
		return w.commitWith(w.goodCertify, func() quote.Attestation {
			return w.quoteOf(slices.Concat([]byte{0, 0, 0, 1, 0, 0x0b, 3, 0, 0xc0, 0, 0, 32}, digestOf("two")))
		})
	}, nil},
	{"a part of HEAD certified", finding.Attestation, func(_ *testing.T, w *world) Input {
		return w.commitWith(func() quote.Attestation {
			tag := quote.CertifyTag(w.x)
			name := w.tpm.HeadName()
			return w.tpm.Attest(0x8014, tag[:], slices.Concat([]byte{0, byte(len(name))}, name, []byte{0, 16, 0, 16}, w.tpm.Head[16:]))
		}, w.goodQuote)
	}, nil},
	{"an attestation made by software", finding.Attestation, func(_ *testing.T, w *world) Input {
		return w.commitWith(func() quote.Attestation {
			a := w.goodCertify()
			a.Attest = bytes.Clone(a.Attest)
			a.Attest[0] = 0
			return w.tpm.Sign(a.Attest)
		}, w.goodQuote)
	}, nil},
	{"quote tag on the certified HEAD", finding.Attestation, func(_ *testing.T, w *world) Input {
		return w.commitWith(func() quote.Attestation { return w.tpm.CertifyHead(quote.QuoteTag(w.x)) }, w.goodQuote)
	}, nil},
	{"boot's attestations for a commit", finding.Attestation, func(_ *testing.T, w *world) Input {
		return w.commitWith(func() quote.Attestation { return w.tpm.CertifyHead(quote.BootTag(w.x)) },
			func() quote.Attestation { return w.tpm.QuotePCR(quote.BootTag(w.x)) })
	}, nil},
	{"an auditor's answer for a commit", finding.Attestation, func(_ *testing.T, w *world) Input {
		return w.commitWith(func() quote.Attestation { return w.tpm.CertifyHead(quote.ChallengeTag(w.x)) }, w.goodQuote)
	}, nil},
	{"suspended and resumed", anchor.CodeReset, func(_ *testing.T, w *world) Input {
		w.tpm.Clock.RestartCount++
		w.ceremony(1)
		return w.input()
	}, nil},
	{"TPM reset, then the true log replayed", anchor.CodeReset, func(_ *testing.T, w *world) Input {
		pcr := w.tpm.PCR
		w.tpm.PowerCycle()
		w.tpm.PCR = pcr
		w.ceremony(1)
		return w.input()
	}, nil},
	{"a fork extended and quoted, then the power cut", anchor.CodeHead, func(_ *testing.T, w *world) Input {
		w.tpm.ExtendHead([32]byte{1})
		w.tpm.ExtendPCR([32]byte{1})
		w.tpm.PowerCycle()
		w.boot()
		w.ceremony(1)
		return w.input()
	}, nil},
	{"garbage extended", anchor.CodeHead, func(t *testing.T, w *world) Input {
		w.tpm.ExtendHead([32]byte(digestOf("garbage")))
		w.boot()
		return w.input()
	}, nil},

	// The copy.
	{"entry inserted", finding.Altered, func(_ *testing.T, w *world) Input {
		in := w.input()
		in.Entries = from(slices.Insert(slices.Clone(w.entries[:w.hostSize]), 5, w.entries[2])[:w.hostSize])
		return in
	}, []string{finding.Misnumbered, finding.Ahead, finding.Attestation, finding.HeadFork, finding.Outcome, finding.Time, anchor.CodeBootNumber,
		anchor.CodeOrder, anchor.CodeHead, anchor.CodePCR, finding.Mid, finding.Uncommitted, anchor.CodeReset, anchor.CodeClock, finding.Sequence}},
	{"outcome replaced after a reset", finding.Altered, func(t *testing.T, w *world) Input {
		j := w.newJob(1)
		j.run()
		w.tpm.PowerCycle()
		w.boot()
		w.ceremony(1)
		in := w.input()
		es := slices.Clone(w.entries[:w.hostSize])
		for i, e := range es {
			if h, body, err := ledger.Parse(e); err == nil && ledger.KindOf(body) == ledger.KindOutcome {
				if o := body.(*ledger.Outcome); o.Intent == j.index {
					o.Items = []ledger.ItemResult{{State: ledger.Denied}}
					es[i], err = ledger.Marshal(h, o)
					w.must(err)
				}
			}
		}
		in.Entries = from(es)
		return in
	}, nil},

	// Freshness.
	{"answer to an older challenge", finding.Answer, func(t *testing.T, w *world) Input {
		in := w.input()
		in.Dialogue = w.dialogue(t)
		in.Dialogue.Challenge.Nonce[0] ^= 1
		return in
	}, nil},
	{"answer with an old attestation", finding.Answer, func(t *testing.T, w *world) Input {
		old := w.dialogue(t)
		in := w.input()
		in.Dialogue = w.dialogue(t)
		in.Dialogue.Answer.Certify = old.Answer.Certify
		return in
	}, nil},
	{"answer of a forked board", finding.Forked, func(t *testing.T, w *world) Input {
		in := w.input()
		in.Dialogue = w.dialogue(t)
		body := ledger.CheckpointBody(origin, w.committed, [32]byte{1})
		head, x := w.tpm.Head, ledger.X(body)
		w.tpm.Head = w.prev
		w.tpm.ExtendHead(x)
		fork, _, err := anchor.SignCheckpoint(body, w.log, *w.trust, w.prev, w.tpm.CertifyHead(quote.CertifyTag(x)))
		w.must(err)
		w.tpm.Head = head
		in.Dialogue.Answer.Checkpoint = fork
		return in
	}, nil},
	{"HEAD moved on beside the log", anchor.CodeHead, func(t *testing.T, w *world) Input {
		in := w.input()
		w.tpm.ExtendHead([32]byte{3})
		in.Dialogue = w.dialogue(t)
		return in
	}, nil},
}

// dialogue asks the board.
func (w *world) dialogue(t *testing.T) *Dialogue {
	t.Helper()
	c := &challenge.Challenge{Origin: origin, Time: w.now, Nonce: [32]byte(digestOf(w.now.String() + t.Name()))}
	w.jobs++
	c.Nonce[31] = byte(w.jobs)
	tag := quote.ChallengeTag(c.Nonce)
	return &Dialogue{Challenge: c, Answer: &challenge.Answer{Origin: origin, Nonce: c.Nonce,
		Certify: w.tpm.CertifyHead(tag), Quote: w.tpm.QuotePCR(tag), Checkpoint: w.checkpoint()}}
}

func TestFresh(t *testing.T) {
	w := started(t)
	in := w.input()
	in.Dialogue = w.dialogue(t)
	if r := audited(t, in); r.Verdict != finding.Clean || !slices.Contains(codes(r, finding.Info), finding.FreshAt) || slices.Contains(codes(r, finding.Info), finding.Freshness) {
		t.Errorf("%+v", r.Findings)
	}
	w.tpm.PowerCycle() // a stopped board, asked before its next start
	in.Dialogue = w.dialogue(t)
	if r := audited(t, in); r.Verdict != finding.Clean || !slices.Contains(codes(r, finding.Info), finding.FreshAt) {
		t.Errorf("%+v", r.Findings)
	}
}
