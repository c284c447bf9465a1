package imagepages

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// header is what the pins of a Raspberry Pi's header are, from pin 1 on: a GPIO's number, a voltage, or G for ground.
var header = strings.Fields("3.3V 5V 2 5V 3 G 4 14 G 15 17 18 27 G 22 23 3.3V 24 10 G 9 25 11 8 G 7 0 1 5 G 6 12 13 G 19 16 26 20 G 21")

var pin = regexp.MustCompile(`\b(\d+) \((?:GPIO (\d+)|(GND)|([\d.]+) V)`)

// TestWiring: each pin of wiring.md is what the page calls it, and has one wire, on a Raspberry Pi 4 with the buttons and on
// a Compute Module 4 with them; what lies under the TPM's board is nobody else's.
func TestWiring(t *testing.T) {
	page, err := os.ReadFile("../../docs/image/wiring.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "\n## ")
	if len(parts) != 5 || !strings.HasPrefix(parts[1], "Raspberry Pi 4 B") || !strings.HasPrefix(parts[2], "Compute Module 4") || !strings.HasPrefix(parts[3], "Buttons and lamps") {
		t.Fatal("the page has other sections than this test knows")
	}
	withoutPower := regexp.MustCompile(`(?m)^\| power \|.*$`).ReplaceAllString(parts[1], "")
	for board, text := range map[string]string{"rpi4": parts[1] + parts[3], "cm4": withoutPower + parts[2] + parts[3]} {
		taken := map[int]string{}
		for row := range strings.Lines(text) {
			what, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
			for _, m := range pin.FindAllStringSubmatch(row, -1) {
				at, err := strconv.Atoi(m[1])
				if err != nil || at < 1 || at > len(header) {
					t.Fatalf("%s: there is no pin %s", board, m[1])
				}
				is := m[2]
				switch {
				case m[3] != "":
					is = "G"
				case m[4] != "":
					is = m[4] + "V"
				}
				if header[at-1] != is {
					t.Errorf("%s: pin %d is %s, the page says %s", board, at, header[at-1], m[0])
				}
				if other := taken[at]; other != "" {
					t.Errorf("%s: pin %d is wired to %s and to %s", board, at, other, what)
				}
				if at >= 17 && at <= 26 && what != "TPM board" {
					t.Errorf("%s: pin %d of %s lies under the TPM's board", board, at, what)
				}
				taken[at] = what
			}
		}
		if len(taken) < 18 {
			t.Errorf("%s: %d pins are wired", board, len(taken))
		}
	}
}
