package pcsc

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func setup(t *testing.T) (*table, *bay, int64) {
	t.Helper()
	tab, b := newTable(), newBay("bay")
	tab.register(b)
	ctx, e := tab.establish()
	want(t, "establish", e, OK)
	return tab, b, ctx
}

func want(t *testing.T, what string, got, wanted Errno) {
	t.Helper()
	if got != wanted {
		t.Fatalf("%s: %v, want %v", what, got, wanted)
	}
}

func connect(t *testing.T, tab *table, ctx int64) int64 {
	t.Helper()
	h, e := tab.connect(ctx, "bay", true)
	want(t, "connect", e, OK)
	return h
}

var selectPIV = []byte{0, 0xa4, 4, 0, 5, 0xa0, 0, 0, 3, 8}

func TestLife(t *testing.T) {
	tab, b, ctx := setup(t)
	names, e := tab.readers(ctx)
	want(t, "readers", e, OK)
	if string(names) != "bay\x00\x00" {
		t.Fatalf("readers %q", names)
	}
	h := connect(t, tab, ctx)
	want(t, "begin", tab.begin(h), OK)
	resp, e := tab.transmit(h, append([]byte(nil), selectPIV...))
	want(t, "transmit", e, OK)
	if !bytes.Equal(resp, append(append([]byte(nil), selectPIV...), 0x90, 0)) {
		t.Fatalf("response %x", resp)
	}
	want(t, "end", tab.end(h, false), OK)
	want(t, "disconnect", tab.disconnect(h, false), OK)
	want(t, "release", tab.release(ctx), OK)
	if c := b.made[0]; c.connects != 1 || c.closes != 1 || c.resets != 0 {
		t.Fatalf("card was connected %d, reset %d, closed %d times", c.connects, c.resets, c.closes)
	}
	if len(tab.contexts)+len(tab.handles)+len(tab.present) != 0 {
		t.Fatalf("left over: %+v", tab)
	}
}

func TestStaleNumbers(t *testing.T) {
	tab, _, ctx := setup(t)
	h := connect(t, tab, ctx)
	tab.disconnect(h, false)
	tab.release(ctx)
	for _, n := range []int64{h, ctx, 0, -1, 1 << 40} {
		_, e := tab.transmit(n, append([]byte(nil), selectPIV...))
		want(t, "transmit", e, ErrInvalidHandle)
		want(t, "begin", tab.begin(n), ErrInvalidHandle)
		want(t, "end", tab.end(n, true), ErrInvalidHandle)
		want(t, "disconnect", tab.disconnect(n, true), ErrInvalidHandle)
		want(t, "release", tab.release(n), ErrInvalidHandle)
		_, e = tab.readers(n)
		want(t, "readers", e, ErrInvalidHandle)
		_, e = tab.connect(n, "bay", true)
		want(t, "connect", e, ErrInvalidHandle)
	}
	if again, _ := tab.establish(); again == ctx || again == h {
		t.Fatal("a number was used again")
	}
}

func TestSharing(t *testing.T) {
	tab, b, ctx := setup(t)
	other, _ := tab.establish()
	h := connect(t, tab, ctx)
	for _, exclusive := range []bool{true, false} {
		_, e := tab.connect(other, "bay", exclusive)
		want(t, "second connect", e, ErrSharingViolation)
	}
	tab.disconnect(h, false)

	s1, e := tab.connect(ctx, "bay", false)
	want(t, "shared", e, OK)
	s2, e := tab.connect(other, "bay", false)
	want(t, "shared", e, OK)
	_, e = tab.connect(other, "bay", true)
	want(t, "exclusive beside shared", e, ErrSharingViolation)

	want(t, "begin", tab.begin(s1), OK)
	want(t, "begin of the other", tab.begin(s2), ErrSharingViolation)
	_, e = tab.transmit(s2, append([]byte(nil), selectPIV...))
	want(t, "transmit into a transaction", e, ErrSharingViolation)
	want(t, "end of the other", tab.end(s2, false), ErrNotTransacted)
	want(t, "disconnect in a transaction", tab.disconnect(s1, false), OK)
	want(t, "begin after the owner left", tab.begin(s2), OK)
	if b.made[0].closes != 1 {
		t.Fatal("a shared card was powered off while in use")
	}
	want(t, "end with reset", tab.end(s2, true), OK)
	want(t, "release", tab.release(other), OK)
	if c := b.made[0]; c.resets != 1 || c.closes != 2 {
		t.Fatalf("resets %d, closes %d", c.resets, c.closes)
	}
}

func TestNoCard(t *testing.T) {
	tab, b, ctx := setup(t)
	_, e := tab.connect(ctx, "attic", true)
	want(t, "unknown reader", e, ErrUnknownReader)
	b.pull()
	for range 2 * maxObjects { // a failed connect leaves nothing behind
		_, e = tab.connect(ctx, "bay", true)
		want(t, "empty reader", e, ErrNoSmartcard)
	}
	b.insert()
	connect(t, tab, ctx)

	none := newTable()
	ctx, _ = none.establish()
	_, e = none.readers(ctx)
	want(t, "no backend", e, ErrNoReaders)
}

