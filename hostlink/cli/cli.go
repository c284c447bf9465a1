// Package cli is what the commands of touchmark share: where they print, for
// people or as JSON, how they reach touchmark-hostd, and the trust file. The rooms
// below it hold the commands themselves, one room for each topic.
//
// Each room gives its commands as functions that take an App and return a
// cobra.Command: they say how a command is called, and call what does it. An error
// that a command returns has its exit code (api.Errorf); one without comes from the
// command line's parser and is a wrong call. The App's fields are set by the flags
// of hostlink/cmd/touchmark before any command runs.
package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/verify"
)

// App is one call of the program.
type App struct {
	Out    *Printer  // standard output: results
	Errs   io.Writer // standard error: what goes on, warnings
	Socket string    // of touchmark-hostd
	Trust  string    // what this host pins: directory or file
	JSON   bool      // results are for programs
}

// New is a call that prints to out, and what is no result to errs.
func New(out, errs io.Writer) *App { return &App{Out: &Printer{to: out}, Errs: errs} }

// Println prints a line of a result.
func (a *App) Println(line string) { fmt.Fprintln(a.Out, line) }

// Object prints a result as JSON, on one line.
func (a *App) Object(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fmt.Fprintln(a.Errs, "touchmark:", err)
		return
	}
	fmt.Fprintf(a.Out, "%s\n", b)
}

// Made names the file that a command made.
func (a *App) Made(path string) {
	if a.JSON {
		a.Object(map[string]any{"ok": true, "file": path})
		return
	}
	a.Println(path)
}

// Ask sends the daemon a request that has one answer.
func (a *App) Ask(req *api.Request) (*api.Response, error) { return a.Daemon().Ask(req) }

// Daemon is the one that is asked. Who waits for it is told.
func (a *App) Daemon() client.Daemon {
	return a.DaemonFor(func(text string) { fmt.Fprintln(a.Errs, "touchmark:", text) })
}

// DaemonFor is the same for those who tell in their own way what goes on.
func (a *App) DaemonFor(tell func(string)) client.Daemon {
	return client.Daemon{Socket: a.Socket, Slow: func(patience time.Duration) {
		tell(fmt.Sprintf("touchmark-hostd has not answered yet: waiting for it, %g minutes at most", patience.Minutes()))
	}}
}

// Why is what became of a daemon, given the error that lost it: the rest of a
// sentence about touchmark-hostd.
func Why(lost error) string {
	if errors.Is(lost, client.ErrSilent) {
		return "gives no answer"
	}
	return "went away"
}

// LoadTrust reads what this host pins.
func (a *App) LoadTrust() (*verify.Trust, error) {
	text, err := api.ReadTrust(a.Trust)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "trust: %w (name it with --trust or $TOUCHMARK_TRUST)", err)
	}
	t, err := verify.ParseTrust(text)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "trust %s: %w", a.Trust, err)
	}
	return t, nil
}

// SomeFiles wants at least one file named.
func SomeFiles(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return api.Errorf(api.Usage, "name at least one file: %s FILE", c.CommandPath())
	}
	return nil
}
