package panel

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"touchmark/appliance/operator"
)

// maxCommand bounds one input line: a verb and a PIN of at most eight digits,
// or a job's 64 hex digits.
const maxCommand = 256

// Lines is the headless panel: each View is one JSON object on a line, each
// command one line of text: "arm JOB", "deny JOB", "unmirrored ORDER", "pin DIGITS", "time yes",
// "quit". JOB is the identity of a job or order, 64 hex digits.
type Lines struct {
	mu       sync.Mutex // guards w
	w        io.Writer
	commands chan operator.Command
}

// NewLines reads commands from r until it ends, and writes views to w.
func NewLines(r io.Reader, w io.Writer) *Lines {
	l := &Lines{w: w, commands: make(chan operator.Command, 16)}
	go l.read(r)
	return l
}

// Show writes the view.
func (l *Lines) Show(v operator.View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A panel that cannot be written to is a display that is gone; the
	// operator then arms nothing, which is the safe end.
	_ = json.NewEncoder(l.w).Encode(v)
}

// Commands delivers what was typed; it is closed at the end of the input.
func (l *Lines) Commands() <-chan operator.Command { return l.commands }

func (l *Lines) read(r io.Reader) {
	defer close(l.commands)
	in := bufio.NewReaderSize(r, maxCommand)
	for {
		line, err := readLine(in)
		if err != nil && !errors.Is(err, errTooLong) {
			return // the input is gone, and the operator with it
		}
		var c operator.Command
		if err == nil {
			c, err = operator.ParseCommand(line)
			clear(line)
		}
		if err != nil {
			l.complain(err)
			continue
		}
		l.commands <- c
	}
}

var errTooLong = fmt.Errorf("a command has at most %d bytes", maxCommand)

// readLine gives the next line, in the reader's own buffer. A line that does
// not fit is skipped whole.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, tooLong, err := in.ReadLine()
	if !tooLong {
		return line, err
	}
	for tooLong && err == nil {
		_, tooLong, err = in.ReadLine()
	}
	if err != nil {
		return nil, err
	}
	return nil, errTooLong
}

func (l *Lines) complain(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = json.NewEncoder(l.w).Encode(map[string]string{"event": "bad-command", "message": err.Error()})
}
