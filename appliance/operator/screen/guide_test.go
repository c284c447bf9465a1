package screen

import (
	"os"
	"strings"
	"testing"
)

// The operator guide tells the lamps as they are.
func TestGuideTellsTheLamps(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/operator-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{"–": dark, "a flash each second": flash, "twice each second": twice, "slow": slow, "fast": fast, "on": steady}
	told := map[string]Lamps{}
	for line := range strings.Lines(string(raw)) {
		cell := strings.Split(strings.TrimSpace(line), " | ")
		if len(cell) != 3 {
			continue
		}
		green, _, _ := strings.Cut(strings.TrimPrefix(cell[0], "| "), " (")
		red, _, _ := strings.Cut(cell[1], " (")
		if words[green] != "" && words[red] != "" {
			told[strings.TrimSuffix(cell[2], " |")] = Lamps{words[green], words[red]}
		}
	}
	for scene, meaning := range map[string]string{
		"ready": "ready", "arm": "a request to decide", "touch": "**touch the token**", "late": "**do not touch**", "halted": "halted or stopped",
		"alarm": "alarm: you did not touch in time, says the board. If you did, see below", "pin": "the PIN, the time or an order waits for you",
		"rounds": "ready; rounds wait for somebody who opens one",
		"time":   "the PIN, the time or an order waits for you", "order": "the PIN, the time or an order waits for you",
	} {
		if v := scenes[scene]; told[meaning] != LampsOf(&v) {
			t.Errorf("%s: the guide has %v for %q, the lamps show %v", scene, told[meaning], meaning, LampsOf(&v))
		}
	}
	if len(told) != 10 {
		t.Errorf("the guide has %d rhythms", len(told))
	}
}
