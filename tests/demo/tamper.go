package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"touchmark/tests/world"
)

// finding is what the demo reads of the auditor's JSON.
type finding struct{ Severity, Code, Explanation string }

// auditor runs the auditor with the given arguments and returns its JSON and its exit code.
func (s *story) auditor(ctx context.Context, args ...string) (out []byte, code int, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "touchmark-audit"), append([]string{"verify"}, args...)...)
	var said, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &errs
	if err := world.Exited(cmd.Run()); err != nil {
		return nil, 0, fmt.Errorf("touchmark-audit: %w: %s", err, errs.String())
	}
	return said.Bytes(), cmd.ProcessState.ExitCode(), nil
}

// audit takes host and board down, for the auditor needs neither, and shows its report.
func (s *story) audit(ctx context.Context) error {
	if err := s.stop(); err != nil {
		return err
	}
	s.n.Say("Host, board, token and TPM are switched off. The auditor has the published log and what was pinned.")
	args := []string{s.log(), "--trust", s.trust(), "--proof", filepath.Join(s.dir, "demo.db.tar.gz.tmproof")}
	s.n.Run("touchmark-audit", "verify", shorten(args[0]), "--trust", shorten(args[2]), "--proof", shorten(args[4]))
	text, _, err := s.auditor(ctx, args...)
	if err != nil {
		return err
	}
	s.n.Quote(string(text))
	report, code, err := s.auditor(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("touchmark-audit: exit code %d, and this log is honest", code)
	}
	return os.WriteFile(filepath.Join(s.dir, "audit.json"), report, 0o644)
}

// tampering is one thing that someone with root on the board or the host could try.
type tampering struct {
	name string // also the folder below tampered/
	told string
	code string // the finding that must name it
	do   func(dir string) error
	args []string // more for the auditor
}

func (s *story) tamper(ctx context.Context) error {
	proof := filepath.Join(s.dir, "demo.db.tar.gz.tmproof")
	for _, t := range []tampering{
		{name: "altered", told: "one hex digit of the digest in the entry about the databases is changed", code: "entry-altered", do: alterEntry},
		{name: "truncated", told: "the last entries are cut off, as if those databases had never been signed", code: "log-truncated", do: truncateLog},
		{name: "rolled-back", told: "the whole log is put back to before the databases; one signed file is enough to show it", code: "log-rolled-back", args: []string{"--proof", proof}},
	} {
		dir := filepath.Join(s.dir, "tampered", t.name)
		if t.do != nil {
			if err := errors.Join(copyTree(dir, s.log()), t.do(dir)); err != nil {
				return err
			}
		}
		if err := s.caught(ctx, t, dir); err != nil {
			return err
		}
	}
	return nil
}

// caught wants the auditor to refuse a log and to name what was done to it.
func (s *story) caught(ctx context.Context, t tampering, dir string) error {
	out, code, err := s.auditor(ctx, append([]string{dir, "--trust", s.trust(), "--json"}, t.args...)...)
	if err != nil {
		return err
	}
	var report struct{ Findings []finding }
	if err := json.Unmarshal(out, &report); err != nil {
		return fmt.Errorf("touchmark-audit --json: %w", err)
	}
	i := slices.IndexFunc(report.Findings, func(f finding) bool { return f.Code == t.code })
	if code == 0 || i < 0 {
		return fmt.Errorf("the log in %s passes for honest (exit code %d, %+v)", dir, code, report.Findings)
	}
	s.n.Say("%s: %s", t.name, t.told)
	s.n.Bad("%s: %s (exit code %d)", t.code, report.Findings[i].Explanation, code)
	return nil
}

// alterEntry changes one digit of the first digest that the newest entries hold for the package databases.
func alterEntry(dir string) error {
	path, _, err := newestBundle(dir)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line := bytes.Index(b, []byte(" demo.db.tar.gz\n"))
	at := bytes.LastIndex(b[:max(line, 0)], []byte("sha256:"))
	if at < 0 {
		return fmt.Errorf("%s holds no digest of demo.db.tar.gz", path)
	}
	at += len("sha256:")
	b[at] = map[bool]byte{true: '1', false: '0'}[b[at] == '0']
	return os.WriteFile(path, b, 0o644)
}

// truncateLog drops the newest entries and their hashes and leaves the checkpoint that covers them.
func truncateLog(dir string) error {
	_, width, err := newestBundle(dir)
	if err != nil {
		return err
	}
	name := strconv.Itoa(width)
	return errors.Join(
		os.Remove(filepath.Join(dir, "tile", "entries", "000.p", name)),
		os.Remove(filepath.Join(dir, "tile", "0", "000.p", name)),
		os.Remove(filepath.Join(dir, "pending")),
	)
}

// newestBundle is the widest partial bundle of the first 256 entries (C2SP tlog-tiles: tile/entries/000.p/W).
func newestBundle(dir string) (path string, width int, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "tile", "entries", "000.p", "*"))
	if err != nil {
		return "", 0, err
	}
	for _, n := range names {
		if w, err := strconv.Atoi(strings.TrimSpace(filepath.Base(n))); err == nil && w > width {
			path, width = n, w
		}
	}
	if width == 0 {
		return "", 0, fmt.Errorf("%s holds no entries", dir)
	}
	return path, width, nil
}
