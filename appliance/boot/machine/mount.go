package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount is one call of mount(2).
type mount struct {
	target, kind, options string
	flags                 uintptr
	optional              bool // a kernel need not have it
}

const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// basics are the kernel's own file systems. Nobody sees other users' processes.
var basics = []mount{
	{target: "/proc", kind: "proc", options: "hidepid=invisible", flags: plain},
	{target: "/sys", kind: "sysfs", flags: plain},
	{target: "/dev", kind: "devtmpfs", options: "mode=0755", flags: unix.MS_NOSUID | unix.MS_NOEXEC},
	{target: "/run", kind: "tmpfs", options: "mode=0755,size=16m", flags: plain},
	{target: "/media", kind: "tmpfs", options: "mode=0755,size=64k", flags: plain},
	{target: "/sys/kernel/config", kind: "configfs", flags: plain, optional: true},
	{target: "/sys/fs/pstore", kind: "pstore", flags: plain, optional: true},
}

// MountBasics mounts them, and makes the directories that all else needs.
func MountBasics() error {
	var errs []error
	for _, m := range basics {
		if !m.optional {
			errs = append(errs, os.MkdirAll(m.target, 0o755))
		}
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.options); err != nil && !m.optional && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mounting %s: %w", m.target, err))
		}
	}
	for _, d := range []string{DataDir, StickDir, RunDir} {
		errs = append(errs, os.MkdirAll(d, 0o755))
	}
	return errors.Join(append(errs, os.Chown(RunDir, CoreID, CoreID))...)
}

// settings are what the kernel is told, below /proc/sys
// (Documentation/admin-guide/sysctl). One that it does not have is none. What must hold
// before the first process, how it ends after a panic and who attaches to whom, the command
// line says (image/board).
var settings = map[string]string{
	"kernel/panic_on_oops":        "1",
	"kernel/sysrq":                "0",
	"kernel/dmesg_restrict":       "1",
	"kernel/kptr_restrict":        "2",
	"kernel/modules_disabled":     "1",
	"kernel/kexec_load_disabled":  "1",
	"kernel/core_pattern":         "|/bin/false",
	"fs/suid_dumpable":            "0",
	"fs/protected_symlinks":       "1",
	"fs/protected_hardlinks":      "1",
	"fs/protected_regular":        "2",
	"fs/protected_fifos":          "2",
	"vm/unprivileged_userfaultfd": "0",
}

// Harden tells the kernel.
func Harden(sysctl string) error {
	var errs []error
	for name, value := range settings {
		if err := tell(filepath.Join(sysctl, name), value); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tell writes to a file that is the kernel's.
func tell(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
