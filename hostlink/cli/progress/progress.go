// Package progress tells a person what goes on while a command works: the bytes that
// are hashed, what the appliance waits for, and how long.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"touchmark/hostlink/hostd/api"
)

// Display talks to a person while a command works: a bar and a status line on
// a terminal, plain lines otherwise, nothing with --quiet.
type Display struct {
	w     io.Writer
	tty   bool
	quiet bool

	mu    sync.Mutex // guards what is below: a signal may speak up between two events
	last  string     // state told last
	shown int        // width of the line on the terminal
	until time.Time  // on a terminal: what is told last ends then; zero if nobody knows
	ticks *time.Timer
}

// New is a display on w, which is a terminal or is not; a quiet one tells nothing.
func New(w io.Writer, quiet bool) *Display {
	p := &Display{w: w, quiet: quiet}
	if f, ok := w.(*os.File); ok {
		st, err := f.Stat()
		p.tty = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// line replaces the line on the terminal.
func (p *Display) line(s string) {
	pad := max(0, p.shown-len(s))
	fmt.Fprintf(p.w, "\r%s%s", s, strings.Repeat(" ", pad))
	p.shown = len(s)
}

// Clear empties the line before something else is printed.
func (p *Display) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.countTo(time.Time{})
	if p.tty && p.shown > 0 {
		p.line("")
		fmt.Fprint(p.w, "\r")
		p.shown = 0
	}
}

// Hashing draws a bar while work runs, if it takes long enough to see.
func (p *Display) Hashing(total int64, done *atomic.Int64, work func()) {
	if !p.tty || p.quiet || total < 64<<20 {
		work()
		return
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				p.bar(done.Load(), total)
			}
		}
	})
	work()
	close(stop)
	wg.Wait()
	p.Clear()
}

func (p *Display) bar(done, total int64) {
	const width = 30
	p.mu.Lock() // the daemon is waited for at the same time
	defer p.mu.Unlock()
	n := int(done * width / max(total, 1))
	p.line(fmt.Sprintf("hashing [%s%s] %3d%%  %.1f of %.1f GiB", strings.Repeat("#", n), strings.Repeat(".", width-n),
		done*100/max(total, 1), float64(done)/(1<<30), float64(total)/(1<<30)))
}

var eventText = map[string]string{
	"waiting-for-link": "waiting for the appliance",
	"suspect":          "what comes from the appliance contradicts its log: see touchmark status",
	"approvals":        "waiting for approvals: touchmark approvals request gives what approvers sign",
	"queued":           "waiting: another job is with the operator",
	"busy":             "the appliance is busy",
	"shown":            "on the appliance's display: waiting for the operator to arm it",
	"armed":            "armed: committing it to the log",
	"touch":            "waiting for the touch",
	"token-wait":       "denied at the appliance: waiting until the token is free",
	"pin-needed":       "waiting for the PIN at the appliance",
	"pin-wrong":        "wrong PIN at the appliance",
	"link-lost":        "the link was lost, waiting for it",
}

// Event tells what the appliance says it does; items is the size of the batch.
func (p *Display) Event(e *api.Event, items int) {
	if e.State == api.EventAccepted {
		return // it may come late, and asks nothing of anybody
	}
	text, ok := eventText[e.State]
	if !ok {
		text = e.State
	}
	if e.State == "touch" && items > 1 {
		text += fmt.Sprintf(" (%d of %d)", e.Item+1, items)
	}
	if e.Job != "" && e.State == "shown" {
		text += " (job " + e.Job[:16] + ")"
	}
	if e.Text != "" && !p.tty {
		text += ": " + e.Text
	}
	var left time.Duration
	if e.State == "touch" || e.State == "token-wait" { // nobody waits for the operator with a watch
		left = time.Duration(e.Seconds) * time.Second
	}
	p.countdown(text, left)
}

// Interrupted says that Ctrl-C was heard and what it can still do: the answer may take as long as a touch.
func (p *Display) Interrupted() {
	p.Tell("withdrawing it; what is armed already cannot be withdrawn, its end is awaited (Ctrl-C again: do not wait)")
}

// Say prints a line that stays.
func (p *Display) Say(text string) {
	if !p.quiet {
		fmt.Fprintln(p.w, "touchmark:", text)
	}
}

// Tell tells what goes on, if it is another thing than before.
func (p *Display) Tell(text string) { p.countdown(text, 0) }

// countdown tells what goes on and, if left is not 0, for how long: on a
// terminal second by second, else once.
func (p *Display) countdown(text string, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet || text == p.last && left == 0 {
		return
	}
	p.last = text
	switch {
	case p.tty && left > 0:
		p.countTo(time.Now().Add(left))
	case p.tty:
		p.countTo(time.Time{})
		p.line(text)
	default:
		fmt.Fprintln(p.w, "touchmark:", withSeconds(text, left))
	}
}

// countTo begins a countdown, or ends the one there is. The caller holds mu.
func (p *Display) countTo(end time.Time) {
	if p.ticks != nil {
		p.ticks.Stop()
	}
	if p.until = end; end.IsZero() {
		return
	}
	p.line(withSeconds(p.last, time.Until(end)))
	p.ticks = time.AfterFunc(time.Second, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.until.Equal(end) { // nothing else was told meanwhile
			p.countTo(end)
		}
	})
}

// withSeconds adds the time that is left, in whole seconds, begun ones counted.
func withSeconds(text string, left time.Duration) string {
	if left <= 0 {
		return text
	}
	return fmt.Sprintf("%s: %d s left", text, (left+time.Second-1)/time.Second)
}
