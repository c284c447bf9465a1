package station

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// maxOrderFiles bounds the files that are looked at in the directory where
// orders are put: a stick may hold anything.
const maxOrderFiles = 64

// watchOrders takes what is put into the directory of orders, each file once as
// long as it stays as it is. What it answers waits for the end.
func (s *Station) watchOrders(ctx context.Context) (wait func()) {
	if s.cfg.Orders == "" {
		return func() {}
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := map[string]seenFile{}
		for {
			seen = s.lookForOrders(seen)
			select {
			case <-ctx.Done():
				return
			case <-time.After(s.cfg.OrderPoll):
			}
		}
	}()
	return func() { stop(); <-done }
}

// seenFile tells a file from a later one of its name.
type seenFile struct {
	size int64
	time time.Time
}

func (s *Station) lookForOrders(seen map[string]seenFile) map[string]seenFile {
	names, err := filepath.Glob(filepath.Join(s.cfg.Orders, "*.note"))
	if err != nil {
		return seen
	}
	now := map[string]seenFile{}
	for _, name := range names[:min(len(names), maxOrderFiles)] {
		st, err := os.Lstat(name)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		f := seenFile{st.Size(), st.ModTime()}
		if now[name] = f; seen[name] == f {
			continue
		}
		note, err := readOrderFile(name)
		s.loop.post(func() { s.brought(filepath.Base(name), note, err) })
	}
	return now
}

func readOrderFile(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) // whatever it is by now
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, ledger.MaxNote+1))
}

// brought takes a note that somebody put before the board.
func (s *Station) brought(name string, note []byte, err error) {
	if err == nil {
		err = s.takeOrder(note)
	}
	if err != nil && refusalOf(err).Code == message.CodeBusy {
		s.after(s.cfg.OrderPoll, func() { s.brought(name, note, nil) })
		return
	}
	if err != nil {
		s.refuse(message.JobID{}, refusalOf(err).Code, refusalOf(err).Text)
		s.show("order-dropped", "The order in "+name+" has no effect: "+err.Error()+".")
	}
}
