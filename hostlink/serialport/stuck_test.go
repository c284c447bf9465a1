package serialport_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"touchmark/hostlink/serialport"
)

// deaf is a pty whose other end nobody reads, full to the brim.
func deaf(t testing.TB) (master *os.File, path string) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	p, err := serialport.Open(slave.Name(), 115200)
	if err != nil {
		t.Fatal(err)
	}
	p.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for err == nil {
		_, err = p.Write(make([]byte, 4096))
	}
	p.Close()
	return master, slave.Name()
}

// noneStays fails if goroutines of this package stay: those that are ending may take their time.
func noneStays(t *testing.T) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for late := time.Now().Add(patience); ; runtime.Gosched() {
		all := string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(all, "touchmark/hostlink/serialport.(*") {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("goroutines stayed:\n%s", all)
		}
	}
}

// TestNothingStaysBehind: an endpoint on a device that takes nothing has its writer blocked in it. A thousand of them,
// ended in turn by Close and by their context, leave no goroutine and no descriptor.
func TestNothingStaysBehind(t *testing.T) {
	const devices, cycles = 50, 20 // side by side, as each endpoint takes its time to say goodbye
	var paths []string
	for range devices {
		_, path := deaf(t)
		paths = append(paths, path)
	}
	files := openFiles(t)
	var all sync.WaitGroup
	for _, path := range paths {
		all.Go(func() {
			for i := range cycles {
				startAndEnd(t, path, i%2 == 0)
			}
		})
	}
	all.Wait()
	noneStays(t)
	if n := openFiles(t); n > files {
		t.Errorf("%d descriptors became %d", files, n)
	}
}

func startAndEnd(t *testing.T, path string, byContext bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := serialport.Start(ctx, serialport.EndpointConfig{Path: path, Initiator: true})
	if ev := <-e.Events(); ev.Kind != serialport.Opened {
		t.Errorf("%+v", ev)
	}
	if byContext {
		cancel()
	} else {
		go e.Close()
	}
	for range e.Events() {
	}
	e.Wait()
}

// TestHangUpFreesTheWriter: a device that takes nothing and then vanishes is given up at once, with its writer.
func TestHangUpFreesTheWriter(t *testing.T) {
	master, path := deaf(t)
	host := startSide(t, "host", path, serialport.EndpointConfig{Initiator: true})
	host.until(serialport.Opened)
	master.Close()
	if ev := host.until(serialport.Unavailable); !errors.Is(ev.Err, serialport.ErrLost) {
		t.Errorf("%v", ev.Err)
	}
	drainClose(host.Endpoint)
	noneStays(t)
}

// TestWhatIsSet: the line is raw and runs at the rate asked for, standard or not, whatever was set before.
func TestWhatIsSet(t *testing.T) {
	master, slave, err := pty.Open() // in a terminal's mode: echo, lines, signals, translation
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	for _, baud := range []int{1200, 9600, 31250, 115200, 921600, 1234567, 3000000, serialport.MaxBaud} {
		p, err := serialport.Open(slave.Name(), baud)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS2)
		if err != nil {
			t.Fatal(err)
		}
		if got.Ospeed != uint32(baud) || got.Ispeed != uint32(baud) {
			t.Errorf("%d baud: %d out, %d in", baud, got.Ospeed, got.Ispeed)
		}
		const rate = unix.CBAUD | unix.CIBAUD
		if got.Iflag != 0 || got.Oflag != 0 || got.Lflag != 0 || got.Cflag&^rate != unix.CS8|unix.CREAD|unix.CLOCAL || got.Cc[unix.VMIN] != 1 || got.Cc[unix.VTIME] != 0 {
			t.Errorf("%d baud: not raw: %+v", baud, got)
		}
		p.Close()
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
