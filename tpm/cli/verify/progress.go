package verify

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// How often the bar is drawn, and how wide it is.
const (
	redraw   = 100 * time.Millisecond
	barWidth = 40
)

// progress draws a bar on a terminal, nothing anywhere else.
type progress struct {
	w    io.Writer
	tty  bool
	next time.Time
}

func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, next: time.Now().Add(redraw)}
	if f, ok := w.(*os.File); ok && !quiet {
		st, err := f.Stat()
		p.tty = err == nil && st.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// step says that done of total entries are through.
func (p *progress) step(done, total uint64) {
	if !p.tty || total == 0 || time.Now().Before(p.next) {
		return
	}
	p.next = time.Now().Add(redraw)
	full := int(min(done, total) * barWidth / total)
	fmt.Fprintf(p.w, "\r[%s%s] %d of %d entries", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, total)
}

// clear empties the line before something else is printed.
func (p *progress) clear() {
	if p.tty {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
