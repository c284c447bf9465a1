package main

import (
	"os"

	"golang.org/x/term"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// copyTree copies a finished directory tree; dst must not exist.
func copyTree(dst, src string) error { return os.CopyFS(dst, os.DirFS(src)) }
