//go:build systemdtest

package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"touchmark/tests/world"
)

// patience bounds the whole test; a machine at rest takes some ten seconds.
const patience = 8 * time.Minute

// machine is the system that runs.
type machine struct {
	*world.World
	t   *testing.T
	ctx context.Context
	dir string
	one string // process 1 of the system, as we see it
}

// TestUnit follows the host guide on a system that has just been installed, as root, who asks for signatures, and others.
func TestUnit(t *testing.T) {
	root := os.Getenv("TOUCHMARK_SYSTEMD")
	if root == "" {
		t.Fatal("TOUCHMARK_SYSTEMD is not set: run make systemd")
	}
	m := board(t)
	m.install()
	m.boot(root)
	m.guide()
	m.signs()
	m.confined()
	m.hangs()
	m.publishes()
	if out := m.in("systemctl stop touchmark-hostd && systemctl show -P Result -P ExecMainStatus -P NRestarts touchmark-hostd"); out != "success\n0\n0\n" {
		t.Errorf("it stopped with %q", out)
	}
	if out := m.in("systemctl --failed --plain --no-legend; ls -A /run/touchmark 2>&1 || true"); out != "ls: cannot access '/run/touchmark': No such file or directory\n" {
		t.Errorf("afterwards: %s", out)
	}
}

// board is everything but the host's daemon.
func board(t *testing.T) *machine {
	ctx, cancel := context.WithTimeout(context.Background(), patience) // what is taken away at the end needs it, too
	t.Cleanup(cancel)
	bin := os.Getenv("TOUCHMARK_BIN")
	if bin == "" {
		t.Fatal("TOUCHMARK_BIN is not set: run make systemd")
	}
	dir := t.TempDir()
	w, err := world.New(ctx, world.Config{Dir: filepath.Join(dir, "world"), Bin: bin, Touch: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{World: w, t: t, ctx: ctx, dir: dir}
	t.Cleanup(func() { m.must(w.Close()) })
	m.must(w.Enrol(ctx))
	m.must(w.StartAppliance(ctx))
	hands, leave := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Decide(hands, w.Arm) }()
	t.Cleanup(func() { leave(); m.must(<-ended) })
	return m
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// install puts onto the system what a package does, and what the administrators give to a host.
func (m *machine) install() {
	upper := filepath.Join(m.dir, "machine", "upper")
	out, err := exec.CommandContext(m.ctx, "../../hostlink/packaging/install.sh", m.Bin, upper).CombinedOutput()
	if err != nil {
		m.t.Fatalf("install.sh: %v\n%s", err, out)
	}
	etc := filepath.Join(upper, "etc/touchmark")
	m.must(os.CopyFS(filepath.Join(etc, "trust"), os.DirFS(m.Trust)))
	for path, change := range map[string]func([]byte) []byte{
		"host.key":   func([]byte) []byte { return m.read(m.Key("repo1")) },
		"hostd.toml": func(b []byte) []byte { return bytes.Replace(b, []byte(`"auto"`), []byte(`"/dev/cable"`), 1) },
	} {
		b, err := os.ReadFile(filepath.Join(etc, path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.t.Fatal(err)
		}
		m.must(os.WriteFile(filepath.Join(etc, path), change(b), 0o600))
	}
	m.must(os.Chmod(filepath.Join(etc, "hostd.toml"), 0o644))
}

func (m *machine) read(path string) []byte {
	b, err := os.ReadFile(path)
	m.must(err)
	return b
}

// boot starts the system and waits until its systemd says that all is up.
func (m *machine) boot(root string) {
	work := filepath.Join(m.dir, "machine")
	m.must(os.MkdirAll(filepath.Join(work, "host"), 0o755))
	for _, dir := range []string{m.dir, filepath.Dir(m.dir), work, filepath.Join(work, "upper")} {
		m.must(os.Chmod(dir, 0o755)) // users of the system go through some of them
	}
	tty, err := filepath.EvalSymlinks(m.Cable.HostPath())
	m.must(err)
	said, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: shortly(m.t, filepath.Join(work, "host")), Net: "unixgram"})
	m.must(err)
	m.t.Cleanup(func() { _ = said.Close() })
	var log bytes.Buffer
	cmd := exec.CommandContext(m.ctx, "./start.sh", root, work, tty)
	cmd.Stdout, cmd.Stderr = &log, &log
	m.must(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); _ = said.Close() }()
	m.t.Cleanup(func() {
		pid, err := strconv.Atoi(m.one)
		if err != nil {
			pid = cmd.Process.Pid // it never came so far
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // process 1 is gone when all others are
		<-ended
		m.removeGroups(filepath.Join(work, "cgroup"))
	})
	m.must(said.SetReadDeadline(time.Now().Add(patience)))
	for b := make([]byte, 4096); ; {
		n, err := said.Read(b)
		if err != nil {
			m.t.Fatalf("the system did not come up: %v\n%s", err, log.String())
		}
		if slices.Contains(strings.Split(string(b[:n]), "\n"), "READY=1") {
			break
		}
	}
	children := m.read(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	m.one = strings.TrimSpace(string(children))
}

// shortly is a socket's path in a directory whose own may be too long for one.
func shortly(t *testing.T, dir string) string {
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return fmt.Sprintf("/proc/self/fd/%d/notify", f.Fd())
}

// removeGroups takes away what is left of the system, deepest first.
func (m *machine) removeGroups(path string) {
	var dirs []string
	group := strings.TrimSpace(string(m.read(path)))
	m.must(filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	}))
	for _, dir := range slices.Backward(dirs) {
		err := os.Remove(dir)
		for ; errors.Is(err, syscall.EBUSY) && m.ctx.Err() == nil; err = os.Remove(dir) {
			time.Sleep(10 * time.Millisecond) // the kernel counts processes a moment longer than it has them
		}
		m.must(err)
	}
}

