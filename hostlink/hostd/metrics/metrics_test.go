package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/queue"
)

func status() *api.Response {
	return &api.Response{
		Status: &api.Status{Board: "halted", Halt: "head-unknown", Committed: 10, Mirrored: 12, Published: 9, Writes: 7000, Days: 900, Age: 3, Verified: true, Refuses: "it has halted"},
		Jobs: []api.Job{{State: "shown", Created: "2026-03-02T11:59:00Z"}, {State: "approvals", Created: "2026-03-02T11:00:00Z"},
			{State: "approvals", Created: "2026-03-02T13:00:00Z"}},
	}
}

// serving is metrics on an address, and how to read them.
func serving(t *testing.T, address string, now func() *api.Response, rounds func() []api.Round) (*Metrics, func() string) {
	t.Helper()
	m := New()
	m.Set(Source{Now: now, Rounds: rounds, Clock: func() time.Time { return time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) }})
	l, err := Listen(address, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, l) }()
	client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, l.Addr().Network(), l.Addr().String())
	}}}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return m, func() string {
		t.Helper()
		r, err := client.Get("http://metrics/metrics")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v: %s", r.Status, err, b)
		}
		return string(b)
	}
}

// ours are the lines of our own metrics.
func ours(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "touchmark_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestState(t *testing.T) {
	rounds := func() []api.Round {
		return []api.Round{{Rule: "core", Waiting: "2026-03-02T11:30:00Z", Missed: 2, Alarm: "stale", Published: 5}, {Rule: "extra"}}
	}
	_, read := serving(t, "127.0.0.1:0", status, rounds)
	got := ours(read())
	want := strings.Split(strings.TrimSpace(`
touchmark_appliance_proof_age_seconds 3
touchmark_appliance_state{halt="head-unknown",state="halted"} 1
touchmark_evidence 0
touchmark_job_oldest_seconds 3600
touchmark_jobs{state="approvals"} 2
touchmark_jobs{state="shown"} 1
touchmark_link_verified 1
touchmark_log_entries{part="committed"} 10
touchmark_log_entries{part="mirrored"} 12
touchmark_log_entries{part="published"} 9
touchmark_refusing 1
touchmark_round_alarm{rule="core"} 1
touchmark_round_alarm{rule="extra"} 0
touchmark_round_missed{rule="core"} 2
touchmark_round_missed{rule="extra"} 0
touchmark_round_published{rule="core"} 5
touchmark_round_published{rule="extra"} 0
touchmark_round_waiting_seconds{rule="core"} 1800
touchmark_round_waiting_seconds{rule="extra"} 0
touchmark_tpm_nv_days 900
touchmark_tpm_nv_writes_total 7000`), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("metrics\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestUnknown: what is not known is not told as 0, and a daemon that is stopping does not hang a scrape.
func TestUnknown(t *testing.T) {
	answer := &api.Response{Status: &api.Status{Days: -1}}
	_, read := serving(t, "127.0.0.1:0", func() *api.Response { return answer }, nil)
	for _, name := range []string{"tpm_nv_days", "tpm_nv_writes", "appliance_state", "proof_age", "round_"} {
		if text := read(); strings.Contains(text, "\ntouchmark_"+name) {
			t.Errorf("%s is told:\n%s", name, text)
		}
	}
	answer = nil
	if got := ours(read()); len(got) != 0 {
		t.Errorf("of a stopped daemon: %q", got)
	}
}

func TestCounters(t *testing.T) {
	m, read := serving(t, "127.0.0.1:0", func() *api.Response { return nil }, nil)
	for code := range results {
		m.Ended(queue.Ended{Code: code, Class: "iso", Files: 2, Took: 20 * time.Second})
	}
	m.Ended(queue.Ended{Code: 99, Class: "iso", Files: 2})
	m.Ended(queue.Ended{Code: api.Refused})
	text := read()
	for _, want := range []string{
		`touchmark_requests_total{class="iso",result="signed"} 1`, `touchmark_requests_total{class="iso",result="bad-request"} 2`,
		`touchmark_requests_total{class="iso",result="internal-error"} 1`, `touchmark_requests_total{class="",result="refused"} 1`,
		`touchmark_files_signed_total{class="iso"} 2`, `touchmark_signed_seconds_bucket{class="iso",le="15"} 0`,
		`touchmark_signed_seconds_bucket{class="iso",le="60"} 1`, `touchmark_signed_seconds_count{class="iso"} 1`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, strings.Join(ours(text), "\n"))
		}
	}
	if !regexp.MustCompile(`\ntouchmark_request_ended_timestamp_seconds\{result="may-be-signed"\} [1-9]`).MatchString(text) {
		t.Errorf("when is not told:\n%s", strings.Join(ours(text), "\n"))
	}
}

// TestUnixSocket: with the permissions that it shall have, and the process's own figures beside ours.
func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "m")
	_, read := serving(t, "unix:"+path, status, nil)
	if text := read(); !strings.Contains(text, "\nprocess_resident_memory_bytes ") || !strings.Contains(text, "\ngo_goroutines ") {
		t.Error("it says nothing of the process")
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", st, err)
	}
}

// TestNothingElse: no other path, no other method.
func TestNothingElse(t *testing.T) {
	l, err := Listen("127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New().Serve(ctx, l) }()
	for _, tc := range []struct {
		method, path string
		code         int
	}{{"GET", "/", 404}, {"GET", "/debug/pprof/", 404}, {"POST", "/metrics", 405}} {
		req, err := http.NewRequestWithContext(ctx, tc.method, "http://"+l.Addr().String()+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != tc.code {
			t.Errorf("%s %s: %s", tc.method, tc.path, r.Status)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOnlyTheLoopback(t *testing.T) {
	if _, err := Listen("0.0.0.0:0", 0); err == nil || !strings.Contains(err.Error(), "only the loopback") {
		t.Errorf("everybody may read: %v", err)
	}
}

// TestGuide: the host guide lists every metric, and no other.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/host-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	listed := regexp.MustCompile("`(touchmark_[a-z_]+)").FindAllStringSubmatch(section, -1)
	m, read := serving(t, "127.0.0.1:0", status, func() []api.Round { return []api.Round{{}} })
	m.Ended(queue.Ended{})
	text := read()
	for _, l := range listed {
		if !strings.Contains(text, "\n# HELP "+l[1]+" ") {
			t.Errorf("the guide lists %s, which there is not", l[1])
		}
	}
	for _, h := range regexp.MustCompile(`(?m)^# HELP (touchmark_\w+) `).FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(listed, func(l []string) bool { return l[1] == h[1] }) {
			t.Errorf("the guide lacks %s", h[1])
		}
	}
}
