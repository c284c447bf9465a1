//go:build emulated

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tests/cable"
)

// The link's rows. Log entries travel from board to host on the bulk channel, as in a mirror's transfer; nothing else is
// on the line but what the session itself sends.
//
//	link_115200_eff, link_921600_eff  payload bytes a second, from the first byte offered to the last delivered, against
//	                                  the line rate (a tenth of the baud rate); emulated line, real time
//	link_ber1e5_eff                   the same at 115200 with a bit error rate of 1e-5 both ways, against the clean line
//	link_pty_vs_iocopy                payload bytes a second over a bare unthrottled pty, against io.Copy over one
//	link_idle_cpu                     share of a core that board and daemon together use when nothing happens

// bulkMessage is a transfer's message: some tens of entries.
const bulkMessage = 32 << 10

// linkSize is how much passes.
type linkSize struct {
	line time.Duration // of line time for the throttled rows
	ber  time.Duration // for the noisy row, which is about rare events
	pty  int           // bytes over the unthrottled pty, each round
	n    int           // its rounds
	idle time.Duration
}

var linkSizes = map[bool]linkSize{
	false: {line: 20 * time.Second, ber: 60 * time.Second, pty: 256 << 20, n: 7, idle: 30 * time.Second},
	true:  {line: 4 * time.Second, ber: 6 * time.Second, pty: 32 << 20, n: 3, idle: 5 * time.Second},
}

func linkRows(ctx context.Context, dir string, quick bool) ([]Row, error) {
	size := linkSizes[quick]
	lines := []*emulated{
		{name: "clean", baud: 115200, time: size.ber},
		{name: "noisy", baud: 115200, time: size.ber, bitErrors: 1e-5},
		{name: "fast", baud: 921600, time: size.line},
	}
	if err := sideBySide(ctx, dir, lines); err != nil {
		return nil, err
	}
	clean, noisy, fast := lines[0].rate, lines[1].rate, lines[2].rate
	copied, err := ptyRow(ctx, size)
	return []Row{
		atLeast("link_115200_eff", "line rate, 8N1", 0.92, clean, 115200/10),
		atLeast("link_921600_eff", "line rate, 8N1", 0.92, fast, 921600/10),
		atLeast("link_ber1e5_eff", "the clean line", 0.75, noisy, clean),
		copied,
	}, err
}

// emulated is a line to be measured, and its result.
type emulated struct {
	name      string
	baud      int
	time      time.Duration // what passes would take at the full rate
	bitErrors float64
	rate      float64 // payload bytes a second
}

