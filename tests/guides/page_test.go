package guides

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	steps, err := parse("# T\n```sh host\na\nb  # exit code 8\n```\n\n```text\none … three\nfour\n```\n<!-- hands: away -->\n```display\nTOUCH\n```\n")
	if err != nil || len(steps) != 4 {
		t.Fatal(steps, err)
	}
	if s := steps[0]; s.kind != commands || s.who != "host" || s.line != 2 || !strings.Contains(s.script(), "a\ncode=0; b || code=$?; [ \"$code\" = 8 ]") {
		t.Errorf("%+v %s", s, s.script())
	}
	if s := steps[1]; s.missing("zero one  two\nthree, four", true) != "" || s.missing("four one two three", true) != "four" || s.missing("four one two three", false) != "" || s.missing("one three", true) == "" {
		t.Errorf("%+v", s)
	}
	if s := steps[2]; s.kind != hands || s.text != "away" || steps[3].kind != display {
		t.Errorf("%+v", steps)
	}
	for _, bad := range []string{"```\nx\n```", "```sh\nx\n```", "```toml\nx\n```", "```text host\nx\n```", "```sh host\nx\n"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is a page", bad)
		}
	}
}
