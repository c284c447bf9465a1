package session

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"touchmark/hostlink/frame"
)

// upWorld returns a world whose session stands.
func upWorld(t testing.TB, baud int) *world {
	t.Helper()
	w := newWorld(t, 1, baud, Config{Baud: baud})
	w.run(time.Second)
	if !w.nodes[0].conn.Up() || !w.nodes[1].conn.Up() {
		t.Fatal("no session after a second on a good line")
	}
	return w
}

// bulk sends messages one way until total bytes have arrived and returns the
// share of the line rate that was payload.
func bulk(t *testing.T, w *world, total int) float64 {
	t.Helper()
	const size = 64 << 10
	start, arrived := w.now, func() (n int) {
		for _, m := range w.nodes[1].got[key(w.nodes[0].conn.sid, 0, Bulk)] {
			n += len(m)
		}
		return n
	}
	for sent := 0; arrived() < total; {
		for sent < total && w.nodes[0].conn.tx.queued[Bulk]+size <= sendQueueBytes && w.send(0, Bulk, size) == nil {
			sent += size
		}
		w.run(10 * time.Millisecond)
		if w.now.Sub(start) > time.Hour {
			t.Fatal("bulk transfer does not end")
		}
	}
	return float64(total) * bitsPerByte / float64(w.real) / w.now.Sub(start).Seconds()
}

func TestBulkFillsTheLine(t *testing.T) {
	for _, baud := range []int{9600, 115200, 921600} {
		w := upWorld(t, baud)
		if eff := bulk(t, w, 8*(64<<10)); eff < 0.92 {
			t.Errorf("%d baud: payload is %.3f of the line", baud, eff)
		} else {
			t.Logf("%d baud: payload is %.3f of the line", baud, eff)
		}
	}
}

// bitErrors flips each bit on the line with a probability.
func (w *world) bitErrors(rate float64) {
	for _, n := range w.nodes {
		n.damage = func(p []byte) {
			for i := range p {
				if w.chance(8 * rate) {
					p[i] ^= 1 << w.rng.IntN(8)
				}
			}
		}
	}
}

// TestBulkOnANoisyLine: one bit in 100000 wrong costs less than a quarter of
// the clean rate; with one in 10000 it still ends, in one session.
func TestBulkOnANoisyLine(t *testing.T) {
	for _, c := range []struct {
		rate  float64
		least float64 // of the clean rate
	}{{1e-5, 0.75}, {1e-4, 0}} {
		for _, baud := range []int{115200, 921600} {
			clean := bulk(t, upWorld(t, baud), 8*(64<<10))
			w := upWorld(t, baud)
			w.bitErrors(c.rate)
			share := bulk(t, w, 32*(64<<10)) / clean
			t.Logf("%d baud, bit error rate %g: %.3f of the clean rate", baud, c.rate, share)
			if share < c.least || w.nodes[0].ups != 1 {
				t.Errorf("%d baud, bit error rate %g: %.3f of the clean rate in %d sessions", baud, c.rate, share, w.nodes[0].ups)
			}
		}
	}
}

// TestInteractiveOvertakesBulk holds a small message, sent while both directions
// are full of bulk, to the bound of the specification: what may be written ahead,
// one full bulk fragment, an ACK, and its own line time.
func TestInteractiveOvertakesBulk(t *testing.T) {
	for _, baud := range []int{9600, 115200, 921600} {
		w := upWorld(t, baud)
		for range 4 {
			w.send(0, Bulk, 60000)
			w.send(1, Bulk, 60000)
		}
		w.run(500 * time.Millisecond)
		const size = 200
		bound := bulkLead + w.lineTime(fragmentFor(baud)+size+3*frame.Overhead+frame.MaxAckPayload) + time.Millisecond
		for range 5 {
			k := key(w.nodes[0].conn.sid, 0, Interactive)
			before, start := len(w.nodes[1].got[k]), w.now
			w.send(0, Interactive, size)
			for len(w.nodes[1].got[k]) == before {
				w.run(time.Millisecond)
			}
			t.Logf("%d baud: %v behind bulk", baud, w.now.Sub(start))
			if took := w.now.Sub(start); took > bound {
				t.Errorf("%d baud: %v behind bulk, want at most %v", baud, took, bound)
			}
			w.run(123 * time.Millisecond)
		}
	}
}

