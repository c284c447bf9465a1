package healing

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/station/fault"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

// lostEnd is a log of which the disk has the first entry and a mirror has the
// rest: commits of a policy, as large as they get, and their attest entries.
type lostEnd struct {
	t     *testing.T
	trust anchor.Trust
	store *ledgerstore.Store
	halt  *fault.HaltError
	bytes int // that the mirror gave
}

func newLostEnd(t *testing.T) *lostEnd {
	t.Helper()
	tpm := quotetest.New()
	l := &lostEnd{t: t, trust: anchor.Trust{Origin: "touchmark.example/demo", AK: tpm.Public(), HeadName: tpm.HeadName()}}
	var err error
	if l.store, err = ledgerstore.Create(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.store.Close() })
	first := l.entry(0)
	if err := l.store.Append([][]byte{first}, &anchor.Plan{Size: 1, X: l.x(1, ledger.LeafHash(first))}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lostEnd) x(size uint64, root [32]byte) [32]byte {
	return ledger.X(ledger.CheckpointBody(l.trust.Origin, size, root))
}

// made are the entries of all these logs, which are the same.
var made [][]byte

// entry is the one of this index: policies have even ones, attest entries odd.
func (l *lostEnd) entry(i uint64) []byte {
	l.t.Helper()
	for n := uint64(len(made)); n <= i; n++ {
		made = append(made, l.make(n))
	}
	return made[i]
}

func (l *lostEnd) make(i uint64) []byte {
	l.t.Helper()
	var body any = &ledger.Order{Action: ledger.KindPolicy, Mirrored: true, Note: []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 550))}
	if i%2 == 1 {
		body = &ledger.Attest{Size: i, Certify: quote.Attestation{Attest: []byte{1}, Sig: []byte{1}}}
	}
	raw, err := ledger.Marshal(ledger.Header{Index: i, Time: time.Unix(1.8e9, 0)}, body)
	if err != nil {
		l.t.Fatal(err)
	}
	return raw
}

// halts has the board halt over a HEAD that took n commits.
func (l *lostEnd) halts(n uint64) {
	var tree ledger.Tree
	var head [32]byte
	o := recovery.Observed{Size: l.store.Size(), Attested: max(1, l.store.Size()-1)}
	for i := range 2*n - 1 {
		tree.Add(ledger.LeafHash(l.entry(i)))
		if i%2 == 1 {
			continue
		}
		p := anchor.Plan{Size: i + 1, X: l.x(i+1, tree.Root()), Prev: head}
		if head = p.Head(); p.Size <= o.Size {
			o.Plans = append(o.Plans, p)
		}
	}
	if o.Size > 1 {
		o.Attested = o.Size - 2 // the newest commit is not attested yet
	}
	o.Head = head
	l.halt = &fault.HaltError{Halt: recovery.HeadUnknown, Observed: o}
}

// gives answers until the board is content, or has so many entries.
func (l *lostEnd) gives(g *Healing, until uint64) (whole bool, err error) {
	l.t.Helper()
	for !whole && err == nil && l.store.Size() < until {
		var part [][]byte
		for size := 0; size < 100<<10; size += len(part[len(part)-1]) {
			part = append(part, l.entry(g.Next+uint64(len(part))))
		}
		whole, err = g.Take(part)
		held := 0
		for _, e := range g.held {
			held += len(e)
		}
		for _, e := range part {
			l.bytes += len(e)
		}
		if most := markEvery + 2*ledger.MaxEntry; held > most || len(g.marks) > l.bytes/markEvery+1 {
			l.t.Fatalf("%d bytes are held, and %d marks after %d bytes", held, len(g.marks), l.bytes)
		}
	}
	return whole, err
}

func (l *lostEnd) begins() *Healing {
	l.t.Helper()
	g, err := Begin(l.store, &l.trust, l.halt)
	if err != nil {
		l.t.Fatal(err)
	}
	return g
}

// A log is healed whatever its size, in memory that is bounded; one that was cut
// short goes on where it was.
func TestHealsAnySize(t *testing.T) {
	const commits = 100 // 5 MiB, 20 marks
	l := newLostEnd(t)
	l.halts(commits)
	if whole, err := l.gives(l.begins(), 30); whole || err != nil {
		t.Fatal(whole, err)
	}
	if l.store.Size() < 30 || l.store.Size()%2 != 1 {
		t.Fatalf("%d entries", l.store.Size())
	}
	l.halts(commits)
	if whole, err := l.gives(l.begins(), commits*2); !whole || err != nil {
		t.Fatal(whole, err)
	}
	if l.store.Size() != 2*commits-1 || l.bytes < 10<<20 {
		t.Fatalf("%d entries, %d bytes", l.store.Size(), l.bytes)
	}
	var plans int
	for p, err := range l.store.PlansBackward() {
		if plans++; err != nil || p.Size%2 != 1 {
			t.Fatal(p, err)
		}
	}
	if plans != commits {
		t.Fatalf("%d plans", plans)
	}
}

// What the survey did not see is not appended, wherever it comes.
func TestHealingTakesOnlyWhatLeadsToHead(t *testing.T) {
	const commits = 20
	other := func(i uint64, raw []byte) []byte {
		if i%2 == 1 {
			return raw
		}
		return bytes.Replace(raw, []byte("time 2027"), []byte("time 2028"), 1)
	}
	for _, at := range []uint64{1, 2, 8, 9, 10, 22, 38} {
		l := newLostEnd(t)
		l.halts(commits)
		g := l.begins()
		for !g.Filling() {
			if _, err := g.Take([][]byte{l.entry(g.Next)}); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		for err == nil && g.Next < 2*commits-1 {
			raw := l.entry(g.Next)
			if g.Next >= at {
				raw = other(g.Next, raw)
			}
			_, err = g.Take([][]byte{raw})
		}
		var h *fault.HaltError
		if err == nil && l.store.Size() > at || errors.As(err, &h) {
			t.Errorf("changed at %d: %v", at, err)
		}
		if l.store.Size() > at {
			t.Errorf("changed at %d, %d entries were taken", at, l.store.Size())
		}
	}
}

// What comes without a commit is bounded, and so is what a mirror can make the
// board look at in vain; a disk that is full halts it.
func TestHealingFails(t *testing.T) {
	l := newLostEnd(t)
	l.halts(3)
	g := l.begins()
	var err error
	for n := 0; err == nil && n < maxUnmarked; {
		raw, merr := ledger.Marshal(ledger.Header{Index: g.Next, Time: time.Unix(1.8e9, 0)}, &ledger.Outcome{Items: slices.Repeat([]ledger.ItemResult{{State: ledger.Signed, Signature: make([]byte, 2000)}}, message.MaxItems)})
		if merr != nil {
			t.Fatal(merr)
		}
		n += len(raw)
		_, err = g.Take([][]byte{raw})
	}
	if err == nil || !strings.Contains(err.Error(), "without a commit") {
		t.Fatal(err)
	}
	g = l.begins()
	for !g.Filling() {
		if _, err := g.Take([][]byte{l.entry(g.Next)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.store.Close(); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, err = g.Take([][]byte{l.entry(g.Next)})
	}
	var h *fault.HaltError
	if !errors.As(err, &h) || h.Halt != recovery.LogUnwritable {
		t.Fatal(err)
	}
}
