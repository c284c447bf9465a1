package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
)

// A board whose disk was rolled back halts, gets the end of its log from the host's mirror, and goes on; the host and the
// auditor see one log.
func TestRolledBackDiskHealsFromTheMirror(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(r *rig)
	}{
		{"stopped", func(r *rig) { r.StopAppliance() }},
		{"killed", func(r *rig) { r.KillAppliance() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := up(t, world.Config{})
			r.works()
			r.StopAppliance()
			log, old := filepath.Join(r.Board, "log"), filepath.Join(t.TempDir(), "log")
			r.must(os.CopyFS(old, os.DirFS(log)))
			r.must(r.StartAppliance(r.ctx))
			r.works()
			r.works()
			c.end(r)
			r.must(os.RemoveAll(log))
			r.must(os.CopyFS(log, os.DirFS(old)))
			mark := r.Hostd().Log.Mark()
			r.must(r.LaunchAppliance())
			var halted *world.HaltedError
			if err := r.Unlock(r.ctx, 0, world.PIN); !errors.As(err, &halted) || !strings.Contains(halted.Why, "head-unknown") {
				t.Fatal(err)
			}
			_, ready, err := r.Views().Wait(r.ctx, 0, func(v operator.View) bool { return v.Event == "ready" })
			r.must(err)
			r.must(r.Unlock(r.ctx, ready-1, world.PIN))
			r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
			r.works()
			r.clean()
		})
	}
}
