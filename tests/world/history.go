package world

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"

	"touchmark/appliance/operator"
)

// maxLine bounds one line a program prints: sixteen items with names of 200 bytes fit many times over.
const maxLine = 1 << 20

// History is everything of one kind that has happened, in order, for any number of readers: what an operator's panel has
// shown, what a program has logged.
type History[T any] struct {
	mu    sync.Mutex // guards what follows
	seen  []T
	more  chan struct{} // closed and replaced whenever something is added
	ended bool
	err   error
}

// Views is a panel's history, Lines a program's log.
type (
	Views = History[operator.View]
	Lines = History[string]
)

func newHistory[T any]() *History[T] { return &History[T]{more: make(chan struct{})} }

func (h *History[T]) add(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, v)
	close(h.more)
	h.more = make(chan struct{})
}

func (h *History[T]) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended, h.err = true, err
	close(h.more)
}

// Mark is a position in the history: pass it to Wait to look only at what came after.
func (h *History[T]) Mark() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.seen)
}

// All returns a copy of everything so far.
func (h *History[T]) All() []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seen)
}

// Wait returns the first of the history from mark on for which want is true, and the mark after it. It ends with an error
// when ctx does, or when nothing more can come.
func (h *History[T]) Wait(ctx context.Context, mark int, want func(T) bool) (found T, after int, err error) {
	for {
		h.mu.Lock()
		seen, more, ended, cause := h.seen, h.more, h.ended, h.err
		h.mu.Unlock()
		for ; mark < len(seen); mark++ {
			if want(seen[mark]) {
				return seen[mark], mark + 1, nil
			}
		}
		if ended {
			return found, mark, fmt.Errorf("it ended while waiting; last came %s: %w", lastOf(seen), orEOF(cause))
		}
		select {
		case <-more:
		case <-ctx.Done():
			return found, mark, fmt.Errorf("%w while waiting; last came %s", context.Cause(ctx), lastOf(seen))
		}
	}
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// lastOf shows the last of a history for an error message.
func lastOf[T any](seen []T) string {
	if len(seen) == 0 {
		return "nothing"
	}
	b, err := json.Marshal(seen[len(seen)-1])
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Follow collects the views that arrive as lines of JSON, until they end.
func Follow(r io.Reader) *Views {
	h := newHistory[operator.View]()
	go followViews(r, h)
	return h
}

// followViews reads a panel's JSON lines until it ends.
func followViews(r io.Reader, h *Views) {
	h.end(eachLine(r, func(line []byte) error {
		var view operator.View
		if err := json.Unmarshal(line, &view); err != nil {
			return fmt.Errorf("operator's panel: %w: %q", err, line)
		}
		h.add(view)
		return nil
	}))
}

// followLog reads a program's log until it ends, into the history and a file.
func followLog(r io.Reader, file io.Writer, h *Lines) error {
	err := eachLine(r, func(line []byte) error {
		h.add(string(line))
		_, err := file.Write(append(line, '\n'))
		return err
	})
	h.end(err)
	return err
}

func eachLine(r io.Reader, do func([]byte) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		if err := do(in.Bytes()); err != nil {
			return err
		}
	}
	return in.Err()
}