func TestUnregister(t *testing.T) {
	tab := newTable()
	removeA := tab.register(newBay("a"))
	tab.register(newBay("b"))
	removeA()
	removeA()
	ctx, _ := tab.establish()
	if names, _ := tab.readers(ctx); string(names) != "b\x00\x00" {
		t.Fatalf("readers %q", names)
	}
}

// A reset or power-off through an old handle must not reach the card that was
// inserted since: seen in practice, invisible to the race detector.
func TestLateResetMissesNewCard(t *testing.T) {
	tab, b, ctx := setup(t)
	old := connect(t, tab, ctx)
	want(t, "begin", tab.begin(old), OK)
	b.pull()
	_, e := tab.transmit(old, append([]byte(nil), selectPIV...))
	want(t, "transmit to a pulled card", e, ErrRemovedCard)
	b.insert()
	fresh := connect(t, tab, ctx) // though the old handle is still open
	want(t, "late end with reset", tab.end(old, true), ErrRemovedCard)
	_, e = tab.transmit(old, append([]byte(nil), selectPIV...))
	want(t, "late transmit", e, ErrRemovedCard)
	want(t, "late disconnect with reset", tab.disconnect(old, true), OK)
	_, e = tab.transmit(fresh, append([]byte(nil), selectPIV...))
	want(t, "transmit to the new card", e, OK)
	if c := b.made[1]; c.resets != 0 || c.closes != 0 || c.apdus != 1 {
		t.Fatalf("the new card saw %d resets, %d power-offs, %d commands", c.resets, c.closes, c.apdus)
	}
	_, e = tab.connect(ctx, "bay", true)
	want(t, "the old disconnect freed the reader", e, ErrSharingViolation)
}

func TestAnyErrorEndsTheInsertion(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func([]byte) ([]byte, error)
		want   Errno
	}{
		{"typed", func([]byte) ([]byte, error) { return nil, fmt.Errorf("x: %w", ErrTimeout) }, ErrTimeout},
		{"untyped", func([]byte) ([]byte, error) { return nil, errors.New("x") }, ErrCommError},
		{"no status word", func([]byte) ([]byte, error) { return []byte{0x90}, nil }, ErrCommError},
		{"too long", func([]byte) ([]byte, error) { return make([]byte, MaxAPDU+1), nil }, ErrCommError},
	} {
		tab, b, ctx := setup(t)
		h := connect(t, tab, ctx)
		good := b.answer
		b.answer = c.answer
		resp, e := tab.transmit(h, append([]byte(nil), selectPIV...))
		want(t, c.name, e, c.want)
		if resp != nil {
			t.Errorf("%s: a response beside the error", c.name)
		}
		b.answer = good
		_, e = tab.transmit(h, append([]byte(nil), selectPIV...))
		want(t, c.name+", next", e, ErrRemovedCard)
		if b.made[0].closes != 1 {
			t.Errorf("%s: not powered off", c.name)
		}
		connect(t, tab, ctx)
	}
}

func TestPanicLeavesTheTableUsable(t *testing.T) {
	tab, b, ctx := setup(t)
	h := connect(t, tab, ctx)
	good := b.answer
	b.answer = func([]byte) ([]byte, error) { panic("card driver") }
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("no panic")
			}
		}()
		tab.transmit(h, append([]byte(nil), selectPIV...))
	}()
	b.answer = good
	want(t, "disconnect", tab.disconnect(h, false), OK)
	h = connect(t, tab, ctx)
	_, e := tab.transmit(h, append([]byte(nil), selectPIV...))
	want(t, "transmit", e, OK)
}

func TestSecretsAreCleared(t *testing.T) {
	tab, b, ctx := setup(t)
	h := connect(t, tab, ctx)
	for _, ins := range []byte{insVerify, insChangeReference, insResetRetry} {
		for _, fail := range []bool{false, true} {
			b.answer = func([]byte) ([]byte, error) {
				if fail {
					return nil, ErrRemovedCard
				}
				return []byte{0x90, 0}, nil
			}
			apdu := append([]byte{0, ins, 0, 0x80, 8}, "123456\xff\xff"...)
			tab.transmit(h, apdu)
			if !bytes.Equal(apdu, make([]byte, len(apdu))) {
				t.Errorf("INS %02x: %x", ins, apdu)
			}
			if fail {
				h = connect(t, tab, ctx)
			}
		}
	}
	apdu := append([]byte{0, insVerify, 0, 0x80, 8}, "123456\xff\xff"...)
	tab.transmit(-1, apdu) // refused before any card is looked for
	if !bytes.Equal(apdu, make([]byte, len(apdu))) {
		t.Errorf("bad handle: %x", apdu)
	}
}

