package service

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(Ready); err != nil {
		t.Errorf("nobody asked, and yet: %v", err)
	}
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, name := range []string{filepath.Join(dir, "n"), "@touchmark-test-" + filepath.Base(dir)} {
		l, err := net.ListenPacket("unixgram", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", name)
		if err := Notify(Ready); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, _, err := l.ReadFrom(b); err != nil || string(b[:n]) != "READY=1" {
			t.Errorf("%s got %q, %v", name, b[:n], err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "nobody"))
	if err := Notify(Stopping); err == nil {
		t.Error("nobody listens, and yet no error")
	}
}

// TestWatchdog: only what systemd asks of this process counts.
func TestWatchdog(t *testing.T) {
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0}, {"2000000", "", 2 * time.Second}, {"2000000", strconv.Itoa(os.Getpid()), 2 * time.Second}, {"2000000", "1", 0},
		{"-1", "", 0}, {"two", "", 0}, {"9223372036854775807", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", tc.pid)
		if got := Watchdog(); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// TestJournalIsKnown: only the stream that systemd named is the journal.
func TestJournalIsKnown(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		"": false, "1:2": false, fmt.Sprintf("%d:%d", st.Dev, st.Ino): true, fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false,
	} {
		if journal(f, stream) != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", stream, !want)
		}
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	log := zerolog.New(Log(f)).With().Timestamp().Logger()
	log.Warn().Msg("it is")
	t.Setenv("JOURNAL_STREAM", "")
	log = zerolog.New(Log(f)).With().Timestamp().Logger()
	log.Warn().Msg("it is not")
	text, err := os.ReadFile(f.Name())
	if lines := strings.Split(string(text), "\n"); err != nil || len(lines) != 3 || lines[0] != "<4>it is" || !strings.HasSuffix(lines[1], "WRN it is not") {
		t.Errorf("the log is %q, %v", text, err)
	}
}

func TestJournalLines(t *testing.T) {
	var b bytes.Buffer
	log := zerolog.New(Journal(&b)).With().Timestamp().Logger()
	log.Info().Str("job", "7d7c").Int("items", 2).Msg("submitted")
	log.Error().Err(errors.New("no room")).Msg("publishing")
	log.Debug().Msg("small")
	log.Warn().Str("why", "a\n<0>panic").Msg("two\nlines\x1b[2J <1>and more")
	want := "<6>submitted items=2 job=7d7c\n<3>publishing error=\"no room\"\n<7>small\n"
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("the journal gets\n%s\nwant\n%s", b.String(), want)
	}
	last := strings.TrimPrefix(b.String(), want)
	if strings.Count(last, "\n") != 1 || !strings.HasPrefix(last, "<4>two lines [2J <1>and more why=") || strings.ContainsAny(last, "\x1b") {
		t.Errorf("a hostile event is %q", last)
	}
}
