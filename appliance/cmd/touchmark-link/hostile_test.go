package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/frame"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tests/cable"
)

// memoryMost bounds what the process may ever have resident: it has 3 MiB at rest, its queues hold 1 MiB at most
// (hostlink/session/limits.go), and the collector lets 4 MiB and twice what is kept come together.
const memoryMost = 12 << 20

// floodBytes of each kind pass: together a quarter of an hour of a 115200 baud line.
const floodBytes = 1 << 20

// frames makes a flood of frames; i counts them.
func frames(frameOf func(sid, i uint32) *frame.Frame) func(sid uint32) []byte {
	return func(sid uint32) []byte {
		var b []byte
		for i := uint32(0); len(b) < floodBytes; i++ {
			b = frame.Append(b, frameOf(sid, i))
		}
		return b
	}
}

// largest is the payload of the longest frame.
var largest = bytes.Repeat([]byte{0xa5}, frame.MaxPayload)

// floods are what a hostile or broken host may send for ever into a session.
var floods = map[string]func(sid uint32) []byte{
	"NUL":               func(uint32) []byte { return make([]byte, floodBytes) },
	"one endless frame": func(uint32) []byte { return bytes.Repeat([]byte{1}, floodBytes) },
	"damaged data":      func(uint32) []byte { return bytes.Repeat(append(bytes.Repeat([]byte{0xff}, 4000), 0), floodBytes/4001) },
	"openings": frames(func(_, i uint32) *frame.Frame {
		return &frame.Frame{Type: frame.TypeSyn, Payload: []byte{session.Version, 0, 0, 0, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}}
	}),
	"unknown sessions": frames(func(_, i uint32) *frame.Frame { return &frame.Frame{Type: frame.TypePing, SID: i + 1} }),
	"resets of others": frames(func(_, i uint32) *frame.Frame {
		return &frame.Frame{Type: frame.TypeReset, SID: ^i | 1<<31, Payload: []byte{1}}
	}),
	"pings":            frames(func(sid, _ uint32) *frame.Frame { return &frame.Frame{Type: frame.TypePing, SID: sid} }),
	"acknowledgements": frames(func(sid, i uint32) *frame.Frame { return &frame.Frame{Type: frame.TypeAck, SID: sid, Ack: uint16(i)} }),
	"data out of order": frames(func(sid, i uint32) *frame.Frame {
		return &frame.Frame{Type: frame.TypeData | frame.FlagBulk, SID: sid, Seq: uint16(i * 7), Payload: largest}
	}),
	"data without end": frames(func(sid, i uint32) *frame.Frame {
		return &frame.Frame{Type: frame.TypeData, SID: sid, Seq: uint16(i), Payload: []byte{1}}
	}),
}

// TestFlood pours each kind over the process, whole and (a part) byte by byte, into a session that stands, while core
// reads nothing. What the process holds stays bounded, and a host that behaves is served afterwards.
func TestFlood(t *testing.T) {
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			c, p := cableAndLink(t)
			host, sid := connect(t, c, p)
			pour(t, c, p, flood(sid))
			end(host)
			served(t, c, p)
			if peak := memory(t, p); peak > memoryMost {
				t.Errorf("%d bytes resident at most, want at most %d", peak, memoryMost)
			}
		})
	}
}

