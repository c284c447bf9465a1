//go:build emulated

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What building may take at most, in seconds.
const (
	coldMost   = 25 * 60
	cachedMost = 60
	testMost   = 10 * 60
)

// cachedRounds is how often a build with its kernel in the cache is measured.
const cachedRounds = 3

// cachedBuild is how long the image takes whose kernel is in the cache, and nothing else: the programs are compiled with an
// empty cache of Go's, as in a new clone on a machine that keeps kernels. Each build has an empty folder.
func cachedBuild(ctx context.Context, o options, dir string) (Row, error) {
	var took []float64
	for i := range cachedRounds + 1 {
		t, err := o.buildImage(ctx, "qemu", filepath.Join(dir, fmt.Sprintf("cached-%d", i)), o.imageCache)
		if err != nil {
			return Row{}, err
		}
		if i > 0 { // the first finds out that the kernel is there, or builds it
			took = append(took, t.Seconds())
		}
	}
	return summary("image_build_cached_s", "s", cachedMost, took), nil
}

// imageColdRows is one build of the board's image with empty caches: the kernel and everything else. Debian's packages were
// fetched before: how long that takes is the network's affair.
func imageColdRows(ctx context.Context, o options, dir string) ([]Row, error) {
	fetched, err := filepath.Abs(filepath.Join(o.imageCache, "debian"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(fetched); err != nil {
		return nil, fmt.Errorf("%w: run make image, which fetches Debian's packages", err)
	}
	cache := filepath.Join(dir, "cache")
	if err := errors.Join(os.Mkdir(cache, 0o755), os.Symlink(fetched, filepath.Join(cache, "debian"))); err != nil {
		return nil, err
	}
	took, err := o.buildImage(ctx, "rpi4", filepath.Join(dir, "cold"), cache)
	if err != nil {
		return nil, err
	}
	return []Row{summary("image_build_cold_s", "s", coldMost, []float64{took.Seconds()})}, nil
}

// buildImage is one build into a new folder, with Go's cache empty.
func (o options) buildImage(ctx context.Context, board, dir, cache string) (took time.Duration, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "touchmark-image"), "build", "--quiet", "--board", board, "--cache", cache, "--out", filepath.Join(dir, "out"))
	cmd.Env = append(os.Environ(), "GOCACHE="+filepath.Join(dir, "gocache"))
	took, err = stopwatch(func() error {
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})()
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "out", "manifest.json"))
	}
	return took, err
}

// imageTestRows is one run of make image-test whose kernel is in the cache: everything that .ci/run does for the image.
func imageTestRows(ctx context.Context, o options, _ string) ([]Row, error) {
	cache, err := filepath.Abs(o.imageCache)
	if err != nil {
		return nil, err
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "make", append(args, "IMAGE_CACHE="+cache)...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // what the make says that started the bench is not for this one
			return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") || strings.HasPrefix(v, "ONLY=")
		})
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return cmd.Run()
	}
	if err := run("setup", "image", "BOARD=qemu"); err != nil {
		return nil, err
	}
	took, err := stopwatch(func() error { return run("image-test", "IMAGE_TESTS=") })()
	if err != nil {
		return nil, err
	}
	return []Row{summary("image_test_s", "s", testMost, []float64{took.Seconds()})}, nil
}
