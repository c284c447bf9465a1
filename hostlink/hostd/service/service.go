// Package service is what a daemon says to the init system that started it: that
// it is ready, alive or stopping (sd_notify(3)), and its log in the form that the journal
// takes levels from (sd-daemon(3)). Without systemd the first does nothing and the
// second is a log for people.
package service

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// Notify tells the init system a state, such as Ready. The variable NOTIFY_SOCKET
// says where; if it is not set, nobody asked.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	c, err := net.Dial("unixgram", name) // a leading @ means an abstract name here as there
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	_ = c.SetWriteDeadline(time.Now().Add(tellWait)) // if that fails, so does what follows
	_, err = c.Write([]byte(state))
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	return nil
}

// States for Notify.
const (
	Ready    = "READY=1"
	Alive    = "WATCHDOG=1"
	Stopping = "STOPPING=1"
)

// tellWait bounds how long an init system that does not read holds anybody up.
const tellWait = 5 * time.Second

// Watchdog is how long the init system goes on without hearing Alive before it takes
// this process for stuck (sd_watchdog_enabled(3)); 0 if it does not watch it.
func Watchdog() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	us, err := strconv.ParseUint(os.Getenv("WATCHDOG_USEC"), 10, 63)
	if err != nil || us > uint64(math.MaxInt64/time.Microsecond) {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

// Log is where a daemon logs to: lines for people, with the time, or, if f is the
// journal, lines that begin with their level and leave the time to it.
func Log(f *os.File) io.Writer {
	if journal(f, os.Getenv("JOURNAL_STREAM")) {
		return Journal(f)
	}
	return zerolog.ConsoleWriter{Out: f, NoColor: true, TimeFormat: time.RFC3339}
}

// journal reports whether f is the stream that systemd says it connected to the
// journal: "device:inode" (systemd.exec(5)).
func journal(f *os.File, stream string) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)
}

// Journal writes events as lines of the journal: <level>message key=value …
func Journal(w io.Writer) io.Writer {
	j := &lines{out: w}
	j.form = zerolog.ConsoleWriter{Out: &j.line, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName, zerolog.LevelFieldName}}
	return j
}

type lines struct {
	out io.Writer

	mu   sync.Mutex // guards line
	line bytes.Buffer
	form zerolog.ConsoleWriter
}

// Write takes an event whose level is not known.
func (j *lines) Write(p []byte) (int, error) { return j.WriteLevel(zerolog.InfoLevel, p) }

// WriteLevel takes an event. It makes one line of it whatever is in it: what
// follows a line break would have no level, or one of its own choice.
func (j *lines) WriteLevel(l zerolog.Level, p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.line.Reset()
	if _, err := j.form.Write(p); err != nil {
		return 0, err
	}
	text := strings.Map(printable, strings.TrimSpace(j.line.String()))
	_, err := fmt.Fprintf(j.out, "<%d>%s\n", priority(l), text)
	return len(p), err
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// priority is the level as syslog(3) numbers it.
func priority(l zerolog.Level) int {
	switch {
	case l >= zerolog.FatalLevel && l <= zerolog.PanicLevel:
		return 2
	case l == zerolog.ErrorLevel:
		return 3
	case l == zerolog.WarnLevel:
		return 4
	case l == zerolog.DebugLevel || l == zerolog.TraceLevel:
		return 7
	}
	return 6
}
