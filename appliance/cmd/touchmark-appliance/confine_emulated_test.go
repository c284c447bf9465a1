//go:build emulated && !pcscd

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"touchmark/appliance/sandbox"
)

// inside enters the sandbox of a core whose data directory is DIR, and says what
// it can do there; sandbox.txtar knows what that may be.
func inside() {
	dir := os.Args[1]
	f := runFlags{dir: dir, runDir: filepath.Join(dir, "run"), tpm: "/dev/null", orders: filepath.Join(filepath.Dir(dir), "media", "orders")}
	if over := os.Getenv("OVER"); over != "" {
		f.token.Sockets = []string{over}
	}
	if _, err := sandbox.Enter(f.profile()); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	beside := filepath.Dir(dir)
	for _, try := range []struct {
		what string
		err  error
	}{
		{"read the log key", opens(filepath.Join(dir, "log.key"), os.O_RDONLY)},
		{"write a file", opens(filepath.Join(dir, "log", "new"), os.O_CREATE|os.O_WRONLY)},
		{"replace a file", os.Rename(filepath.Join(dir, "log", "new"), filepath.Join(dir, "log", "old"))},
		{"open the TPM", opens("/dev/null", os.O_RDWR)},
		{"read an order", opens(filepath.Join(beside, "media", "orders", "o.note"), os.O_RDONLY)},
		{"forge an order", opens(filepath.Join(beside, "media", "orders", "o.note"), os.O_WRONLY)},
		{"read beside", opens(filepath.Join(beside, "secret"), os.O_RDONLY)},
		{"write beside", opens(filepath.Join(beside, "new"), os.O_CREATE|os.O_WRONLY)},
		{"read accounts", opens("/etc/passwd", os.O_RDONLY)},
		{"open another device", opens("/dev/zero", os.O_RDONLY)},
		{"execute a program", exec.Command("/bin/true").Run()},
		{"execute itself", exec.Command("/proc/self/exe").Run()},
		{"unix socket", socket(unix.AF_UNIX)},
		{"internet socket", socket(unix.AF_INET)},
	} {
		word := "yes"
		if errors.Is(try.err, unix.EPERM) || errors.Is(try.err, unix.EACCES) {
			word = "no"
		} else if try.err != nil {
			word = try.err.Error()
		}
		fmt.Printf("%s: %s\n", try.what, word)
	}
}

func opens(path string, flag int) error {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func socket(family int) error {
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
