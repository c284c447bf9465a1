package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/tests/cable"
	"touchmark/tests/world"
)

// callers is how many tools call gpg at once.
const callers = 50

// call is how one of them ended.
type call struct {
	file string
	took time.Duration
	res  world.Result
}

// calls has so many tools call touchmark-gpg at once, each for a file of its own.
func (r *rig) calls(prefix, timeout string) (files []string, ended chan call) {
	r.t.Helper()
	ended = make(chan call, callers)
	for i := range callers {
		file := r.text(fmt.Sprintf("%s%02d", prefix, i), fmt.Sprint(prefix, i))
		files = append(files, file)
		cmd := r.Command(r.ctx, r.work, "touchmark-gpg", "--batch", "--detach-sign", file)
		cmd.Env = append(cmd.Env, "TOUCHMARK_TIMEOUT="+timeout)
		go func() {
			began := time.Now()
			out, err := cmd.CombinedOutput()
			res := world.Result{Code: cmd.ProcessState.ExitCode(), Stderr: string(out)}
			if err := world.Exited(err); err != nil {
				res = world.Result{Code: -1, Stderr: err.Error()}
			}
			ended <- call{file, time.Since(began), res}
		}()
	}
	return files, ended
}

// waitingJobs waits until so many jobs have a client that waits at the daemon, and names their files in its order.
func (r *rig) waitingJobs(n int) (names []string) {
	r.t.Helper()
	c, err := client.Daemon{Socket: r.Socket}.Dial()
	r.must(err)
	stop := context.AfterFunc(r.ctx, func() { _ = c.Close() })
	defer func() { stop(); _ = c.Close() }()
	r.must(c.Say(&api.Request{Op: api.OpWatch}))
	for {
		resp, err := c.Next()
		r.must(err)
		names = nil
		for _, j := range resp.Jobs {
			if j.Waiting > 0 {
				names = append(names, filepath.Join(r.work, j.Names[0]))
			}
		}
		if len(names) >= n {
			return names
		}
	}
}

// TestCallersUnderFire: fifty tools call gpg at once. The daemon is killed before anything is signed and in the middle, and
// stopped; the cable is pulled. All get their signature, in the order in which the daemon took them.
func TestCallersUnderFire(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	files, ended := r.calls("file", "10m")
	took := r.waitingJobs(callers)
	r.KillHostd()
	r.must(r.StartHostd(r.ctx))
	if again := r.waitingJobs(callers); !slices.Equal(again, took) {
		t.Errorf("taken in the order\n%v\nand after a kill\n%v", took, again)
	}
	accidents := map[int]func(){
		callers / 4:     func() { r.KillHostd(); r.must(r.StartHostd(r.ctx)) },
		callers / 2:     func() { r.Cable.Unplug(cable.Up); r.must(r.Cable.Plug(cable.Up)) },
		3 * callers / 4: func() { r.StopHostd(); r.must(r.StartHostd(r.ctx)) },
	}
	leave := r.attended()
	for n := range callers {
		if do := accidents[n]; do != nil {
			do()
		}
		if c := <-ended; c.res.Code != 0 || c.res.Stderr != "" {
			t.Errorf("%s: exit code %d: %s", filepath.Base(c.file), c.res.Code, c.res.Stderr)
		}
	}
	leave()
	gpg := r.gpg()
	for _, file := range files {
		r.must(gpg.Verify(r.ctx, file+".sig", file))
	}
	r.shut()
	var signed []string
	for _, e := range r.entries() {
		signed = append(signed, filepath.Join(r.work, e.name))
	}
	if !slices.Equal(signed, took) {
		t.Errorf("taken in the order\n%v\nsigned in the order\n%v", took, signed)
	}
	r.accounted()
}

// TestCallersAndNobodyThere: fifty tools call gpg while nobody is at the board, and while there is no link. Each ends by
// itself with a failure, and nothing is written; what comes then works.
func TestCallersAndNobodyThere(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	for _, prefix := range []string{"unarmed", "unplugged"} {
		if prefix == "unplugged" {
			r.Cable.Unplug(cable.Up)
		}
		files, ended := r.calls(prefix, "2s")
		var longest time.Duration
		for range callers {
			c := <-ended
			if longest = max(longest, c.took); c.res.Code != 2 || c.res.Stderr == "" {
				t.Errorf("%s: exit code %d: %s", filepath.Base(c.file), c.res.Code, c.res.Stderr)
			}
		}
		r.unsigned(files...)
		t.Logf("%s: the last of %d ended after %v", prefix, callers, longest)
	}
	r.must(r.Cable.Plug(cable.Up))
	next := filepath.Join(r.work, "next")
	r.must(os.WriteFile(next, []byte("next"), 0o644))
	leave := r.attended()
	r.ask(nil, next).end(api.OK)
	leave()
	r.accounted()
}
