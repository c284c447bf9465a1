package cli

import (
	"io"
	"sync"

	"touchmark/hostlink/hostd/api"
)

// Printer is standard output. It remembers that it could not be written: whoever keeps a log or a key that is printed, on a
// disk that is full, is told by the exit code.
type Printer struct {
	to  io.Writer
	mu  sync.Mutex
	err error // the first one; nothing is written behind it
}

// Write is that of io.Writer: the first error stays.
func (p *Printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.to.Write(b)
	p.err = err
	return n, err
}

// Failed is why not everything was written, nil if it was.
func (p *Printer) Failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return nil
	}
	return api.Errorf(api.CannotWrite, "not all could be printed; what the command did besides is done: %w", p.err)
}
