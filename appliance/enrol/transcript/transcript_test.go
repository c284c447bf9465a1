package transcript

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTranscriptGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "minutes")
	if err := Absent(path); err != nil {
		t.Fatal(err)
	}
	first, err := Open(path)
	if err != nil || !first.Empty() {
		t.Fatalf("%v, empty %v", err, first.Empty())
	}
	first.Add("begun %d", 1)
	first.Once("key %s", "a")
	if err := first.Stop(errors.New("power\nwent")); err != nil {
		t.Fatal(err)
	}
	if err := Absent(path); err == nil {
		t.Error("the transcript of a ceremony would be overwritten")
	}
	second, err := Open(path)
	if err != nil || second.Empty() {
		t.Fatal(err)
	}
	second.Once("key %s", "a")
	second.Once("key %s", "b")
	if err := second.Finish(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "begun 1\nkey a\nSTOPPED     power; went\nkey b\ndone\n") {
		t.Errorf("%q, %v", text, err)
	}
}

func TestNoTranscript(t *testing.T) {
	none, err := Open("")
	if err != nil || none != nil || none.Empty() {
		t.Fatal(none, err)
	}
	none.Add("x")
	none.Once("y")
	if err := errors.Join(none.Flush(), none.Stop(errors.New("z")), none.Finish(), Absent("")); err != nil {
		t.Error(err)
	}
}
