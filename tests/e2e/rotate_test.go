package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"touchmark/appliance/operator"
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
	r.StopAppliance()
	greeted := r.Hostd().Log.Mark()
	r.must(r.StartAppliance(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, greeted, "log verified")) // the host has the order's commit
	r.oneLine(r.client(api.BadInput, "sign", r.file("early", 100)), "brought a new key of the log", "next version")

	r.trustsKey(before.Next)
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

// The board is killed while it commits another log key. The log says which one is in force, whatever the keys' files are
// called: the order is in force, with only its key left once the board ran again, or it is void and both are there and it
// can come again.
func TestLogKeyOrderKilled(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"mirroring", "committing"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			r := up(t, world.Config{})
			r.works()
			keys := r.logKey("new")
			note := r.order("key", "--log-key", keys.Next)
			mark := r.Views().Mark()
			r.client(api.OK, "order", "submit", note)
			v, mark, err := r.Views().Wait(r.ctx, mark, func(v operator.View) bool { return v.Order != nil && v.Ask == operator.AskArm })
			r.must(err)
			r.must(r.Operator("arm " + v.Order.ID))
			_, _, err = r.Views().Wait(r.ctx, mark, func(v operator.View) bool {
				return v.Order != nil && v.Order.State == state || v.Event == "order-done" // which may be shown first
			})
			r.must(err)
			r.KillAppliance()
			if now := r.logKey("show"); now != keys && now != (logKeys{Present: keys.Next}) {
				t.Fatalf("%+v, before %+v", now, keys)
			}
			greeted := r.Hostd().Log.Mark()
			r.must(r.StartAppliance(r.ctx))
			r.must(r.Hostd().AwaitLog(r.ctx, greeted, "log verified")) // not before the board's start is over
			if r.logKey("show") == keys {                              // void
				r.works()
				r.orders(note)
			}
			if now := r.logKey("show"); now != (logKeys{Present: keys.Next}) {
				t.Errorf("%+v after the order, %+v before", now, keys)
			}
			r.trustsKey(keys.Next)
			r.works()
			r.clean()
		})
	}
}

// trustsKey gives the host the next trust file, with another log key.
func (r *rig) trustsKey(key string) {
	r.t.Helper()
	next := filepath.Join(r.work, "trust.next")
	r.says("touchmark-audit", 0, "", "trust", "next", "--trust", r.Trust, "--log-key", key, "--key", r.Key("admin1"), "--out", next)
	r.says("touchmark-audit", 0, "", "trust", "check", r.Trust, next)
	text, err := os.ReadFile(next)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(r.Trust, "trust"), text, 0o644))
}
