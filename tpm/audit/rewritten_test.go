package audit

import (
	"slices"
	"testing"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// rewrite puts another job's intent in the place of one that HEAD took: its attest entry
// follows as it was, the outcome is the other's. It returns the entries as they were
// committed, whose leaf hashes root publishes, so that the attestations fit those.
func (w *world) rewrite(j, other *job) (taken [][]byte) {
	w.t.Helper()
	taken = slices.Clone(w.entries)
	w.entries, w.tree = nil, ledger.Tree{}
	for _, e := range taken[:j.index] {
		w.addRaw(e)
	}
	other.record()
	w.addRaw(taken[j.index+1])
	other.sign()
	w.add(other.outcome)
	return taken
}

// rewritten is the log of a board that did so and went on, from committed entries that
// nobody altered since: the checkpoint is over the entries.
func rewritten(t *testing.T, w *world, then func(size uint64, root [32]byte)) (Input, *ledger.Proof) {
	t.Helper()
	w.pass(time.Minute)
	other := w.newJob(1)
	w.seq--
	j := w.newJob(1)
	j.run()
	size := j.index + 1
	root, old := w.root[size], w.proof(t, j)
	taken := w.rewrite(j, other)
	w.pass(time.Minute)
	then(size, root)
	w.ceremony(1)
	in := w.input()
	in.Tile = tilesOf(append(taken, w.entries[len(taken):w.hostSize]...))
	return in, old
}

var rewrittenAttacks = []attack{
	{"intent replaced once HEAD took it", finding.Attestation, func(t *testing.T, w *world) Input {
		in, _ := rewritten(t, w, func(uint64, [32]byte) {})
		return in
	}, nil},
	{"intent replaced, the host saw the first", finding.HeadFork, func(t *testing.T, w *world) Input {
		in, _ := rewritten(t, w, func(size uint64, root [32]byte) {
			w.newJob(1, func(_ *message.Approval, s *message.Submission) { s.HeadSize, s.HeadRoot = size, root }).run()
		})
		return in
	}, []string{finding.Attestation}},
	{"intent replaced, administrators saw the first", finding.OrderForked, func(t *testing.T, w *world) Input {
		in, _ := rewritten(t, w, func(size uint64, root [32]byte) {
			o := &order.Order{Origin: origin, After: order.State{Size: size, Root: root}, Action: &order.Note{}, Reason: "x"}
			w.obey(w.entry(ledger.KindNote, w.signed(o, w.admin)))
		})
		return in
	}, []string{finding.Attestation}},
	{"intent replaced, a proof of the first", finding.Forked, func(t *testing.T, w *world) Input {
		in, old := rewritten(t, w, func(uint64, [32]byte) {})
		in.Proofs = append(in.Proofs, old)
		return in
	}, []string{finding.Attestation}},
}

// Damaged hash tiles are no evidence, whoever looked at what.
func TestDamagedTilesAccuseNobody(t *testing.T) {
	w := newWorld(t, parts{})
	w.boot()
	for range 3 {
		w.ceremony(1)
	}
	w.obey(w.entry(ledger.KindNote, w.orderNote(&order.Note{})))
	w.ceremony(2)
	for i := range w.hostSize {
		es := slices.Clone(w.entries[:w.hostSize])
		es[i] = append(slices.Clone(es[i]), 'x')
		in := w.input()
		in.Tile = tilesOf(es)
		r := audited(t, in)
		if got := codes(r, finding.Warning); r.Verdict != finding.Warnings || !slices.Equal(got, []string{finding.Tiles}) {
			t.Fatalf("leaf %d: %s %+v", i, r.Verdict, r.Findings)
		}
	}
}
