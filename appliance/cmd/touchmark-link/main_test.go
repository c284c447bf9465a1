package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/serialport/usbtty"
	"touchmark/tests/cable"
)

// patience bounds the waits of the tests.
const patience = 2 * time.Minute

// binary is the command as it ships, without cgo.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tml-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "touchmark-link")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is a running touchmark-link with core's ends of its pipes.
type process struct {
	*linkpipe.Conn
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startAs(t, binary, args...)
}

// startAs starts a program that is, or becomes, touchmark-link.
func startAs(t *testing.T, program string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	p := &process{cmd: exec.CommandContext(ctx, program, args...)}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = &p.stderr
	p.Conn, p.stdin = linkpipe.NewConn(out, in), in
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	return p
}

// until reads up to the next message of a kind, except for what it says of its
// sandbox, which depends on who runs the tests.
func (p *process) until(t *testing.T, kind linkpipe.Kind) linkpipe.Msg {
	t.Helper()
	for {
		m, err := p.Read()
		if err != nil {
			t.Fatalf("waiting for kind %d: %v; %s", kind, err, p.stderr.String())
		}
		if m.Kind == kind && !strings.HasPrefix(m.Text, "the link process: ") {
			return m
		}
	}
}

// drain reads to the end of the pipe and waits for the process.
func (p *process) drain() error {
	for {
		if _, err := p.Read(); err != nil {
			return p.cmd.Wait()
		}
	}
}

func until(t *testing.T, e *serialport.Endpoint, kind serialport.Kind) serialport.Event {
	t.Helper()
	for ev := range e.Events() {
		if ev.Kind == kind {
			return ev
		}
	}
	t.Fatalf("endpoint ended while waiting for event %d", kind)
	return serialport.Event{}
}

