package main

import (
	"os"

	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// width is that of a terminal, 0 for anything else and for one too narrow to care.
func width(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil || w < 60 {
		return 0
	}
	return w
}

// copyTree copies a finished directory tree; dst must not exist.
func copyTree(dst, src string) error { return os.CopyFS(dst, os.DirFS(src)) }
