package e2e

import (
	"encoding/json"
	"path/filepath"

	"touchmark/tests/world"
)

// report is what the tests need of touchmark-audit's JSON.
type report struct {
	Verdict  string
	Items    map[string]int
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
