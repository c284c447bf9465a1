package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"

	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tests/serial/courier"
)

const (
	// progressEvery messages are told outside.
	progressEvery = 10
	// eventRoom is more than the pipes hold messages: the child's output is read while the courier writes its input.
	eventRoom = 4096
)

// host runs a repository host's end: NAME DEVICE COUNT.
func (g *guest) host(args []string) (string, error) {
	ctx, cancel := context.WithCancel(context.Background())
	end := serialport.Start(ctx, serialport.EndpointConfig{Path: args[1], Initiator: true})
	return g.run(ctx, cancel, args, end)
}

// link runs a board's end, the real touchmark-link: NAME DEVICE COUNT.
func (g *guest) link(args []string) (string, error) {
	ctx, cancel := context.WithCancel(context.Background())
	end, err := startLink(ctx, args[1])
	if err != nil {
		cancel()
		return "", err
	}
	return g.run(ctx, cancel, args, end)
}

func (g *guest) run(ctx context.Context, cancel context.CancelFunc, args []string, end courier.Link) (string, error) {
	name := args[0]
	count, err := strconv.ParseUint(args[2], 10, 31)
	if err != nil || g.couriers[name] != nil {
		cancel()
		return "", fmt.Errorf("courier %s cannot be started: %v", name, err)
	}
	r := &running{cancel: cancel, done: make(chan error, 1)}
	g.couriers[name] = r
	go func() {
		err := courier.Run(context.Background(), end, uint32(count), func(n courier.News) { g.tell(name, n) })
		if err != nil {
			g.say("* %s failed: %v", name, err)
		}
		cancel()
		for range end.Events() {
		}
		r.done <- err
	}()
	return "", nil
}

// tell passes on what a courier says.
func (g *guest) tell(name string, n courier.News) {
	switch ev := n.Event; {
	case n.Done:
		g.say("* %s done", name)
	case ev == nil:
		if n.Received%progressEvery == 0 {
			g.say("* %s received %d sent %d", name, n.Received, n.Sent)
		}
	case ev.Kind == serialport.Opened:
		g.say("* %s opened %s", name, ev.Device)
	case ev.Kind == serialport.Unavailable:
		g.say("* %s unavailable %v", name, ev.Err)
	case ev.Kind == serialport.Up:
		g.say("* %s up %08x", name, ev.SID)
	case ev.Kind == serialport.Down:
		g.say("* %s down %v", name, ev.Err)
	}
}

// child is a touchmark-link process as a courier's link.
type child struct {
	pipe   *linkpipe.Conn
	events chan serialport.Event
}

// startLink starts touchmark-link; it is told to end, by the end of its input, when ctx is done.
func startLink(ctx context.Context, device string) (*child, error) {
	cmd := exec.Command("/touchmark-link", "--device", device)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { in.Close() })
	c := &child{linkpipe.NewConn(out, in), make(chan serialport.Event, eventRoom)}
	go func() {
		c.read()
		cmd.Wait() // after all was read
		close(c.events)
	}()
	return c, nil
}

func (c *child) Events() <-chan serialport.Event { return c.events }

// Send hands a message to the process.
func (c *child) Send(_ context.Context, sid uint32, channel int, msg []byte) error {
	err := c.pipe.Write(linkpipe.Msg{Kind: linkpipe.Message, SID: sid, Channel: channel, Body: msg})
	if errors.Is(err, io.ErrClosedPipe) {
		return session.ErrDown
	}
	return err
}

func (c *child) read() {
	for {
		m, err := c.pipe.Read()
		if err != nil {
			return
		}
		ev := serialport.Event{SID: m.SID, Channel: m.Channel, Body: m.Body}
		switch m.Kind {
		case linkpipe.Up:
			ev.Kind = serialport.Up
		case linkpipe.Down:
			ev.Kind, ev.Err = serialport.Down, errors.New(m.Text)
		case linkpipe.Message:
			ev.Kind = serialport.Message
		default:
			ev.Kind, ev.Err = serialport.Unavailable, errors.New(m.Text)
		}
		c.events <- ev
	}
}
