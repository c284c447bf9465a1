//go:build imagetest

package recipe

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"touchmark/image/manifest"
)

// TestLinkedC: what the linker takes of C into the programs is in the list of software. It wants the cross compiler, so
// make image-test runs it, on the programs as they are linked for the image.
func TestLinkedC(t *testing.T) {
	m := manifest.Manifest{Version: "1", Tools: []manifest.Tool{{Name: "go", Version: "1"}}}
	list, err := components(t.Context(), false, m)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, c := range list {
		listed[c.Name] = true
	}
	libraries := map[string]string{"libc.a": "glibc", "libpthread.a": "glibc", "libresolv.a": "glibc", "libgcc.a": "libgcc", "libgcc_eh.a": "libgcc"}
	var linked []string
	for _, prog := range boardPrograms {
		if !prog.cgo {
			continue
		}
		trace := filepath.Join(t.TempDir(), "map")
		if err := (Recipe{Module: module}).compile(t.Context(), prog, trace+".out", "-Wl,-Map="+trace); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range regexp.MustCompile(`(?m)^/\S*/([^/\s]+\.a)\(`).FindAllStringSubmatch(string(text), -1) {
			if linked = append(linked, f[1]); !listed[libraries[f[1]]] {
				t.Errorf("%s: %s is linked, and not in the list", prog.path, f[1])
			}
		}
	}
	for _, library := range []string{"libc.a", "libgcc.a"} {
		if !slices.Contains(linked, library) {
			t.Errorf("the linker's map does not name %s: it has %q", library, slices.Compact(slices.Sorted(slices.Values(linked))))
		}
	}
}
