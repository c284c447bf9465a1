package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/hostd/api"
)

// commands calls f for every command that does something, with its words.
func commands(c *cobra.Command, words []string, f func(words []string, c *cobra.Command)) {
	for _, sub := range c.Commands() {
		if sub.Name() == "help" || sub.Name() == "completion" || sub.Hidden {
			continue
		}
		w := append(append([]string{}, words...), sub.Name())
		f(w, sub)
		commands(sub, w, f)
	}
}

// TestHelp: every command says with --help what it does and how it is called,
// by an example that its own parser takes, and stands in the host guide.
func TestHelp(t *testing.T) {
	guide := string(must(os.ReadFile("../../../docs/host-guide.md")))
	root := command(cli.New(io.Discard, io.Discard))
	commands(root, nil, func(words []string, c *cobra.Command) {
		name := "touchmark " + strings.Join(words, " ")
		var out, errs bytes.Buffer
		if code := run(append(append([]string{}, words...), "--help"), &out, &errs); code != api.OK || errs.Len() > 0 {
			t.Errorf("%s --help: code %d, %s", name, code, errs.String())
		}
		if !c.Runnable() && !c.HasSubCommands() {
			return // a page to read
		}
		if c.Short == "" || !strings.Contains(out.String(), "Examples:\n  touchmark ") {
			t.Errorf("%s --help has no example:\n%s", name, out.String())
		}
		for line := range strings.Lines(c.Example) {
			if err := takes(strings.TrimSpace(line)); err != nil {
				t.Errorf("%s: example %q: %v", name, line, err)
			}
		}
		if !strings.Contains(guide, "`"+name) && !strings.Contains(guide, "\n"+name) {
			t.Errorf("%s is not in the host guide", name)
		}
	})
}

// takes reports whether the command line of an example is one: a command that
// there is, with flags that it has.
func takes(line string) error {
	line, _, _ = strings.Cut(line, " | ")
	line, found := strings.CutPrefix(line, "touchmark ")
	if !found {
		return fmt.Errorf("it does not call touchmark")
	}
	root := command(cli.New(io.Discard, io.Discard))
	c, rest, err := root.Find(words(line))
	switch {
	case err != nil:
		return err
	case !c.Runnable():
		return fmt.Errorf("%s does nothing", c.Name())
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}

// words splits a line as a shell does, as far as examples need it.
func words(line string) (out []string) {
	for _, w := range regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line, -1) {
		out = append(out, strings.Trim(w, `"`))
	}
	return out
}

// TestExitCodes compares the table of the host guide with the codes that the
// programs give, and with what they say of them.
func TestExitCodes(t *testing.T) {
	guide := string(must(os.ReadFile("../../../docs/host-guide.md")))
	_, table, ok := strings.Cut(guide, "\n## Exit codes\n")
	if !ok {
		t.Fatal("the host guide has no exit codes")
	}
	table, _, _ = strings.Cut(table, "\n**")
	var have, want []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (.*?) \| (.*?) *\|$`).FindAllStringSubmatch(table, -1) {
		have = append(have, strings.Join(row[1:], "|"))
	}
	for _, c := range api.Codes {
		want = append(want, strconv.Itoa(c.Code)+"|"+c.Meaning+"|"+c.Do)
	}
	if h, w := strings.Join(have, "\n"), strings.Join(want, "\n"); h != w {
		t.Errorf("the guide has\n%s\nthe programs have\n%s", h, w)
	}
	var out bytes.Buffer
	if run([]string{"help", "exit-codes"}, &out, &out) != api.OK || !strings.Contains(out.String(), "130  interrupted") {
		t.Errorf("help exit-codes: %s", out.String())
	}
}
