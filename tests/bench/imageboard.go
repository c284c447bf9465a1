//go:build emulated

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/operator"
	"touchmark/hostlink/frame"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/image/card"
	"touchmark/image/fat"
	"touchmark/tests/biglog"
	"touchmark/tests/image/qemu"
	"touchmark/tests/serial/initrd"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
	"touchmark/tpm/ledgerstore"
)

// imageBoard is the image in a virtual machine, enrolled, with a long log on its card.
type imageBoard struct {
	w       *world.World
	dir     string
	machine qemu.Machine
	entries uint64
	clock   time.Time // of the machine at its next start

	mu   sync.Mutex // guards said
	said []string   // console
}

// imagePatience bounds one start of a machine.
const imagePatience = time.Minute

// newImageBoard enrols a board with this machine's programs, which is the same as in the virtual one and sooner done, makes
// its log longer, and puts it on a card.
func newImageBoard(ctx context.Context, o options, dir string) (b *imageBoard, err error) {
	b = &imageBoard{dir: dir}
	cfg := world.Config{Dir: filepath.Join(dir, "w"), Bin: o.bin, Touch: "auto", Policy: unlimited, USBRedir: filepath.Join(dir, "redir")}
	tpm, err := swtpm.StartDir(filepath.Join(dir, "tpm"))
	if err != nil {
		return nil, err
	}
	cfg.TPM = tpm
	defer func() {
		err = errors.Join(err, tpm.Stop())
		if err != nil && b.w != nil {
			err = errors.Join(err, b.w.Close())
		}
	}()
	if b.w, err = world.New(ctx, cfg); err != nil {
		return nil, err
	}
	if err := b.w.Enrol(ctx); err != nil {
		return nil, err
	}
	log, err := biglog.Cached(o.logs(), imageLog)
	if err != nil {
		return nil, err
	}
	until, err := b.lengthen(log)
	if err != nil {
		return nil, err
	}
	b.machine = qemu.Machine{
		Processor: qemu.Newer,
		Image:     o.image, Card: filepath.Join(dir, "card"), Line: filepath.Join(dir, "line"), Redir: cfg.USBRedir, Monitor: filepath.Join(dir, "qmp"),
		Words: []string{"touchmark.operator=lines", "touchmark.clock=system", "quiet"},
	}
	b.clock = until
	return b, b.makeCard()
}

func (b *imageBoard) lengthen(log *biglog.Published) (until time.Time, err error) {
	dir := filepath.Join(b.w.Board, "log")
	for {
		if err := lengthen(log, dir, 10*time.Minute); err != nil {
			return until, err
		}
		store, err := ledgerstore.Open(dir)
		if err != nil {
			return until, err
		}
		b.entries = store.Size()
		if err := store.Close(); err != nil {
			return until, err
		}
		if b.entries >= imageEntries {
			return lastTime(dir)
		}
	}
}

func (b *imageBoard) makeCard() error {
	from := filepath.Join(b.machine.Image, "sdcard.img")
	data := filepath.Join(b.dir, "data")
	for _, argv := range [][]string{
		{"cp", "--sparse=always", from, b.machine.Card},
		{"mkdir", data},
		{"mv", b.w.Board, filepath.Join(data, "board")},
		{"chown", "-R", "1000:1000", filepath.Join(data, "board")},
		{"mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-d", data, "-E", fmt.Sprintf("root_owner=0:0,offset=%d", card.DataStart*fat.SectorSize), b.machine.Card, "1g"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", argv, err, out)
		}
	}
	return nil
}

// startOn is a start on another processor.
func (b *imageBoard) startOn(ctx context.Context, processor string) (took time.Duration, err error) {
	machine := b.machine
	defer func() { b.machine = machine }()
	b.machine.Processor = processor
	return b.start(ctx, nil)
}

// start is one start of the board until it is ready, and what is to be done then.
func (b *imageBoard) start(ctx context.Context, then func(context.Context) error) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	tpm, err := swtpm.ForMachine(filepath.Join(b.dir, "tpm"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, tpm.Stop()) }()
	if err := flush(b.w.Cable.HostPath()); err != nil {
		return 0, err
	}
	b.clock = b.clock.Add(time.Minute)
	m := b.machine
	m.TPM, m.More = tpm.Control(), []string{"-S", "-rtc", "base=" + b.clock.UTC().Format("2006-01-02T15:04:05")}
	argv, err := m.Command()
	if err != nil {
		return 0, err
	}
	return b.power(ctx, argv, b.hear, func(ctx context.Context, begin time.Time) (took time.Duration, err error) {
		line, err := qemu.Plug(m.Line, b.w.Cable.BoardPath())
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, line.Pull()) }()
		if took, err = b.ready(ctx, begin); err == nil && then != nil {
			err = then(ctx)
		}
		return took, err
	})
}

