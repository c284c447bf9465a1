package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tests/world"
)

// Two users that exist nowhere, to become.
const (
	coreUser = 64001
	linkUser = 64002
)

// TestInTheSandbox: core, keeper and link process of a board that signs are where
// they belong, with every thread; started by root and told so, they are two users,
// neither of whom is root.
func TestInTheSandbox(t *testing.T) {
	root := os.Geteuid() == 0
	if root {
		reachable(t)
	}
	r := newRig(t, world.Config{Wrap: func(program string, argv []string) []string {
		if program == "appliance" && root {
			argv = append(argv, "--user", fmt.Sprintf("%d:%[1]d", coreUser), "--link-user", fmt.Sprintf("%d:%[1]d", linkUser))
		}
		return argv
	}})
	r.must(r.Enrol(r.ctx))
	if root {
		r.handOver()
	}
	r.must(r.StartAppliance(r.ctx))
	r.must(r.StartHostd(r.ctx))
	r.works()
	views := r.Views().All()
	if w := views[len(views)-1].Warning; w != "" && !(landlock() < wholeLandlock && strings.Contains(w, "Landlock")) {
		t.Errorf("something is missing: %s", w)
	}
	core := r.Appliance().PID
	keeper := r.childOf(core)
	link := r.childOf(keeper)
	r.confined(core, "Seccomp:\t2", coreUser)
	r.confined(link, "Seccomp:\t2", linkUser)
	r.confined(keeper, "NoNewPrivs:\t1", 0)
	r.must(unix.Kill(link, unix.SIGKILL)) // another one follows, and the host is served again
	r.must(r.Hostd().AwaitLog(r.ctx, 0, "link down"))
	r.works()
	if again := r.childOf(keeper); again == link {
		t.Errorf("the link process %d lives", link)
	}
}

// wholeLandlock is the version of its interface from which on a board lacks nothing (Linux 6.12).
const wholeLandlock = 6

// landlock is the kernel's version of it, 0 for none.
func landlock() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

// reachable puts what the test makes, and the programs that it runs, where every user gets to them, whatever TMPDIR,
// umask and the directory of the build are.
func reachable(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "tm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin, from := filepath.Join(dir, "bin"), binDir(t)
	for _, argv := range [][]string{{"chmod", "755", dir}, {"cp", "-r", from, bin}, {"chmod", "-R", "755", bin}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
	}
	t.Setenv("TMPDIR", dir)
	t.Setenv("TOUCHMARK_BIN", bin)
}

// handOver gives the users what is theirs.
func (r *rig) handOver() {
	r.t.Helper()
	r.must(filepath.WalkDir(r.Board, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, coreUser, coreUser))
	}))
	tty, err := filepath.EvalSymlinks(r.Cable.BoardPath())
	r.must(err)
	r.must(os.Chown(tty, linkUser, linkUser))
	_, tpm, _ := strings.Cut(r.TPM.Spec(), ":")
	for _, path := range []string{r.Board, r.Sockets, r.TokenSocket(), tpm} {
		for d, top := filepath.Dir(path), filepath.Clean(os.TempDir()); d != top && len(d) > 1; d = filepath.Dir(d) {
			r.must(os.Chmod(d, 0o755))
		}
	}
	for _, socket := range []string{r.TokenSocket(), tpm} {
		r.must(os.Chmod(socket, 0o666))
	}
}

// childOf is the only child of a process.
func (r *rig) childOf(pid int) (child int) {
	r.t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	r.must(err)
	text := ""
	for _, path := range all {
		if b, err := os.ReadFile(path); err == nil { // a thread that has ended has none
			text += string(b)
		}
	}
	if n, err := fmt.Sscan(text, &child); n != 1 || len(strings.Fields(text)) != 1 {
		r.t.Fatalf("process %d has the children %q: %v", pid, text, err)
	}
	return child
}

// confined wants something of each thread of a process, and of its user.
func (r *rig) confined(pid int, want string, user int) {
	r.t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(all) == 0 {
		r.t.Fatalf("process %d is gone: %v", pid, err)
	}
	if user != 0 && os.Geteuid() != 0 {
		user = os.Geteuid()
	}
	for _, path := range all {
		status, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		for _, w := range []string{want, "NoNewPrivs:\t1", fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d", user)} {
			if err != nil || (user != 0 || !strings.HasPrefix(w, "Uid")) && !strings.Contains(string(status), w) {
				r.t.Errorf("%s lacks %q: %v\n%s", path, w, err, status)
			}
		}
	}
}
