// Package initrd packs what a virtual machine of the tests starts with: programs,
// and the modules of Debian's kernel that `make setup` has fetched.
package initrd

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"touchmark/image/cpio"
)

// KernelDir is where make setup has put the kernel: vmlinux and modules.
func KernelDir() string { return filepath.Join(os.Getenv("TOUCHMARK_BIN"), "..", "kernel") }

// Kernel is the kernel's image.
func Kernel() string { return filepath.Join(KernelDir(), "vmlinux") }

// Image is an initramfs in the making.
type Image struct{ entries []cpio.Entry }

// AddFile packs a file of this machine under a name of at most one folder.
func (i *Image) AddFile(name, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%w: run make setup build", err)
	}
	i.Add(name, content)
	return nil
}

// Add packs a file that may be executed.
func (i *Image) Add(name string, content []byte) {
	d := filepath.Dir(name)
	if d != "." && !slices.ContainsFunc(i.entries, func(e cpio.Entry) bool { return e.Name == d }) {
		i.entries = append(i.entries, cpio.Entry{Name: d, Mode: fs.ModeDir | 0o755})
	}
	i.entries = append(i.entries, cpio.Entry{Name: name, Mode: 0o755, Content: content})
}

// AddModules packs drivers as modules/NAME.ko with all that they depend on, and returns them in the order of loading.
func (i *Image) AddModules(drivers ...string) (order []string, err error) {
	for _, d := range drivers {
		if order, err = withDependencies(order, d); err != nil {
			return nil, fmt.Errorf("%w: run make setup", err)
		}
	}
	for _, name := range order {
		if err := i.AddFile("modules/"+name+".ko", modulePath(name)); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Write writes the image to a file.
func (i *Image) Write(path string) error {
	b, err := cpio.Archive(i.entries)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

func modulePath(name string) string { return filepath.Join(KernelDir(), "modules", name+".ko") }

// withDependencies appends a module after those that its .modinfo section names and that are files: others are built
// into the kernel.
func withDependencies(order []string, name string) ([]string, error) {
	if slices.Contains(order, name) {
		return order, nil
	}
	f, err := elf.Open(modulePath(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		list, ok := strings.CutPrefix(string(field), "depends=")
		for dep := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' }) {
			if file := moduleFile(dep); ok && file != "" {
				if order, err = withDependencies(order, file); err != nil {
					return nil, err
				}
			}
		}
	}
	return append(order, name), nil
}

// moduleFile finds a module's file: its name in the kernel has _ where the file may have -.
func moduleFile(name string) string {
	for _, file := range []string{name, strings.ReplaceAll(name, "_", "-")} {
		if _, err := os.Stat(modulePath(file)); err == nil {
			return file
		}
	}
	return ""
}
