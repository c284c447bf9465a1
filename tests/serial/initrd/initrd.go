// Package initrd packs what a virtual machine of the tests starts with: programs,
// and the modules of Debian's kernel that `make setup` has fetched.
package initrd

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// KernelDir is where make setup has put the kernel: vmlinux and modules.
func KernelDir() string { return filepath.Join(os.Getenv("TOUCHMARK_BIN"), "..", "kernel") }

// Kernel is the kernel's image.
func Kernel() string { return filepath.Join(KernelDir(), "vmlinux") }

// Image is an initramfs in the making (Documentation/driver-api/early-userspace/buffer-format.rst, "newc").
type Image struct {
	b    bytes.Buffer
	dirs map[string]bool
}

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
	if d := filepath.Dir(name); d != "." && !i.dirs[d] {
		i.dirs = map[string]bool{d: true}
		i.entry(d, 0o040755, nil)
	}
	i.entry(name, 0o100755, content)
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

// Write ends the image and writes it to a file.
func (i *Image) Write(path string) error {
	i.entry("TRAILER!!!", 0, nil)
	return os.WriteFile(path, i.b.Bytes(), 0o600)
}

func (i *Image) entry(name string, mode int, content []byte) {
	fmt.Fprintf(&i.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		i.b.Len(), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	i.b.WriteString(name + "\x00")
	i.pad()
	i.b.Write(content)
	i.pad()
}

func (i *Image) pad() { i.b.Write(make([]byte, -i.b.Len()&3)) }

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
