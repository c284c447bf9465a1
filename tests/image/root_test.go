//go:build imagetest

package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"touchmark/image/manifest"
)

// documented is a list of docs/image/boot.md: mode, owner, group and name of each file.
func documented(t *testing.T, list string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/image/boot.md")
	must(t, err)
	block := regexp.MustCompile("(?ms)^```text " + list + "\n(.*?)^```$").FindSubmatch(page)
	if block == nil {
		t.Fatalf("boot.md has no list %s", list)
	}
	return slices.Sorted(strings.SplitSeq(strings.TrimSpace(string(block[1])), "\n"))
}

// builds are the boot.img of TOUCHMARK_IMAGE, and beside it those of other boards that were built of the same sources: with the
// same programs.
func builds(t *testing.T) (images []string) {
	t.Helper()
	programs := func(dir string) []manifest.File {
		b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
		must(t, err)
		m, err := manifest.Parse(b)
		must(t, err)
		return m.Programs
	}
	tested := os.Getenv("TOUCHMARK_IMAGE")
	found, err := filepath.Glob(filepath.Join(tested, "../*/boot.img"))
	must(t, err)
	for _, image := range found {
		if dir := filepath.Dir(image); slices.Equal(programs(dir), programs(tested)) {
			images = append(images, image)
		}
	}
	if !slices.Contains(images, filepath.Join(tested, "boot.img")) {
		t.Fatalf("TOUCHMARK_IMAGE is not among %q", found)
	}
	t.Logf("%q", images)
	return images
}

// TestRoot: the initramfs that stands in the boot.img of each board that was built has what boot.md says, to the last folder,
// by mtools, zstd and cpio, which nobody here wrote; each file is a static program for the board, by readelf.
func TestRoot(t *testing.T) {
	t.Parallel()
	want := documented(t, "initramfs")
	for _, image := range builds(t) {
		dir := t.TempDir()
		sh := func(script string, args ...string) string {
			t.Helper()
			cmd := exec.Command("bash", append([]string{"-euo", "pipefail", "-c", script, "root"}, args...)...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C", "TZ=UTC")
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %s: %v (run make image-test)", image, script, err)
			}
			return string(out)
		}
		sh(`mcopy -i "$1" ::initrd.zst packed && zstd -qdc packed >root.cpio`, image)
		var got, files []string
		for line := range strings.Lines(sh(`cpio -itvn --quiet <root.cpio`)) {
			f := strings.Fields(line) // mode, links, owner, group, size, three of a date, name
			got = append(got, strings.Join([]string{f[0], f[2], f[3], f[len(f)-1]}, " "))
			if f[0][0] != 'd' {
				files = append(files, f[len(f)-1])
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the root has\n%s\nboot.md says\n%s", image, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(files) > 6 {
			t.Errorf("%s: %d files", image, len(files))
		}
		sh(`mkdir root && cd root && cpio -id --quiet --no-absolute-filenames <../root.cpio`)
		for _, name := range files {
			head := sh(`readelf -hW "root/$1"`, name)
			segments := sh(`readelf -lW "root/$1"`, name)
			dynamic := sh(`readelf -dW "root/$1"`, name)
			if !strings.Contains(head, "Machine:                           AArch64") || !strings.Contains(head, "Type:                              EXEC") ||
				strings.Contains(segments, "INTERP") || !strings.Contains(dynamic, "There is no dynamic section in this file.") {
				t.Errorf("%s: %s is no static program for the board:\n%s%s%s", image, name, head, segments, dynamic)
			}
		}
	}
}

// hasRoot has a board that runs say what its root has, and what lies in its file systems in memory: what the guest knows to
// say when a tablet is plugged in.
func (r *rig) hasRoot() {
	r.t.Helper()
	from := r.mark()
	r.do("device_add", map[string]any{"driver": "usb-tablet", "id": "tablet"})
	end := r.heard(from, "walked /media ")
	var got []string
	r.mu.Lock()
	for _, line := range r.lines[from:] {
		if line, ok := strings.CutPrefix(line, "root: "); ok && !strings.Contains(line, "/.touchmark-") && !slices.Contains(guests, line[strings.LastIndex(line, " ")+1:]) {
			got = append(got, line)
		}
	}
	r.mu.Unlock()
	slices.Sort(got)
	got = slices.Compact(got) // what is mounted is seen twice; what is being replaced has two names for a moment
	if want := documented(r.t, "running"); !slices.Equal(got, want) || !strings.HasSuffix(end, " <nil>") {
		r.t.Errorf("%s: the root has\n%s\nboot.md says\n%s", end, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// guests are what a test adds to the root.
var guests = []string{"/guest", "/bridge"}