// sideBySide measures several lines at once: they wait, and need little of the machine.
func sideBySide(ctx context.Context, dir string, lines []*emulated) error {
	errs := make([]error, len(lines))
	var all sync.WaitGroup
	for i, l := range lines {
		all.Go(func() { errs[i] = l.measure(ctx, filepath.Join(dir, l.name)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// atLeast makes a row of rates that is met from its target on.
func atLeast(name, peerName string, target, ours, peer float64) Row {
	row := summary(name, "B/s", target, []float64{ours})
	ratio := ours / peer
	row.Peer, row.PeerName, row.Ratio, row.atLeast = &peer, peerName, &ratio, true
	return row
}

func (l *emulated) measure(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	c, err := cable.New(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	c.Throttle(l.baud)
	c.SetFault(cable.Up, cable.Noise(1, l.bitErrors, 0))
	c.SetFault(cable.Down, cable.Noise(2, l.bitErrors, 0))
	bytes := int(l.time.Seconds()*float64(l.baud)/10) / bulkMessage * bulkMessage
	took, err := transfer(ctx, bytes,
		serialport.EndpointConfig{Path: c.HostPath(), Baud: l.baud, Initiator: true},
		serialport.EndpointConfig{Path: c.BoardPath(), Baud: l.baud})
	if err != nil {
		return fmt.Errorf("%s line: %w", l.name, err)
	}
	l.rate = float64(bytes) / took.Seconds()
	return nil
}

// transfer has the board send messages of so many bytes together, and returns how long it took in a session that stands.
func transfer(ctx context.Context, bytes int, host, board serialport.EndpointConfig) (took time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, to := serialport.Start(ctx, board), serialport.Start(ctx, host)
	defer func() { cancel(); drain(from); drain(to) }()
	sid, err := await(ctx, from, serialport.Up)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	sent := make(chan error, 1)
	go func() {
		message := noise(bulkMessage)
		var err error
		for n := 0; n < bytes && err == nil; n += bulkMessage {
			err = from.Send(ctx, sid.SID, session.Bulk, message)
		}
		sent <- err
	}()
	for got := 0; got < bytes; {
		ev, err := await(ctx, to, serialport.Message)
		if err != nil {
			return 0, err
		}
		got += len(ev.Body)
	}
	return time.Since(begin), <-sent
}

// await is the next event of a kind; a lost session spoils the measurement.
func await(ctx context.Context, e *serialport.Endpoint, kind serialport.Kind) (serialport.Event, error) {
	for {
		select {
		case ev, ok := <-e.Events():
			switch {
			case !ok:
				return ev, errors.New("the link ended")
			case ev.Kind == kind:
				return ev, nil
			case ev.Kind == serialport.Down, ev.Kind == serialport.Unavailable:
				return ev, fmt.Errorf("the link went down: %w", ev.Err)
			}
		case <-ctx.Done():
			return serialport.Event{}, context.Cause(ctx)
		}
	}
}

func drain(e *serialport.Endpoint) {
	for range e.Events() {
	}
	e.Wait()
}

// noise is what does not compress and needs as much stuffing as signatures do.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// ptyRow passes the same bytes through a pty by our session and by io.Copy, alternately.
func ptyRow(ctx context.Context, size linkSize) (Row, error) {
	row, err := compare("link_pty_vs_iocopy", "io.Copy over a pty", 0.5, size.n,
		func() (time.Duration, error) { return overPTY(ctx, size.pty) },
		func() (time.Duration, error) { return copyPTY(size.pty) })
	if err != nil {
		return row, err
	}
	rate := func(ms float64) float64 { return float64(size.pty) / ms * 1000 }
	peer := rate(*row.Peer)
	least, most := rate(row.Max), rate(row.Min)
	n := row.N
	row = atLeast(row.Name, row.PeerName, row.Target, rate(row.Ours), peer)
	row.N, row.Min, row.Max = n, least, most
	return row, nil
}

// overPTY has the board at the pty's own end and the host at its device.
func overPTY(ctx context.Context, bytes int) (time.Duration, error) {
	master, device, err := openPTY()
	if err != nil {
		return 0, err
	}
	defer device.Close()
	defer master.Close()
	board := serialport.EndpointConfig{Path: "pty", Open: func(string, int) (serialport.Port, error) { return master, nil }}
	return transfer(ctx, bytes, serialport.EndpointConfig{Path: device.Name(), Initiator: true}, board)
}

func copyPTY(bytes int) (took time.Duration, err error) {
	master, slave, err := openPTY()
	if err != nil {
		return 0, err
	}
	defer slave.Close()
	defer master.Close()
	device, err := serialport.Open(slave.Name(), serialport.DefaultBaud)
	if err != nil {
		return 0, err
	}
	defer device.Close()
	begin := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(master, io.LimitReader(zeros{}, int64(bytes)))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, device, int64(bytes)); err != nil {
		return 0, err
	}
	return time.Since(begin), <-sent
}

// openPTY returns a pty's own end, which Close and deadlines can free, and its device: while that is open the pty is not
// hung up.
func openPTY() (master, device *os.File, err error) {
	own, device, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer own.Close()
	if _, err := term.MakeRaw(int(device.Fd())); err != nil {
		return nil, nil, errors.Join(err, device.Close())
	}
	fd, err := unix.FcntlInt(own.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, nil, errors.Join(err, device.Close())
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fd), device.Close())
	}
	return os.NewFile(uintptr(fd), "pty"), device, nil
}

// zeros is an endless source that costs nothing.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
