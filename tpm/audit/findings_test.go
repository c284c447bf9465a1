package audit

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/report"
)

const findingsPath = "../../docs/findings.md"

// findingRow is a row of that page.
var findingRow = regexp.MustCompile("^\\| `([a-z-]+)` \\| (.*) \\|\n$")

// eachFinding calls f for each row of docs/findings.md, and returns the page with
// what f answers as the examples.
func eachFinding(t *testing.T, f func(severity, code, text string) string) string {
	t.Helper()
	var page strings.Builder
	severity := ""
	for line := range strings.Lines(string(read(t, findingsPath))) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			word, _, _ := strings.Cut(title, ":")
			severity = strings.ToLower(word)
		}
		if m := findingRow.FindStringSubmatch(line); m != nil {
			line = fmt.Sprintf("| `%s` | %s |\n", m[1], f(severity, m[1], m[2]))
		}
		page.WriteString(line)
	}
	return page.String()
}

// findingsPage is what docs/findings.md shows, by severity and code.
func findingsPage(t *testing.T) map[string]string {
	t.Helper()
	shown := map[string]string{}
	eachFinding(t, func(severity, code, text string) string {
		shown[severity+" "+code] = text
		return text
	})
	return shown
}

// examples are the explanations of findings that tests produce; those that
// docs/findings.md shows are among them.
type examples struct {
	sync.Mutex
	severity finding.Severity
	texts    map[string][]string // by code
	made     int
}

// newExamples compares, once want reports have been added, what is shown.
func newExamples(t *testing.T, s finding.Severity, want int) *examples {
	t.Helper()
	x := &examples{severity: s, texts: map[string][]string{}}
	t.Cleanup(func() {
		if x.made < want {
			return // not all were run
		}
		if *makeExample {
			x.write(t)
		}
		page := findingsPage(t)
		for code, texts := range x.texts {
			if shown := page[string(s)+" "+code]; !slices.Contains(texts, shown) {
				t.Errorf("docs/findings.md shows %s %s as %q, tests produce %q", s, code, shown, texts)
			}
		}
	})
	return x
}

// what differs from run to run: hashes, keys, the identities of keys.
var random = regexp.MustCompile(`[0-9a-f]{16,}|[0-9A-F]{40}|\+[0-9a-f]{8}\b`)

func (x *examples) add(code string, r *report.Report) {
	x.Lock()
	defer x.Unlock()
	x.made++
	for _, f := range r.Findings {
		if f.Severity == x.severity && f.Code == code {
			text := strings.ReplaceAll(random.ReplaceAllString(f.Explanation, "…"), "|", `\|`)
			x.texts[code] = append(x.texts[code], text)
		}
	}
}

// write puts a new text in the place of each that no test produces.
func (x *examples) write(t *testing.T) {
	t.Helper()
	page := eachFinding(t, func(severity, code, text string) string {
		texts := x.texts[code]
		if severity != string(x.severity) || len(texts) == 0 || slices.Contains(texts, text) {
			return text
		}
		return slices.Min(texts)
	})
	if err := os.WriteFile(findingsPath, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}
