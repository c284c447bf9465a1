// Package kernel builds the board's kernel from Debian's source: `make allnoconfig` with the options of board.config and
// nothing else, each of which has its reason behind it in the file. A second kernel, for tests in QEMU, has those of
// qemu.config beside them.
//
// A build is a function of the source package, the options, the device trees and the compiler; these name its place in a
// cache, and what lies there is known by its hashes ([Kernel.Sums]). [Golden] has the hashes of the published kernels.
package kernel

import (
	"embed"
	"fmt"
	"regexp"
	"strings"

	"touchmark/image/board"
)

//go:embed board.config qemu.config *.dts *.dtsi
var files embed.FS

// Option is one line of a fragment.
type Option struct {
	Name, Value string // CONFIG_…; y, n, a number or a string in its quotes
	Reason      string
}

var optionLine = regexp.MustCompile(`^(CONFIG_[A-Z0-9_]+)=(y|n|[0-9]+|"[^"]*") +# (.*\S)$`)

// Parse reads a fragment: options with a reason each, comments, empty lines.
func Parse(text string) ([]Option, error) {
	var options []Option
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := optionLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("line %d: %q is not CONFIG_NAME=VALUE  # REASON", i+1, line)
		}
		if seen[m[1]] {
			return nil, fmt.Errorf("line %d: %s stands twice", i+1, m[1])
		}
		seen[m[1]] = true
		options = append(options, Option{m[1], m[2], m[3]})
	}
	return options, nil
}

// Variants of the kernel: what runs on boards, what runs in QEMU.
const (
	Board = board.BoardKernel
	QEMU  = board.QEMUKernel
)

// fragments of each variant.
var fragments = map[string][]string{
	Board: {"board.config"},
	QEMU:  {"board.config", "qemu.config"},
}

// Options of a variant. A later fragment adds to an earlier one and takes nothing back.
func Options(variant string) ([]Option, error) {
	names, ok := fragments[variant]
	if !ok {
		return nil, fmt.Errorf("kernel: no variant %q: there are %s and %s", variant, Board, QEMU)
	}
	var all []Option
	seen := map[string]string{}
	for _, name := range names {
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("kernel: %w", err)
		}
		options, err := Parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("kernel: %s: %w", name, err)
		}
		for _, o := range options {
			if in := seen[o.Name]; in != "" {
				return nil, fmt.Errorf("kernel: %s: %s stands in %s already", name, o.Name, in)
			}
			seen[o.Name] = name
		}
		all = append(all, options...)
	}
	return all, nil
}

// fragment is what `make allnoconfig` is given.
func fragment(options []Option) string {
	var b strings.Builder
	for _, o := range options {
		fmt.Fprintf(&b, "%s=%s\n", o.Name, o.Value)
	}
	return b.String()
}

// Missing lists the options that a finished .config does not have as asked: Kconfig drops without a word what a dependency
// forbids, and adds what another option selects.
func Missing(options []Option, config string) []string {
	has := map[string]string{}
	for line := range strings.Lines(config) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(name, "CONFIG_") {
			has[name] = value
		}
	}
	var missing []string
	for _, o := range options {
		value, ok := has[o.Name]
		if !ok {
			value = "n"
		}
		if value != o.Value {
			missing = append(missing, fmt.Sprintf("%s=%s came out as %s", o.Name, o.Value, value))
		}
	}
	return missing
}
