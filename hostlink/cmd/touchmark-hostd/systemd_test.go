package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestUnderSystemd: as the unit starts it, the program says when it serves, that it goes on serving, and when it stops, and
// answers Prometheus.
func TestUnderSystemd(t *testing.T) {
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	config := filepath.Join(dir, "hostd.toml")
	if err := errors.Join(writeFiles(dir), os.WriteFile(config, []byte(configText+"metrics = \"unix:m\"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	systemd, err := net.ListenPacket("unixgram", filepath.Join(dir, "n"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemd.Close() }()
	_ = systemd.SetReadDeadline(time.Now().Add(2 * time.Minute))
	told := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		for {
			n, _, err := systemd.ReadFrom(b)
			if err == nil && string(b[:n]) == want {
				return
			}
			if err != nil || string(b[:n]) != "WATCHDOG=1" {
				t.Fatalf("systemd hears %q, %v; want %s", b[:n], err, want)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "touchmark-hostd", "--config", config)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "n"), "WATCHDOG_USEC=300000", "WATCHDOG_PID=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told("READY=1")
	if text := scrape(t, filepath.Join(dir, "m")); !strings.Contains(text, "\ntouchmark_link_verified 0\n") {
		t.Errorf("the metrics are\n%s", text)
	}
	for range 3 {
		told("WATCHDOG=1")
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	told("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// scrape reads the metrics from a unix socket.
func scrape(t *testing.T, path string) string {
	t.Helper()
	client := http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	r, err := client.Get("http://hostd/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
