package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
)

// desk lets consoles in other shells be the operator of a running world: each connection to its socket gets every view of
// the panel as a line of JSON, and sends the operator's words, or "touch", a line each.
type desk struct {
	ln    net.Listener
	board board
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func deskPath(dir string) string { return filepath.Join(dir, "desk") }

// openDesk listens beside the world's other sockets; a link in its directory says where.
func openDesk(w *world.World) (*desk, error) {
	path := filepath.Join(w.Sockets, "desk.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(path, deskPath(w.Dir)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &desk{ln: ln, board: here{w}, stop: stop}
	d.wg.Go(func() { d.accept(ctx) })
	return d, nil
}

func (d *desk) close() {
	d.stop()
	_ = d.ln.Close()
	d.wg.Wait()
}

func (d *desk) accept(ctx context.Context) {
	for {
		conn, err := d.ln.Accept()
		if err != nil {
			return // closed
		}
		d.wg.Go(func() { d.serve(ctx, conn) })
	}
}

// serve ends with its connection; what a console does wrong is its own affair.
func (d *desk) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() {
		defer cancel()
		in := bufio.NewScanner(conn)
		for in.Scan() {
			if d.say(ctx, in.Text()) != nil {
				return
			}
		}
	}()
	views, enc := d.board.Views(), json.NewEncoder(conn)
	for mark := max(0, views.Mark()-1); ; {
		v, next, err := views.Wait(ctx, mark, func(operator.View) bool { return true })
		if err != nil || enc.Encode(v) != nil {
			return
		}
		mark = next
	}
}

func (d *desk) say(ctx context.Context, line string) error {
	if line == "touch" {
		return d.board.Touch(ctx)
	}
	return d.board.Operator(line)
}

// there is the board as seen from a console in another process.
type there struct {
	conn  net.Conn
	views *world.Views
}

func (t *there) Views() *world.Views         { return t.views }
func (t *there) Operator(line string) error  { _, err := fmt.Fprintln(t.conn, line); return err }
func (t *there) Touch(context.Context) error { return t.Operator("touch") }

// console shows the running world's display on this terminal and takes the operator's keys.
func console(ctx context.Context, o options) (err error) {
	path, err := os.Readlink(deskPath(o.dir))
	if err != nil {
		return errors.New("no world is up: run make demo-up")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return errors.New("no world is up: run make demo-up")
	}
	defer conn.Close()
	term, err := openTerminal(os.Stdin, os.Stdout)
	if err != nil {
		return err
	}
	if term == nil {
		return errors.New("console: this needs a terminal")
	}
	defer func() { err = errors.Join(err, term.Restore()) }()
	fmt.Printf("The operator's display; Ctrl-C leaves it.\n\n")
	t := &there{conn, world.Follow(conn)}
	err = (&hands{board: t, n: newNarrator(os.Stdout, true), term: term}).Attend(ctx)
	if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil || strings.Contains(err.Error(), "closed") {
		return nil
	}
	return err
}
