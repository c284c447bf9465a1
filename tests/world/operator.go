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

// maxView bounds one JSON line of the operator's panel: sixteen items with names of 200 bytes fit many times over.
const maxView = 1 << 20

// Views is everything one operator's panel has shown since its appliance started, in order, for any number of readers.
type Views struct {
	mu    sync.Mutex // guards what follows
	seen  []operator.View
	more  chan struct{} // closed and replaced whenever a view is added
	ended bool
	err   error
}

func newViews() *Views { return &Views{more: make(chan struct{})} }

// follow reads views from the panel until it ends.
func (v *Views) follow(r io.Reader) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxView)
	for in.Scan() {
		var view operator.View
		if err := json.Unmarshal(in.Bytes(), &view); err != nil {
			v.end(fmt.Errorf("operator's panel: %w: %q", err, in.Bytes()))
			return
		}
		v.add(view)
	}
	v.end(in.Err())
}

func (v *Views) add(view operator.View) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = append(v.seen, view)
	close(v.more)
	v.more = make(chan struct{})
}

func (v *Views) end(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended, v.err = true, err
	close(v.more)
}

// Mark is a position in the panel's history: pass it to Wait to look only at what came after.
func (v *Views) Mark() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.seen)
}

// All returns a copy of everything shown.
func (v *Views) All() []operator.View {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.seen)
}

// Wait returns the first view from mark on for which want is true, and the mark after it.
func (v *Views) Wait(ctx context.Context, mark int, want func(operator.View) bool) (operator.View, int, error) {
	for {
		v.mu.Lock()
		views, more, ended, err := v.seen, v.more, v.ended, v.err
		v.mu.Unlock()
		for ; mark < len(views); mark++ {
			if want(views[mark]) {
				return views[mark], mark + 1, nil
			}
		}
		if ended {
			return operator.View{}, mark, fmt.Errorf("the appliance ended while waiting; last shown: %s: %w", last(views), orEOF(err))
		}
		select {
		case <-more:
		case <-ctx.Done():
			return operator.View{}, mark, fmt.Errorf("waiting for the operator's panel: %w; last shown: %s", ctx.Err(), last(views))
		}
	}
}

func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func last(views []operator.View) string {
	if len(views) == 0 {
		return "nothing"
	}
	b, err := json.Marshal(views[len(views)-1])
	if err != nil {
		return err.Error()
	}
	return string(b)
}
