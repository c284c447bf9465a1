package main

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"touchmark/hostlink/hostd"
	"touchmark/hostlink/hostd/config"
	"touchmark/hostlink/hostd/watch"
)

// roundsDir in the state directory is where the queue of rounds is.
const roundsDir = "rounds"

// rounds prepares what drives the [[watch]] rules beside the daemon. It is a
// client of the daemon's own socket.
func rounds(c *config.Config, o *hostd.Options) (drive func(context.Context), err error) {
	rules, err := c.Rules()
	if err != nil || len(rules) == 0 {
		return func(context.Context) {}, err
	}
	var asking sync.WaitGroup
	r, err := watch.New(watch.Options{
		State: filepath.Join(c.State, roundsDir), Rules: rules, Log: o.Log, Clock: time.Now,
		Daemon: watch.Socket{Path: c.Socket, Jobs: &asking, Log: o.Log},
	})
	if err != nil {
		return nil, err
	}
	o.Rounds = r.Serve
	return func(ctx context.Context) {
		r.Run(ctx)
		asking.Wait()
	}, nil
}
