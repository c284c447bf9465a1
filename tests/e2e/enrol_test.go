package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
)

// The real ceremony is killed at everything it announces and at everything it asks, each once, and goes on with the same
// command each time. What comes of it signs, and the auditor finds nothing; the token made one key.
func TestEnrolmentKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	for name, blackout := range map[string]bool{"killed": false, "power cut": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, world.Config{Touch: "auto"})
			ends := r.killEachStep(blackout)
			for _, step := range []string{"policy", "token's PIN and PUK", "token's keys", "token's management key", "certificates", "log key", "TPM's attestation key", "HEAD", "genesis", "TPM's authorizations", "trust"} {
				if !slices.Contains(ends, "Enrolling: "+step+" ...") {
					t.Errorf("the step %q was not announced", step)
				}
			}
			told, err := os.ReadFile(r.Transcript())
			r.must(err)
			for _, once := range []string{"key         ", "AK          ", "HEAD        ", "genesis     "} {
				if n := strings.Count(string(told), "\n"+once); n != 1 {
					t.Errorf("the transcript says %q %d times:\n%s", once, n, told)
				}
			}
			r.must(r.Token.Mode(r.ctx, "ask"))
			r.must(r.StartAppliance(r.ctx))
			r.must(r.StartHostd(r.ctx))
			r.works()
			r.clean()
		})
	}
}

// killEachStep holds the ceremony to its end, and answers at which words of the panel's it was killed; with blackout the
// TPM loses its power too.
func (r *rig) killEachStep(blackout bool) (ends []string) {
	r.t.Helper()
	command, err := r.EnrolCommands(r.ctx)
	r.must(err)
	for {
		cmd := command()
		end := r.ceremonyUntil(cmd, func(v operator.View) bool { return !slices.Contains(ends, v.Message) })
		if end == "" {
			return ends
		}
		if ends = append(ends, end); r.enrolled() {
			return ends
		}
		if blackout {
			r.must(r.TPM.PowerCycle())
		}
	}
}

// ceremonyUntil runs a ceremony, whose operator knows the PIN, until its panel shows what stop looks for: then it is killed, and
// the words shown are the answer. While a view has not been taken from the pipe, which holds one, the ceremony comes no
// further than to the next: so the kill hits between the two, whatever the machine's load.
func (r *rig) ceremonyUntil(cmd *exec.Cmd, stop func(operator.View) bool) (end string) {
	r.t.Helper()
	shown, copied := r.packets(), r.packets()
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("pin "+world.PIN+"\n"), shown[1], &errs
	r.must(cmd.Start())
	r.must(shown[1].Close())
	view := make([]byte, 4096)
	for {
		n, err := unix.Tee(int(shown[0].Fd()), int(copied[1].Fd()), len(view), 0)
		r.must(err)
		if n == 0 {
			if err := cmd.Wait(); err != nil {
				r.t.Fatalf("the ceremony: %v\n%s", err, &errs)
			}
			return ""
		}
		n64, err := copied[0].Read(view)
		r.must(err)
		var v operator.View
		r.must(json.Unmarshal(view[:n64], &v))
		if stop(v) {
			r.must(cmd.Process.Kill())
			_ = cmd.Wait() // killed
			return v.Message
		}
		_, err = shown[0].Read(view)
		r.must(err)
	}
}

// packets is a pipe that keeps what is written apart, and holds one of them (pipe(2), O_DIRECT).
func (r *rig) packets() [2]*os.File {
	r.t.Helper()
	var fd [2]int
	r.must(unix.Pipe2(fd[:], unix.O_DIRECT|unix.O_CLOEXEC))
	p := [2]*os.File{os.NewFile(uintptr(fd[0]), "read"), os.NewFile(uintptr(fd[1]), "write")}
	_, err := unix.FcntlInt(p[1].Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	r.must(err)
	r.t.Cleanup(func() {
		for _, c := range []io.Closer{p[0], p[1]} {
			_ = c.Close() // maybe closed
		}
	})
	return p
}

// enrolled tells that the ceremony came to its end before it was killed: what it writes down to go on is gone.
func (r *rig) enrolled() bool {
	_, log := os.Stat(filepath.Join(r.Board, "log"))
	_, rest := os.Stat(filepath.Join(r.Board, "enrolment"))
	return log == nil && errors.Is(rest, fs.ErrNotExist)
}
