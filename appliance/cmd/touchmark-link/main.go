// Command touchmark-link is the board's link process: it parses what comes over
// the wire, so that nothing else on the board does. It holds no key and opens
// no device but the serial line; core talks to it over its standard input and
// output (package linkpipe) and ends it by closing its input.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/serialport/usbtty"
	"touchmark/hostlink/session"
)

func main() {
	device := flag.String("device", "", "serial device of the link, for example /dev/ttyGS0; auto:VVVV:PPPP finds a USB adapter by its id")
	baud := flag.Int("baud", serialport.DefaultBaud, "baud rate, the same as on the host")
	flag.Parse()
	if *device == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "touchmark-link: usage: touchmark-link --device PATH [--baud N]")
		os.Exit(2)
	}
	if _, _, err := usbtty.ParseAuto(*device); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-link: usage: --device:", err)
		os.Exit(2)
	}
	cfg := serialport.EndpointConfig{Path: *device, Baud: *baud}
	if err := run(cfg, linkpipe.NewConn(os.Stdin, os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-link:", err)
		os.Exit(1)
	}
}

// run joins the pipes and the line until core closes its end.
func run(cfg serialport.EndpointConfig, core *linkpipe.Conn) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	link := serialport.Start(ctx, cfg)
	go func() { cancel(fromCore(ctx, core, link)) }()
	for ev := range link.Events() {
		if err := core.Write(toCore(ev)); err != nil {
			cancel(fmt.Errorf("writing to core: %w", err))
		}
	}
	if err := context.Cause(ctx); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// laneDepth messages of core wait per channel, so that a host that does not take
// what it asked for on one channel does not keep it from the other. One that asks
// as the specification says has one answer under way.
const laneDepth = 8

// lastWords bounds how long the messages that core left behind are waited for.
const lastWords = 500 * time.Millisecond

// fromCore sends core's messages until it closes the pipe: io.EOF.
func fromCore(ctx context.Context, core *linkpipe.Conn, link *serialport.Endpoint) error {
	var lanes [session.Channels]chan linkpipe.Msg
	var senders sync.WaitGroup
	for i := range lanes {
		lane := make(chan linkpipe.Msg, laneDepth)
		lanes[i] = lane
		senders.Go(func() { send(ctx, core, link, lane) })
	}
	err := sort(ctx, core, lanes)
	for _, lane := range lanes {
		close(lane)
	}
	said := make(chan struct{})
	go func() { senders.Wait(); close(said) }()
	select { // what core said last is still said, if the host takes it
	case <-said:
	case <-time.After(lastWords):
	}
	return err
}

// sort reads core's messages and gives each to the lane of its channel.
func sort(ctx context.Context, core *linkpipe.Conn, lanes [session.Channels]chan linkpipe.Msg) error {
	for {
		m, err := core.Read()
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		if err != nil {
			return fmt.Errorf("reading from core: %w", err)
		}
		if m.Kind != linkpipe.Message {
			return fmt.Errorf("%w: kind %d from core", linkpipe.ErrFormat, m.Kind)
		}
		select {
		case lanes[m.Channel] <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send sends the messages of one lane, each in the session it was meant for.
func send(ctx context.Context, core *linkpipe.Conn, link *serialport.Endpoint, lane <-chan linkpipe.Msg) {
	for m := range lane {
		if err := link.Send(ctx, m.SID, m.Channel, m.Body); err != nil && ctx.Err() == nil {
			// Core hears of the state of the link itself; the log says what was lost.
			core.Write(linkpipe.Msg{Kind: linkpipe.Log, Text: "message not sent: " + err.Error()})
		}
	}
}

// toCore gives an event of the line the form of a pipe message.
func toCore(ev serialport.Event) linkpipe.Msg {
	switch ev.Kind {
	case serialport.Up:
		return linkpipe.Msg{Kind: linkpipe.Up, SID: ev.SID}
	case serialport.Down:
		return linkpipe.Msg{Kind: linkpipe.Down, Text: ev.Err.Error()}
	case serialport.Message:
		return linkpipe.Msg{Kind: linkpipe.Message, SID: ev.SID, Channel: ev.Channel, Body: ev.Body}
	case serialport.Unavailable:
		return linkpipe.Msg{Kind: linkpipe.Device, Text: ev.Err.Error()}
	}
	return linkpipe.Msg{Kind: linkpipe.Device, Text: ev.Device + ": open"}
}
