package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// attack makes a dishonest log from a world in which some honest work was
// done, and says by which code it must be caught.
type attack struct {
	name string
	code string
	do   func(t *testing.T, w *world) Input
	also []string // other evidence that may come with it
}

// lie runs a ceremony whose intent was tampered with before it was committed:
// what root on the board can do.
func (w *world) lie(f func(j *job)) Input {
	w.t.Helper()
	w.pass(time.Minute)
	j := w.newJob(2)
	f(j)
	j.run()
	return w.input()
}

// lieAfter is the same for the outcome.
func (w *world) lieAfter(f func(j *job)) Input {
	w.t.Helper()
	w.pass(time.Minute)
	j := w.newJob(2)
	j.record()
	w.commit()
	j.sign()
	f(j)
	w.attest()
	w.add(j.outcome)
	return w.input()
}

func (w *world) ask(f func(a *message.Approval, s *message.Submission)) Input {
	w.t.Helper()
	w.pass(time.Minute)
	w.newJob(1, f).run()
	return w.input()
}

// attacks are all there are: those on entries, TPM and genesis here, those on
// orders and whole TPMs in tamper_more_test.go, those on the certificate in
// cert_test.go.
var attacks = slices.Concat(entryAttacks, rewrittenAttacks, moreAttacks, certAttacks)

