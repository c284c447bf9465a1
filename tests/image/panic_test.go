//go:build imagetest

package image

import (
	"regexp"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/tests/image/qemu"
	"touchmark/tests/world"
)

// TestPanic: the first process dies while the board runs, so the kernel stops, starts anew by itself, and finds its last words
// where the device tree has memory for them: the display says so, and the data partition has them.
func TestPanic(t *testing.T) {
	r := newRig(t)
	r.withGuest("panic")
	r.ceremony()
	r.boot(r.keepsWords()...)
	r.enrol()
	r.host()
	r.sign(r.file("before"))

	mark, end := r.Views().Mark(), r.mark()
	r.do("device_add", map[string]any{"driver": "usb-tablet", "id": "tablet"}) // which the guest waits for
	r.heard(end, "Kernel panic - not syncing: Attempted to kill init!")
	_, mark = r.seen(mark, "that the kernel had stopped", func(v operator.View) bool { return contains(v, "The kernel had stopped") })
	r.must(r.Unlock(r.ctx, mark-1, world.PIN)) // from that view on: those before it are of the start before
	r.sign(r.file("after-the-panic"))
	r.clean()
	r.off()
	for _, want := range []string{"Panic#1", "Kernel panic - not syncing: Attempted to kill init!", "touchmark-init: "} {
		if said := r.kept("crash", "dmesg-ramoops-0"); !strings.Contains(said, want) {
			t.Errorf("the data partition does not have %q:\n%s", want, said)
		}
	}
}

// keepsWords are QEMU's arguments for a machine that starts anew when its kernel says so, and whose device tree has memory for
// the kernel's last words.
func (r *rig) keepsWords() []string {
	r.t.Helper()
	return append(r.tree("ramoops", "256"), "-action", "reboot=reset")
}

// tree are QEMU's arguments for a machine with so many MiB of memory and testdata's tree over its own.
func (r *rig) tree(name, memory string) []string {
	r.t.Helper()
	virt := qemu.Virt(qemu.A72)
	r.run(virt[0], append(virt[1:], "-m", memory, "-machine", "dumpdtb="+r.path("virt.dtb"))...)
	args := []string{"-i", r.path("virt.dtb"), "-o", r.path("dtb")}
	for _, over := range []string{"tpm", name} {
		r.run("dtc", "-q", "-@", "-O", "dtb", "-o", r.path(over+".dtbo"), "testdata/"+over+".dts")
		args = append(args, r.path(over+".dtbo"))
	}
	r.run("fdtoverlay", args...)
	return []string{"-m", memory, "-dtb", r.path("dtb")}
}

// kept is what a directory of the data partition has of the kernel's last words under a name of pstore's.
func (r *rig) kept(dir, name string) string {
	r.t.Helper()
	file := regexp.MustCompile(`[0-9]{2}-` + name).FindString(r.debugfs("ls " + dir))
	if file == "" {
		r.t.Fatalf("%s has no %s: %s", dir, name, r.debugfs("ls "+dir))
	}
	return r.debugfs("cat " + dir + "/" + file)
}
