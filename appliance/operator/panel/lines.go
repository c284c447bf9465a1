package panel

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"touchmark/appliance/operator"
)

// maxCommand bounds one input line: a verb and a PIN of at most eight digits,
// or a job's 64 hex digits.
const maxCommand = 256

// behind bounds the lines that wait for a reader. One that is further behind misses
// the oldest: each view is the whole display, so the newest is what counts.
const behind = 1024

// farewell bounds the wait for a reader to take the last lines.
const farewell = 10 * time.Second

// Lines is the headless panel: each View is one JSON object on a line, each
// command one line of text: "arm JOB", "deny JOB", "unmirrored ORDER", "pin DIGITS", "time yes",
// "quit". JOB is the identity of a job or order, 64 hex digits.
type Lines struct {
	commands chan operator.Command
	more     chan struct{} // holds one: lines wait
	quit     chan struct{} // closed to end the writer
	written  chan struct{} // closed when it has ended

	mu    sync.Mutex // guards lines
	lines [][]byte   // that wait to be written, oldest first
}

// NewLines reads commands from r until it ends, and writes views to w until Close.
func NewLines(r io.Reader, w io.Writer) *Lines {
	l := &Lines{commands: make(chan operator.Command, 16), more: make(chan struct{}, 1), quit: make(chan struct{}), written: make(chan struct{})}
	go l.read(r)
	go l.write(w)
	return l
}

// Show has the view written, by and by: who reads slowly, or not at all, holds the
// station up no more than a terminal does.
func (l *Lines) Show(v operator.View) { l.say(v) }

// Close waits until what was shown is written, or the reader takes nothing.
func (l *Lines) Close() {
	close(l.quit)
	select {
	case <-l.written:
	case <-time.After(farewell):
	}
}

func (l *Lines) say(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		return // no view is like that
	}
	l.mu.Lock()
	l.lines = append(l.lines[max(0, len(l.lines)-behind+1):], append(line, '\n'))
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// write is the only one that writes.
func (l *Lines) write(w io.Writer) {
	defer close(l.written)
	for {
		select {
		case <-l.more:
			l.flush(w)
		case <-l.quit:
			l.flush(w)
			return
		}
	}
}

// flush writes what waits. A reader that is gone is a display that is gone; the
// operator then arms nothing, which is the safe end.
func (l *Lines) flush(w io.Writer) {
	for {
		l.mu.Lock()
		if len(l.lines) == 0 {
			l.mu.Unlock()
			return
		}
		line := l.lines[0]
		l.lines = l.lines[1:]
		l.mu.Unlock()
		_, _ = w.Write(line)
	}
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
			l.say(map[string]string{"event": "bad-command", "message": err.Error()})
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
