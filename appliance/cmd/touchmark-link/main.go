// Command touchmark-link is the board's link process: it parses what comes over
// the wire, so that nothing else on the board does. It holds no key and opens
// no device but the serial line; core talks to it over its standard input and
// output (package linkpipe) and ends it by closing its input. It runs in a sandbox
// (package sandbox) that leaves it the directory of its device.
//
// With --keep it is the keeper instead (package keeper), which starts link
// processes for a core that may not execute anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"touchmark/appliance/keeper"
	"touchmark/appliance/sandbox"
	"touchmark/appliance/sandbox/profiles"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/serialport/usbtty"
	"touchmark/hostlink/session"
)

type flags struct {
	device, user string
	baud         int
	keep         bool
}

func main() {
	// It waits for a pipe and a line, and does next to nothing between them: a second
	// thread would only cost the time to be woken.
	runtime.GOMAXPROCS(1)
	var f flags
	flag.StringVar(&f.device, "device", "", "serial device of the link, for example /dev/ttyGS0; auto:VVVV:PPPP finds a USB adapter by its id")
	flag.IntVar(&f.baud, "baud", serialport.DefaultBaud, "baud rate, the same as on the host")
	flag.BoolVar(&f.keep, "keep", false, "start link processes for core, as its keeper")
	flag.StringVar(&f.user, "user", "", "with --keep: the user of the link processes, UID:GID[,GID...]")
	flag.Parse()
	if f.device == "" || flag.NArg() > 0 || f.user != "" && !f.keep {
		fmt.Fprintln(os.Stderr, "touchmark-link: usage: touchmark-link --device PATH [--baud N] [--keep [--user UID:GID]]")
		os.Exit(2)
	}
	if _, _, err := usbtty.ParseAuto(f.device); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-link: usage: --device:", err)
		os.Exit(2)
	}
	if err := f.serve(); err != nil {
		fmt.Fprintln(os.Stderr, "touchmark-link:", err)
		os.Exit(1)
	}
}

// serve enters the sandbox, and then is what the flags say.
func (f *flags) serve() error {
	report, err := sandbox.Enter(f.profile())
	if err != nil {
		return err
	}
	if f.keep {
		return f.serveAsKeeper()
	}
	core := linkpipe.NewConn(os.Stdin, os.Stdout)
	if text := report.String(); text != "" {
		if err := core.Write(linkpipe.Msg{Kind: linkpipe.Log, Text: "the link process: " + text}); err != nil {
			return err
		}
	}
	return run(serialport.EndpointConfig{Path: f.device, Baud: f.baud}, core)
}

// profile is what this process needs. The keeper has it for the processes that it starts.
func (f *flags) profile() sandbox.Profile {
	if f.keep {
		return profiles.Keeper(f.device)
	}
	return profiles.Link(f.device)
}

// self is this program, which the sandbox lets the keeper execute.
const self = "/proc/self/exe"

func (f *flags) serveAsKeeper() error {
	link := profiles.Link(f.device)
	if f.user != "" {
		u, err := sandbox.ParseUser(f.user)
		if err != nil {
			return err
		}
		link.User = u
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM) // they are for core, whose end is the keeper's
	return keeper.Serve(os.Stdin, os.NewFile(keeper.KillFD, "kills"), os.Stdout, func() *exec.Cmd {
		cmd := exec.Command(self, "--device", f.device, "--baud", strconv.Itoa(f.baud))
		cmd.Args[0], cmd.Env = os.Args[0], []string{}
		return cmd
	}, func(cmd *exec.Cmd) error { return sandbox.Command(link, cmd) })
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