// power starts a machine that waits, has it begin when all is connected, and switches it off.
func (b *imageBoard) power(ctx context.Context, argv []string, hear func(string), run func(context.Context, time.Time) (time.Duration, error)) (took time.Duration, err error) {
	b.mu.Lock()
	b.said = nil
	b.mu.Unlock()
	calls, err := qemu.Listen(b.machine.Monitor)
	if err != nil {
		return 0, err
	}
	if err := b.w.StartMachine(argv, hear); err != nil {
		return 0, errors.Join(err, calls.Close())
	}
	defer b.w.KillAppliance()
	monitor, err := qemu.Answer(ctx, calls, b.w.Appliance().Done())
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, b.w.Appliance().LogTail())
	}
	defer func() { err = errors.Join(err, monitor.Close()) }()
	if err := plugged(ctx, monitor); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := monitor.Do("cont", nil); err != nil {
		return 0, err
	}
	if took, err = run(ctx, begin); err != nil {
		err = fmt.Errorf("%w\nconsole:\n%s\nQEMU: %s", err, strings.Join(b.console(), "\n"), b.w.Appliance().LogTail())
	}
	return took, err
}

func (b *imageBoard) hear(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, line)
}

// console is what the machine has said.
func (b *imageBoard) console() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.said)
}

// flush forgets what a machine that was switched off has left on the line.
func flush(tty string) error {
	f, err := os.OpenFile(tty, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetInt(int(f.Fd()), unix.TCFLSH, unix.TCIFLUSH), f.Close())
}

// addMemory adds the program of package memory to the root, as its first process.
func (b *imageBoard) addMemory(ctx context.Context) error {
	program := filepath.Join(b.dir, "memory")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./tests/bench/memory")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	var more initrd.Image
	if err := errors.Join(more.AddFile("memory", program), more.Write(filepath.Join(b.dir, "more"))); err != nil {
		return err
	}
	root, err := os.ReadFile(filepath.Join(b.machine.Image, "initrd.zst"))
	if err != nil {
		return err
	}
	added, err := os.ReadFile(filepath.Join(b.dir, "more"))
	root = append(root, make([]byte, -len(root)&3)...) // archives begin at multiples of four bytes
	b.machine.Initrd = filepath.Join(b.dir, "initrd")
	b.machine.Words = append(slices.Clone(b.machine.Words), "rdinit=/memory")
	return errors.Join(err, os.WriteFile(b.machine.Initrd, append(root, added...), 0o600))
}

// plugged waits until the token is in the machine's socket, if it has one.
func plugged(ctx context.Context, m *qemu.Monitor) error {
	for ctx.Err() == nil {
		answer, err := m.Do("query-chardev", nil)
		if err != nil {
			return err
		}
		var devices []struct{ Label, Filename string }
		if err := json.Unmarshal(answer, &devices); err != nil {
			return err
		}
		waits := false
		for _, d := range devices {
			waits = waits || d.Label == "redir" && strings.HasPrefix(d.Filename, "disconnected:")
		}
		if !waits {
			return nil
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// ready waits for both: what the display shows, and an answer on the line.
func (b *imageBoard) ready(ctx context.Context, begin time.Time) (time.Duration, error) {
	answered := make(chan time.Duration, 1)
	failed := make(chan error, 1)
	go func() {
		d, err := b.answered(ctx, begin)
		answered <- d
		failed <- err
	}()
	v, _, err := b.w.Views().Wait(ctx, 0, func(v operator.View) bool { return v.Halted != "" || v.State == "ready" && v.Token == "pin-needed" })
	shown := time.Since(begin)
	if err == nil && v.Halted != "" {
		err = errors.New(v.Halted)
	}
	if err != nil {
		return 0, err
	}
	line := <-answered
	return max(shown, line), <-failed
}

// answered is when the board's link process answers its host's first frame.
func (b *imageBoard) answered(ctx context.Context, begin time.Time) (time.Duration, error) {
	port, err := serialport.Open(b.w.Cable.HostPath(), b.w.Baud)
	if err != nil {
		return 0, err
	}
	defer func() { _ = port.Close() }()
	syn := frame.Append(nil, &frame.Frame{Type: frame.TypeSyn, Payload: []byte{session.Version, 1, 0, 0, 0, 0, 0, 0, 1}})
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		awaitAccept(port)
	}()
	for again := time.NewTicker(5 * time.Millisecond); ; {
		if _, err := port.Write(syn); err != nil {
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, errors.New("the board does not answer on the line")
		case <-answered:
			return time.Since(begin), nil
		case <-again.C:
		}
	}
}

// awaitAccept reads until the board accepts a session, or can be read no more.
func awaitAccept(from io.Reader) {
	var frames frame.Decoder
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		for came := b[:n]; len(came) > 0; {
			f, used, ok := frames.Feed(came)
			if ok && f.Type == frame.TypeAccept {
				return
			}
			came = came[used:]
		}
	}
}
