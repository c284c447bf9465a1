// Package packages builds the host's packages of the programs that were built, and has the systems that they are for judge
// them: dpkg and pacman install them into empty roots and remove them again, systemd and udev read what is in them, groff the
// manual pages, bash the completions. Nothing of this machine is read or changed but for its tools.
package packages

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const packaging = "../../hostlink/packaging"

// run runs a tool that make setup installed; out is what it said.
func run(t *testing.T, env []string, argv ...string) (out string, err error) {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C.UTF-8", "HOME=/nonexistent", "TERM=dumb"}, env...)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func must(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := run(t, nil, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// asRoot is the command with what makes root of who runs the test.
func asRoot(argv ...string) []string {
	if os.Geteuid() == 0 {
		return argv
	}
	return append([]string{"fakeroot"}, argv...)
}

// built makes the packages once and says where they are.
func built(t *testing.T) (dir string) {
	t.Helper()
	bin := os.Getenv("TOUCHMARK_BIN")
	if bin == "" {
		t.Fatal("TOUCHMARK_BIN is not set: run make test")
	}
	dir = t.TempDir()
	modules, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"SOURCE_DATE_EPOCH=1767225600", "TOUCHMARK_SOCKET=/elsewhere", "GOMODCACHE=" + strings.TrimSpace(string(modules))}
	out, err := run(t, env, filepath.Join(packaging, "packages.sh"), bin, dir, "0.1")
	if err != nil {
		t.Fatalf("packages.sh: %v\n%s", err, out)
	}
	return dir
}

// only is the one file of a pattern.
func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s is %q, %v", pattern, found, err)
	}
	return found[0]
}

