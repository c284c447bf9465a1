package recipe

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"touchmark/image/debian"
	"touchmark/image/manifest"
)

// licences of the Go modules in the programs, by SPDX identifier, read from their files by a person. A module that is not
// here stops the build.
var licences = map[string]string{
	"filippo.io/age":                  "BSD-3-Clause",
	"github.com/go-piv/piv-go/v2":     "Apache-2.0",
	"github.com/google/go-tpm":        "Apache-2.0",
	"github.com/mattn/go-colorable":   "MIT",
	"github.com/mattn/go-isatty":      "MIT",
	"github.com/pelletier/go-toml/v2": "MIT",
	"github.com/rs/zerolog":           "MIT",
	"github.com/spf13/cobra":          "Apache-2.0",
	"github.com/spf13/pflag":          "BSD-3-Clause",
	"golang.org/x/crypto":             "BSD-3-Clause",
	"golang.org/x/mod":                "BSD-3-Clause",
	"golang.org/x/sys":                "BSD-3-Clause",
	"golang.org/x/term":               "BSD-3-Clause",
}

// papers are the SPDX list and the licences' texts, by their names in the build's folder. The list names what m has so far,
// and m their hashes afterwards.
func (r Recipe) papers(ctx context.Context, p *parts, m manifest.Manifest) (map[string][]byte, error) {
	texts, err := r.texts(ctx, p, m)
	if err != nil {
		return nil, err
	}
	parts, err := components(ctx, r.Board.Firmware, m)
	if err != nil {
		return nil, err
	}
	bill, err := manifest.Bill(m, parts, string(texts[firmware.Name]))
	if err != nil {
		return nil, err
	}
	papers := map[string][]byte{BillFile: bill}
	for name, text := range texts {
		papers[Licences+"/"+name] = text
	}
	return papers, nil
}

// components are what is in an image beside Go modules.
func components(ctx context.Context, withFirmware bool, m manifest.Manifest) ([]manifest.Component, error) {
	version := map[string]string{}
	for _, name := range []string{libc, libgcc} {
		var err error
		if version[name], err = debian.Installed(ctx, name); err != nil {
			return nil, err
		}
	}
	list := []manifest.Component{
		{Name: "touchmark", Version: m.Version, Licence: "Apache-2.0", PURL: "pkg:generic/touchmark@" + m.Version},
		{Name: "linux", Version: linuxSource.Version, Licence: "GPL-2.0-only WITH Linux-syscall-note", SHA256: linuxSource.SHA256,
			PURL: "pkg:deb/debian/" + linuxSource.Name + "@" + linuxSource.Version},
		{Name: "go", Version: m.Tools[0].Version, Licence: "BSD-3-Clause", PURL: "pkg:generic/go@" + m.Tools[0].Version},
		{Name: "glibc", Version: version[libc], Licence: "LGPL-2.1-or-later", PURL: "pkg:deb/debian/" + libc + "@" + version[libc]},
		{Name: "libgcc", Version: version[libgcc], Licence: "GPL-3.0-or-later WITH GCC-exception-3.1", PURL: "pkg:deb/debian/" + libgcc + "@" + version[libgcc]},
	}
	if withFirmware {
		list = append(list, manifest.Component{Name: firmware.Name, Version: firmware.Version, Licence: manifest.FirmwareLicence,
			SHA256: firmware.SHA256, PURL: "pkg:deb/debian/" + strings.ReplaceAll(firmware.Name+"@"+firmware.Version, "+", "%2B")})
	}
	return list, nil
}

// texts are the licences of all parts, by the name of the file that holds them.
func (r Recipe) texts(ctx context.Context, p *parts, m manifest.Manifest) (map[string][]byte, error) {
	texts := map[string][]byte{}
	var err error
	if texts["touchmark"], err = os.ReadFile(filepath.Join(r.Module, "LICENSE")); err != nil {
		return nil, err
	}
	for name, of := range map[string]string{"glibc": libc, "libgcc": libgcc} {
		if texts[name], err = os.ReadFile("/usr/share/doc/" + of + "/copyright"); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{linuxSource.Name, firmware.Name} {
		if deb := p.packages[name]; deb != "" {
			if texts[name], err = debian.Extract(ctx, deb, "/usr/share/doc/"+name+"/copyright"); err != nil {
				return nil, err
			}
		}
	}
	for _, mod := range m.Modules {
		if texts[strings.ReplaceAll(mod.Path, "/", "_")], err = r.moduleLicence(ctx, mod.Path); err != nil {
			return nil, err
		}
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	texts["go"], err = os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "LICENSE"))
	return texts, err
}

// moduleLicence is the text that a Go module brings.
func (r Recipe) moduleLicence(ctx context.Context, path string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", path)
	cmd.Dir = r.Module
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m %s: %w", path, err)
	}
	for _, name := range []string{"LICENSE", "LICENSE.md", "LICENSE.txt", "COPYING"} {
		if text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), name)); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("module %s brings no licence", path)
}
