package client

import (
	"errors"
	"time"

	"touchmark/hostlink/hostd/api"
)

// ErrSilent marks the error about a daemon that takes connections and does nothing
// else: it was stopped, or hangs.
var ErrSilent = errors.New("gives no answer: look at its log, and start it again")

// silent is that error.
func (d Daemon) silent() error {
	return api.Errorf(api.NoDaemon, "touchmark-hostd on %s %w", d.Socket, ErrSilent)
}

// pulse is how a daemon is minded with which somebody talks who waits for what may
// take any time, an operator for example.
type pulse struct {
	every    time.Duration // it is asked something that it can answer at once
	late     time.Duration // when Slow is told that it has not
	patience time.Duration // for that answer
}

var (
	// looking is for those who are told what the daemon knows.
	looking = pulse{30 * time.Second, late, 2 * time.Minute}
	// asking is for those who wait for a signature: they rather wait until systemd has ended
	// a daemon that hangs (WatchdogSec and TimeoutStopSec of its unit) and started the next,
	// which goes on with their job.
	asking = pulse{time.Minute, late, 7 * time.Minute}
)

// Follow sends a request that has many answers, or one that may take any time: Next
// gives them, and ErrSilent when the daemon is stuck meanwhile.
func (d Daemon) Follow(req *api.Request) (*Conn, error) {
	return d.follow(req, looking)
}

func (d Daemon) follow(req *api.Request, p pulse) (*Conn, error) {
	c, err := d.Dial()
	if err != nil {
		return nil, err
	}
	c.mind(p)
	if err := c.Say(req); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// mind ends the conversation if the daemon is stuck, which a second connection finds
// out: on the first one, silence may mean that nobody has touched the token yet.
func (c *Conn) mind(p pulse) {
	go func() {
		for {
			select {
			case <-c.open.Done():
				return
			case <-time.After(p.every):
			}
			if _, err := c.daemon.ask(c.open, &api.Request{Op: api.OpJobs}, p.late, p.patience); errors.Is(err, ErrSilent) {
				c.stuck.Store(true)
				_ = c.Close()
				return
			}
		}
	}()
}

// Close ends the conversation.
func (c *Conn) Close() error {
	c.end()
	return c.Conn.Close()
}
