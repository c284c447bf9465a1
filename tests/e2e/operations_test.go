package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
)

// TestOperations is a day of whoever runs the repository: a job is watched from its arrival to the entries that it leaves,
// stands in the queue meanwhile, is found afterwards by name and digest, and the keys that were handed out judge it.
func TestOperations(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{Profile: "5.7.1", Policy: threeFamilies})
	keys := filepath.Join(r.t.TempDir(), "keys")
	r.client(api.OK, "keyring", "export", "--name", "example", "--namespace", "git", "--out", keys)
	lines := r.follow()

	file := r.file("core.bin", 5000)
	content, err := os.ReadFile(file)
	r.must(err)
	s := r.ask(nil, file)
	job := s.shown()
	lines.until("the job on display", func(w watched) bool { return w.has(job, "shown") })
	if out := r.client(api.OK, "queue").Stdout; !strings.HasPrefix(out, "  1  "+job[:16]) || !strings.Contains(out, "core.bin  shown; since ") {
		t.Errorf("the queue is\n%s", out)
	}
	r.must(r.Operator("arm " + job))
	s.touch().end(api.OK)
	signed, logged := false, false // in whatever order they are told
	lines.until("its end and its intent", func(w watched) bool {
		signed = signed || w.has(job, "signed")
		logged = logged || w.Kind == "intent" && strings.Contains(w.Text, "core.bin")
		return signed && logged
	})
	lines.end()

	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	for _, find := range [][]string{{"--artifact", "core.*"}, {"--digest", sum[:12]}, {"--digest", "sha256:" + sum}, {"--job", job[:8]}} {
		out := r.client(api.OK, append([]string{"log"}, find...)...).Stdout
		if !strings.Contains(out, "intent   job "+job[:16]) || !strings.Contains(out, "sha256:"+sum+"  5000 bytes") || !strings.Contains(out, "outcome") || strings.Contains(out, "genesis") {
			t.Errorf("touchmark log %v finds\n%s", find, out)
		}
	}
	if out := r.client(api.OK, "log", "--artifact", "core.*", "--until", "2020-01-01").Stdout; out != "" {
		t.Errorf("in another time it finds\n%s", out)
	}
	r.handedOut(keys, file)
	r.clean()
}

// handedOut has the exported keyrings judge a signature of each family.
func (r *rig) handedOut(keys, file string) {
	r.t.Helper()
	const commit = "tree 0123\n"
	tag, image := r.text("a.commit", commit), r.text("boot.img", "an image")
	r.sign([]string{"--format", "sshsig-git", "--hash", "sha512"}, tag)
	r.sign([]string{"--format", "raw-boot"}, image)
	pems, err := filepath.Glob(filepath.Join(keys, "pem/*.pem"))
	r.must(err)
	ssh := []string{"ssh-keygen", "-Y", "verify", "-f", filepath.Join(keys, "ssh/allowed_signers"), "-n", "git", "-I", "example", "-s"}
	good := 0
	for _, pem := range pems { // two keys; one of them made it
		if _, err := r.judge("", "openssl", "dgst", "-sha256", "-verify", pem, "-signature", image+".sig", image); err == nil {
			good++
		}
	}
	if len(pems) != 2 || good != 1 {
		r.t.Errorf("%d of %d PEM files verify", good, len(pems))
	}
	gpgv := []string{"gpgv", "--keyring", filepath.Join(keys, "apt/example-keyring.gpg"), file + ".sig"}
	ssh = append(ssh, tag+".sig")
	for _, tc := range []struct {
		good  bool
		stdin string
		argv  []string
	}{{true, "", slices.Concat(gpgv, []string{file})}, {false, "", slices.Concat(gpgv, []string{image})}, {true, commit, ssh}, {false, commit + "!", ssh}} {
		if out, err := r.judge(tc.stdin, tc.argv...); (err == nil) != tc.good {
			r.t.Errorf("%s: %v\n%s", strings.Join(tc.argv, " "), err, out)
		}
	}
}

// watched is a line of touchmark watch --json: the state, or an entry.
type watched struct {
	Jobs []api.Job `json:"jobs"`
	Kind string    `json:"kind"`
	Text string    `json:"text"`
}

func (w watched) has(job, state string) bool {
	for _, j := range w.Jobs {
		if j.Job == job && j.State == state {
			return true
		}
	}
	return false
}

// watching is a running touchmark watch.
type watching struct {
	r     *rig
	lines *bufio.Scanner
	cmd   *exec.Cmd
	errs  *bytes.Buffer
}

// follow starts one, and returns when it has told how things are.
func (r *rig) follow() *watching {
	r.t.Helper()
	cmd := r.Command(r.ctx, r.work, "touchmark", "watch", "--json")
	out, err := cmd.StdoutPipe()
	r.must(err)
	w := &watching{r: r, lines: bufio.NewScanner(out), cmd: cmd, errs: new(bytes.Buffer)}
	w.lines.Buffer(nil, 1<<20)
	cmd.Stderr = w.errs
	r.must(cmd.Start())
	w.until("how things are", func(w watched) bool { return w.Kind == "" })
	return w
}

// until reads lines up to one that is wanted.
func (w *watching) until(what string, want func(watched) bool) {
	w.r.t.Helper()
	for w.lines.Scan() {
		var line watched
		w.r.must(json.Unmarshal(w.lines.Bytes(), &line))
		if want(line) {
			return
		}
	}
	w.r.t.Fatalf("touchmark watch ends before %s: %v\n%s", what, w.lines.Err(), w.errs)
}

// end interrupts it, as people do; that is no error.
func (w *watching) end() {
	w.r.t.Helper()
	w.r.must(w.cmd.Process.Signal(syscall.SIGINT))
	for w.lines.Scan() {
		continue // what was on its way
	}
	if err := w.cmd.Wait(); err != nil {
		w.r.t.Errorf("touchmark watch: %v\n%s", err, w.errs)
	}
}
