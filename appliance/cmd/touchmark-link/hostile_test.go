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

// memoryMost bounds what the process may ever have resident: a Go program of this size has 8 MiB at rest, its buffers
// and queues come to less than 2 MiB, and the collector doubles what it does not keep.
const memoryMost = 24 << 20

// floodBytes of each kind pass: a quarter of an hour of a 115200 baud line for all of them.
const floodBytes = 1 << 20

// frames repeats what make gives until there are enough bytes.
func frames(make func(i uint32) *frame.Frame) []byte {
	var b []byte
	for i := uint32(0); len(b) < floodBytes; i++ {
		b = frame.Append(b, make(i))
	}
	return b
}

// floods are what a hostile or broken host may send for ever, without a session and with one.
func floods(sid uint32) map[string][]byte {
	hello := func(i uint32) []byte {
		return []byte{session.Version, 0, 0, 0, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
	}
	largest := bytes.Repeat([]byte{0xa5}, frame.MaxPayload)
	data := func(i uint32) *frame.Frame {
		return &frame.Frame{Type: frame.TypeData | frame.FlagBulk, SID: sid, Seq: uint16(i * 7), Payload: largest}
	}
	broken := frames(data)
	for i := 1000; i < len(broken); i += 1500 {
		broken[i] ^= 0x55
	}
	return map[string][]byte{
		"NUL":               make([]byte, floodBytes),
		"one endless frame": bytes.Repeat([]byte{1}, floodBytes),
		"openings":          frames(func(i uint32) *frame.Frame { return &frame.Frame{Type: frame.TypeSyn, Payload: hello(i)} }),
		"unknown sessions":  frames(func(i uint32) *frame.Frame { return &frame.Frame{Type: frame.TypePing, SID: i + 1} }),
		"pings":             frames(func(uint32) *frame.Frame { return &frame.Frame{Type: frame.TypePing, SID: sid} }),
		"acknowledgements":  frames(func(i uint32) *frame.Frame { return &frame.Frame{Type: frame.TypeAck, SID: sid, Ack: uint16(i)} }),
		"data out of order": frames(data),
		"damaged data":      broken,
		"resets of others": frames(func(i uint32) *frame.Frame {
			return &frame.Frame{Type: frame.TypeReset, SID: ^i | 1<<31, Payload: []byte{1}}
		}),
		"data without a gap": frames(func(i uint32) *frame.Frame {
			return &frame.Frame{Type: frame.TypeData, SID: sid, Seq: uint16(i), Payload: []byte{1}}
		}),
	}
}

// TestFlood pours each kind over the process, whole and (a part) byte by byte, into a session that stands, while core
// reads nothing. What the process holds stays bounded, and a host that behaves is served afterwards.
func TestFlood(t *testing.T) {
	c, p := cableAndLink(t)
	for name := range floods(1) {
		host, sid := connect(t, c, p)
		flood := floods(sid)[name]
		begin, before := time.Now(), cpuTime(t, p)
		if err := c.Inject(cable.Up, flood); err != nil {
			t.Fatal(err)
		}
		for _, b := range flood[:1024] {
			if err := c.Inject(cable.Up, []byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%-20s %.0f %% of a core at %.1f MB/s", name, 100*float64(cpuTime(t, p)-before)/float64(time.Since(begin)),
			float64(len(flood))/1e6/time.Since(begin).Seconds())
		end(host)
	}
	peak := memory(t, p)
	t.Logf("peak memory %d KiB", peak>>10)
	if peak > memoryMost {
		t.Errorf("%d bytes resident at most, want at most %d", peak, memoryMost)
	}
	host, sid := connect(t, c, p)
	if err := host.Send(t.Context(), sid, session.Interactive, []byte("still there?")); err != nil {
		t.Fatal(err)
	}
	if m := p.until(t, linkpipe.Message); string(m.Body) != "still there?" {
		t.Errorf("core got %q", m.Body)
	}
	end(host)
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
	sid := until(t, host, serialport.Up).SID
	for p.until(t, linkpipe.Up).SID != sid {
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
	p := startAs(t, "strace", "-f", "-e", "trace=ioctl", "-o", trace, binary(t), "--device", c.BoardPath())
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
