package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"touchmark/tpm/quote"
)

// A boot entry under a corrected clock. The golden file was written on
// 2026-11-22.
func TestCorrectedBootGolden(t *testing.T) {
	a := quote.Attestation{Attest: fill(40, 1), Sig: fill(20, 2)}
	b := &Boot{Number: 3, Firmware: "0.1.0", Clock: ClockCorrected(-36 * 365 * 24 * time.Hour), Admin: 4, Committed: 5, Certify: a, Quote: a, Recovery: "clean"}
	text, err := Marshal(Header{Index: 6, Time: testTime}, b)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "boot-corrected.golden"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("got\n%s", text)
	}
	_, body, err := Parse(want)
	back, ok := body.(*Boot)
	if err != nil || !ok {
		t.Fatalf("%v %+v", err, body)
	}
	if by, corrected := Correction(back.Clock); !corrected || by != -1135296000*time.Second {
		t.Errorf("corrected by %s", by)
	}
}

// The corrections that ledger.md shows are as it says.
func TestCorrectionsOfTheSpecification(t *testing.T) {
	page, err := os.ReadFile("../../docs/spec/ledger.md")
	if err != nil {
		t.Fatal(err)
	}
	_, row, _ := strings.Cut(string(page), "\n| `clock` | ")
	row, _, _ = strings.Cut(row, "\n")
	_, row, _ = strings.Cut(row, "`-` before a negative one: ")
	good, bad, ok := strings.Cut(row, " are, ")
	shown := regexp.MustCompile("`([^`]+)`")
	if !ok || len(shown.FindAllString(good, -1)) < 2 || len(shown.FindAllString(bad, -1)) < 5 {
		t.Fatalf("no examples of corrections in %q", row)
	}
	for _, m := range shown.FindAllStringSubmatch(row, -1) {
		if _, ok := Correction(m[1]); ok != strings.Contains(good, m[0]) {
			t.Errorf("%s: %t", m[0], ok)
		}
	}
}

func TestCorrection(t *testing.T) {
	for _, d := range []time.Duration{time.Second, -time.Second, 36 * 365 * 24 * time.Hour, -maxCorrection * time.Second} {
		if got, ok := Correction(ClockCorrected(d)); !ok || got != d {
			t.Errorf("%s: %s %t", d, got, ok)
		}
	}
	for _, s := range []string{"", "system", "corrected:", "corrected:0", "corrected:-0", "corrected:+1", "corrected:01", "corrected: 1", "corrected:1s", "corrected:9000000001", "corrected:99999999999999999999", "Corrected:1"} {
		if d, ok := Correction(s); ok {
			t.Errorf("%q: %s", s, d)
		}
	}
}
