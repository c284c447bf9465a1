package conversation

import (
	"errors"

	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/message"
)

// maxBehind bounds what the board may claim to hold beyond the mirror;
// more than an NV index can have taken is nonsense.
const maxBehind = 1 << 24

// offer sends a board that asks the entries of the mirror from an index on, as
// many as one message holds. They are no secret.
func (b *Board) offer(from uint64) {
	total := b.o.Mirror.Size()
	m := message.Entries{Start: from, Total: total}
	room := message.MaxMessage - message.EntriesOverhead
	for e, err := range b.o.Mirror.Store.Entries(min(from, total), min(total, from+message.MaxEntries)) {
		if err != nil {
			b.Broken(err)
			return
		}
		if room -= len(e) + 12; room < 0 {
			break
		}
		m.Entries = append(m.Entries, e)
	}
	if len(m.Entries) == 0 {
		return
	}
	if c := b.conv; from < c.offered || c.offered == 0 { // it goes on from there, at any length
		b.o.Log.Warn().Uint64("from", from).Uint64("of", total).Msg("the appliance asks for entries of its log")
	}
	b.conv.offered = from + uint64(len(m.Entries))
	b.Send(m.Marshal())
}

// fetch asks for entries that are missing, one request at a time. One that is
// not answered was for entries that only somebody on the cable spoke of, or the
// board is slow: then what it says next counts.
func (b *Board) fetch() {
	c, size := b.conv, b.o.Mirror.Size()
	if c.fetching > 0 || size >= c.total {
		return
	}
	c.fetches++
	n := c.fetches
	c.fetching = n
	b.o.Loop.After(b.o.Loop.Waits.HelloRetry, func() {
		if c.fetching == n {
			c.fetching, c.total = 0, b.o.Mirror.Size()
		}
	})
	f := message.Fetch{From: size}
	b.Send(f.Marshal())
}

// Expect asks for the log's entries up to a size that the board hinted at.
func (b *Board) Expect(size uint64) {
	b.conv.total = max(b.conv.total, min(size, b.o.Mirror.Size()+maxBehind))
	b.fetch()
}

func (b *Board) entries(m *message.Entries) {
	c := b.conv
	c.total = max(c.total, min(m.Total, b.o.Mirror.Size()+maxBehind))
	c.fetching = 0
	changed, err := b.o.Mirror.Add(m)
	if err != nil && !errors.Is(err, mirror.ErrGap) {
		b.problem(err)
		return
	}
	if changed {
		b.acknowledge()
		b.o.Hooks.Grown()
	}
	b.fetch()
	b.settleWelcome()
	b.o.Hooks.Moved(false)
}

// acknowledge says what this host holds durably.
func (b *Board) acknowledge() {
	size, root, err := b.o.Mirror.Head()
	if err != nil {
		b.Broken(err)
		return
	}
	m := message.Mirrored{Size: size, Root: root}
	b.Send(m.Marshal())
}

func (b *Board) checkpoint(m *message.Checkpoint) {
	before := b.o.Mirror.Committed()
	if err := b.o.Mirror.Advance(m.Note); err != nil {
		b.problem(err)
		return
	}
	b.settleWelcome()
	b.o.Hooks.Moved(true)
	if b.conv.halted && b.o.Mirror.Committed() > before {
		b.HelloAgain() // what a halted board commits may have led it out
	}
}