var entryAttacks = []attack{
	// What somebody with the published files can do.
	{"one byte of an entry", finding.Altered, func(t *testing.T, w *world) Input {
		in := w.input()
		es := slices.Clone(w.entries[:w.hostSize])
		es[4] = replaceOnce(t, es[4], "T0", "T1")
		in.Entries = from(es)
		return in
	}, []string{finding.Time, finding.Signature}},
	{"one byte of an entry, no hash tiles", finding.Root, func(t *testing.T, w *world) Input {
		in := w.input()
		in.Tile = nil
		es := slices.Clone(w.entries[:w.hostSize])
		es[5] = replaceOnce(t, es[5], "job ", "job 0")[:len(es[5])]
		in.Entries = from(es)
		return in
	}, []string{finding.Unparsable, finding.Attestation, finding.HeadFork, finding.Ahead}},
	{"garbage for an entry", finding.Unparsable, func(_ *testing.T, w *world) Input {
		in := w.input()
		es := slices.Clone(w.entries[:w.hostSize])
		es[4] = []byte("garbage\n")
		in.Entries = from(es)
		return in
	}, []string{finding.Altered, anchor.CodeHead, anchor.CodePCR, finding.Uncommitted}},
	{"two entries swapped", finding.Misnumbered, func(_ *testing.T, w *world) Input {
		in := w.input()
		es := slices.Clone(w.entries[:w.hostSize])
		es[4], es[5] = es[5], es[4]
		in.Entries = from(es)
		return in
	}, []string{finding.Altered, finding.Outcome, finding.Ahead, finding.Time}},
	{"truncated", finding.Truncated, func(_ *testing.T, w *world) Input {
		in := w.input()
		in.Entries = from(w.entries[:w.hostSize-2])
		return in
	}, nil},
	{"rolled back, a proof remains", finding.RolledBack, func(t *testing.T, w *world) Input {
		in := w.input()
		j := w.ceremony(1)
		in.Proofs = []*ledger.Proof{w.proof(t, j)}
		return in
	}, nil},
	{"rolled back, a checkpoint remains", finding.RolledBack, func(_ *testing.T, w *world) Input {
		in := w.input()
		w.ceremony(1)
		in.Previous = [][]byte{w.checkpoint()}
		return in
	}, nil},
	{"rolled back, but for pending leaves", finding.PendingGap, func(_ *testing.T, w *world) Input {
		in := w.input()
		w.ceremony(1)
		in.Pending = w.entries[w.hostSize:]
		return in
	}, nil},
	{"log key's own fork", finding.Checkpoint, func(t *testing.T, w *world) Input {
		in := w.input()
		body := ledger.CheckpointBody(origin, w.hostSize, [32]byte{1})
		var err error
		in.Checkpoint, err = message.SignNote(body, w.log)
		w.must(err)
		return in
	}, nil},
	{"another log's genesis", finding.Trust, func(t *testing.T, w *world) Input {
		in := newWorld(t, parts{}).input()
		in.Trust = w.trust
		return in
	}, []string{finding.Checkpoint, finding.Attestation, finding.HeadFork, finding.Signature, finding.Genesis, finding.Key, finding.Unauthentic, finding.AK}},
	{"fork of the TPM", finding.Forked, func(t *testing.T, w *world) Input {
		before := *w.tpm
		fork := *w
		fork.entries, fork.root = slices.Clone(w.entries), map[uint64][32]byte{}
		for k, v := range w.root {
			fork.root[k] = v
		}
		fork.tree = *w.tree.Clone()
		w.ceremony(1)
		fork.tpm = &before
		fork.ceremony(2)
		in := w.input()
		in.Previous = [][]byte{fork.checkpoint()}
		return in
	}, nil},
	{"a second genesis", finding.Misplaced, func(t *testing.T, w *world) Input {
		_, g, err := ledger.Parse(w.entries[0])
		w.must(err)
		w.add(g)
		return w.input()
	}, nil},

	// What root on the board can write, and the TPM then commits.
	{"unauthentic submission", finding.Unauthentic, func(t *testing.T, w *world) Input {
		other := newWorld(t, parts{})
		return w.lie(func(j *job) {
			s, err := message.SignNote([]byte("touchmark/submission/v1\n"), other.host)
			w.must(err)
			j.intent.Submission = s
		})
	}, nil},
	{"approval exchanged", finding.Unauthentic, func(_ *testing.T, w *world) Input {
		o := w.newJob(2)
		return w.lie(func(j *job) { j.intent.Sequence--; w.seq--; j.intent.Approval = o.intent.Approval })
	}, nil},
	{"job renamed", finding.Job, func(_ *testing.T, w *world) Input {
		return w.lie(func(j *job) { j.intent.Job[0] ^= 1 })
	}, []string{finding.Signature}},
	{"job repeated", finding.Repeated, func(_ *testing.T, w *world) Input {
		first := w.ceremony(1)
		w.pass(time.Minute)
		again := w.newJob(1)
		again.intent.Approval, again.intent.Submission, again.intent.Job = first.intent.Approval, first.intent.Submission, first.intent.Job
		again.record()
		w.commit()
		again.end(ledger.Denied, "")
		w.attest()
		w.add(again.outcome)
		return w.input()
	}, nil},
	{"intent left out", finding.Sequence, func(_ *testing.T, w *world) Input {
		return w.lie(func(j *job) { j.intent.Sequence++ })
	}, nil},
	{"other policy", finding.PolicyHash, func(_ *testing.T, w *world) Input {
		return w.lie(func(j *job) { j.intent.Policy[0] ^= 1 })
	}, nil},
	{"other policy at boot", finding.PolicyHash, func(_ *testing.T, w *world) Input {
		w.pol.Hash[0] ^= 1
		w.boot()
		return w.input()
	}, nil},
	{"other key", finding.Key, func(_ *testing.T, w *world) Input {
		return w.lie(func(j *job) { j.intent.Key[0] ^= 1 })
	}, nil},
	{"a digest less", finding.Digests, func(_ *testing.T, w *world) Input {
		return w.lie(func(j *job) { j.intent.SignDigests, j.plans = j.intent.SignDigests[:1], j.plans[:1] })
	}, nil},
	{"forbidden name", finding.Breach, func(_ *testing.T, w *world) Input {
		return w.ask(func(a *message.Approval, _ *message.Submission) { a.Items[0].Name = "evil.iso" })
	}, nil},
	{"unknown class", finding.Breach, func(_ *testing.T, w *world) Input {
		return w.ask(func(a *message.Approval, _ *message.Submission) { a.Class = "anything" })
	}, nil},
	{"expired", finding.Breach, func(_ *testing.T, w *world) Input {
		return w.ask(func(a *message.Approval, _ *message.Submission) { a.NotAfter = w.now.Add(-time.Second) })
	}, nil},
	{"clock skew", finding.Breach, func(_ *testing.T, w *world) Input {
		return w.ask(func(_ *message.Approval, s *message.Submission) { s.HostTime = w.now.Add(time.Hour) })
	}, nil},
	{"rate exceeded", finding.Breach, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{rates: `"5/1h"`})
		w.boot()
		for range 3 {
			w.ceremony(2)
		}
		return w.input()
	}, nil},
	{"rate hidden by leaving outcomes out", finding.Breach, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{rates: `"5/1h"`})
		w.boot()
		for range 3 {
			w.pass(time.Minute)
			w.newJob(2).record()
			w.commit()
			w.attest()
		}
		return w.input()
	}, nil},
	{"the host knows another history", finding.HeadFork, func(_ *testing.T, w *world) Input {
		return w.ask(func(_ *message.Approval, s *message.Submission) { s.HeadRoot[0] ^= 1 })
	}, nil},
	{"the host knows more", finding.HeadFork, func(_ *testing.T, w *world) Input {
		return w.ask(func(_ *message.Approval, s *message.Submission) { s.HeadSize += 100 })
	}, nil},
	{"signature of another file", finding.Signature, func(_ *testing.T, w *world) Input {
		return w.lieAfter(func(j *job) { j.outcome.Items[0].Signature = w.ceremonyOf("evil", j) })
	}, nil},
	{"garbage for a signature", finding.Signature, func(_ *testing.T, w *world) Input {
		return w.lieAfter(func(j *job) { j.outcome.Items[1].Signature = []byte{1, 2, 3} })
	}, nil},
	{"signatures exchanged", finding.Signature, func(_ *testing.T, w *world) Input {
		return w.lieAfter(func(j *job) { s := j.outcome.Items; s[0], s[1] = s[1], s[0] })
	}, nil},
	{"signed at another time", finding.Signature, func(_ *testing.T, w *world) Input {
		w.pass(time.Minute)
		j := w.newJob(1)
		w.pass(time.Second)
		j.run()
		return w.input()
	}, nil},
	{"outcome of another job", finding.Outcome, func(_ *testing.T, w *world) Input {
		return w.lieAfter(func(j *job) { j.outcome.Job[0] ^= 1 })
	}, nil},
	{"outcome of no intent", finding.Outcome, func(_ *testing.T, w *world) Input {
		return w.lieAfter(func(j *job) { j.outcome.Intent = 1 })
	}, nil},
	{"second outcome", finding.Outcome, func(_ *testing.T, w *world) Input {
		j := w.ceremony(1)
		w.add(j.outcome)
		return w.input()
	}, nil},
	{"signed before the commit", finding.Uncommitted, func(_ *testing.T, w *world) Input {
		w.pass(time.Minute)
		j := w.newJob(1)
		j.record()
		j.sign()
		w.add(j.outcome)
		w.ceremony(1)
		return w.input()
	}, nil},
	{"unknown, but HEAD never took it", finding.Uncommitted, neverTaken(ledger.Unknown, ""), nil},
	{"timed out, but HEAD never took it", finding.Uncommitted, neverTaken(ledger.TimedOut, ""), nil},
	{"failed, but HEAD never took it", finding.Uncommitted, neverTaken(ledger.Failed, "token-error"), nil},
	{"withheld, but HEAD never took it", finding.Uncommitted, neverTaken(ledger.Withheld, ""), nil},
	{"commit of half a ceremony", finding.Mid, func(_ *testing.T, w *world) Input {
		w.commit()
		w.attest()
		return w.input()
	}, nil},
	{"checkpoint of half a ceremony", finding.Mid, func(_ *testing.T, w *world) Input {
		w.commit()
		w.publish(w.tpm.CertifyHead(quote.CertifyTag(w.x)))
		return w.input()
	}, nil},
	{"intent before any boot", finding.NoBoot, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{})
		w.ceremony(1)
		return w.input()
	}, nil},
	{"quote left out", finding.NoBoot, func(_ *testing.T, w *world) Input {
		w.pass(time.Minute)
		j := w.newJob(1)
		j.record()
		w.commit()
		j.sign()
		certify := w.tpm.CertifyHead(quote.CertifyTag(w.x))
		w.publish(certify)
		w.add(&ledger.Attest{Size: w.committed, Certify: certify})
		w.add(j.outcome)
		w.ceremony(1)
		return w.input()
	}, nil},
	{"class of another key", finding.Key, func(t *testing.T, _ *world) Input {
		w := newWorld(t, parts{more: otherClass})
		w.boot()
		return w.ask(func(a *message.Approval, _ *message.Submission) { a.Class = "other" })
	}, []string{finding.Genesis}},
	{"the host knows nothing, by another root", finding.HeadFork, func(_ *testing.T, w *world) Input {
		return w.ask(func(_ *message.Approval, s *message.Submission) { s.HeadSize = 0 })
	}, nil},
	{"a commit passed over", finding.Forked, func(_ *testing.T, w *world) Input {
		w.pass(time.Minute)
		j := w.newJob(1)
		j.record()
		fork, tpm := *w, *w.tpm
		fork.tpm = &tpm
		fork.commit()
		fork.publish(fork.tpm.CertifyHead(quote.CertifyTag(fork.x)))
		j.end(ledger.NotStarted, "tpm-error")
		w.add(j.outcome)
		w.ceremony(1)
		in := w.input()
		in.Previous = [][]byte{fork.checkpoint()}
		return in
	}, nil},
	{"time runs backwards", finding.Time, func(_ *testing.T, w *world) Input {
		w.now = w.now.Add(-2 * time.Minute)
		w.boot()
		return w.input()
	}, nil},

	// What the TPM then says.
	{"attestation of another AK", finding.Attestation, func(t *testing.T, w *world) Input {
		other := newWorld(t, parts{})
		w.newJob(1).record()
		w.commit()
		w.add(&ledger.Attest{Size: w.committed, Certify: other.tpm.CertifyHead(quote.CertifyTag(w.x)), Quote: w.tpm.QuotePCR(quote.QuoteTag(w.x))})
		return w.input()
	}, nil},
	{"attestation of another moment", finding.Attestation, func(_ *testing.T, w *world) Input {
		old := w.tpm.CertifyHead(quote.CertifyTag(w.x))
		w.newJob(1).record()
		w.commit()
		w.add(&ledger.Attest{Size: w.committed, Certify: old, Quote: w.tpm.QuotePCR(quote.QuoteTag(w.x))})
		return w.input()
	}, nil},
	{"a hello answer for a commit", finding.Attestation, func(_ *testing.T, w *world) Input {
		w.newJob(1).record()
		w.commit()
		w.add(&ledger.Attest{Size: w.committed, Certify: w.tpm.CertifyHead(quote.HelloTag(w.x[:])), Quote: w.tpm.QuotePCR(quote.QuoteTag(w.x))})
		return w.input()
	}, nil},
	{"quote of another PCR", finding.Attestation, func(_ *testing.T, w *world) Input {
		w.newJob(1).record()
		w.commit()
		w.tpm.PCRIndex = 16
		w.attest()
		w.tpm.PCRIndex = 14
		return w.input()
	}, nil},
	{"commit of leaves that are gone", finding.Ahead, func(_ *testing.T, w *world) Input {
		w.add(&ledger.Attest{Size: w.tree.Size() + 5, Certify: w.tpm.CertifyHead([32]byte{}), Quote: w.tpm.QuotePCR([32]byte{})})
		return w.input()
	}, nil},
	{"hidden extension of HEAD", anchor.CodeHead, func(_ *testing.T, w *world) Input {
		w.tpm.ExtendHead([32]byte{1})
		w.ceremony(1)
		return w.input()
	}, nil},
	{"hidden extension of the PCR", anchor.CodePCR, func(_ *testing.T, w *world) Input {
		w.tpm.ExtendPCR([32]byte{1})
		w.ceremony(1)
		return w.input()
	}, nil},
	{"hidden reset", anchor.CodeReset, func(_ *testing.T, w *world) Input {
		w.tpm.PowerCycle()
		w.ceremony(1)
		return w.input()
	}, []string{anchor.CodePCR}},
	{"TPM state put back", anchor.CodeCounter, func(_ *testing.T, w *world) Input {
		w.tpm.Clock.ResetCount--
		w.ceremony(1)
		return w.input()
	}, nil},
	{"TPM clock put back", anchor.CodeClock, func(_ *testing.T, w *world) Input {
		w.tpm.Clock.Millis = 1
		w.ceremony(1)
		return w.input()
	}, nil},
	{"boot left out", anchor.CodeBootNumber, func(_ *testing.T, w *world) Input {
		w.boots++
		w.boot()
		return w.input()
	}, nil},
	{"boots at an older commit", anchor.CodeOrder, func(_ *testing.T, w *world) Input {
		w.ceremony(1)
		w.committed -= 3
		w.x = ledger.X(w.body(w.committed))
		w.boot()
		return w.input()
	}, []string{finding.Mid}},

	// A genesis entry that is a lie from the start.
	{"AK made for another token", finding.AK, func(t *testing.T, _ *world) Input {
		return newWorld(t, parts{genesis: func(g *ledger.Genesis) { g.Nonce[0] = 1 }}).input()
	}, nil},
	{"key not from the token", finding.Token, func(t *testing.T, _ *world) Input {
		other := newWorld(t, parts{})
		_, b, err := ledger.Parse(other.entries[0])
		other.must(err)
		return newWorld(t, parts{genesis: func(g *ledger.Genesis) { g.Keys[0].Attestation = b.(*ledger.Genesis).Keys[0].Attestation }}).input()
	}, []string{finding.AK}},
	{"cached touch", finding.Token, func(t *testing.T, _ *world) Input { return newWorld(t, parts{touch: 3}).input() }, nil},
	{"emulated token sold as real", finding.Token, func(t *testing.T, _ *world) Input {
		return newWorld(t, parts{genesis: func(g *ledger.Genesis) { g.Keys[0].Token.Emulated = false }}).input()
	}, nil},
	{"serial number changed", finding.Token, func(t *testing.T, _ *world) Input {
		return newWorld(t, parts{genesis: func(g *ledger.Genesis) { g.Keys[0].Token.Serial++ }}).input()
	}, nil},
	{"certificate of another key", finding.Genesis, func(t *testing.T, _ *world) Input {
		return newWorld(t, parts{genesis: func(g *ledger.Genesis) { g.Keys[0].Fingerprint[0] ^= 1 }}).input()
	}, nil},
	{"policy without its quorum", finding.Policy, func(t *testing.T, _ *world) Input {
		return newWorld(t, parts{genesis: func(g *ledger.Genesis) {
			text, err := message.NoteText(g.Policy)
			if err != nil {
				t.Fatal(err)
			}
			g.Policy = append(text, '\n')
		}}).input()
	}, nil},
}

