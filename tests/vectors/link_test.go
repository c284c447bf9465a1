package vectors

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/frame"
	"touchmark/hostlink/session"
)

var frameTypes = map[string]frame.Type{
	"SYN": 0x01, "ACCEPT": 0x02, "ACK": 0x03, "PING": 0x04, "PONG": 0x05, "RESET": 0x06,
	"DATA": 0x10, "DATA-LAST": 0x11, "BULK": 0x12, "BULK-LAST": 0x13,
}

var frameErrors = map[frame.Error]string{
	frame.ErrLong: "ErrLong", frame.ErrStuffing: "ErrStuffing", frame.ErrShort: "ErrShort", frame.ErrChecksum: "ErrChecksum",
	frame.ErrType: "ErrType", frame.ErrLength: "ErrLength", frame.ErrField: "ErrField",
}

// decode gives every frame in the bytes, each in its wire form, and the decoder's counts.
func decode(stream []byte) (wires [][]byte, stats frame.Stats) {
	var d frame.Decoder
	for len(stream) > 0 {
		f, n, ok := d.Feed(stream)
		if ok {
			wires = append(wires, frame.Append(nil, &f))
		}
		stream = stream[n:]
	}
	return wires, d.Stats()
}

func TestFrames(t *testing.T) {
	run(t, "frames.txt", func(t *testing.T, v vector) {
		wire := v.get("wire").bytes
		if v.get("error").text != "" {
			wire = append(slices.Clone(wire), 0)
		}
		wires, stats := decode(wire)
		problem := ""
		for class, count := range stats.Bad {
			if count > 0 {
				problem += frameErrors[frame.Error(class)]
			}
		}
		if v.refused(t, problem) {
			if len(wires) != 0 || stats.Refused() != 1 {
				t.Errorf("%d frames, %d bad pieces", len(wires), stats.Refused())
			}
			return
		}
		if len(wires) != 1 || !bytes.Equal(wires[0], wire) {
			t.Errorf("decoded and encoded again: %x", wires)
		}
		f := frame.Frame{Type: frameTypes[v.get("type").text], SID: sid(t, v.get("sid").text), Payload: v.get("payload").bytes,
			Seq: uint16(number(t, v.get("seq").text)), Ack: uint16(number(t, v.get("ack").text))}
		if got := frame.Append(nil, &f); !bytes.Equal(got, wire) {
			t.Errorf("encoded: %x", got)
		}
	})
}

func sid(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func TestStreams(t *testing.T) {
	run(t, "streams.txt", func(t *testing.T, v vector) {
		wires, stats := decode(v.get("stream").bytes)
		want := v.all("frame")
		if !slices.EqualFunc(wires, want, func(got []byte, want pair) bool { return bytes.Equal(got, want.bytes) }) {
			t.Errorf("found %x", wires)
		}
		if bad := number(t, v.get("bad").text); stats.Refused() != bad {
			t.Errorf("%d bad pieces, want %d", stats.Refused(), bad)
		}
	})
}

// late is the time by which what is not sent at once must have been sent (session.md, Acknowledging).
const late = 40 * time.Millisecond

// play is one side of a session that follows a script.
type play struct {
	t    *testing.T
	conn *session.Conn
	now  time.Time
	sid  uint32   // of the last ACCEPT
	up   uint32   // of the session that stands
	said [][]byte // frames not yet looked at
}

func TestSessions(t *testing.T) {
	run(t, "sessions.txt", func(t *testing.T, v vector) {
		nonces := v.texts("nonce")
		p := &play{t: t, now: time.Unix(1e9, 0)}
		p.conn = session.New(session.Config{Initiator: v.get("role").text == "initiator", Nonce: func() (n [8]byte) {
			if len(nonces) == 0 {
				t.Fatal("a nonce more than the script has")
			}
			copy(n[:], unhex(t, nonces[0]))
			nonces = nonces[1:]
			return n
		}}, p.now)
		for i, s := range v.pairs {
			p.step(s)
			if t.Failed() {
				t.Fatalf("at step %d, %s %.60s", i, s.key, s.text)
			}
		}
	})
}

func (p *play) step(s pair) {
	p.t.Helper()
	switch s.key {
	case "in":
		p.conn.Input(p.now, p.frame(s.text))
	case "wire":
		p.conn.Input(p.now, s.bytes)
	case "out":
		if want, got := p.frame(s.text), p.next(); !bytes.Equal(got, want) {
			p.t.Errorf("sent %x, want %x", got, want)
		}
	case "silent":
		if got := p.next(); got != nil {
			p.t.Errorf("sent %x", got)
		}
	case "any":
		for p.next() != nil {
		}
	case "late":
		p.now = p.now.Add(late)
		p.conn.Tick(p.now)
	case "send":
		channel, data, _ := strings.Cut(s.text, " ")
		if err := p.conn.Send(p.up, int(number(p.t, channel)), runOf(p.t, data)); err != nil {
			p.t.Error(err)
		}
	case "up", "down", "message", "quiet":
		want := strings.TrimSpace(s.key + " " + s.text)
		if got := p.event(); got != want {
			p.t.Errorf("happened: %.60q, want %.60q", got, want)
		}
	}
}

// frame reads a FRAME of the script into its wire form.
func (p *play) frame(text string) []byte {
	p.t.Helper()
	words := strings.Fields(text)
	f := frame.Frame{Type: frameTypes[words[0]], SID: p.sid}
	for _, w := range words[1:] {
		switch key, value, _ := strings.Cut(w, "="); key {
		case "sid":
			f.SID = sid(p.t, value)
		case "seq":
			f.Seq = uint16(number(p.t, value))
		case "ack":
			f.Ack = uint16(number(p.t, value))
		default:
			f.Payload = runOf(p.t, w)
		}
	}
	if f.Type == frame.TypeAccept {
		p.sid = f.SID
	}
	return frame.Append(nil, &f)
}

// next gives the next frame that the connection sends, in its wire form, nil if it has none.
func (p *play) next() []byte {
	p.t.Helper()
	for {
		out := p.conn.Output(p.now, frame.MaxWire)
		if len(out) == 0 {
			break
		}
		wires, stats := decode(out)
		if stats.Refused() > 0 {
			p.t.Errorf("sent what is no frame: %x", out)
		}
		p.said = append(p.said, wires...)
	}
	if len(p.said) == 0 {
		return nil
	}
	first := p.said[0]
	p.said = p.said[1:]
	return first
}

var downReasons = map[session.Reason]string{
	session.ReasonUnknown: "restarted", session.ReasonProtocol: "protocol-broken", session.ReasonClosed: "closed",
	session.ReasonVersion: "other-version", session.ReasonReplaced: "replaced",
}

// event names what the layer above is told next.
func (p *play) event() string {
	e, ok := p.conn.Next()
	switch {
	case !ok:
		return "quiet"
	case e.Kind == session.Up:
		p.up = e.SID
		return fmt.Sprintf("up %08x", e.SID)
	case e.Kind == session.Down:
		return "down " + cmp.Or(downReasons[e.Reason], e.Reason.Error())
	default:
		return fmt.Sprintf("message %d %x", e.Channel, e.Body)
	}
}