// TestChannelsSendApart: a channel whose queue is full, and whose peer takes
// nothing of it, refuses its own messages and no others.
func TestChannelsSendApart(t *testing.T) {
	for full := range Channels {
		w := upWorld(t, 115200)
		n := w.nodes[0]
		for w.send(0, full, MaxMessage) == nil {
		}
		w.send(0, 1-full, 300)
		k := key(n.conn.sid, 0, 1-full)
		for start := w.now; len(w.nodes[1].got[k]) == 0; w.run(10 * time.Millisecond) {
			if w.now.Sub(start) > time.Second {
				t.Fatalf("channel %d waits for channel %d", 1-full, full)
			}
		}
		if err := w.send(0, full, MaxMessage); !errors.Is(err, ErrQueueFull) {
			t.Errorf("channel %d: %v", full, err)
		}
	}
}

// TestUnfinishedMessageHoldsNobody: half a message on one channel, for however
// long, does not keep the other waiting.
func TestUnfinishedMessageHoldsNobody(t *testing.T) {
	for open := range Channels {
		l := newLone(t, false)
		sid := l.stand(1)
		flags := func(ch int) frame.Type { return frame.Type(ch) * frame.FlagBulk }
		l.give(data(sid, 0, flags(open), "half"))
		for seq := range uint16(200) {
			l.give(data(sid, seq+1, flags(1-open)|frame.FlagLast, "whole"))
			l.take()
			if evs := l.events(); len(evs) != 1 || evs[0].Channel != 1-open {
				t.Fatalf("message %d: %+v", seq, evs)
			}
			l.pass(time.Second)
		}
	}
}

// TestBulkIsPaced: no more is written than may be ahead, and the rest follows by
// the timer alone, without a word from the peer.
func TestBulkIsPaced(t *testing.T) {
	l := newLone(t, false) // 115200 baud
	sid := l.stand(1)
	l.pass(time.Second)
	l.Send(sid, Bulk, make([]byte, 8*fragmentFor(115200)))
	full := l.lineTime(fragmentFor(115200) + frame.Overhead)
	ahead := len(l.take())
	if want := 1 + int(bulkLead/full); ahead != want {
		t.Errorf("%d fragments at once, want %d", ahead, want)
	}
	at := l.Deadline()
	if l.pass(at.Sub(l.now)); at.IsZero() || l.now.Sub(epoch) > time.Second+time.Duration(ahead)*full {
		t.Fatalf("next call at %v", at)
	}
	if !l.Tick(l.now) || l.Tick(l.now) {
		t.Error("the timer does not say once that there is work")
	}
	only(t, l.take(), frame.TypeData|frame.FlagBulk)
}

// TestEarlyAnswerToACopy: an acknowledgement that comes too soon for the copy
// just sent is the first one's answer; what was sent between is not lost.
func TestEarlyAnswerToACopy(t *testing.T) {
	l := newLone(t, false)
	sid := l.stand(1)
	ack := func(n uint16) { l.give(frame.Frame{Type: frame.TypeAck, SID: sid, Ack: n}) }
	l.Send(sid, Interactive, []byte("a"))
	l.take()
	l.pass(100 * time.Millisecond)
	ack(1) // a round trip of 100 ms is known now
	for range 3 {
		l.Send(sid, Interactive, []byte("b"))
	}
	l.take()
	for len(l.tx.flights) == 3 && l.tx.flights[0].tries == 1 {
		l.pass(10 * time.Millisecond)
		l.take()
	}
	l.pass(5 * time.Millisecond)
	ack(2)
	if out := l.take(); len(out) != 0 {
		t.Errorf("sent again: %v", out)
	}
	l.pass(200 * time.Millisecond) // in time for an answer to a copy: of what was before it, the rest is lost
	l.tx.flights[0].lost = true
	l.take()
	l.pass(200 * time.Millisecond)
	ack(3)
	if out := l.take(); len(out) != 1 || out[0].Seq != 3 {
		t.Errorf("sent %v, want number 3 again", out)
	}
}

