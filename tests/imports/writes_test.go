package imports

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writer is the one room that writes files.
const writer = "tpm/ledgerstore/durable"

// made is below where the image is built: what that writes is made again.
const made = "image/"

// writing are the functions of package os that make or change files or names.
var writing = []string{
	"WriteFile", "Create", "CreateTemp", "OpenFile", "Rename", "Link", "Symlink", "Truncate",
	"Mkdir", "MkdirAll", "MkdirTemp", "CopyFS", "OpenRoot",
}

// writingAnyway says which other file may call which of them, and why.
var writingAnyway = map[string][]string{
	"appliance/boot/first/child.go":        {"OpenFile"},                         // opens terminals and the kernel's log, no files
	"appliance/boot/machine/gadget.go":     {"MkdirAll", "Symlink", "WriteFile"}, // configfs, which is the kernel
	"appliance/boot/machine/kernel.go":     {"OpenFile", "WriteFile"},            // the watchdog; the kernel's randomness
	"appliance/boot/machine/mount.go":      {"MkdirAll", "OpenFile"},             // where to mount, in memory; sysctl
	"appliance/cli/logfile.go":             {"OpenFile", "Rename"},               // a log for people, which may be lost
	"appliance/operator/gpio/gpio.go":      {"OpenFile"},                         // opens a device, no file
	"appliance/pcsc/usbfs.go":              {"OpenFile"},                         // opens a device, no file
	"hostlink/approve/pacman/rebuild.go":   {"MkdirTemp", "Symlink"},             // what repo-add works in, thrown away
	"hostlink/cli/hashing/hashing.go":      {"OpenFile"},                         // opens without waiting for a FIFO, and only reads
	"hostlink/cmd/touchmark-gpg/output.go": {"OpenFile"},                         // opens a device or FIFO, no file
}

// TestOnePackageWritesFiles: what must survive a power cut is written by the
// one package that is tested for that.
func TestOnePackageWritesFiles(t *testing.T) {
	used := map[string]bool{}
	for _, tags := range tagSets {
		for _, p := range list(t, tags, "./...") {
			if rooms[p.room()] == test || p.room() == writer || strings.HasPrefix(p.room(), made) {
				continue
			}
			for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
				file := filepath.Join(p.room(), name)
				src, err := os.ReadFile(filepath.Join(p.Dir, name))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range writes(t, file, src) {
					if used[file] = true; !slices.Contains(writingAnyway[file], f) {
						t.Errorf("%s calls os.%s: write through %s", file, f, writer)
					}
				}
			}
		}
	}
	for file := range writingAnyway {
		if !used[file] {
			t.Errorf("%s writes nothing any more: take it out of the list", file)
		}
	}
}

// writes lists the functions of package os in a file that write.
func writes(t *testing.T, path string, src []byte) (found []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok && id.Name == "os" && slices.Contains(writing, s.Sel.Name) {
				found = append(found, s.Sel.Name)
			}
		}
		return true
	})
	return found
}

func TestWritesAreFound(t *testing.T) {
	for _, f := range writing {
		src := fmt.Sprintf("package p\nimport \"os\"\nvar f = os.%s", f)
		if got := writes(t, "p.go", []byte(src)); !slices.Equal(got, []string{f}) {
			t.Errorf("os.%s: found %v", f, got)
		}
	}
}