func TestLinkProcess(t *testing.T) {
	c, err := cable.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := start(t, "--device", c.BoardPath(), "--baud", "921600")
	if err := p.Write(linkpipe.Msg{Kind: linkpipe.Message, Body: []byte("too early")}); err != nil {
		t.Fatal(err)
	}
	if m := p.until(t, linkpipe.Log); !strings.Contains(m.Text, "not sent") {
		t.Errorf("log: %q", m.Text)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host := serialport.Start(ctx, serialport.EndpointConfig{Path: c.HostPath(), Baud: 921600, Initiator: true})
	sid := until(t, host, serialport.Up).SID
	if got := p.until(t, linkpipe.Up).SID; got != sid {
		t.Errorf("session %08x and %08x", got, sid)
	}
	if err := host.Send(ctx, sid, 1, []byte("question")); err != nil {
		t.Fatal(err)
	}
	if m := p.until(t, linkpipe.Message); m.SID != sid || m.Channel != 1 || string(m.Body) != "question" {
		t.Errorf("core got channel %d, %q", m.Channel, m.Body)
	}
	for _, m := range []linkpipe.Msg{ // the first is for a session that was before
		{Kind: linkpipe.Message, SID: sid ^ 1, Body: []byte("late answer")},
		{Kind: linkpipe.Message, SID: sid, Body: []byte("answer")},
	} {
		if err := p.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if m := p.until(t, linkpipe.Log); !strings.Contains(m.Text, "not sent") {
		t.Errorf("log: %q", m.Text)
	}
	if ev := until(t, host, serialport.Message); ev.Channel != 0 || string(ev.Body) != "answer" {
		t.Errorf("host got channel %d, %q", ev.Channel, ev.Body)
	}

	p.stdin.Close()
	if err := p.drain(); err != nil {
		t.Errorf("after its input closed: %v; %s", err, p.stderr.String())
	}
	if ev := until(t, host, serialport.Down); ev.Err.Error() != "the other side closed the link" {
		t.Errorf("host: %v", ev.Err)
	}
}

// TestBulkDoesNotDelayInteractive: what core says on channel 0 passes what waits
// on channel 1, and an end of core's input is seen though the host takes nothing.
func TestBulkDoesNotDelayInteractive(t *testing.T) {
	c, err := cable.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := start(t, "--device", c.BoardPath(), "--baud", "921600")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host := serialport.Start(ctx, serialport.EndpointConfig{Path: c.HostPath(), Baud: 921600, Initiator: true})
	sid := until(t, host, serialport.Up).SID
	p.until(t, linkpipe.Up)
	say := func(channel int, body []byte) {
		if err := p.Write(linkpipe.Msg{Kind: linkpipe.Message, SID: sid, Channel: channel, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	for range laneDepth {
		say(1, make([]byte, linkpipe.MaxBody))
	}
	say(0, []byte("urgent"))
	for bulk := 0; ; {
		ev := until(t, host, serialport.Message)
		if ev.Channel == 0 {
			break
		}
		if bulk++; bulk == laneDepth {
			t.Fatal("all of the bulk came first")
		}
	}
	for range laneDepth { // and now the host takes nothing
		say(1, make([]byte, linkpipe.MaxBody))
	}
	p.stdin.Close()
	if err := p.drain(); err != nil {
		t.Errorf("after its input closed: %v; %s", err, p.stderr.String())
	}
}

// TestKilledAndStartedAgain: nothing of a killed process stands in the way of
// the next one, and the host notices.
func TestKilledAndStartedAgain(t *testing.T) {
	c, err := cable.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host := serialport.Start(ctx, serialport.EndpointConfig{Path: c.HostPath(), Initiator: true})
	var last uint32
	for range 3 {
		p := start(t, "--device", c.BoardPath())
		sid := p.until(t, linkpipe.Up).SID
		if sid == last {
			t.Error("the session of the killed process goes on")
		}
		for last = sid; until(t, host, serialport.Up).SID != sid; {
		}
		if err := host.Send(ctx, sid, 0, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if m := p.until(t, linkpipe.Message); string(m.Body) != "hello" {
			t.Errorf("core got %q", m.Body)
		}
		p.cmd.Process.Kill()
		p.drain()
	}
}

func TestCoreBreaksTheFormat(t *testing.T) {
	p := start(t, "--device", filepath.Join(t.TempDir(), "absent"))
	if m := p.until(t, linkpipe.Device); !strings.Contains(m.Text, "absent") {
		t.Errorf("device: %q", m.Text)
	}
	if err := p.Write(linkpipe.Msg{Kind: linkpipe.Up, SID: 1}); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.drain(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("exit: %v", err)
	}
	if !strings.Contains(p.stderr.String(), "kind 2 from core") {
		t.Errorf("stderr: %q", p.stderr.String())
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"--device", "x", "extra"}, {"--device", "x", "--baud", "fast"}, {"--device", "auto:ftdi"}} {
		p := start(t, args...)
		var exit *exec.ExitError
		if err := p.drain(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%q: %v", args, err)
		}
		if !strings.Contains(strings.ToLower(p.stderr.String()), "usage") {
			t.Errorf("%q: %q", args, p.stderr.String())
		}
	}
}

// TestProfile: who starts this process and the process itself mean the same by a device that is looked for.
func TestProfile(t *testing.T) {
	for _, device := range []string{"auto", "auto:0403:6001", "auto:0403:6001,1a86:7523", "/dev/ttyGS0", "/dev/auto", "autos", "./auto"} {
		_, auto, err := usbtty.ParseAuto(device)
		if err != nil {
			t.Fatal(err)
		}
		for _, keep := range []bool{false, true} {
			f := flags{device: device, keep: keep}
			p := f.profile()
			if everywhere := slices.Equal(p.Read, []string{"/sys"}); everywhere != auto || p.Children != keep || p.UnixSockets || p.LockMemory {
				t.Errorf("%s: %+v", device, p)
			}
		}
	}
}

// TestImports: the process that parses the wire contains nothing of ours but
// the link, its sandbox, and the keeper that it can be instead.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		ours := strings.HasPrefix(pkg, "touchmark/")
		allowed := strings.HasPrefix(pkg, "touchmark/appliance/cmd/touchmark-link") ||
			pkg == "touchmark/hostlink/frame" || pkg == "touchmark/hostlink/session" ||
			strings.HasPrefix(pkg, "touchmark/hostlink/serialport") || pkg == "touchmark/hostlink/linkpipe" ||
			pkg == "touchmark/appliance/sandbox" || pkg == "touchmark/appliance/sandbox/profiles" || pkg == "touchmark/appliance/keeper"
		if ours && !allowed || pkg == "net" {
			t.Errorf("imports %s", pkg)
		}
	}
}
