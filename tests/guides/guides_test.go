package guides

import (
	"os"
	"testing"
	"time"

	"touchmark/tests/consumers"
)

const (
	pages     = "../../docs/guides"
	packaging = "../../hostlink/packaging"
)

// patience bounds a story of pages: many times what one takes, so that it means a hang.
const patience = 5 * time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	return path
}

// TestGuides performs the pages. What goes wrong with a repository goes wrong with that of the first page.
func TestGuides(t *testing.T) {
	must(t, consumers.Installed())
	for _, story := range [][]string{
		{"arch.md", "touch-missed.md", "touched-but-timed-out.md", "cable-broke.md", "board-halted.md", "key-expires.md"},
		{"apt.md"}, {"rpm.md"}, {"in-toto.md"},
	} {
		t.Run(story[0], func(t *testing.T) {
			s := newStage(t)
			for _, page := range story {
				s.perform(page)
			}
		})
	}
}