// TestSlowPeerIsNotFlooded: a peer that answers late, again and again, as on a
// loaded machine, is not taken for a lossy line.
func TestSlowPeerIsNotFlooded(t *testing.T) {
	for _, late := range []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, time.Second} {
		w := upWorld(t, 115200)
		w.nodes[1].doze = late
		eff := bulk(t, w, 4*(64<<10))
		st := w.nodes[0].conn.Stats()
		frames := 4 * (64 << 10) / fragmentFor(115200)
		t.Logf("late by up to %v: %d of %d fragments sent again, payload is %.3f of the line", late, st.Resent, frames, eff)
		if int(st.Resent) > frames/20 {
			t.Errorf("late by up to %v: %d of %d fragments sent again", late, st.Resent, frames)
		}
	}
}

// TestBulkIsNotStarved keeps the interactive channel full.
func TestBulkIsNotStarved(t *testing.T) {
	w := upWorld(t, 115200)
	w.send(0, Bulk, 30000)
	k := key(w.nodes[0].conn.sid, 0, Bulk)
	for range 600 {
		for w.send(0, Interactive, 500) == nil {
		}
		w.run(100 * time.Millisecond)
		if len(w.nodes[1].got[k]) == 1 {
			return
		}
	}
	t.Error("a bulk message did not pass in a minute of interactive traffic")
}

// frames decodes what an end has put on the line.
func decodeAll(wire []byte) (out []frame.Frame) {
	var d frame.Decoder
	for len(wire) > 0 {
		f, n, ok := d.Feed(wire)
		wire = wire[n:]
		if ok {
			f.Payload = slices.Clone(f.Payload)
			out = append(out, f)
		}
	}
	return out
}

// TestAcksTravelWithAnswers: a request answered within ackDelay costs no frame
// of its own for the acknowledgement, and one frame of overhead per message.
func TestAcksTravelWithAnswers(t *testing.T) {
	w := upWorld(t, 0)
	var wire [2][]byte
	w.seen = func(from int, p []byte) { wire[from] = append(wire[from], p...) }
	for range 10 {
		w.send(0, Interactive, 100)
		w.run(2 * time.Millisecond)
		w.send(1, Interactive, 100)
		w.run(2 * time.Millisecond)
	}
	w.run(time.Second)
	for i, p := range wire {
		pure := 0
		for _, f := range decodeAll(p) {
			if !f.Type.IsData() {
				pure++
			}
		}
		if most := []int{1, 0}[i]; pure > most { // only the last answer is acknowledged alone
			t.Errorf("end %d sent %d frames without data", i, pure)
		}
		if most := 10*(100+frame.Overhead) + frame.Overhead + 2; len(p) > most {
			t.Errorf("end %d sent %d bytes, want at most %d", i, len(p), most)
		}
	}
}

// TestIdleLineIsQuiet: keep-alive is two small frames every five seconds.
func TestIdleLineIsQuiet(t *testing.T) {
	w := upWorld(t, 115200)
	w.nodes[0].bytes, w.nodes[1].bytes = 0, 0
	w.run(10 * time.Minute)
	for i, n := range w.nodes {
		if n.bytes > 120*(frame.Overhead+1) {
			t.Errorf("end %d sent %d bytes in ten idle minutes", i, n.bytes)
		}
	}
	if len(w.nodes[0].downs)+len(w.nodes[1].downs) > 0 {
		t.Error("an idle session went down")
	}
}

