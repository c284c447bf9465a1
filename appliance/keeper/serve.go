package keeper

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// KillFD is the keeper's descriptor of the pipe that says what to kill.
const KillFD = 3

// Serve is the keeper: it obeys core until core closes its pipe. command gives a
// link process that was not started yet, begin starts it.
func Serve(to, kills io.Reader, from io.Writer, command func() *exec.Cmd, begin Begin) error {
	k := &keeper{from: from, command: command, begin: begin}
	go k.watch(kills)
	defer k.end()
	for {
		what, body, err := read(to)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := k.obey(what, body); err != nil {
			return err
		}
	}
}

// Begin starts a command, in a sandbox or, as (*exec.Cmd).Start, without.
type Begin func(*exec.Cmd) error

type keeper struct {
	command func() *exec.Cmd
	begin   Begin

	writing sync.Mutex // guards from
	from    io.Writer

	mu    sync.Mutex // guards what follows
	child *child
	count uint8
}

// child is one link process.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	over chan struct{} // closed when it has ended
}

func (k *keeper) obey(what kind, body []byte) error {
	c := k.present()
	switch {
	case what == start && c != nil && !c.isOver():
		return fmt.Errorf("%w: a second link process", errFormat)
	case what == start:
		return k.start()
	case c == nil:
		return fmt.Errorf("%w: kind %d before the first start", errFormat, what)
	case what == data:
		_, _ = c.in.Write(body) // to one that has ended, of which core hears
	case what == stop:
		_ = c.in.Close()
	default:
		return fmt.Errorf("%w: kind %d from core", errFormat, what)
	}
	return nil
}

func (k *keeper) present() *child {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.child
}

func (c *child) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

func (k *keeper) send(what kind, body []byte) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	_, err := k.from.Write(marshal(what, body))
	return err
}

// start starts a link process. That it cannot be is its end.
func (k *keeper) start() error {
	c := &child{cmd: k.command(), over: make(chan struct{})}
	c.cmd.WaitDelay = grace // a child of its own may hold its pipes open
	c.cmd.Stdout, c.cmd.Stderr = pass{k, data}, pass{k, logs}
	in, err := c.cmd.StdinPipe()
	if err == nil {
		c.in = in
		k.mu.Lock() // a kill is for this one from here on
		k.count++
		if err = k.begin(c.cmd); err == nil {
			k.child = c
		}
		k.mu.Unlock()
	}
	if err != nil {
		return k.send(ended, []byte(err.Error()))
	}
	go func() {
		text := ""
		if err := c.cmd.Wait(); err != nil {
			text = err.Error()
		}
		close(c.over)                   // core may want another as soon as it hears of it
		_ = k.send(ended, []byte(text)) // a core that has gone needs no word
	}()
	return nil
}

// pass passes on what a link process writes, in frames.
type pass struct {
	k    *keeper
	what kind
}

func (p pass) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n += chunk {
		if err := p.k.send(p.what, b[n:min(len(b), n+chunk)]); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// watch kills link processes.
func (k *keeper) watch(kills io.Reader) {
	var number [1]byte
	for {
		if _, err := io.ReadFull(kills, number[:]); err != nil {
			return
		}
		k.kill(&number[0])
	}
}

// kill kills the present link process, if it has a number.
func (k *keeper) kill(number *uint8) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.child != nil && !k.child.isOver() && (number == nil || *number == k.count) {
		_ = k.child.cmd.Process.Kill() // it may have ended
	}
}

// end is the end of core.
func (k *keeper) end() {
	c := k.present()
	if c == nil {
		return
	}
	late := time.AfterFunc(grace, func() { k.kill(nil) })
	defer late.Stop()
	_ = c.in.Close()
	<-c.over
}
