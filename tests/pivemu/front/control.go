package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/iso7816"
)

// Control is the control socket. A client sends commands, one a line, and gets
// one line for each, `ok …` or `err …`:
//
//	touch                    a finger on the token that waits for it
//	timeout                  the present touch wait ends as timed out
//	wait-touch [SECONDS]     answers when the token waits for a touch
//	wait-power               answers when a reader has powered the token for the first time
//	mode auto|never|ask      who touches from now on
//	pull, insert             removal and insertion
//	factory                  every key, object and secret as the token left the factory
//	fail SW [N] [INS]        the next N commands (1) answer SW and do nothing
//	fail-after SW [N] [INS]  they take effect, and still answer SW
//	status                   key=value pairs
//	quit                     ends the emulator
//
// SW and INS are hexadecimal; INS limits a fault to that instruction (87 is
// the signature). A client that closes its sending side gives up its wait-touch.
type Control struct {
	port *Port
	quit func()
	ln   net.Listener
	*tasks

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// ServeControl listens on a unix socket at path; quit is called for the
// command of that name.
func (p *Port) ServeControl(path string, quit func()) (*Control, error) {
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	c := &Control{port: p, quit: quit, ln: ln, tasks: newTasks(), conns: map[net.Conn]bool{}}
	c.wg.Go(c.accept)
	return c, nil
}

// Close ends the control socket and its connections.
func (c *Control) Close() {
	_ = c.ln.Close()
	c.mu.Lock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
	c.mu.Unlock()
	c.stop()
}

func (c *Control) accept() {
	for {
		conn, err := c.ln.Accept()
		if err != nil {
			return
		}
		if !c.enter(conn) {
			_ = conn.Close()
			continue
		}
		c.wg.Go(func() {
			c.serve(conn)
			c.leave(conn)
		})
	}
}

func (c *Control) enter(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil || len(c.conns) >= maxControls {
		return false
	}
	c.conns[conn] = true
	return true
}

func (c *Control) leave(conn net.Conn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

func (c *Control) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	lines := make(chan string)
	c.wg.Go(func() {
		defer cancel() // the client is gone: a wait ends
		readLines(ctx, conn, lines)
	})
	for line := range lines {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		text, err := c.command(ctx, fields[0], fields[1:])
		answer := strings.TrimSpace("ok " + text)
		if err != nil {
			answer = "err " + err.Error()
		}
		if _, err := fmt.Fprintln(conn, answer); err != nil {
			return
		}
		if fields[0] == "quit" && err == nil {
			c.quit()
			return
		}
	}
}

// readLines hands on every line until the client stops sending, then closes
// the channel. Lines already sent are still handed on.
func readLines(ctx context.Context, conn net.Conn, lines chan<- string) {
	defer close(lines)
	scanner := bufio.NewScanner(conn)
	scanner.Buffer(make([]byte, maxControlLine), maxControlLine)
	for scanner.Scan() {
		select {
		case lines <- scanner.Text():
		case <-ctx.Done():
			return
		}
	}
}

var errUsage = errors.New("wrong arguments")

func (c *Control) command(ctx context.Context, name string, args []string) (string, error) {
	switch {
	case name == "fail" || name == "fail-after":
		return "", c.fail(args, name == "fail-after")
	case name == "mode" && len(args) == 1:
		return "", c.port.card.SetTouchMode(pivemu.TouchMode(args[0]))
	case name == "wait-power" && len(args) == 0:
		return "powered", c.waitPower(ctx)
	case name == "wait-touch" && len(args) <= 1:
		return "waiting", c.waitTouch(ctx, args)
	case len(args) != 0:
		return "", errUsage
	}
	switch name {
	case "touch":
		return "", c.port.card.Touch()
	case "timeout":
		return "", c.port.card.TimeOut()
	case "pull":
		return "", c.port.Pull()
	case "insert":
		return "", c.port.Insert()
	case "factory":
		return "", c.port.card.Factory()
	case "status":
		return c.status(), nil
	case "quit":
		return "", nil
	}
	return "", fmt.Errorf("no command %q", name)
}

func (c *Control) waitPower(ctx context.Context) error {
	select {
	case <-c.port.Powered():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Control) waitTouch(ctx context.Context, args []string) error {
	if len(args) == 1 {
		seconds, err := strconv.ParseFloat(args[0], 64)
		if err != nil || !(seconds >= 0 && seconds <= 3600) {
			return errUsage
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
		defer cancel()
	}
	if err := c.port.card.WaitTouch(ctx); err != nil {
		return errors.New("no touch was awaited")
	}
	return nil
}

func (c *Control) fail(args []string, applied bool) error {
	if len(args) < 1 || len(args) > 3 {
		return errUsage
	}
	sw, err := strconv.ParseUint(args[0], 16, 16)
	if err != nil || sw == 0 {
		return errUsage
	}
	f := pivemu.Fault{SW: iso7816.SW(sw), Count: 1, Applied: applied}
	if len(args) > 1 {
		if f.Count, err = strconv.Atoi(args[1]); err != nil || f.Count < 1 {
			return errUsage
		}
	}
	if len(args) > 2 {
		ins, err := strconv.ParseUint(args[2], 16, 8)
		if err != nil || ins == 0 {
			return errUsage
		}
		f.INS = byte(ins)
	}
	c.port.card.Inject(f)
	return nil
}

func (c *Control) status() string {
	mode, waiting, touches := c.port.card.TouchStatus()
	return fmt.Sprintf("serial=%d firmware=%s inserted=%t mode=%s waiting=%t touches=%d",
		c.port.card.Serial(), c.port.card.Firmware(), c.port.Inserted(), mode, waiting, touches)
}

// Ask sends one command to the control socket at path and returns what follows
// `ok`; an `err` answer is an error.
func Ask(ctx context.Context, path, command string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(conn)
	if !lines.Scan() {
		return "", errors.Join(fmt.Errorf("pivemu gave no answer to %q", command), lines.Err(), ctx.Err())
	}
	if text, ok := strings.CutPrefix(lines.Text(), "ok"); ok {
		return strings.TrimSpace(text), nil
	}
	return "", errors.New(strings.TrimPrefix(lines.Text(), "err "))
}
