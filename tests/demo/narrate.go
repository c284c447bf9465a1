package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// narrator tells the person at the terminal what happens, why it matters and how long it took. Safe for several
// goroutines.
type narrator struct {
	mu    sync.Mutex // guards the fields below
	out   io.Writer
	color bool
	width int // of the terminal; 0: lines are as long as they are
	step  int
	begun time.Time
}

const (
	bold  = "\x1b[1m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	dim   = "\x1b[2m"
	reset = "\x1b[0m"
)

func newNarrator(out io.Writer, color bool) *narrator {
	return &narrator{out: out, color: color, begun: time.Now()}
}

func (n *narrator) paint(style, s string) string {
	if !n.color {
		return s
	}
	return style + s + reset
}

// Step begins a numbered chapter.
func (n *narrator) Step(title string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.step++
	fmt.Fprintf(n.out, "\n%s %s\n", n.paint(bold, fmt.Sprintf("%d. %s", n.step, title)), n.paint(dim, fmt.Sprintf("[%.1f s]", time.Since(n.begun).Seconds())))
}

// Say adds plain lines to the chapter.
func (n *narrator) Say(format string, a ...any) { n.lines("   ", fmt.Sprintf(format, a...)) }

// Run shows a command line that is being run.
func (n *narrator) Run(argv ...string) { n.lines("   ", n.paint(dim, "$ "+strings.Join(argv, " "))) }

// Good and Bad report a verdict.
func (n *narrator) Good(format string, a ...any) {
	n.lines("   ", n.paint(green, "ok  ")+fmt.Sprintf(format, a...))
}

// Bad reports what was caught or what went wrong.
func (n *narrator) Bad(format string, a ...any) {
	n.lines("   ", n.paint(red, "!!  ")+fmt.Sprintf(format, a...))
}

// Quote shows what another program printed.
func (n *narrator) Quote(text string) {
	n.lines("   "+n.paint(dim, "| "), strings.TrimRight(text, "\n"))
}

func (n *narrator) lines(indent, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for line := range strings.SplitSeq(text, "\n") {
		for n.width > 0 && len(line) > n.width-len(indent) {
			at := strings.LastIndexByte(line[:n.width-len(indent)], ' ')
			if at < 0 || strings.TrimSpace(line[:at]) == "" {
				break // one long word: the terminal's affair
			}
			fmt.Fprintln(n.out, indent+line[:at])
			line = "    " + line[at+1:]
		}
		fmt.Fprintln(n.out, indent+line)
	}
}

// quoter quotes a running program line by line.
type quoter struct {
	n    *narrator
	line []byte // begun, not ended yet
}

func (q *quoter) Write(p []byte) (int, error) {
	q.line = append(q.line, p...)
	for {
		i := bytes.IndexByte(q.line, '\n')
		if i < 0 {
			return len(p), nil
		}
		q.n.Quote(string(q.line[:i]))
		q.line = q.line[i+1:]
	}
}