// try runs a shell's line on the system, as root.
func (m *machine) try(line string) (string, error) {
	cmd := exec.CommandContext(m.ctx, "nsenter", "-t", m.one, "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w", "--",
		"/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C", "SYSTEMD_PAGER=", "bash", "-c", line)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (m *machine) in(line string) string {
	m.t.Helper()
	out, err := m.try(line)
	if err != nil {
		journal, _ := m.try("journalctl --no-pager -n 40 -u touchmark-hostd")
		m.t.Fatalf("%s: %v\n%s\n%s", line, err, out, journal)
	}
	return out
}

// as is a shell's line as another user.
func as(user, line string) string {
	return fmt.Sprintf("cd /home/%[1]s && setpriv --reuid=%[1]s --regid=%[1]s --init-groups %[2]s", user, line)
}

// until is the guide's way to wait.
func until(line string) string { return "until " + line + "; do sleep 0.2; done" }

// guide is "Install" of the host guide. The rule of udev gives the cable to the daemon's user; here it is no device of udev's.
func (m *machine) guide() {
	m.in("chown touchmark /etc/touchmark/host.key; useradd -mU builder && useradd -mU other && usermod -aG touchmark builder")
	m.in("chown touchmark $(readlink -f /dev/cable) && chmod 600 $(readlink -f /dev/cable); systemctl enable --now touchmark-hostd && systemctl is-active touchmark-hostd && test -S /run/touchmark/hostd.sock")
	m.in(until("touchmark status"))
}

// signs: who is of the group gets a signature, others do not get as far as the socket; everybody may read the log.
func (m *machine) signs() {
	m.in("echo db >/home/builder/core.db.tar.gz && chown builder: /home/builder/core.db.tar.gz")
	m.in(as("builder", "touchmark sign -q core.db.tar.gz && ") + as("builder", "touchmark verify core.db.tar.gz"))
	for line, want := range map[string]string{
		as("other", "touchmark status"):               "no permission to use /run/touchmark/hostd.sock",
		as("other", "ls /var/lib/touchmark"):          "Permission denied",
		as("builder", "cat /etc/touchmark/host.key"):  "Permission denied",
		as("builder", "head -c 1 /dev/cable"):         "Permission denied",
		as("builder", "touch /var/lib/touchmark/x"):   "Permission denied",
		as("builder", "touch /run/touchmark/x"):       "Permission denied",
		as("builder", "touch /var/lib/touchmark-log"): "Permission denied",
	} {
		if out, err := m.try(line); err == nil || !strings.Contains(out, want) {
			m.t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	m.in("touchmark publish && " + as("other", "touchmark-audit verify /var/lib/touchmark-log --trust /etc/touchmark/trust"))
}

// confined: the kernel, too, says of the daemon what the unit says.
func (m *machine) confined() {
	out := m.in("cat /proc/$(systemctl show -P MainPID touchmark-hostd)/status")
	for _, want := range []string{`CapEff:\s0+\n`, `CapBnd:\s0+\n`, `NoNewPrivs:\s1\n`, `Seccomp:\s2\n`, `Uid:\s[1-9]`} {
		if !regexp.MustCompile(want).MatchString(out) {
			m.t.Errorf("no %s in\n%s", want, out)
		}
	}
}

// hangs: a daemon that is stopped is ended and started again, and signs.
func (m *machine) hangs() {
	const drop = "/run/systemd/system/touchmark-hostd.service.d"
	m.in("mkdir " + drop + " && printf '[Service]\\nWatchdogSec=10s\\n' >" + drop + "/watchdog.conf && systemctl daemon-reload && systemctl restart touchmark-hostd")
	m.in("kill -STOP $(systemctl show -P MainPID touchmark-hostd)")
	m.in(until("[ $(systemctl show -P NRestarts touchmark-hostd) -gt 0 ]") + "; " + until("touchmark status"))
	if out := m.in("journalctl --no-pager -u touchmark-hostd"); !strings.Contains(out, "Watchdog timeout") {
		m.t.Errorf("why was it started again?\n%s", out)
	}
	m.in("rm -r " + drop + " && systemctl daemon-reload && systemctl restart touchmark-hostd && " + until("touchmark status"))
	m.in("echo db2 >/home/builder/core.db.tar.gz; " + as("builder", "touchmark sign -q core.db.tar.gz"))
}

// rule is one of rounds.
const rule = `
[[watch]]
rule   = "core"
class  = "pacman-db"
dir    = "/srv/staging/core"
into   = "/srv/www/core"
lock   = "core.db.tar.gz.lck"
always = true
hook   = ["/bin/bash", "-c", "id -un >/srv/www/hook"]

[[watch.sign]]
file = "core.db.tar.gz"
`

// publishes: what the unit keeps the daemon from is said; where the guide allows it, a repository is published, also of
// files that are root's.
func (m *machine) publishes() {
	m.in("mkdir -p /srv/staging/core /srv/www && chown touchmark: /srv/staging/core /srv/www && echo db >/srv/staging/core/core.db.tar.gz && echo p >/srv/staging/core/p.pkg.tar.zst")
	m.in("cat >>/etc/touchmark/hostd.toml <<'END'\n" + rule + "END\nsystemctl restart touchmark-hostd && " + until("touchmark status"))
	if out, err := m.try("touchmark round wait core"); err == nil || !strings.Contains(out, "ReadWritePaths=") {
		m.t.Errorf("a directory that the unit does not have: %v\n%s", err, out)
	}
	m.in(`mkdir -p /etc/systemd/system/touchmark-hostd.service.d && printf '[Service]\nReadWritePaths=/srv\n' >/etc/systemd/system/touchmark-hostd.service.d/srv.conf && systemctl daemon-reload && systemctl restart touchmark-hostd`)
	m.in(`touchmark round wait core && [ "$(cat /srv/www/core/p.pkg.tar.zst)" = p ] && test -s /srv/www/core/core.db.tar.gz.sig`)
	m.in(until("grep -qx touchmark /srv/www/hook"))
}
