package imagepages

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sheet lays a page out as a browser prints it with GitHub's style: letters of 16 px (12 pt) on lines of half as much again,
// space of 12 pt behind paragraphs and lists and of 3 pt between a list's items, margins of half an inch. All lengths but
// paper and margins are scaled. groff breaks the lines, by the widths of Helvetica's letters.
const sheet = `.pl %[1]s
.po 0.5i
.ll %[2]s-1i
.nr k %[3]d
.fam H
.ps (u;12p*\nk/100)
.vs (u;18p*\nk/100)
.nh
.ad l
.de top
'sp 0.5i
..
.de foot
'bp
..
.wh 0 top
.wh -0.5i foot
.de gap
.sp (u;\\$1*\nk/100)
..
`

// typeset is how many pages a page of Markdown takes: headings, paragraphs, lists of one level, bold, italic, code and links
// are what it may have.
func typeset(t *testing.T, markdown, height, width string, percent int) int {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, sheet, height, width, percent)
	for block := range strings.SplitSeq(strings.TrimSpace(markdown), "\n\n") {
		title, isTitle := strings.CutPrefix(block, "# ")
		switch {
		case isTitle:
			fmt.Fprintf(&b, ".ps (u;24p*\\nk/100)\n.vs (u;30p*\\nk/100)\n\\fB%s\\fP\n.br\n.ps\n.vs\n.gap 19p\n", letters(title))
		case strings.HasPrefix(block, "- "):
			b.WriteString(".in (u;24p*\\nk/100)\n")
			for i, item := range strings.Split("\n"+block, "\n- ")[1:] {
				if i > 0 {
					b.WriteString(".gap 3p\n")
				}
				fmt.Fprintf(&b, "%s\n.br\n", letters(item))
			}
			b.WriteString(".in 0\n.gap 12p\n")
		default:
			fmt.Fprintf(&b, "%s\n.br\n.gap 12p\n", letters(block))
		}
	}
	cmd := exec.Command("groff", "-Tps", "-Kutf8")
	cmd.Stdin = strings.NewReader(b.String())
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil || said.Len() > 0 {
		t.Fatalf("groff: %v %s (run make setup)", err, said.String())
	}
	pages := regexp.MustCompile(`(?m)^%%Pages: ([0-9]+)$`).FindAllStringSubmatch(string(out), -1)
	if pages == nil {
		t.Fatal("groff says nothing of pages")
	}
	n, err := strconv.Atoi(pages[len(pages)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCeremonyDayIsOnePage: at the scale that the page itself names, on both kinds of paper. At full size it takes two, which
// is why it names one.
func TestCeremonyDayIsOnePage(t *testing.T) {
	text, err := os.ReadFile("../../docs/image/ceremony-day.md")
	if err != nil {
		t.Fatal(err)
	}
	scale := regexp.MustCompile(`Print this page at ([0-9]+) %: it is one page of A4 or Letter`).FindSubmatch(text)
	if scale == nil {
		t.Fatal("the page does not say how it prints on one page")
	}
	percent, err := strconv.Atoi(string(scale[1]))
	if err != nil {
		t.Fatal(err)
	}
	for name, paper := range map[string][2]string{"A4": {"29.7c", "21c"}, "Letter": {"11i", "8.5i"}} {
		if n := typeset(t, string(text), paper[0], paper[1], percent); n != 1 {
			t.Errorf("%s at %d %%: %d pages", name, percent, n)
		}
		if n := typeset(t, string(text), paper[0], paper[1], 100); n != 2 {
			t.Errorf("%s in full size: %d pages", name, n)
		}
	}
}

// letters are Markdown's words as groff reads them.
func letters(text string) string {
	text = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(text, "$1")
	text = strings.NewReplacer(`\_`, "_", `\`, `\e`, "☐", `\(sq`).Replace(text)
	text = regexp.MustCompile("`([^`]*)`").ReplaceAllString(text, `\f[CR]$1\fP`)
	text = regexp.MustCompile(`\*\*([^*]*)\*\*`).ReplaceAllString(text, `\fB$1\fP`)
	text = regexp.MustCompile(`\*([^*]*)\*`).ReplaceAllString(text, `\fI$1\fP`)
	return regexp.MustCompile(`(?m)^ *`).ReplaceAllString(text, `\&`)
}