func TestBounds(t *testing.T) {
	tab, b, ctx := setup(t)
	h := connect(t, tab, ctx)
	for _, n := range []int{0, 1, minCommand - 1, MaxAPDU + 1} {
		_, e := tab.transmit(h, make([]byte, n))
		want(t, fmt.Sprintf("APDU of %d bytes", n), e, ErrInvalidParameter)
	}
	if b.made[0].apdus != 0 {
		t.Error("a bad APDU reached the card")
	}
	tab.disconnect(h, false)
	for i := range maxObjects {
		_, e := tab.connect(ctx, "bay", false)
		want(t, fmt.Sprint("handle ", i), e, OK)
	}
	_, e := tab.connect(ctx, "bay", false)
	want(t, "one handle too many", e, ErrNoMemory)
	for range maxObjects - 1 {
		tab.establish()
	}
	_, e = tab.establish()
	want(t, "one context too many", e, ErrNoMemory)
	want(t, "release", tab.release(ctx), OK)
	if len(tab.handles) != 0 || b.made[0].closes != 2 {
		t.Error("released context left handles")
	}
}

func TestReleaseSince(t *testing.T) {
	tab, b, ctx := setup(t)
	mark := tab.mark()
	leaky, _ := tab.establish()
	connect(t, tab, leaky)
	tab.releaseSince(mark)
	if _, ok := tab.contexts[ctx]; !ok || len(tab.contexts) != 1 {
		t.Fatalf("contexts left: %v", tab.contexts)
	}
	if b.made[0].closes != 1 {
		t.Fatal("leaked handle still holds the card")
	}
	connect(t, tab, ctx)
}

// A removal ends a call that waits, and a disconnect meanwhile waits for it.
func TestRemovalDuringACall(t *testing.T) {
	tab, b, ctx := setup(t)
	h := connect(t, tab, ctx)
	waiting := make(chan struct{})
	card := b.made[0]
	b.answer = func([]byte) ([]byte, error) {
		close(waiting)
		<-card.pulled
		return nil, ErrRemovedCard
	}
	done := make(chan Errno)
	go func() {
		_, e := tab.transmit(h, append([]byte(nil), selectPIV...))
		done <- e
	}()
	<-waiting
	b.pull()
	want(t, "transmit", <-done, ErrRemovedCard)
}

// Random histories against the rules: fakeConn panics on use after Close, and a
// card never sees what was meant for another.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tab, b := newTable(), newBay("bay")
		tab.register(b)
		handles := map[int64]*fakeCard{} // what each handle may reach
		ctx, _ := tab.establish()
		pick := func() (int64, *fakeCard) {
			var all []int64
			for n := range handles {
				all = append(all, n)
			}
			if len(all) == 0 {
				return 0, nil
			}
			h := rapid.SampledFrom(sorted(all)).Draw(rt, "handle")
			return h, handles[h]
		}
		rt.Repeat(map[string]func(*rapid.T){
			"pull":   func(*rapid.T) { b.pull() },
			"insert": func(*rapid.T) { b.pull(); b.insert() },
			"connect": func(rt *rapid.T) {
				if h, e := tab.connect(ctx, "bay", rapid.Bool().Draw(rt, "exclusive")); e == OK {
					handles[h] = tab.handles[h].card.card.(*fakeConn).card
				}
			},
			"disconnect": func(rt *rapid.T) {
				if h, c := pick(); c != nil {
					tab.disconnect(h, rapid.Bool().Draw(rt, "reset"))
					delete(handles, h)
				}
			},
			"end": func(*rapid.T) {
				if h, c := pick(); c != nil && tab.begin(h) == OK {
					tab.end(h, true)
				}
			},
			"transmit": func(rt *rapid.T) {
				h, c := pick()
				if c == nil {
					return
				}
				before := c.apdus
				_, e := tab.transmit(h, append([]byte(nil), selectPIV...))
				if inside := b.inside == c; e == OK != (c.apdus == before+1) || e == OK && !inside {
					rt.Fatalf("transmit: %v, but commands %d → %d, inside %v", e, before, c.apdus, inside)
				}
			},
		})
		tab.release(ctx)
		if len(tab.handles)+len(tab.present) != 0 {
			rt.Fatalf("left over: %+v", tab)
		}
		for i, c := range b.made {
			if c.closes != c.connects {
				rt.Fatalf("card %d: %d connections, %d power-offs", i, c.connects, c.closes)
			}
		}
	})
}

func sorted(n []int64) []int64 {
	for i := range n {
		for j := i; j > 0 && n[j] < n[j-1]; j-- {
			n[j], n[j-1] = n[j-1], n[j]
		}
	}
	return n
}

// Everything at once, for the race detector.
func TestConcurrency(t *testing.T) {
	tab, b := newTable(), newBay("bay")
	tab.register(b)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 200 {
				ctx, e := tab.establish()
				if e != OK {
					t.Error(e)
				}
				if h, e := tab.connect(ctx, "bay", i%2 == 0); e == OK {
					tab.begin(h)
					tab.transmit(h, append([]byte(nil), selectPIV...))
					tab.end(h, i%3 == 0)
					tab.readers(ctx)
				}
				tab.release(ctx)
				if i == 0 {
					b.pull()
					b.insert()
				}
			}
		}()
	}
	wg.Wait()
	if len(tab.contexts)+len(tab.handles)+len(tab.present) != 0 {
		t.Fatal("left over")
	}
	for _, c := range b.made {
		if c.closes != c.connects {
			t.Fatalf("%d connections, %d power-offs", c.connects, c.closes)
		}
	}
}
