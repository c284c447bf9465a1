package panel

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"touchmark/appliance/operator"
)

// shown is a request to decide.
func shown() operator.View {
	return operator.View{Event: "shown", Ask: operator.AskArm, State: "shown", Job: &operator.Job{
		ID: strings.Repeat("ab", 32), Class: "pacman-db", Host: "repo1",
		Items: []operator.Item{{Claimed: "demo.db.tar.gz", Format: "openpgp-binary", Digest: "sha256:" + strings.Repeat("01", 32), Size: 12345}},
	}}
}

func TestLines(t *testing.T) {
	in, typed := io.Pipe()
	screen, out := io.Pipe()
	l := NewLines(in, out)
	views := json.NewDecoder(screen)
	l.Show(shown())
	var v operator.View
	if err := views.Decode(&v); err != nil || v.Job.ID != shown().Job.ID || v.Ask != operator.AskArm {
		t.Fatalf("%+v, %v", v, err)
	}
	go func() {
		_, _ = io.WriteString(typed, strings.Repeat("x", 10_000)+"\nnonsense\narm "+strings.Repeat("ab", 32)+"\n")
		_ = typed.Close()
	}()
	for _, want := range []string{"at most 256 bytes", "unknown command"} {
		var complaint map[string]string
		if err := views.Decode(&complaint); err != nil || complaint["event"] != "bad-command" || !strings.Contains(complaint["message"], want) {
			t.Fatalf("%v, %v; want %q", complaint, err, want)
		}
	}
	if c := <-l.Commands(); c.Verb != operator.Arm || c.Job != strings.Repeat("ab", 32) {
		t.Fatalf("%+v", c)
	}
	if _, open := <-l.Commands(); open {
		t.Fatal("still open after the input ended")
	}
}

// A reader that takes nothing holds nobody up, and one that comes back has the newest;
// what was shown before the end is written.
func TestAReaderThatTakesNothing(t *testing.T) {
	stuck, out := io.Pipe()
	in, typed := io.Pipe()
	l := NewLines(in, out)
	defer typed.Close()
	for range 2 * behind {
		l.Show(shown())
	}
	l.Show(operator.View{Event: "stopped"})
	go func() { l.Close(); _ = out.Close() }()
	views, n, last := json.NewDecoder(stuck), 0, operator.View{}
	for ; ; n++ {
		var v operator.View
		if err := views.Decode(&v); err != nil {
			break
		}
		last = v
	}
	if last.Event != "stopped" || n > behind+1 { // one was being written already
		t.Errorf("%d views, the last is %q", n, last.Event)
	}
}
