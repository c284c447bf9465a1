package main

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"syscall"

	"touchmark/hostlink/hostd/api"
)

// daemon is a connection to touchmark-hostd.
type daemon struct {
	net.Conn
	*api.Lines
	socket string
}

func (d *daemon) Read(v any) error  { return d.Lines.Read(v) }
func (d *daemon) Write(v any) error { return d.Lines.Write(v) }

// dial connects, or says why not and what to do.
func (a *app) dial() (*daemon, error) {
	c, err := net.Dial("unix", a.socket)
	switch {
	case err == nil:
		return &daemon{c, api.NewLines(c), a.socket}, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, exitf(api.NoDaemon, "no permission to use %s: join the group that owns the socket", a.socket)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, exitf(api.NoDaemon, "touchmark-hostd is not running (no answer on %s): start it, or name its socket with --socket or $TOUCHMARK_SOCKET", a.socket)
	}
	return nil, exitf(api.NoDaemon, "cannot reach touchmark-hostd on %s: %w", a.socket, err)
}

// next reads one response; the daemon's end before a final one is an error.
func (d *daemon) next() (*api.Response, error) {
	r := new(api.Response)
	err := d.Read(r)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(err, api.ErrLine):
		return nil, exitf(api.Internal, "touchmark-hostd on %s: %w", d.socket, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil, errGone
	}
	return nil, exitf(api.NoDaemon, "touchmark-hostd on %s: %w", d.socket, err)
}

// errGone says that the daemon ended the connection without an answer.
var errGone = exitf(api.NoDaemon, "touchmark-hostd stopped before it answered: start it again")

// ask sends a request that has one answer.
func (a *app) ask(req *api.Request) (*api.Response, error) {
	d, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // the conversation is over either way
	if err := d.Write(req); err != nil {
		return nil, errGone
	}
	r, err := d.next()
	if err != nil {
		return nil, err
	}
	return r, said(r)
}

// said is the daemon's error, if it reports one.
func said(r *api.Response) error {
	if r.OK {
		return nil
	}
	return exitf(r.Code, "%s", r.Error)
}
