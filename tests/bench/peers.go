//go:build emulated

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// hashFile is the peer that nothing can beat: reading a file and running Go's SHA-256 over it.
func hashFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}

// softGPG is GnuPG with a P-256 key in software: what people sign repositories with today.
type softGPG struct{ home string }

func newSoftGPG(ctx context.Context) (*softGPG, error) {
	// The agent's socket lies in the home, so the home's path must be short.
	home, err := os.MkdirTemp("", "tmg-")
	if err != nil {
		return nil, err
	}
	g := &softGPG{home}
	return g, g.run(ctx, "--passphrase", "", "--quick-generate-key", "bench@touchmark.example", "nistp256", "sign", "never")
}

func (g *softGPG) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "gpg", append([]string{"--homedir", g.home, "--batch", "--quiet", "--no-tty", "--yes", "--pinentry-mode", "loopback"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w: %s", cmd.Args, err, out.String())
	}
	return nil
}

// Sign makes a detached signature as repo-add has it made.
func (g *softGPG) Sign(ctx context.Context, path string) error {
	return g.run(ctx, "--detach-sign", "--no-armor", "--output", filepath.Join(g.home, "out.sig"), path)
}

// Close stops the agent of this home and removes it.
func (g *softGPG) Close() error {
	cmd := exec.Command("gpgconf", "--homedir", g.home, "--kill", "all")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gpgconf: %w: %s", err, out)
	}
	return os.RemoveAll(g.home)
}

// makeFile writes size bytes that neither file system nor disk can fold away cheaply.
func makeFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7 / 3)
	}
	for n := int64(0); n < size; n += int64(len(block)) {
		copy(block, fmt.Sprintf("block at %d", n))
		if _, err := f.Write(block[:min(int64(len(block)), size-n)]); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}
