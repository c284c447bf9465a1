package kernel

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Names of what a build makes.
const (
	Image     = "Image"
	Config    = "config"
	sumsName  = "SHA256SUMS"
	crossGCC  = "aarch64-linux-gnu-gcc"
	crossLD   = "aarch64-linux-gnu-ld"
	dtsFolder = "arch/arm64/boot/dts/broadcom"
)

// trees are the device trees that come with a variant, all ours; QEMU's machine brings its own.
var trees = map[string][]string{
	Board: {"touchmark-rpi4.dtb", "touchmark-cm4.dtb"},
	QEMU:  {},
}

// Recipe is what a build is made of and where.
type Recipe struct {
	Source string    // Debian's linux-source package (.deb)
	SHA256 string    // its hash, hexadecimal
	Date   time.Time // what the kernel gives as the date of its build
	Work   string    // folder for the source tree and objects; emptied of them afterwards
	Cache  string    // folder for finished kernels
	Jobs   int       // compilers at a time
	Log    io.Writer // what make says
}

// Kernel is a finished build.
type Kernel struct {
	Dir  string // with Image, config, *.dtb and SHA256SUMS
	Sums string // the content of SHA256SUMS
}

// File is the path of one of its files.
func (k Kernel) File(name string) string { return filepath.Join(k.Dir, name) }

// Build takes a variant from the cache or builds it.
func (r Recipe) Build(ctx context.Context, variant string) (Kernel, error) {
	options, err := Options(variant)
	if err != nil {
		return Kernel{}, err
	}
	key, err := r.key(ctx, variant, options)
	if err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(r.Cache, variant+"-"+key)
	if k, err := Open(dir); err == nil {
		return k, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, fmt.Errorf("%w: remove %s to have it built anew", err, dir)
	}
	fmt.Fprintf(r.Log, "kernel: there is no %s yet: it takes some 9 minutes of one processor\n", dir)
	start := time.Now()
	if err := r.make(ctx, variant, options, dir); err != nil {
		return Kernel{}, fmt.Errorf("kernel: building %s: %w", variant, err)
	}
	fmt.Fprintf(r.Log, "kernel: built in %s\n", time.Since(start).Round(time.Second))
	return Open(dir)
}

// Open reads a finished kernel and holds its files against their hashes.
func Open(dir string) (Kernel, error) {
	listed, err := os.ReadFile(filepath.Join(dir, sumsName))
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel: %w", err)
	}
	found, err := sums(dir)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel: %w", err)
	}
	if found != string(listed) {
		return Kernel{}, fmt.Errorf("kernel: the files in %s are not those of its %s", dir, sumsName)
	}
	return Kernel{dir, found}, nil
}

// sums lists the hashes of a folder's files in the form of sha256sum.
func sums(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range entries {
		if e.Name() == sumsName {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(content), e.Name())
	}
	return b.String(), nil
}

// key names a build by all that goes into it.
func (r Recipe) key(ctx context.Context, variant string, options []Option) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d\n%s", r.SHA256, r.Date.Unix(), fragment(options))
	for _, tool := range []string{crossGCC, crossLD} {
		out, err := exec.CommandContext(ctx, tool, "--version").Output()
		if err != nil {
			return "", fmt.Errorf("kernel: %s: %w: run make image, which installs it", tool, err)
		}
		first, _, _ := strings.Cut(string(out), "\n")
		fmt.Fprintln(h, first)
	}
	var err error
	if len(trees[variant]) > 0 {
		fmt.Fprintln(h, trees[variant])
		err = eachTree(func(name string, text []byte) error {
			fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(text))
			return nil
		})
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), err
}

// eachTree goes over our device trees.
func eachTree(do func(name string, text []byte) error) error {
	entries, err := files.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".config") {
			continue
		}
		text, err := files.ReadFile(e.Name())
		if err != nil {
			return err
		}
		if err := do(e.Name(), text); err != nil {
			return err
		}
	}
	return nil
}

