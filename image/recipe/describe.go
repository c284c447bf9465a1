package recipe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"touchmark/appliance/boot"
	"touchmark/appliance/update"
	"touchmark/image/debian"
	"touchmark/image/manifest"
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/ledger"
)

// describe writes manifest, SPDX list and licences into a build's folder.
func (r Recipe) describe(ctx context.Context, p *parts, dir string) (m manifest.Manifest, err error) {
	m = manifest.Manifest{Format: manifest.Format, Board: r.Board.Name, Version: update.Version, Serial: update.Serial, Date: date.Unix()}
	if m.Files, err = hashes(dir); err != nil {
		return m, err
	}
	for _, prog := range p.programs {
		m.Programs = append(m.Programs, fileOf(prog.path, prog.content))
	}
	config, err := os.ReadFile(p.kernel.File("config"))
	if err != nil {
		return m, err
	}
	m.Kernel = manifest.Kernel{Variant: r.Board.Kernel, Source: linuxSource.Name + " " + linuxSource.Version,
		Sums: fmt.Sprintf("%x", sha256.Sum256([]byte(p.kernel.Sums))), Config: fmt.Sprintf("%x", sha256.Sum256(config))}
	for _, deb := range []debian.Package{linuxSource, firmware} {
		if p.packages[deb.Name] != "" {
			m.Debian = append(m.Debian, manifest.Deb{Name: deb.Name, Version: deb.Version, SHA256: deb.SHA256})
		}
	}
	if m.Modules, err = modules(p.programs); err != nil {
		return m, err
	}
	if m.Tools, err = toolVersions(ctx, p.programs[0]); err != nil {
		return m, err
	}
	papers, err := r.papers(ctx, p, m)
	if err != nil {
		return m, err
	}
	err = writePapers(&m, papers, dir)
	return m, err
}

// writePapers writes files that a manifest does not have yet into a build's folder, and then the manifest, which has them.
func writePapers(m *manifest.Manifest, papers map[string][]byte, dir string) error {
	if err := os.Mkdir(filepath.Join(dir, Licences), 0o755); err != nil {
		return err
	}
	for name, content := range papers {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
		m.Files = append(m.Files, fileOf(name, content))
	}
	slices.SortFunc(m.Files, func(a, b manifest.File) int { return cmp.Compare(a.Name, b.Name) })
	list, err := m.Bytes()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ManifestFile), list, 0o644)
}

func fileOf(name string, content []byte) manifest.File {
	return manifest.File{Name: name, Size: int64(len(content)), SHA256: fmt.Sprintf("%x", sha256.Sum256(content))}
}

// golden is what auditors compare boot entries with. A Raspberry Pi's boot loader adds words of its own to the command
// line, so that of its boards is not known here.
func (r Recipe) golden(p *parts) error {
	var list []boot.Program
	for _, prog := range p.programs {
		list = append(list, boot.Program{Path: prog.path, Hash: sha256.Sum256(prog.content)})
	}
	measured := ledger.Measured{Image: sha256.Sum256(p.files[BootImage]), Programs: boot.Programs(list)}
	if !r.Board.Firmware {
		measured.CommandLine = boot.CommandLine(string(p.files[CommandLine]))
	}
	var err error
	p.files[GoldenFile], err = golden.Image{Firmware: update.Version, Measured: measured}.Marshal()
	return err
}

// hashes are those of all files in a folder, by name.
func hashes(dir string) ([]manifest.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []manifest.File
	for _, e := range entries {
		f, err := hashFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func hashFile(path string) (m manifest.File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return manifest.File{Name: filepath.Base(path), Size: n, SHA256: fmt.Sprintf("%x", h.Sum(nil))}, err
}

// modules are the Go modules that the programs say they consist of.
func modules(programs []program) ([]manifest.Mod, error) {
	byPath := map[string]manifest.Mod{}
	for _, prog := range programs {
		info, err := buildinfo.Read(bytes.NewReader(prog.content))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", prog.path, err)
		}
		for _, d := range info.Deps {
			if d.Replace != nil {
				return nil, fmt.Errorf("%s: module %s is replaced", prog.path, d.Path)
			}
			licence, ok := licences[d.Path]
			if !ok {
				return nil, fmt.Errorf("%s: the licence of module %s is not entered in image/recipe/licences.go", prog.path, d.Path)
			}
			byPath[d.Path] = manifest.Mod{Path: d.Path, Version: d.Version, Sum: d.Sum, Licence: licence}
		}
	}
	var list []manifest.Mod
	for _, m := range byPath {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b manifest.Mod) int { return cmp.Compare(a.Path, b.Path) })
	return list, nil
}

// toolVersions are what the image was made with: the Go that a program names, and installed packages.
func toolVersions(ctx context.Context, prog program) ([]manifest.Tool, error) {
	info, err := buildinfo.Read(bytes.NewReader(prog.content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", prog.path, err)
	}
	list := []manifest.Tool{{Name: "go", Version: strings.TrimPrefix(info.GoVersion, "go")}}
	for _, name := range tools {
		v, err := debian.Installed(ctx, name)
		if err != nil {
			return nil, err
		}
		list = append(list, manifest.Tool{Name: name, Version: v})
	}
	return list, nil
}
