package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tests/consumers"
	"touchmark/tests/world"
)

// repository is a watched one: packages and repo-add in staging, pacman at what is published.
type repository struct {
	*rig
	staging, into, db string
	mark              int
}

const watchTOML = `
[[watch]]
rule  = "demo"
class = "pacman-db"
dir   = "%s"
into  = "%s"
lock  = "demo.db.tar.gz.lck"

[[watch.sign]]
file = "demo.*.tar.gz"
`

// newRepository has two packages staged, with their signatures, and the first of them in the database.
func newRepository(t *testing.T) *repository {
	t.Helper()
	dir := t.TempDir()
	s := &repository{staging: filepath.Join(dir, "staging"), into: filepath.Join(dir, "www", "demo")}
	s.db = filepath.Join(s.staging, "demo.db.tar.gz")
	for _, d := range []string{s.staging, filepath.Dir(s.into)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.rig = up(t, world.Config{Algorithm: "rsa2048", HostTOML: fmt.Sprintf(watchTOML, s.staging, s.into)})
	s.must(consumers.Installed())
	var built []string
	for _, name := range []string{"hello", "bye"} {
		pkg, err := consumers.Package{Name: name, Version: "2.0", Log: t.Output()}.Build(s.ctx, s.staging)
		s.must(err)
		built = append(built, pkg)
	}
	s.sign([]string{"--class", "package"}, built...)
	s.repoAdd("hello")
	return s
}

func (s *repository) repoAdd(name string) {
	s.t.Helper()
	pkgs, err := filepath.Glob(filepath.Join(s.staging, name+"-*.pkg.tar.zst"))
	s.must(err)
	_, err = consumers.RepoAdd(s.ctx, s.t.Output(), s.db, pkgs...)
	s.must(err)
}

// shown waits for a job on the display that is another than those before.
func (s *repository) shown(before ...string) string {
	s.t.Helper()
	v, mark, err := s.Views().Wait(s.ctx, s.mark, func(v operator.View) bool {
		for _, b := range before {
			if v.Ask == operator.AskArm && v.Job.ID == b {
				return false
			}
		}
		return v.Ask == operator.AskArm
	})
	s.must(err)
	s.mark = mark
	return v.Job.ID
}

// waiting runs a client that ends when something is published, or not.
func (s *repository) waiting(args ...string) *signing {
	w := &signing{r: s.rig, done: make(chan world.Result, 1)}
	go func() {
		res, err := s.Run(s.ctx, s.staging, "touchmark", args...)
		if err != nil {
			res = world.Result{Code: -1, Stderr: err.Error()}
		}
		w.done <- res
	}()
	return w
}

func (s *repository) open() {
	s.t.Helper()
	s.client(api.OK, "round", "open")
}

// openAtBoard waits until the board tells of the round, and opens it there.
func (s *repository) openAtBoard(files int) {
	s.t.Helper()
	_, _, err := s.Views().Wait(s.ctx, s.mark, func(v operator.View) bool {
		return len(v.Rounds) == 1 && v.Rounds[0].Rule == "demo" && v.Rounds[0].Files == files && v.Rounds[0].State == message.RoundWaiting
	})
	s.must(err)
	s.must(s.Operator("open demo"))
}

func (s *repository) status() (round api.Round) {
	s.t.Helper()
	var list struct{ Rounds []api.Round }
	s.must(json.Unmarshal([]byte(s.client(api.OK, "round", "--json", "demo").Stdout), &list))
	return list.Rounds[0]
}

func (s *repository) touchTwice() {
	s.t.Helper()
	for range 2 {
		s.must(s.Token.Touch(s.ctx))
	}
}

// pacman has the published repository's databases, and these packages of it.
func (s *repository) pacman(packages ...string) {
	s.t.Helper()
	dir := s.t.TempDir()
	gpg, err := consumers.NewGPG(s.ctx, s.t.Output(), filepath.Join(dir, "gnupg"), filepath.Join(s.Trust, "cert.asc"))
	s.must(err)
	pac, err := consumers.NewPacman(s.t.Output(), filepath.Join(dir, "client"), gpg, "demo", s.into)
	s.must(err)
	s.must(pac.Sync(s.ctx))
	for _, p := range packages {
		s.must(pac.Download(s.ctx, p))
	}
}

// staged changes the staging directory, and waits until the daemon has taken a snapshot of that.
func (s *repository) staged(change func()) {
	s.t.Helper()
	mark := s.Hostd().Log.Mark()
	change()
	s.must(s.Hostd().AwaitLog(s.ctx, mark, "staging changed"))
}

// live waits until a snapshot is published, from a mark of the daemon's log on.
func (s *repository) live(mark int) {
	s.t.Helper()
	s.must(s.Hostd().AwaitLog(s.ctx, mark, "repository published"))
}

func (s *repository) repoRemove(name string) {
	s.t.Helper()
	out, err := exec.CommandContext(s.ctx, "repo-remove", "--nocolor", s.db, name).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}

// TestRounds: a newer database takes the place of one on the display; what is armed is published though staging moved on
// and the daemon was killed, and the round goes on for what is newer; what the operator denies fails a client that waits for
// it, and comes again when he opens its round at the board; what he signs ends the wrapped repo-add; pacman judges what is
// published.
func TestRounds(t *testing.T) {
	t.Parallel()
	s := newRepository(t)
	s.mark = s.Views().Mark()
	s.open()
	first := s.shown()
	s.staged(func() { s.repoAdd("bye") })
	second := s.shown(first)
	wait := s.waiting("round", "wait", "demo")
	s.must(s.Operator("arm " + second))
	s.must(s.Token.Await(s.ctx))
	s.staged(func() { s.repoRemove("hello") })
	s.KillHostd()
	wait.end(api.NoDaemon)
	s.touchTwice()
	s.must(s.StartHostd(s.ctx))
	s.live(0)
	s.pacman("hello", "bye")

	third := s.shown(first, second)
	if st := s.status(); st.Published == 0 || st.Snapshot <= st.Published || len(st.Unsigned) != 2 || !st.Open {
		t.Errorf("after the second: %+v", st)
	}
	wait = s.waiting("round", "wait", "demo")
	s.must(s.Operator("deny " + third))
	wait.end(api.Denied)
	s.pacman("hello", "bye")
	if st := s.status(); st.Open {
		t.Errorf("denied: %+v", st)
	}
	s.openAtBoard(2)
	fourth := s.shown(first, second, third)

	s.staged(func() { wait = s.waiting("repo-add", "demo.db.tar.gz", "hello-2.0-1-any.pkg.tar.zst") })
	s.open()
	s.must(s.Operator("arm " + s.shown(first, second, third, fourth)))
	s.touchTwice()
	wait.end(api.OK)
	s.pacman("hello", "bye")
	s.verified(filepath.Join(s.into, "demo.db.tar.gz"))
	s.clean()
}
