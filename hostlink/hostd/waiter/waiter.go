// Package waiter is what stands between a client that waits and the loop that knows: the answer, once, and hints before it.
package waiter

import (
	"slices"

	"touchmark/hostlink/hostd/api"
)

// Waiter is a client that waits for the end of something.
type Waiter struct {
	Final  chan *api.Response // capacity 1, sent once
	Events chan *api.Event    // hints; dropped when the client is slow
}

// New is for a client that begins to wait.
func New() *Waiter { return &Waiter{make(chan *api.Response, 1), make(chan *api.Event, 32)} }

// Emit gives it a hint, which is dropped when the client does not read.
func (w *Waiter) Emit(e api.Event) {
	select {
	case w.Events <- &e:
	default:
	}
}

// Group are those who wait for the same.
type Group []*Waiter

// Emit gives all of them a hint.
func (g Group) Emit(e api.Event) {
	for _, w := range g {
		w.Emit(e)
	}
}

// Has reports whether w is one of them.
func (g Group) Has(w *Waiter) bool { return slices.Contains(g, w) }

// Part takes one off; it reports false if it does not wait here.
func (g *Group) Part(w *Waiter) bool {
	i := slices.Index(*g, w)
	if i >= 0 {
		*g = slices.Delete(*g, i, i+1)
	}
	return i >= 0
}

// Answer gives all of them the last word; nobody waits any longer then.
func (g *Group) Answer(resp *api.Response) {
	for _, w := range *g {
		w.Final <- resp
	}
	*g = nil
}
