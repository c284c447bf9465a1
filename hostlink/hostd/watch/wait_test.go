package watch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/round"
)

// TestWaitBehindTheArmed: a client that waits for what came after an armed snapshot is told how that ends: it is asked for
// in the same round, and signed, denied, or left over when the round closes.
func TestWaitBehindTheArmed(t *testing.T) {
	for name, want := range map[string]int{"signed": api.OK, "denied": api.Denied, "left": api.TimedOut} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, func(dir string) []Rule {
				return []Rule{aRule(dir, "core", round.Rule{Class: "db"}, "db")}
			})
			d.turn(0)
			d.stage("core", "db", "db 1")
			d.turn(2 * time.Second)
			d.request(t, api.RoundOpen)
			d.turn(time.Hour) // missed once
			d.request(t, api.RoundOpen)
			d.turn(0)
			d.board.open()[0].armed = true
			d.stage("core", "db", "db 2")
			final := make(chan *api.Response, 1)
			d.serve(&api.Request{Op: api.OpRound, Action: api.RoundWait, Rules: []string{"core"}}, final)
			d.signAll()
			d.turn(2 * time.Second)
			d.turn(2 * time.Second)
			if got := d.published("core", "db"); got != "db 1" || len(final) > 0 {
				t.Fatalf("published %q, %d answers", got, len(final))
			}
			j := d.board.open()
			if len(j) != 1 {
				t.Fatalf("%d jobs in the same round", len(j))
			}
			switch name {
			case "signed":
				d.signAll()
			case "denied":
				j[0].denied = true
				d.board.end(j[0], &Answer{Result: round.Denied, Why: "denied"})
			case "left":
				d.turn(time.Hour)
			}
			d.turn(2 * time.Second)
			select {
			case r := <-final:
				if r.Code != want {
					t.Errorf("%+v", r)
				}
			default:
				t.Fatal("it still waits")
			}
		})
	}
}

// TestAlarmChanges: an alarm that becomes another is told again, once in a minute, the last word in any case.
func TestAlarmChanges(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		r := aRule(dir, "core", round.Rule{Class: "db", Stale: time.Hour}, "db")
		r.Alarm = []string{"/bin/sh", "-c", `echo "$TOUCHMARK_ALARM" >> ` + filepath.Join(dir, "alarms")}
		return []Rule{r}
	})
	const since = "what changed has waited for its signature since 2026-11-21T12:00:00Z"
	var want []string
	told := func(more ...string) {
		t.Helper()
		d.wg.Wait()
		b, err := os.ReadFile(filepath.Join(d.dir, "alarms"))
		must(t, err)
		want = append(want, more...)
		if got := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"); !slices.Equal(got, want) {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
	d.stage("core", "db", "db 1")
	d.turn(0)
	d.turn(2 * time.Hour)
	told(since)
	d.request(t, api.RoundOpen)
	d.turn(2 * time.Second)
	d.turn(time.Hour)
	told(since + ": nobody signed it while the last round was open")
	d.request(t, api.RoundOpen)
	d.turn(2 * time.Second)
	d.board.end(d.board.open()[0], &Answer{Result: round.Late, Why: "nobody came"})
	d.turn(2 * time.Second)
	told()
	d.turn(time.Minute)
	told(since + ": nobody came")
	d.signAll()
	d.turn(2 * time.Second)
	d.turn(2 * time.Second)
	told("")
}
