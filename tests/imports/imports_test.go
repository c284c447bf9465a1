package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "touchmark"

// Package is what the rules need of `go list -json`.
type Package struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
	Deps       []string
	Standard   bool
	Error      *struct{ Err string }
}

func (p Package) room() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// list runs go list for the module with the given build tags. cgo is on: with it off the rooms that use it would vanish.
func list(t *testing.T, tags string, args ...string) []Package {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Dir,GoFiles,CgoFiles,Imports,Deps,Standard,Error", "-tags", tags}, args...)...)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	var list []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Error != nil {
			t.Fatalf("%s: %s", p.ImportPath, p.Error.Err)
		}
		list = append(list, p)
	}
}

// within reports whether path is prefix or below it.
func within(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

func withinAny(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return within(path, p) })
}

func ours(path string) (room string, ok bool) { return strings.CutPrefix(path, module+"/") }

var tagSets = []string{"netgo,osusergo", "netgo,osusergo,emulated", "netgo,osusergo,pcscd"}

func TestEveryPackageHasItsRoom(t *testing.T) {
	seen := map[string]bool{}
	for _, tags := range tagSets {
		for _, p := range list(t, tags, "./...") {
			seen[p.room()] = true
			k, known := rooms[p.room()]
			if !known {
				t.Errorf("%s is in no room: enter it in tests/imports/rooms.go", p.room())
			}
			if k == command && p.Name != "main" || p.Name == "main" && k != command && k != test {
				t.Errorf("%s: package %s does not fit its kind", p.room(), p.Name)
			}
		}
	}
	for room := range rooms {
		if !seen[room] {
			t.Errorf("room %s does not exist", room)
		}
	}
}

func TestDirectionOfImports(t *testing.T) {
	for _, tags := range tagSets {
		for _, p := range list(t, tags, "./...") {
			for _, v := range directionBreaches(p) {
				t.Errorf("[%s] %s", tags, v)
			}
		}
	}
}

// directionBreaches names each import of p that goes the wrong way.
func directionBreaches(p Package) (breaches []string) {
	from := rooms[p.room()]
	for _, imp := range p.Imports {
		room, own := ours(imp)
		switch {
		case own && rooms[room] == test && from != test:
			breaches = append(breaches, fmt.Sprintf("%s imports %s: no emulator or harness in production", p.room(), room))
		case own && from == pure && rooms[room] != pure:
			breaches = append(breaches, fmt.Sprintf("%s is pure but imports the edge %s", p.room(), room))
		case own && rooms[room] == command:
			breaches = append(breaches, fmt.Sprintf("%s imports the command %s", p.room(), room))
		case own && slices.Contains(islands, p.room()) && !slices.Contains(islands, room):
			breaches = append(breaches, fmt.Sprintf("%s imports %s: frame, session and message stand alone", p.room(), room))
		case !own && from == pure && withinAny(imp, forbiddenInPure):
			breaches = append(breaches, fmt.Sprintf("%s is pure but imports %s", p.room(), imp))
		}
	}
	return breaches
}

// TestDirectionBreachesAreFound shows that the rule above can fail at all.
func TestDirectionBreachesAreFound(t *testing.T) {
	for room, imp := range map[string]string{
		"tpm/audit":       module + "/tpm/device",
		"hostlink/frame":  module + "/appliance/policy",
		"tpm/device":      module + "/tests/swtpm",
		"appliance/piv":   module + "/appliance/cmd/touchmark-link",
		"tpm/ledger":      "os",
		"tpm/quote":       "net/http",
		"hostlink/canon":  "crypto/rand",
		"appliance/pcsc":  module + "/tests/pivemu",
		"hostlink/messag": "golang.org/x/sys/unix",
	} {
		if got := directionBreaches(Package{ImportPath: module + "/" + room, Imports: []string{imp}}); len(got) == 0 {
			t.Errorf("%s importing %s passes", room, imp)
		}
	}
}

func TestPureRoomsReachOnlyPureRooms(t *testing.T) {
	for _, tags := range tagSets {
		for _, p := range list(t, tags, "./...") {
			if rooms[p.room()] != pure {
				continue
			}
			for _, dep := range p.Deps {
				if room, own := ours(dep); own && rooms[room] != pure {
					t.Errorf("[%s] %s reaches %s", tags, p.room(), room)
				}
			}
		}
	}
}

func TestProductionBinaries(t *testing.T) {
	for _, tags := range []string{"netgo,osusergo", "netgo,osusergo,pcscd"} {
		for _, p := range list(t, tags, "./...") {
			if rooms[p.room()] == command {
				checkBinary(t, p)
			}
		}
	}
}

func checkBinary(t *testing.T, p Package) {
	t.Helper()
	for _, dep := range p.Deps {
		room, own := ours(dep)
		if !own {
			room = dep
		}
		if own && rooms[room] == test {
			t.Errorf("%s contains %s", p.room(), room)
		}
		// cgo is decided by the packages that use it: with cgo on, the standard library's net and os/user pull it in by themselves.
		if room == "runtime/cgo" {
			continue
		}
		if withinAny(room, forbiddenInBinary[p.room()]) && !slices.Contains(allowedInBinary[p.room()], room) {
			t.Errorf("%s contains %s", p.room(), room)
		}
	}
}

// TestStaticBinariesUseNoCgo builds the dependency lists as the Makefile does, with cgo off, and wants every package there
// to exist and none of ours to hold cgo files.
func TestStaticBinariesUseNoCgo(t *testing.T) {
	for room, forbidden := range forbiddenInBinary {
		if !slices.Contains(forbidden, "runtime/cgo") {
			continue
		}
		cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{len .CgoFiles}}", "./"+room)
		cmd.Dir = root(t)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s does not list without cgo: %v", room, err)
		}
		for line := range strings.Lines(string(out)) {
			if path, _, _ := strings.Cut(line, " "); path == "runtime/cgo" || !strings.HasSuffix(line, " 0\n") {
				t.Errorf("%s uses cgo through %s", room, path)
			}
		}
	}
}

// TestPureRoomsHaveNoClockAndNoGoroutine reads the sources: the time package's types are welcome in a pure room, its
// clock is not.
func TestPureRoomsHaveNoClockAndNoGoroutine(t *testing.T) {
	for _, p := range list(t, tagSets[0], "./...") {
		if rooms[p.room()] != pure {
			continue
		}
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range impurities(t, path, src) {
				t.Error(v)
			}
		}
	}
}

var clockFuncs = []string{"Now", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Since", "Until"}

func impurities(t *testing.T, path string, src []byte) (found []string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, fmt.Sprintf("%s: a goroutine in a pure room", fset.Position(n.Pos())))
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && id.Name == "time" && slices.Contains(clockFuncs, n.Sel.Name) {
				found = append(found, fmt.Sprintf("%s: time.%s in a pure room", fset.Position(n.Pos()), n.Sel.Name))
			}
		}
		return true
	})
	return found
}

func TestImpuritiesAreFound(t *testing.T) {
	for _, src := range []string{
		"package p\nimport \"time\"\nvar T = time.Now()",
		"package p\nfunc f() { go f() }",
	} {
		if len(impurities(t, "p.go", []byte(src))) != 1 {
			t.Errorf("not found in %q", src)
		}
	}
}

func TestTopLevelIsFixed(t *testing.T) {
	dir := root(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) && !strings.HasPrefix(e.Name(), ".") && e.Name() != "build" {
			t.Errorf("%s does not belong at the top of the repository", e.Name())
		}
	}
}