// neverTaken ends an intent that HEAD did not take in a state that says that
// the token was asked.
func neverTaken(state ledger.State, reason string) func(*testing.T, *world) Input {
	return func(_ *testing.T, w *world) Input {
		w.pass(time.Minute)
		j := w.newJob(1)
		j.record()
		j.end(state, reason)
		w.add(j.outcome)
		w.ceremony(1)
		return w.input()
	}
}

const otherClass = `
[[key]]
name = "other"
slot = "9d"
family = "openpgp-data"
algorithm = "p256"

[[class]]
name = "other"
keys = ["other"]
hosts = ["repo1"]
names = ["*.db.tar.gz"]
formats = ["openpgp-binary"]
max_size = "4GiB"
rates = ["60/1h"]
approvals = 0
batch = 16
`

// ceremonyOf has the token sign something else under the same job.
func (w *world) ceremonyOf(what string, j *job) []byte {
	p := *j.plans[0]
	p.Digest = digestOf(what)
	sig, err := p.Finish(w.sign(p.Digest))
	w.must(err)
	return sig
}

func (w *world) proof(t *testing.T, j *job) *ledger.Proof {
	t.Helper()
	leaves := make([][32]byte, w.hostSize)
	for i := range leaves {
		leaves[i] = ledger.LeafHash(w.entries[i])
	}
	p := &ledger.Proof{Origin: origin, Index: j.index, Size: w.hostSize, Path: path(leaves, int(j.index)), Intent: w.entries[j.index], Checkpoint: w.checkpoint()}
	if _, _, err := w.trust.VerifyProof(p); err != nil {
		t.Fatal(err)
	}
	return p
}

// path is the audit path of RFC 6962 section 2.1.1, written from its text.
func path(d [][32]byte, m int) [][32]byte {
	if len(d) <= 1 {
		return nil
	}
	k := 1
	for 2*k < len(d) {
		k *= 2
	}
	if m < k {
		return append(path(d[:k], m), treeRoot(d[k:]))
	}
	return append(path(d[k:], m-k), treeRoot(d[:k]))
}

func treeRoot(d [][32]byte) [32]byte {
	var t ledger.Tree
	for _, h := range d {
		t.Add(h)
	}
	return t.Root()
}