// TestLossIsMendedWithoutATimer: with later frames behind it, a lost frame is
// resent as soon as the gap is reported.
func TestLossIsMendedWithoutATimer(t *testing.T) {
	w := upWorld(t, 0)
	w.run(time.Second)
	w.fault(faults{cut: true})
	w.send(0, Interactive, 10)
	w.run(time.Millisecond)
	w.fault(faults{})
	w.send(0, Interactive, 20)
	start := w.now
	k := key(w.nodes[0].conn.sid, 0, Interactive)
	for len(w.nodes[1].got[k]) < 2 {
		w.run(100 * time.Microsecond)
		if w.now.Sub(start) > rtoLeast/2 {
			t.Fatal("the lost frame waited for a timer")
		}
	}
}

// TestRecoveryTimes: how fast each kind of interruption is noticed and mended.
func TestRecoveryTimes(t *testing.T) {
	cases := []struct {
		name      string
		interrupt func(w *world)
		within    time.Duration
	}{
		{"board restarts, idle", func(w *world) { w.restart(1) }, 100 * time.Millisecond},
		{"host restarts, idle", func(w *world) { w.restart(0) }, 100 * time.Millisecond},
		{"both restart", func(w *world) { w.restart(0); w.restart(1) }, time.Second},
		{"board restarts, its announcement lost", func(w *world) {
			w.restart(1)
			w.fault(faults{cut: true})
			w.run(time.Millisecond)
			w.fault(faults{})
		}, keepAliveInitiator + time.Second},
		{"cable cut for a minute", func(w *world) {
			w.fault(faults{cut: true})
			w.run(time.Minute)
			w.fault(faults{})
		}, synMost + 100*time.Millisecond},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := upWorld(t, 115200)
			w.run(10 * time.Second)
			old := w.nodes[0].conn.sid
			c.interrupt(w)
			start := w.now
			for {
				a, b := w.nodes[0].conn, w.nodes[1].conn
				if a.Up() && b.Up() && a.sid == b.sid && a.sid != old {
					break
				}
				w.run(time.Millisecond)
				if w.now.Sub(start) > c.within {
					t.Fatalf("no new session within %v", c.within)
				}
			}
			t.Logf("new session after %v", w.now.Sub(start))
		})
	}
}

// TestShortCutKeepsTheSession: what was sent during it arrives after it.
func TestShortCutKeepsTheSession(t *testing.T) {
	w := upWorld(t, 115200)
	w.fault(faults{cut: true})
	for i := range 20 {
		w.send(i%2, i/2%2, 3000)
	}
	w.run(8 * time.Second)
	w.fault(faults{})
	w.rest()
	w.complete()
	if w.nodes[0].ups != 1 || w.nodes[1].ups != 1 {
		t.Error("the session did not survive eight seconds of silence")
	}
}

// TestDeafConsumerHoldsThePeer: nothing is lost, memory stays bounded (checked
// by the world), and the session outlives a pause shorter than stallAfter.
func TestDeafConsumerHoldsThePeer(t *testing.T) {
	w := upWorld(t, 921600)
	w.nodes[1].deaf = true
	accepted := 0
	for range 300 {
		for w.send(0, Bulk, 30000) == nil {
			accepted++
		}
		w.run(100 * time.Millisecond)
	}
	if accepted > (recvQueueBytes+sendQueueBytes+MaxMessage+Window*frame.MaxPayload)/30000+2 {
		t.Errorf("%d messages of 30000 bytes accepted while nobody reads", accepted)
	}
	w.nodes[1].deaf = false
	w.rest()
	w.complete()
	if w.nodes[0].ups != 1 {
		t.Error("the session did not survive half a minute of a deaf consumer")
	}
}

// TestStalledPeerEnds: a consumer deaf for longer ends the session, so that
// nobody waits for ever.
func TestStalledPeerEnds(t *testing.T) {
	w := upWorld(t, 921600)
	w.nodes[1].deaf = true
	for range 30 {
		for w.send(0, Bulk, 30000) == nil {
		}
		w.run(5 * time.Second)
	}
	if !slices.Contains(w.nodes[0].downs, ReasonStalled) {
		t.Errorf("downs: %v", fmt.Sprint(w.nodes[0].downs))
	}
}