// tree lists what is below a directory, directories with a slash.
func tree(t *testing.T, root string, but ...string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, root)
		switch {
		case err != nil:
			return err
		case slices.ContainsFunc(but, func(b string) bool { return rel == b || strings.HasPrefix(rel, b+"/") }):
		case d.IsDir():
			list = append(list, rel+"/")
		default:
			list = append(list, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestPackages builds once; the systems judge one after the other.
func TestPackages(t *testing.T) {
	dir := built(t)
	root := t.TempDir()
	must(t, "tar", "-C", root, "-xzf", only(t, filepath.Join(dir, "touchmark-*.tar.gz")))
	t.Run("programs", func(t *testing.T) { testPrograms(t, root) })
	t.Run("manual", func(t *testing.T) { testManual(t, root) })
	t.Run("completions", func(t *testing.T) { testCompletions(t, root) })
	t.Run("gpg", func(t *testing.T) { testGPG(t, root) })
	t.Run("gpg-page", func(t *testing.T) { testGPGPage(t, root) })
	t.Run("links", func(t *testing.T) { testLinks(t, root) })
	t.Run("licences", func(t *testing.T) { testLicences(t, root) })
	t.Run("log-sync", func(t *testing.T) { testLogSync(t, root) })
	t.Run("unit", func(t *testing.T) { testUnit(t, root) })
	t.Run("udev", func(t *testing.T) { testUdev(t, root) })
	t.Run("dpkg", func(t *testing.T) { testDpkg(t, only(t, filepath.Join(dir, "*.deb")), asInDebian(tree(t, root))) })
	t.Run("pacman", func(t *testing.T) { testPacman(t, only(t, filepath.Join(dir, "*.pkg.tar.zst")), tree(t, root)) })
}

// testGPGPage: its manual page, which no program makes, has every setting that the guide has.
func testGPGPage(t *testing.T, root string) {
	guide, err := os.ReadFile("../../docs/tools.md")
	if err != nil {
		t.Fatal(err)
	}
	page, settings := must(t, "gzip", "-dc", filepath.Join(root, "usr/share/man/man1/touchmark-gpg.1.gz")), regexp.MustCompile("(?m)^\\| `(TOUCHMARK_[A-Z]+)` \\|").FindAllSubmatch(guide, -1)
	for _, name := range []string{"touchmark-sign-release", "touchmark-wait"} {
		if other := must(t, "gzip", "-dc", filepath.Join(root, "usr/share/man/man1", name+".1.gz")); other != page || !strings.Contains(page, name) {
			t.Errorf("%s(1) is another page", name)
		}
	}
	for _, s := range settings {
		if !strings.Contains(page, "\n.B "+string(s[1])+"\n") {
			t.Errorf("touchmark-gpg(1) lacks %s", s[1])
		}
	}
	if len(settings) < 5 {
		t.Errorf("docs/tools.md lists %d settings", len(settings))
	}
	if out := must(t, "groff", "-man", "-Tutf8", "-ww", "-z", "../../hostlink/packaging/touchmark-gpg.1"); out != "" {
		t.Errorf("touchmark-gpg(1): %s", out)
	}
}

// testLicences: of everything that is linked into a program there is the licence beside it.
func testLicences(t *testing.T, root string) {
	docs := filepath.Join(root, "usr/share/doc/touchmark")
	wanted := map[string]bool{"go": true}
	for _, name := range []string{"touchmark", "touchmark-audit", "touchmark-hostd", "touchmark-gpg"} {
		info, err := buildinfo.ReadFile(filepath.Join(root, "usr/bin", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range info.Deps {
			wanted[m.Path] = true
		}
	}
	for module := range wanted {
		texts, err := filepath.Glob(filepath.Join(docs, "licences", module, "LICENSE*"))
		if err != nil || len(texts) == 0 {
			t.Errorf("%s: no licence (%v)", module, err)
		}
	}
	if len(wanted) < 10 {
		t.Errorf("the programs have %d modules", len(wanted))
	}
}

// testLinks: from every page that is installed each link leads to something that is installed too.
func testLinks(t *testing.T, root string) {
	docs, link, seen := filepath.Join(root, "usr/share/doc/touchmark"), regexp.MustCompile(`\]\(([^)\s]+)\)`), 0
	for _, name := range tree(t, docs) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			to, err := url.Parse(string(m[1]))
			if err != nil || to.Scheme != "" || to.Path == "" {
				continue
			}
			seen++
			if path := filepath.Join(docs, filepath.Dir(name), to.Path); !strings.HasPrefix(path, docs) {
				t.Errorf("%s: %s leads out of the pages", name, to.Path)
			} else if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if seen < 100 {
		t.Errorf("%d links: are these the pages?", seen)
	}
}

// testLogSync: the remote has a whole log after each step that rclone is asked for, and keeps the old one when a step fails.
// A stand-in does what rclone would: the real one is not installed for this alone.
func testLogSync(t *testing.T, root string) {
	dir := t.TempDir()
	standIn := `#!/bin/bash
set -e
echo "$1 $2" >>"$STEPS"
[ "$1" != "$FAIL" ] || exit 3
case $1 in
copy) [ "$2" = --immutable ]; mkdir -p "$4"; cp -rn "$3/." "$4/" ;;
copyto) [ -d "$(dirname "$3")/tile" ]; cp "$2" "$3" ;;
esac
`
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	write("rclone", standIn)
	write("log/tile/0/000", "t")
	write("log/checkpoint", "old")
	write("log/pending", "p")
	sync := func(fail string) error {
		_, err := run(t, []string{"RCLONE=" + dir + "/rclone", "STEPS=" + dir + "/steps", "FAIL=" + fail}, filepath.Join(root, "usr/bin/touchmark-log-sync"), dir+"/log", dir+"/remote")
		return err
	}
	if err := sync(""); err != nil {
		t.Fatal(err)
	}
	must(t, "diff", "-r", dir+"/log", dir+"/remote")
	steps, err := os.ReadFile(filepath.Join(dir, "steps"))
	if order := regexp.MustCompile(`^copy --immutable\ncopyto \S+/checkpoint\ncopyto \S+/pending\n$`); err != nil || !order.Match(steps) {
		t.Errorf("the order is\n%s%v", steps, err)
	}
	write("log/tile/0/001", "u")
	write("log/checkpoint", "new")
	if err := sync("copy"); err == nil {
		t.Error("a failure is not told")
	}
	if got, err := os.ReadFile(filepath.Join(dir, "remote/checkpoint")); err != nil || string(got) != "old" {
		t.Errorf("a checkpoint without its tiles: %q, %v", got, err)
	}
	if err := os.Remove(filepath.Join(dir, "log/checkpoint")); err != nil {
		t.Fatal(err)
	}
	if err := sync(""); err == nil {
		t.Error("a directory without a checkpoint is a log")
	}
	for _, tc := range []struct {
		args []string
		code int
	}{{nil, 2}, {[]string{"log"}, 2}, {[]string{"log", "remote", "more"}, 2}, {[]string{"--help"}, 0}, {[]string{"-h"}, 0}, {[]string{"--all", "remote"}, 2}} {
		out, err := run(t, nil, append([]string{filepath.Join(root, "usr/bin/touchmark-log-sync")}, tc.args...)...)
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if usage := "usage: touchmark-log-sync PUBLISHED REMOTE\n"; code != tc.code || !strings.HasPrefix(out, usage) || (out == usage) != (code != 0) {
			t.Errorf("%q: %v, %s", tc.args, err, out)
		}
	}
}

var programs = map[string]string{"touchmark": "1", "touchmark-audit": "1", "touchmark-hostd": "8"}

func testPrograms(t *testing.T, root string) {
	for p := range programs {
		if out := must(t, filepath.Join(root, "usr/bin", p), "--help"); !strings.Contains(out, "Usage:\n  "+p) {
			t.Errorf("%s --help says\n%s", p, out)
		}
	}
}

// testGPG: what tools find on the PATH leads to touchmark-gpg, and gpgme is told of it by its gpgconf.
func testGPG(t *testing.T, root string) {
	dir := filepath.Join(root, "usr/lib/touchmark/gpg")
	if out := must(t, filepath.Join(dir, "gpgconf"), "--list-components"); !strings.Contains(out, "gpg:OpenPGP:"+dir+"/gpg\n") {
		t.Errorf("gpgconf says\n%s", out)
	}
	if out := must(t, filepath.Join(dir, "gpg"), "--version"); !strings.HasPrefix(out, "gpg (GnuPG) ") {
		t.Errorf("gpg --version says\n%s", out)
	}
	out, err := run(t, nil, filepath.Join(root, "usr/bin/touchmark-sign-release"))
	if err == nil || !strings.Contains(out, "touchmark-sign-release: touchmark-gpg cannot do that") {
		t.Errorf("%v %s", err, out)
	}
}

// testManual: groff has nothing to complain about, and the pages are those of the programs as anybody finds them.
func testManual(t *testing.T, root string) {
	for p, section := range programs {
		page := filepath.Join(root, "usr/share/man/man"+section, p+"."+section+".gz")
		text := must(t, "gzip", "-dc", page)
		if strings.Contains(text, "/elsewhere") {
			t.Errorf("%s has a setting of whoever built it", page)
		}
		plain := filepath.Join(t.TempDir(), "page")
		if err := os.WriteFile(plain, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := must(t, "groff", "-K", "utf8", "-man", "-Tutf8", "-ww", "-z", plain); out != "" {
			t.Errorf("%s: %s", page, out)
		}
		if text != must(t, filepath.Join(root, "usr/bin", p), "man") {
			t.Errorf("%s is not what %s says", page, p)
		}
	}
}

// testCompletions: bash reads them, and what they ask the program it answers.
func testCompletions(t *testing.T, root string) {
	for p := range programs {
		file := filepath.Join(root, "usr/share/bash-completion/completions", p)
		if out := must(t, "bash", "-c", `. "$1" && complete -p "$2"`, "bash", file, p); !strings.Contains(out, "__start_"+p+" "+p) {
			t.Errorf("bash completes %s by %q", p, out)
		}
	}
	if out := must(t, filepath.Join(root, "usr/bin/touchmark"), "__complete", "keyring", ""); !strings.Contains(out, "export\t") {
		t.Errorf("touchmark keyring <TAB> gives\n%s", out)
	}
}

// exposure is the figure of "systemd-analyze security" that the host guide quotes, and the version that it is by.
var exposure = regexp.MustCompile(`exposure level of \*\*([0-9]\.[0-9])\*\* \(systemd ([0-9]+)\)`)

// testUnit: systemd reads the unit without a word, and finds it as little exposed as the guide says. A version that
// looks at more may find a little more.
func testUnit(t *testing.T, root string) {
	guide, err := os.ReadFile("../../docs/host-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	said := exposure.FindSubmatch(guide)
	if said == nil {
		t.Fatal("the host guide quotes no figure")
	}
	unit := filepath.Join(root, "usr/lib/systemd/system/touchmark-hostd.service")
	if out, err := run(t, nil, "systemd-analyze", "verify", "--man=no", "--root="+withUnits(t, root), "touchmark-hostd.service"); err != nil || out != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out := must(t, "systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
	found := regexp.MustCompile(`Overall exposure level for touchmark-hostd\.service: ([0-9.]+)`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze says\n%s", out)
	}
	limit, err := strconv.ParseFloat(string(said[1]), 64)
	got, gerr := strconv.ParseFloat(found[1], 64)
	if err := errors.Join(err, gerr); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(must(t, "systemd-analyze", "--version"), "systemd "+string(said[2])) {
		limit++
	}
	if got > limit {
		t.Errorf("exposure %.1f, the guide says %s\n%s", got, said[1], out)
	}
}

// withUnits gives the root the units of systemd that ours refers to, so that nothing of this machine is read.
func withUnits(t *testing.T, root string) string {
	t.Helper()
	for _, name := range []string{"sysinit", "basic", "multi-user", "shutdown", "network", "network-online"} {
		path := filepath.Join(root, "usr/lib/systemd/system", name+".target")
		if err := os.WriteFile(path, []byte("[Unit]\nDescription="+name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(path) })
	}
	return root
}

// testUdev has udev read the rules, in a mount namespace where they are the only ones; the device is only an occasion.
func testUdev(t *testing.T, root string) {
	rules := filepath.Join(root, "usr/lib/udev/rules.d")
	script := `mount --bind "$1" /usr/lib/udev/rules.d && exec udevadm test /sys/devices/virtual/net/lo`
	out := must(t, append(inNamespace(), "sh", "-c", script, "sh", rules)...)
	if !strings.Contains(out, "60-touchmark.rules") {
		t.Fatalf("udev did not read them:\n%s", out)
	}
	for line := range strings.Lines(out) {
		// The user comes with the package; here it is on no system.
		if regexp.MustCompile(`60-touchmark\.rules:[0-9]+`).MatchString(line) && !strings.Contains(line, "Unknown user 'touchmark'") {
			t.Errorf("udev: %s", line)
		}
	}
	// That it would have found a mistake:
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "60-touchmark.rules"), []byte("SUBSYSTEM=\"tty\", GRUOP=\"x\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := must(t, append(inNamespace(), "sh", "-c", script, "sh", bad)...); !strings.Contains(out, "60-touchmark.rules:1") {
		t.Errorf("udev takes a rule that is none:\n%s", out)
	}
}

// inNamespace is a shell's prefix: mounts of its own.
func inNamespace() []string {
	if os.Geteuid() == 0 {
		return []string{"unshare", "--mount"}
	}
	return []string{"unshare", "--mount", "--map-root-user"}
}

// asInDebian are the files where the .deb has them: a package's functions for zsh are in another directory there than in
// Arch, the only one of the two that the shell reads.
func asInDebian(files []string) (list []string) {
	for _, f := range files {
		list = append(list, strings.Replace(f, "/zsh/site-functions/", "/zsh/vendor-completions/", 1))
	}
	return list
}

// testDpkg: the package is what the tree is, goes into an empty system whose dpkg knows of systemd, brings user and
// directories, and leaves with them.
func testDpkg(t *testing.T, deb string, files []string) {
	root := t.TempDir()
	admin := filepath.Join(root, "var/lib/dpkg")
	if err := errors.Join(os.MkdirAll(filepath.Join(admin, "updates"), 0o755), os.MkdirAll(filepath.Join(admin, "info"), 0o755), os.MkdirAll(filepath.Join(root, "etc"), 0o755),
		os.WriteFile(filepath.Join(admin, "status"), []byte("Package: systemd\nStatus: install ok installed\nVersion: 252\nArchitecture: all\nMaintainer: x\nDescription: x\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	dpkg := asRoot("dpkg", "--root="+root, "--force-not-root", "--force-script-chrootless", "--log=/dev/null")
	before := tree(t, root, "/var/lib/dpkg")
	must(t, append(dpkg, "--install", deb)...)
	have := tree(t, root)
	for _, f := range files {
		if !slices.Contains(have, f) {
			t.Errorf("%s is not installed", f)
		}
	}
	if st, err := os.Stat(filepath.Join(root, "var/lib/touchmark-log")); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("the directory of the published log: %v, %v", st, err)
	}
	if users, err := os.ReadFile(filepath.Join(root, "etc/passwd")); err != nil || !bytes.Contains(users, []byte("\ntouchmark:")) && !bytes.HasPrefix(users, []byte("touchmark:")) {
		t.Errorf("the user: %q, %v", users, err)
	}
	if out := must(t, append(dpkg, "--verify", "touchmark")...); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	mine := filepath.Join(root, "etc/touchmark/host.key")
	if err := os.WriteFile(mine, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, append(dpkg, "--remove", "touchmark")...)
	if left := tree(t, root, "/var/lib/dpkg"); !slices.Contains(left, "/etc/touchmark/hostd.toml") || slices.Contains(left, "/usr/bin/touchmark") {
		t.Errorf("after the removal there is\n%s", strings.Join(left, "\n"))
	}
	if out := must(t, append(dpkg, "--purge", "touchmark")...); !strings.Contains(out, "/etc/touchmark is kept") {
		t.Errorf("a purge keeps the key without a word: %s", out)
	}
	// What is left is the key, and the system's users, which a package does not take away.
	want := append(slices.Clone(before), "/etc/touchmark/", "/etc/touchmark/host.key")
	for _, f := range tree(t, root, "/var/lib/dpkg") {
		if !slices.Contains(want, f) && !regexp.MustCompile(`^/etc/(passwd|group|shadow|gshadow)-?$|^/etc/\.pwd\.lock$`).MatchString(f) {
			t.Errorf("%s is left", f)
		}
	}
}

// testPacman: the same with pacman.
func testPacman(t *testing.T, pkg string, files []string) {
	root := t.TempDir()
	for _, d := range []string{"var/lib/pacman", "cache", "hooks"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(root, "pacman.conf")
	text := fmt.Sprintf("[options]\nRootDir = %[1]s\nDBPath = %[1]s/var/lib/pacman\nCacheDir = %[1]s/cache\nHookDir = %[1]s/hooks\nLogFile = %[1]s/log\nGPGDir = %[1]s/gpg\nArchitecture = auto\nLocalFileSigLevel = Never\n", root)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	pacman := asRoot("pacman", "--config", conf, "--noconfirm", "--color", "never")
	before := tree(t, root)
	must(t, append(pacman, "-U", "-dd", pkg)...)
	have := tree(t, root)
	for _, f := range files {
		if !slices.Contains(have, f) {
			t.Errorf("%s is not installed", f)
		}
	}
	if out := must(t, append(pacman, "-Qkk", "touchmark")...); !strings.Contains(out, " 0 altered files") {
		t.Errorf("pacman -Qkk: %s", out)
	}
	must(t, append(pacman, "-Rn", "touchmark")...)
	for _, f := range tree(t, root) {
		if !slices.Contains(before, f) && f != "/log" && !strings.HasPrefix(f, "/var/lib/pacman/") {
			t.Errorf("%s is left", f)
		}
	}
}
