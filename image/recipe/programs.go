package recipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"touchmark/appliance/boot"
)

// program is one of the files that the root consists of.
type program struct {
	path    string // in the root, without a slash before it
	source  string // package, from the module's folder
	cgo     bool   // links C: the functions that piv-go calls are exported to C
	content []byte
}

// boardPrograms are all the files that the root has.
var boardPrograms = []program{
	{path: boot.Appliance, source: "./appliance/cmd/touchmark-appliance", cgo: true},
	{path: boot.Link, source: "./appliance/cmd/touchmark-link"},
	{path: boot.Init, source: "./appliance/cmd/touchmark-init"},
}

func (r Recipe) programs(ctx context.Context, p *parts) (err error) {
	if err := os.MkdirAll(r.Work, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.Work, "programs.*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, prog := range boardPrograms {
		out := filepath.Join(dir, filepath.Base(prog.path))
		if err := r.compile(ctx, prog, out); err != nil {
			return fmt.Errorf("%s: %w", prog.source, err)
		}
		if prog.content, err = os.ReadFile(out); err != nil {
			return err
		}
		p.programs = append(p.programs, prog)
	}
	return nil
}

// compile builds a program for the board: static, stripped, with no trace of where and from which commit it was made. One that
// links C may have more flags for the C linker.
func (r Recipe) compile(ctx context.Context, p program, out string, linker ...string) error {
	ld := "-s -w -buildid="
	if p.cgo {
		linker = append([]string{"-static", "-Wl,--build-id=none"}, linker...)
		ld += ` -linkmode external -extldflags "` + strings.Join(linker, " ") + `"`
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "netgo,osusergo", "-ldflags", ld, "-o", out, p.source)
	cmd.Dir = r.Module
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off",
		"CC=aarch64-linux-gnu-gcc", "CGO_CFLAGS=-O2 -g -DPCSC_INPROC", "CGO_CPPFLAGS=", "CGO_LDFLAGS=-O2 -g",
		"PKG_CONFIG_PATH="+filepath.Join(r.Module, "appliance/pcsc/stub"), fmt.Sprintf("CGO_ENABLED=%d", number(p.cgo)))
	if r.GoCache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+r.GoCache)
	}
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w: %s", err, strings.TrimSpace(string(said)))
	}
	return nil
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
