package cable

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"touchmark/hostlink/serialport"
)

func open(t *testing.T, path string) serialport.Port {
	t.Helper()
	p, err := serialport.Open(path, 115200)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func joined(t *testing.T) (c *Cable, host, board serialport.Port) {
	t.Helper()
	c, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, open(t, c.HostPath()), open(t, c.BoardPath())
}

func write(t *testing.T, w io.Writer, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// everyByte holds all values, also those that terminals interpret.
func everyByte() []byte {
	p := make([]byte, 1024)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

func TestTransparentAndRecorded(t *testing.T) {
	c, host, board := joined(t)
	want := everyByte()
	write(t, host, want)
	if got := read(t, board, len(want)); !bytes.Equal(got, want) {
		t.Error("host to board: bytes changed")
	}
	write(t, board, want[:500])
	if got := read(t, host, 500); !bytes.Equal(got, want[:500]) {
		t.Error("board to host: bytes changed")
	}
	if !bytes.Equal(c.Recorded(Up), want) || !bytes.Equal(c.Recorded(Down), want[:500]) {
		t.Error("the record differs")
	}
	c.Forget()
	if c.Count(Up)+c.Count(Down) != 0 || len(c.Recorded(Up)) != 0 {
		t.Error("Forget forgets nothing")
	}
}

func TestFaults(t *testing.T) {
	c, host, board := joined(t)
	c.SetFault(Up, func(p []byte) []byte { return bytes.ReplaceAll(p, []byte("bad"), nil) })
	write(t, host, []byte("a bad day"))
	if got := read(t, board, 6); string(got) != "a  day" {
		t.Errorf("got %q", got)
	}
	c.SetFault(Up, nil)
	if err := c.Inject(Up, []byte("ghost")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, board, 5); string(got) != "ghost" {
		t.Errorf("got %q", got)
	}
}

// TestNoise: the same seed gives the same damage, and as much as was asked for: of a million bytes each loses its start
// or stop bit with probability 2e-3 and has a data bit turned with 8e-3.
func TestNoise(t *testing.T) {
	in := bytes.Repeat([]byte{0x55}, 1_000_000)
	a := Noise(1, 1e-3, 0)(bytes.Clone(in))
	if b := Noise(1, 1e-3, 0)(bytes.Clone(in)); !bytes.Equal(a, b) {
		t.Error("the same seed gives other noise")
	}
	lost, turned := len(in)-len(a), len(a)-bytes.Count(a, []byte{0x55})
	if lost < 1800 || lost > 2200 || turned < 7600 || turned > 8400 {
		t.Errorf("%d bytes lost and %d changed of 1000000", lost, turned)
	}
	if left := len(Noise(2, 0, 1e-2)(bytes.Clone(in))); left < 989_500 || left > 990_500 {
		t.Errorf("%d bytes left of 1000000", left)
	}
}

func TestCutAndRestore(t *testing.T) {
	c, host, board := joined(t)
	passed := make(chan struct{}, 8)
	c.SetFault(Up, func(p []byte) []byte { passed <- struct{}{}; return p })
	c.Cut()
	write(t, host, []byte("lost"))
	<-passed
	c.Restore()
	write(t, host, []byte("kept"))
	if got := read(t, board, 4); string(got) != "kept" {
		t.Errorf("got %q", got)
	}
}

// TestThrottle: no byte is through before its ten bits and those of all before it are; time in which the line had
// nothing to send is not made up for; both directions at once count once as busy time.
func TestThrottle(t *testing.T) {
	c, host, board := joined(t)
	c.Throttle(115200)
	const n, bits = 1152, 100 * time.Millisecond
	start := time.Now()
	for range 2 { // the second finds the line idle
		write(t, host, make([]byte, n))
		write(t, board, make([]byte, n/2))
		read(t, board, n)
		read(t, host, n/2)
	}
	if took := time.Since(start); took < 2*bits {
		t.Errorf("%d bytes at 115200 baud took %v, want at least %v", 2*n, took, 2*bits)
	}
	if busy := c.Busy(); busy < 2*bits || busy >= 3*bits {
		t.Errorf("busy for %v, want %v, and less than both directions one after the other", busy, 2*bits)
	}
	c.Forget()
	if c.Busy() != 0 {
		t.Error("Forget forgets nothing")
	}
}

func TestDelay(t *testing.T) {
	c, host, board := joined(t)
	c.Throttle(4_000_000)
	c.Delay(50 * time.Millisecond)
	start := time.Now()
	write(t, host, []byte("late"))
	read(t, board, 4)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("arrived after %v", took)
	}
}

// TestIdleLineIsNotMadeUpFor in the model alone: bytes that come 15 ms after the last begin then.
func TestIdleLineIsNotMadeUpFor(t *testing.T) {
	c := &Cable{}
	c.Throttle(115200)
	begin := time.Now()
	c.free[Up] = begin.Add(-15 * time.Millisecond)
	if at := c.transmit(Up, 1152, true); at.Before(begin.Add(100 * time.Millisecond)) {
		t.Errorf("through after %v", at.Sub(begin))
	}
	// Bytes that lay ready while the relay overslept begin where the last ended.
	last := c.free[Up]
	if at := c.transmit(Up, 1152, false); !at.Equal(last.Add(100 * time.Millisecond)) {
		t.Errorf("through %v after the last", at.Sub(last))
	}
}

func TestUnplugAndPlug(t *testing.T) {
	c, host, board := joined(t)
	c.Unplug(Up)
	if _, err := host.Read(make([]byte, 1)); err == nil {
		t.Error("a read from a vanished device succeeded")
	}
	if _, err := os.Stat(c.HostPath()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("path of a vanished device: %v", err)
	}
	write(t, board, []byte("into the void"))
	if err := c.Plug(Up); err != nil {
		t.Fatal(err)
	}
	host = open(t, c.HostPath())
	write(t, host, []byte("back"))
	if got := read(t, board, 4); string(got) != "back" {
		t.Errorf("got %q", got)
	}
}
