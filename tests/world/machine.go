package world

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"

	"touchmark/appliance/operator"
)

// StartMachine starts a program in which the appliance runs, such as a virtual machine: its standard input and output are
// the operator's lines, among others, which are handed to other. It takes the place of StartAppliance: Views, Operator,
// Unlock and KillAppliance are about it.
func (w *World) StartMachine(argv []string, other func(line string)) error {
	in, typed, err := os.Pipe()
	if err != nil {
		return err
	}
	shown, out, err := os.Pipe()
	if err != nil {
		return errors.Join(err, in.Close(), typed.Close())
	}
	p, err := startProcess(w.Logs, "machine", argv, func(cmd *exec.Cmd) error {
		cmd.Stdin, cmd.Stdout = in, out
		return nil
	})
	err = errors.Join(err, in.Close(), out.Close())
	if err != nil {
		return errors.Join(err, typed.Close(), shown.Close())
	}
	b := &board{Process: p, views: newHistory[operator.View](), in: typed}
	w.board = b
	views, lines := io.Pipe()
	go followViews(views, b.views)
	go func() {
		err := sortLines(shown, lines, other)
		_ = lines.CloseWithError(err)
		_ = shown.Close()
	}()
	return nil
}

// sortLines parts the panel's lines from others. One that a machine broke off as it stopped is none of the panel's.
func sortLines(from io.Reader, views io.Writer, other func(string)) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if strings.HasPrefix(line, `{"`) && strings.HasSuffix(strings.TrimSpace(line), "}") && err == nil {
			if _, err := io.WriteString(views, line); err != nil {
				return err
			}
		} else if line != "" {
			other(strings.TrimRight(line, "\r\n"))
		}
		if err != nil {
			return err
		}
	}
}

// Attend does what a ceremony in a machine asks of the operator, until ctx ends.
func (w *World) Attend(ctx context.Context) { w.attendEnrolment(ctx, w.board) }

// SignedPolicy makes the keys of host and administrator, as Enrol does, and answers the path of the policy that names them.
func (w *World) SignedPolicy(ctx context.Context) (note string, err error) { return w.signPolicy(ctx) }
