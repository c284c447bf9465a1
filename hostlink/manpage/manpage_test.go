package manpage

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"
)

func program(long, example string) *cobra.Command {
	root := &cobra.Command{Use: "prog", Short: "Do things", Long: long, RunE: func(*cobra.Command, []string) error { return nil }}
	root.PersistentFlags().String("socket", "/run/x", "the `path` of a socket")
	sub := &cobra.Command{Use: "sub FILE", Short: "Do one", Long: long, Example: example, Run: func(*cobra.Command, []string) {}}
	sub.Flags().BoolP("quiet", "q", false, "say nothing")
	sub.Flags().Bool("secret", false, "not for people")
	if err := sub.Flags().MarkHidden("secret"); err != nil {
		panic(err)
	}
	group := &cobra.Command{Use: "group", Short: "Holds one"}
	group.AddCommand(&cobra.Command{Use: "below", Short: "Is below", Run: func(*cobra.Command, []string) {}})
	root.AddCommand(sub, group, &cobra.Command{Use: "exit-codes", Short: "Codes", Long: "  0  done\n  1  not"}, Page{Name: "prog", Section: 1}.Command())
	return root
}

// TestPage: what stands in it, and what does not.
func TestPage(t *testing.T) {
	root := program("First line\nof a paragraph.\n\n  a table\n  of two", "  prog sub -q x\n")
	page := Page{Section: 8, Files: []string{"/etc/x", "what it reads"}, SeeAlso: []string{"other(1)"}}.Of(root)
	for _, want := range []string{`.TH "PROG" "8"`, "prog \\- Do things\n", ".SH \"SYNOPSIS\"\n", "First line\nof a paragraph.\n.PP\n.EX\n  a table\n  of two\n.EE\n",
		".SS \"prog sub FILE [flags]\"\n", ".B \"\\-q, \\-\\-quiet\"\nsay nothing\n", ".B \"\\-\\-socket path\"\nthe path of a socket (default: /run/x)\n",
		"  prog sub \\-q x\n", ".SS \"prog group below\"", ".SH \"EXIT CODES\"\n.EX\n  0  done\n  1  not\n.EE\n", ".I \"/etc/x\"\nwhat it reads\n", "other(1)\n"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, not := range []string{"secret", "completion", "\n.SS \"prog man", "\n.SS \"prog help"} {
		if strings.Contains(string(page), not) {
			t.Errorf("the page has %q", not)
		}
	}
	var out bytes.Buffer
	root.SetArgs([]string{"man"})
	root.SetOut(&out)
	if err := root.Execute(); err != nil || !strings.HasPrefix(out.String(), `.TH "PROG" "1"`) {
		t.Errorf("prog man: %v, %.40q", err, out.String())
	}
}

// TestNoMacroFromText: whatever a help text says, groff finds nothing to complain about.
func TestNoMacroFromText(t *testing.T) {
	hostile := ".so /etc/passwd\n'br\n\\X'x' \\fB \"quoted\"\n\n  .EE\n  'EE"
	check(t, Page{Section: 1, Files: []string{".x", "'y"}}.Of(program(hostile, "  .sy id\n")))
}

func check(t *testing.T, page []byte) {
	t.Helper()
	if _, err := exec.LookPath("groff"); err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	cmd := exec.CommandContext(t.Context(), "groff", "-K", "utf8", "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = bytes.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s\nof\n%s", err, out, page)
	}
}

// TestControlLines: text of any kind never begins a line with a control character.
func TestControlLines(t *testing.T) {
	known := map[string]bool{}
	for _, m := range []string{"TH", "SH", "SS", "PP", "TP", "B", "I", "EX", "EE"} {
		known[m] = true
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([.'\\" a-zA-Z]{0,8}\n){0,6}`).Draw(t, "text")
		page := string(Page{Section: 1}.Of(program(text, text)))
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, "'") {
				t.Fatalf("line %q", line)
			}
			name, control := strings.CutPrefix(line, ".")
			name, _, _ = strings.Cut(strings.TrimSuffix(name, "\n"), " ")
			if control && !known[name] {
				t.Fatalf("line %q", line)
			}
		}
	})
}