func pour(t *testing.T, c *cable.Cable, p *process, flood []byte) {
	t.Helper()
	begin, before := time.Now(), cpuTime(t, p)
	if err := c.Inject(cable.Up, flood); err != nil {
		t.Fatal(err)
	}
	for _, b := range flood[:1024] {
		if err := c.Inject(cable.Up, []byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	wall := time.Since(begin)
	t.Logf("%.0f %% of a core at %.1f MB/s, peak memory %d KiB", 100*float64(cpuTime(t, p)-before)/float64(wall),
		float64(len(flood))/1e6/wall.Seconds(), memory(t, p)>>10)
}

// served has a new host bring a message to core, in whichever session stands when the last of the flood is through.
func served(t *testing.T, c *cable.Cable, p *process) {
	t.Helper()
	const question = "still there?"
	host := serialport.Start(t.Context(), serialport.EndpointConfig{Path: c.HostPath(), Initiator: true})
	go func() {
		for ev := range host.Events() {
			if ev.Kind == serialport.Up {
				host.Send(t.Context(), ev.SID, session.Interactive, []byte(question))
			}
		}
	}()
	for string(p.until(t, linkpipe.Message).Body) != question {
	}
	host.Close()
}

// cableAndLink is a cable with touchmark-link at the board's end.
func cableAndLink(t *testing.T) (*cable.Cable, *process) {
	t.Helper()
	c, err := cable.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, start(t, "--device", c.BoardPath())
}

// connect puts a host on the cable, up to a session that both sides know.
func connect(t *testing.T, c *cable.Cable, p *process) (*serialport.Endpoint, uint32) {
	t.Helper()
	host := serialport.Start(context.Background(), serialport.EndpointConfig{Path: c.HostPath(), Initiator: true})
	sid := p.until(t, linkpipe.Up).SID
	for until(t, host, serialport.Up).SID != sid {
	}
	return host, sid
}

func end(e *serialport.Endpoint) {
	go e.Close()
	for range e.Events() {
	}
}

// TestCoreTakesNothing: a host that sends for ever to a core that reads nothing is told to hold, and its messages are
// not stored.
func TestCoreTakesNothing(t *testing.T) {
	c, p := cableAndLink(t)
	host, sid := connect(t, c, p)
	held := make(chan struct{}, 1)
	var dec frame.Decoder
	c.SetFault(cable.Down, func(wire []byte) []byte {
		if holds(&dec, wire) {
			select {
			case held <- struct{}{}:
			default:
			}
		}
		return wire
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	sender := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			err = host.Send(ctx, sid, session.Bulk, make([]byte, session.MaxMessage))
		}
		sender <- err
	}()
	select {
	case <-held:
	case err := <-sender:
		t.Errorf("not held: %v", err)
	}
	if peak := memory(t, p); peak > memoryMost {
		t.Errorf("%d bytes resident at most, want at most %d", peak, memoryMost)
	}
	end(host)
}

// holds reports whether a board tells its host to hold (docs/spec/session.md, Acknowledging).
func holds(dec *frame.Decoder, wire []byte) (hold bool) {
	for len(wire) > 0 {
		f, n, ok := dec.Feed(wire)
		wire = wire[n:]
		hold = hold || ok && f.Type == frame.TypeAck && len(f.Payload) > 0 && f.Payload[0]&1 != 0
	}
	return hold
}

// memory is the peak of a process's resident set in bytes (proc(5), VmHWM).
func memory(t *testing.T, p *process) (peak int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscanf(after, "%d kB", &peak); err != nil {
		t.Fatal(err)
	}
	return peak << 10
}

// cpuTime is what a process has used (proc(5), stat fields 14 and 15, in hundredths of a second).
func cpuTime(t *testing.T, p *process) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var user, system time.Duration
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	if _, err := fmt.Sscan(fields[12], &user); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(fields[13], &system); err != nil {
		t.Fatal(err)
	}
	return (user + system) * 10 * time.Millisecond
}

// TestNoModemLines: no modem line is asked for or set, from opening to the end. A pty, a gadget and a three-wire cable
// have none.
func TestNoModemLines(t *testing.T) {
	c, err := cable.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	trace := filepath.Join(t.TempDir(), "trace")
	p := startAs(t, "strace", "-f", "-e", "trace=ioctl", "-o", trace, binary, "--device", c.BoardPath())
	host, _ := connect(t, c, p)
	p.stdin.Close()
	if err := p.drain(); err != nil {
		t.Errorf("%v: %s", err, p.stderr.String())
	}
	end(host)
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(calls, []byte("TCSETS2")) && !bytes.Contains(calls, []byte("TCSETS")) {
		t.Errorf("the trace does not show the line being set:\n%s", calls)
	}
	if bytes.Contains(calls, []byte("TIOCM")) {
		t.Errorf("a modem line was touched:\n%s", calls)
	}
}
