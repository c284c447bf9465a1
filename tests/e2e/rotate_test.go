package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// logKeys are the verifier keys that the board prints.
type logKeys struct{ Present, Next string }

func (r *rig) logKey(args ...string) (k logKeys) {
	r.t.Helper()
	res, err := r.Run(r.ctx, r.work, "touchmark-appliance-emulated", append([]string{"log-key"}, append(args, "--dir", r.Board, "--json")...)...)
	r.must(err)
	if res.Code != 0 {
		r.t.Fatal(res.Stderr)
	}
	r.must(json.Unmarshal([]byte(res.Stdout), &k))
	return k
}

// Another log key, from the board's making it to hosts and auditors that believe it: files are signed all along, before
// the order and once the trust file has the new key, over restarts of board and daemon, and the auditor finds nothing.
func TestLogKeyIsReplaced(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.works()
	before := r.logKey("new")
	if again := r.logKey("new"); again != before || before.Next == "" || before.Next == before.Present {
		t.Fatalf("%+v, then %+v", before, again)
	}
	r.orders(r.order("key", "--log-key", before.Next))
	if after := r.logKey("show"); after != (logKeys{Present: before.Next}) {
		t.Errorf("%+v after the order, %+v before", after, before)
	}
	r.oneLine(r.client(api.BadInput, "sign", r.file("early", 100)), "replaced the log key", "next version")
	r.StopAppliance()
	r.must(r.StartAppliance(r.ctx))

	next := filepath.Join(r.work, "trust.next")
	r.says("touchmark-audit", 0, "", "trust", "next", "--trust", r.Trust, "--log-key", before.Next, "--key", r.Key("admin1"), "--out", next)
	r.says("touchmark-audit", 0, "", "trust", "check", r.Trust, next)
	text, err := os.ReadFile(next)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(r.Trust, "trust"), text, 0o644))
	r.works() // the daemon finds it there
	r.StopHostd()
	r.StopAppliance()
	r.must(r.StartAppliance(r.ctx))
	r.must(r.StartHostd(r.ctx))
	r.works()
	r.clean()
}

// An auditor's challenge goes to the running board and back over the host, and the answer shows that the log is fresh.
func TestChallengeToARunningBoard(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.works()
	asked, answered := filepath.Join(r.work, "monday.challenge"), filepath.Join(r.work, "monday.answer")
	r.client(api.OK, "publish")
	r.says("touchmark-audit", 0, "", "challenge", "--trust", r.Trust, "--out", asked)
	r.client(api.OK, "challenge", asked)
	r.says("touchmark-audit", 0, "fresh-at", "verify", r.Mirror, "--trust", r.Trust, "--challenge", asked, "--answer", answered)
	r.works()
	r.clean()
}
