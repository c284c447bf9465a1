package operator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
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
	commands chan Command
}

// NewLines reads commands from r until it ends, and writes views to w.
func NewLines(r io.Reader, w io.Writer) *Lines {
	l := &Lines{w: w, commands: make(chan Command, 16)}
	go l.read(r)
	return l
}

// Show writes the view.
func (l *Lines) Show(v View) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A panel that cannot be written to is a display that is gone; the
	// operator then arms nothing, which is the safe end.
	_ = json.NewEncoder(l.w).Encode(v)
}

// Commands delivers what was typed; it is closed at the end of the input.
func (l *Lines) Commands() <-chan Command { return l.commands }

func (l *Lines) read(r io.Reader) {
	defer close(l.commands)
	in := bufio.NewReaderSize(r, maxCommand)
	for {
		line, err := readLine(in)
		if err != nil && !errors.Is(err, errTooLong) {
			return // the input is gone, and the operator with it
		}
		var c Command
		if err == nil {
			c, err = ParseCommand(line)
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

// ParseCommand reads one command line. A PIN is copied out of the line without
// ever becoming a string, so that it can be zeroed.
func ParseCommand(line []byte) (Command, error) {
	if pin, ok := bytes.CutPrefix(line, []byte("pin ")); ok && len(pin) > 0 {
		return Command{Verb: PIN, PIN: bytes.Clone(pin)}, nil
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	switch v := Verb(verb); {
	case (v == Arm || v == Deny || v == Unmirrored) && isJob(arg):
		return Command{Verb: v, Job: arg}, nil
	case v == Arm || v == Deny || v == Unmirrored:
		return Command{}, fmt.Errorf("%s needs the job or order shown: the 64 hex digits of its identity", v)
	case (v == Time || v == Confirm) && arg == "yes", v == Quit && arg == "":
		return Command{Verb: v}, nil
	}
	return Command{}, errors.New("unknown command; known are: arm JOB, deny JOB, unmirrored ORDER, pin DIGITS, time yes, confirm yes, quit")
}

func isJob(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
