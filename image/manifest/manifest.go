// Package manifest says what an image consists of: the hashes of all files, and the versions of everything that it was
// made of and with. The same image has the same manifest, byte for byte; docs/image/build.md describes the members.
package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Format is the first member of a manifest.
const Format = "touchmark/image/v1"

// Manifest describes one image.
type Manifest struct {
	Format   string `json:"format"`
	Board    string `json:"board"`
	Version  string `json:"version"`  // of the appliance, as boot entries name it
	Serial   uint64 `json:"serial"`   // rises with each release; boards take no lower one
	Date     int64  `json:"date"`     // seconds since 1970, as it stands in the image
	Files    []File `json:"files"`    // what the build made, by name: all but the manifest itself
	Programs []File `json:"programs"` // what the root consists of, by path
	Kernel   Kernel `json:"kernel"`
	Debian   []Deb  `json:"debian"`  // packages that parts were taken from
	Modules  []Mod  `json:"modules"` // Go modules in the programs
	Tools    []Tool `json:"tools"`   // what it was built with
}

// File is a file and its hash. One in a folder has the folder's name and a slash before its own.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Kernel says where the kernel is from.
type Kernel struct {
	Variant string `json:"variant"`
	Source  string `json:"source"` // Debian's package and version
	Sums    string `json:"sums"`   // SHA-256 of the list of its files' hashes, as image/kernel/golden.go has it
	Config  string `json:"config"` // SHA-256 of its .config
}

// Deb is a Debian package.
type Deb struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
}

// Mod is a Go module.
type Mod struct {
	Path    string `json:"path"`
	Version string `json:"version"`
	Sum     string `json:"sum"` // as go.sum has it
	Licence string `json:"licence"`
}

// Tool is an installed program.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Bytes is the manifest as a file.
func (m Manifest) Bytes() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// Parse reads a manifest. Members that are not known are refused: somebody relies on what they say.
func Parse(b []byte) (m Manifest, err error) {
	if len(b) > MaxBytes {
		return m, fmt.Errorf("manifest: %d bytes, over %d", len(b), MaxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return m, fmt.Errorf("manifest: there is something behind it")
	}
	if m.Format != Format {
		return m, fmt.Errorf("manifest: its format is %q, not %q", m.Format, Format)
	}
	for name, value := range m.facts() {
		if text := name + " " + value; strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			return m, fmt.Errorf("manifest: %q is not printable ASCII, and goes to terminals", text)
		}
	}
	return m, nil
}

// MaxBytes bounds a manifest: a hundred files, programs and modules, at 200 bytes each, are a tenth of it.
const MaxBytes = 1 << 20

// File is one of the files that the build made.
func (m Manifest) File(name string) (File, bool) {
	i := slices.IndexFunc(m.Files, func(f File) bool { return f.Name == name })
	if i < 0 {
		return File{}, false
	}
	return m.Files[i], true
}

// Differences says in what two manifests of one image differ, none if in nothing: every member is compared.
func Differences(a, b Manifest) []string {
	x, y := a.facts(), b.facts()
	names := map[string]bool{}
	for _, facts := range []map[string]string{x, y} {
		for name := range facts {
			names[name] = true
		}
	}
	var d []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if x[name] != y[name] {
			d = append(d, fmt.Sprintf("%s: %s and %s", name, cmp.Or(x[name], "(none)"), cmp.Or(y[name], "(none)")))
		}
	}
	return d
}

// facts are all that a manifest says, by what it says it of.
func (m Manifest) facts() map[string]string {
	f := map[string]string{"format": m.Format, "board": m.Board, "version": m.Version, "serial": strconv.FormatUint(m.Serial, 10), "date": strconv.FormatInt(m.Date, 10),
		"kernel": m.Kernel.Variant, "kernel source": m.Kernel.Source, "kernel sums": m.Kernel.Sums, "kernel config": m.Kernel.Config}
	for _, x := range m.Files {
		f["file "+x.Name] = fmt.Sprint(x.Size, " ", x.SHA256)
	}
	for _, x := range m.Programs {
		f["program "+x.Name] = fmt.Sprint(x.Size, " ", x.SHA256)
	}
	for _, x := range m.Debian {
		f["package "+x.Name] = x.Version + " " + x.SHA256
	}
	for _, x := range m.Modules {
		f["module "+x.Path] = x.Version + " " + x.Sum + " " + x.Licence
	}
	for _, x := range m.Tools {
		f["tool "+x.Name] = x.Version
	}
	return f
}
