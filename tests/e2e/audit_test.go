package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// report is what the tests need of touchmark-audit's JSON.
type report struct {
	Verdict  string
	Items    map[string]int
	Refusals uint64
	Findings []struct {
		Severity, Code, Explanation string
	}
}

func (p report) has(code string) bool {
	for _, f := range p.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

// audit runs the auditor over a log directory.
func (r *rig) audit(dir string, args ...string) (world.Result, report) {
	r.t.Helper()
	res, err := r.Run(r.ctx, r.work, "touchmark-audit", append([]string{"verify", dir, "--trust", r.Trust, "--json"}, args...)...)
	r.must(err)
	var p report
	if err := json.Unmarshal([]byte(res.Stdout), &p); err != nil {
		r.t.Fatalf("touchmark-audit: %v\n%s%s", err, res.Stdout, res.Stderr)
	}
	return res, p
}

// clean stops everything and wants the auditor to find nothing worse than that the token is emulated.
func (r *rig) clean() report {
	r.t.Helper()
	r.shut()
	res, p := r.audit(r.Mirror)
	for _, f := range p.Findings {
		if f.Severity == "evidence" {
			r.t.Errorf("finding: %s: %s", f.Code, f.Explanation)
		}
	}
	if res.Code != 0 {
		r.t.Errorf("touchmark-audit: exit code %d, verdict %s\n%s%s", res.Code, p.Verdict, res.Stdout, res.Stderr)
	}
	return p
}

// proofOf is the proof beside a file, as the auditor takes it.
func proofOf(file string) string { return filepath.Clean(file) + ".tmproof" }

// TestTamperedLogIsFound changes a published log in every way that leaves it readable, and wants the auditor to name each.
func TestTamperedLogIsFound(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	first, second := r.file("first", 100), r.file("second", 100)
	r.sign(nil, first)
	r.client(0, "publish")
	earlier := filepath.Join(r.work, "earlier")
	r.must(disktest.Snapshot(earlier, r.Mirror))
	r.sign(nil, second)
	r.clean()

	for _, c := range []struct {
		name string
		code string
		args []string
		do   func(dir string)
	}{
		{"digest", "entry-altered", nil, func(dir string) { r.replace(dir, "entries", "sha256:", 1) }},
		{"outcome", "entry-altered", nil, func(dir string) { r.replace(dir, "entries", "item signed ", 1) }},
		{"hashes", "tiles-inconsistent", nil, func(dir string) { r.flip(newest(t, dir, "0"), 40) }},
		{"checkpoint", "checkpoint-invalid", nil, func(dir string) { r.flip(filepath.Join(dir, "checkpoint"), 200) }},
		{"truncated", "log-truncated", nil, func(dir string) { r.must(os.Remove(newest(t, dir, "entries"))) }},
		{"rolled back, by proof", "log-rolled-back", []string{"--proof", proofOf(second)}, func(dir string) {
			r.must(os.RemoveAll(dir))
			r.must(os.CopyFS(dir, os.DirFS(earlier)))
		}},
		{"rolled back, by checkpoint", "log-rolled-back", []string{"--previous", filepath.Join(r.Mirror, "checkpoint")}, func(dir string) {
			r.must(os.RemoveAll(dir))
			r.must(os.CopyFS(dir, os.DirFS(earlier)))
		}},
	} {
		dir := filepath.Join(t.TempDir(), "log")
		r.must(disktest.Snapshot(dir, r.Mirror))
		c.do(dir)
		res, p := r.audit(dir, c.args...)
		if res.Code == 0 || !p.has(c.code) {
			t.Errorf("%s: exit code %d, no finding %s in %+v", c.name, res.Code, c.code, p.Findings)
		}
	}
	// The honest log, with the same knowledge, stays clean.
	if res, p := r.audit(r.Mirror, "--proof", proofOf(first), "--proof", proofOf(second), "--previous", filepath.Join(earlier, "checkpoint")); res.Code != 0 {
		t.Errorf("the honest log: %+v", p.Findings)
	}
}

// TestBoardWithRewrittenLog gives the board a log that was rolled back on disk, as root could, and wants it to halt; the
// host's mirror and the daemon stay as they are.
func TestBoardWithRewrittenLog(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.sign(nil, r.file("first", 100))
	r.StopAppliance()
	kept := filepath.Join(r.work, "board")
	r.must(os.CopyFS(kept, os.DirFS(r.Board)))
	r.must(r.StartAppliance(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, 0, "log verified"))
	r.sign(nil, r.file("second", 100))
	r.StopAppliance()
	r.must(os.RemoveAll(r.Board))
	r.must(os.CopyFS(r.Board, os.DirFS(kept)))
	var halted *world.HaltedError
	if err := r.StartAppliance(r.ctx); !errors.As(err, &halted) {
		t.Fatalf("the board goes on with a log that the TPM contradicts: %v", err)
	}
	f := r.file("third", 100)
	r.ask(nil, f).outcome(api.DeviceFault, api.Evidence, api.LinkDown)
}

// newest is the widest partial tile or bundle at a level (C2SP tlog-tiles: tile/L/000.p/W).
func newest(t *testing.T, dir, level string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "tile", level, "000.p", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no tile at level %s in %s: %v", level, dir, err)
	}
	return slices.MaxFunc(paths, func(a, b string) int {
		x, errX := strconv.Atoi(filepath.Base(a))
		y, errY := strconv.Atoi(filepath.Base(b))
		if errX != nil || errY != nil {
			t.Fatalf("tiles %s, %s", a, b)
		}
		return x - y
	})
}

// flip changes a bit of a file.
func (r *rig) flip(path string, at int) {
	r.t.Helper()
	b, err := os.ReadFile(path)
	r.must(err)
	b[at] ^= 1
	r.must(os.WriteFile(path, b, 0o644))
}

// replace changes the n-th byte after the last occurrence of a text in the newest bundle.
func (r *rig) replace(dir, level, after string, n int) {
	r.t.Helper()
	path := newest(r.t, dir, level)
	b, err := os.ReadFile(path)
	r.must(err)
	at := bytes.LastIndex(b, []byte(after))
	if at < 0 {
		r.t.Fatalf("%q is not in %s", after, path)
	}
	at += len(after) + n
	b[at] = map[bool]byte{true: '1', false: '0'}[b[at] == '0']
	r.must(os.WriteFile(path, b, 0o644))
}
