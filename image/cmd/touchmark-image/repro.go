package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"touchmark/image/manifest"
	"touchmark/image/recipe"
)

func reproCmd() *cobra.Command {
	var b builder
	c := &cobra.Command{
		Use:   "repro",
		Short: "Build twice, in two folders with empty caches, and compare",
		Long: "Repro copies the files that git knows into two folders whose names have different lengths, and builds the image in\n" +
			"each with nothing but the fetched packages and Go's modules from before. It exits 3 if the two differ in one bit.\n" +
			"With a key both are signed, the same way: RSA signatures of this kind (PKCS #1 v1.5) have no randomness in them.",
		Example: "  touchmark-image repro --board rpi4 --key boot.pem",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := b.recipe(c)
			if err != nil {
				return err
			}
			return repro(c, r)
		},
	}
	b.flags(c)
	return c
}

func repro(c *cobra.Command, r recipe.Recipe) (err error) {
	if err := os.MkdirAll(r.Cache, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.Cache, "repro.")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Both copies are taken before the first build, which takes a while: somebody may work on the sources.
	places := []string{filepath.Join(dir, "a"), filepath.Join(dir, "another/place/with/a/longer/name")}
	for _, place := range places {
		if err := copySources(c.Context(), r.Module, source(place)); err != nil {
			return err
		}
	}
	var built [2]manifest.Manifest
	for i, place := range places {
		if built[i], err = buildIn(c.Context(), r, place); err != nil {
			return fmt.Errorf("build %d: %w", i+1, err)
		}
	}
	differences := manifest.Differences(built[0], built[1])
	papers, err := compare(filepath.Join(places[0], "out"), filepath.Join(places[1], "out"))
	if err != nil {
		return err
	}
	if differences = append(differences, papers...); differences != nil {
		return fmt.Errorf("%w: %s", errDiffer, strings.Join(differences, "; "))
	}
	for _, f := range built[0].Files {
		fmt.Fprintf(c.OutOrStdout(), "%s  %s: the same in both builds\n", f.SHA256, f.Name)
	}
	return nil
}

// compare names the files that two builds' folders do not have in common, byte for byte, those too that the
// manifest does not list: itself, and what should not be there.
func compare(a, b string) (differ []string, err error) {
	var sums [2]map[string]string
	for i, dir := range []string{a, b} {
		if sums[i], err = hashTree(dir); err != nil {
			return nil, err
		}
	}
	for i, other := range []int{1, 0} {
		for _, name := range slices.Sorted(maps.Keys(sums[i])) {
			if theirs, ok := sums[other][name]; !ok || i == 0 && theirs != sums[i][name] {
				differ = append(differ, "built file "+name)
			}
		}
	}
	return differ, nil
}

// hashTree is SHA-256 of each file below a folder.
func hashTree(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.Copy(h, f)
		name, relErr := filepath.Rel(dir, path)
		sums[name] = fmt.Sprintf("%x", h.Sum(nil))
		return errors.Join(err, relErr)
	})
	return sums, err
}

func source(place string) string { return filepath.Join(place, "touchmark") }

// copySources copies the files that git knows, as they are now.
func copySources(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	const pipe = `cd "$1" && git ls-files -z | tar -c --null -T - | tar -x -C "$2"`
	if said, err := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", pipe, "copy", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the sources: %w: %s", err, said)
	}
	return nil
}

// movedTo is the same build in a folder of its own, with caches of its own.
func movedTo(r recipe.Recipe, place string) recipe.Recipe {
	r.Module, r.Out = source(place), filepath.Join(place, "out")
	r.Cache, r.Work, r.GoCache = filepath.Join(place, "cache"), filepath.Join(place, "work"), filepath.Join(place, "gocache")
	return r
}

// buildIn builds in a folder that has nothing but the sources and what was fetched.
func buildIn(ctx context.Context, r recipe.Recipe, place string) (m manifest.Manifest, err error) {
	fetched := filepath.Join(r.Cache, "debian")
	r = movedTo(r, place)
	if err := errors.Join(os.MkdirAll(fetched, 0o755), os.MkdirAll(r.Cache, 0o755), os.Symlink(fetched, filepath.Join(r.Cache, "debian"))); err != nil {
		return m, err
	}
	m, err = r.Build(ctx)
	return m, errors.Join(err, os.RemoveAll(r.GoCache), os.RemoveAll(r.Work))
}
