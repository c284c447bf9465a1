package status

import (
	"strings"
	"testing"

	"touchmark/hostlink/hostd/api"
)

// TestQueueLines: jobs have the place in which they come to the display; those without their approvals have none yet.
func TestQueueLines(t *testing.T) {
	job := func(id, state string, names ...string) api.Job {
		return api.Job{Job: strings.Repeat(id, 32), State: state, Class: "iso", Names: names, Created: "C", Deadline: "D", Persons: []string{"alice"}, Need: 2}
	}
	got := strings.Join(queueLines([]api.Job{job("a1", "shown", "a.iso"), job("b2", api.EventApprovals, "b.iso"), job("c3", "queued", "1", "2", "3", "4", "5")}), "\n")
	want := "  1  a1a1a1a1a1a1a1a1  iso: a.iso  shown; since C, until D\n" +
		"  -  b2b2b2b2b2b2b2b2  iso: b.iso  waits for approvals: 1 of 2 by alice; since C, until D\n" +
		"  2  c3c3c3c3c3c3c3c3  iso: "
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "  queued; since C, until D") {
		t.Errorf("the queue is\n%s\nwant\n%s…", got, want)
	}
	if lines := roundLines([]api.Round{{Rule: "core", Class: "pacman-db", Snapshot: 7, Unsigned: []string{"core.db"}, Waiting: "W"}}); len(lines) != 1 || !strings.HasPrefix(lines[0], "round  core (pacman-db): ") {
		t.Errorf("rounds are %q", lines)
	}
}
