// Package manpage writes a program's manual page from its own commands: whoever
// changes a flag or a sentence of --help has changed the page.
//
// The page is in the man(7) macros, UTF-8, one for a whole program: synopsis,
// description, each command with its flags and examples, the pages to read (such
// as exit codes), files. Text is taken as the help shows it: lines that begin with
// blanks stay as they are, others are filled. What a help text says cannot become
// a macro.
package manpage

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Page says what the commands do not.
type Page struct {
	Name    string   // of the program
	Section int      // 1 for commands, 8 for daemons
	Files   []string // pairs: path, what it is
	SeeAlso []string // such as touchmark-hostd(8)
}

// Command is a hidden "man" that prints the page of the program it is added to.
func (p Page) Command() *cobra.Command {
	return &cobra.Command{
		Use: "man", Hidden: true, Args: cobra.NoArgs,
		Short:   "Print the manual page, in the man(7) macros",
		Long:    "Print the manual page of the whole program, in the man(7) macros, made of the same texts as --help.",
		Example: "  " + p.Name + " man | man -l -",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(p.Of(c.Root()))
			return err
		},
	}
}

// Of writes the page of a program.
func (p Page) Of(root *cobra.Command) []byte {
	root.InitDefaultHelpFlag()
	w := &writer{}
	w.macro("TH", strings.ToUpper(root.Name()), fmt.Sprint(p.Section), "", "Touchmark", "")
	w.macro("SH", "NAME")
	w.line(root.Name() + ` \- ` + escape(root.Short))
	w.macro("SH", "SYNOPSIS")
	w.macro("B", root.UseLine())
	if len(own(root)) > 0 {
		w.macro("PP")
		w.macro("B", root.Name()+" COMMAND --help")
	}
	w.section("DESCRIPTION", root.Long)
	w.example("EXAMPLES", root)
	for i, c := range own(root) {
		if i == 0 {
			w.macro("SH", "COMMANDS")
		}
		w.command(c)
	}
	w.flags("OPTIONS", root.PersistentFlags(), root.LocalNonPersistentFlags())
	for _, c := range root.Commands() {
		if !c.Runnable() && !c.HasSubCommands() { // a page to read
			w.section(strings.ToUpper(strings.ReplaceAll(c.Name(), "-", " ")), indented(c.Long))
		}
	}
	w.pairs("FILES", p.Files)
	if len(p.SeeAlso) > 0 {
		w.section("SEE ALSO", strings.Join(p.SeeAlso, ", "))
	}
	return w.b.Bytes()
}

// own are the commands that do something, in the order of the help.
func own(c *cobra.Command) (out []*cobra.Command) {
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() && s.Name() != "help" && s.Name() != "completion" {
			out = append(out, s)
		}
	}
	return out
}

type writer struct{ b bytes.Buffer }

func (w *writer) line(s string) { w.b.WriteString(s + "\n") }

// macro writes a request with quoted arguments.
func (w *writer) macro(name string, args ...string) {
	w.b.WriteString("." + name)
	for _, a := range args {
		w.b.WriteString(` "` + strings.ReplaceAll(escape(a), `"`, `\(dq`) + `"`)
	}
	w.b.WriteByte('\n')
}

// escape takes their meaning from backslashes, and from dashes that stand for
// themselves. A line that begins with a control character is text.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func (w *writer) section(title, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	w.macro("SH", title)
	w.text(text)
}

// text writes paragraphs: those whose lines begin with a blank as they are.
func (w *writer) text(s string) {
	for i, para := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		if i > 0 {
			w.macro("PP")
		}
		as := strings.HasPrefix(para, " ")
		if as {
			w.macro("EX")
		}
		for line := range strings.SplitSeq(para, "\n") {
			if !as {
				line = strings.TrimSpace(line)
			}
			w.line(escape(line))
		}
		if as {
			w.macro("EE")
		}
	}
}

func (w *writer) example(title string, c *cobra.Command) {
	if c.Example != "" {
		w.section(title, indented(c.Example))
	}
}

// indented puts blanks before every line: it stays as it is.
func indented(s string) string {
	lines := slices.Collect(strings.Lines(strings.Trim(s, "\n")))
	for i, l := range lines {
		lines[i] = "  " + strings.TrimPrefix(l, "  ")
	}
	return strings.Join(lines, "")
}

// command writes a command and those below it.
func (w *writer) command(c *cobra.Command) {
	if c.Runnable() {
		w.macro("SS", c.UseLine())
		w.text(first(c.Long, c.Short))
		w.options(c.LocalFlags())
		if c.Example != "" {
			w.macro("PP")
			w.line("Examples:")
			w.macro("PP")
			w.text(indented(c.Example))
		}
	}
	for _, s := range own(c) {
		w.command(s)
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (w *writer) flags(title string, sets ...*pflag.FlagSet) {
	w.macro("SH", title)
	for _, s := range sets {
		w.options(s)
	}
}

func (w *writer) options(set *pflag.FlagSet) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		head := "--" + f.Name
		if f.Shorthand != "" {
			head = "-" + f.Shorthand + ", " + head
		}
		if name != "" {
			head += " " + name
		}
		w.macro("TP")
		w.macro("B", head)
		w.line(escape(usage + ending(f)))
	})
}

// ending tells a default that is worth telling.
func ending(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return ""
	}
	return " (default: " + f.DefValue + ")"
}

func (w *writer) pairs(title string, pairs []string) {
	if len(pairs) == 0 {
		return
	}
	w.macro("SH", title)
	for i := 0; i+1 < len(pairs); i += 2 {
		w.macro("TP")
		w.macro("I", pairs[i])
		w.line(escape(pairs[i+1]))
	}
}