// make builds a variant into a folder that appears whole.
func (r Recipe) make(ctx context.Context, variant string, options []Option, dir string) (err error) {
	if err := os.MkdirAll(r.Work, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(r.Work, variant+".*")
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, os.RemoveAll(work)) }()
	t := tree{r, filepath.Join(work, "linux"), filepath.Join(work, "objects")}
	if err := t.unpack(ctx); err != nil {
		return err
	}
	if err := t.configure(ctx, options); err != nil {
		return err
	}
	targets := []string{Image}
	for _, dtb := range trees[variant] {
		targets = append(targets, "broadcom/"+dtb)
	}
	if err := t.make(ctx, targets...); err != nil {
		return err
	}
	return t.collect(variant, dir)
}

// tree is a source tree and its objects' folder.
type tree struct {
	Recipe
	src, obj string
}

// unpack takes the source out of its package and puts our device trees into it.
func (t tree) unpack(ctx context.Context) error {
	if err := errors.Join(os.MkdirAll(t.src, 0o755), os.MkdirAll(t.obj, 0o755)); err != nil {
		return err
	}
	const pipe = `dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | tar -xJ -C "$2" --strip-components=1`
	if err := t.run(exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", pipe, "unpack", t.Source, t.src)); err != nil {
		return fmt.Errorf("unpacking %s: %w", t.Source, err)
	}
	return eachTree(func(name string, text []byte) error {
		return os.WriteFile(filepath.Join(t.src, dtsFolder, name), text, 0o644)
	})
}

// configure makes .config and sees to it that every option came out as written.
func (t tree) configure(ctx context.Context, options []Option) error {
	wanted := filepath.Join(t.obj, "touchmark.config")
	if err := os.WriteFile(wanted, []byte(fragment(options)), 0o644); err != nil {
		return err
	}
	if err := t.make(ctx, "KCONFIG_ALLCONFIG="+wanted, "allnoconfig"); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(t.obj, ".config"))
	if err != nil {
		return err
	}
	if missing := Missing(options, string(config)); missing != nil {
		return fmt.Errorf("options that this source does not take: %s", strings.Join(missing, "; "))
	}
	return nil
}

func (t tree) make(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "make", append([]string{"-s", fmt.Sprintf("-j%d", t.Jobs), "-C", t.src, "O=" + t.obj,
		"ARCH=arm64", "CROSS_COMPILE=" + strings.TrimSuffix(crossGCC, "gcc")}, args...)...)
	// Everything that would tell one build from another: who, where, when, in which language.
	cmd.Env = append(environ(), "KBUILD_BUILD_USER=touchmark", "KBUILD_BUILD_HOST=touchmark", "KBUILD_BUILD_VERSION=1",
		fmt.Sprintf("KBUILD_BUILD_TIMESTAMP=@%d", t.Date.Unix()), "LC_ALL=C", "TZ=UTC")
	return t.run(cmd)
}

// environ is our environment without what make and the compilers would take from it: a build inside `make` gets its
// MAKEFLAGS, and PKG_CONFIG_PATH or CFLAGS are of other things.
func environ() []string {
	kept := []string{"PATH", "HOME", "TMPDIR"}
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return !slices.Contains(kept, name)
	})
}

// run starts a program in a process group of its own, which ends as a whole when the build is given up: make alone would
// leave its compilers running in a folder that is being removed.
func (t tree) run(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = t.Log, t.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}
	return nil
}

// collect copies what was made into dir, with its hashes; dir appears whole.
func (t tree) collect(variant, dir string) (err error) {
	if err := os.MkdirAll(t.Cache, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(t.Cache, "new.*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }() // once renamed it is not there
	made := map[string]string{Image: "arch/arm64/boot/Image", Config: ".config", "System.map": "System.map"}
	for _, dtb := range trees[variant] {
		made[dtb] = filepath.Join(dtsFolder, dtb)
	}
	for name, from := range made {
		content, err := os.ReadFile(filepath.Join(t.obj, from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return err
		}
	}
	list, err := sums(tmp)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, sumsName), []byte(list), 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chmod(tmp, 0o755), os.Rename(tmp, dir))
}
