package main

import (
	"io"
	"sync"

	"touchmark/hostlink/hostd/api"
)

// printer is standard output. It remembers that it could not be written: whoever keeps a log or a key that is printed, on a
// disk that is full, is told by the exit code.
type printer struct {
	to  io.Writer
	mu  sync.Mutex
	err error // the first one; nothing is written behind it
}

func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.to.Write(b)
	p.err = err
	return n, err
}

// failed is why not everything was written, nil if it was.
func (p *printer) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return nil
	}
	return exitf(api.CannotWrite, "not all could be printed; what the command did besides is done: %w", p.err)
}
