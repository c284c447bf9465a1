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

func TestNoiseIsReproducible(t *testing.T) {
	in := bytes.Repeat([]byte{0x55}, 100000)
	a := Noise(1, 1e-3, 1e-3)(bytes.Clone(in))
	b := Noise(1, 1e-3, 1e-3)(bytes.Clone(in))
	if !bytes.Equal(a, b) || len(a) > 99950 || len(a) < 99800 {
		t.Errorf("%d and %d bytes left of 100000", len(a), len(b))
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

func TestThrottle(t *testing.T) {
	c, host, board := joined(t)
	c.Throttle(115200)
	start := time.Now()
	write(t, host, make([]byte, 2304))
	read(t, board, 2304)
	if took := time.Since(start); took < 190*time.Millisecond {
		t.Errorf("2304 bytes at 115200 baud took %v, want at least 0.2 s", took)
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
