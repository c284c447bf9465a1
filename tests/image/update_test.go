//go:build imagetest

package image

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/boot"
	"touchmark/appliance/operator"
	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/image/manifest"
	"touchmark/tests/world"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore/durable"
)

// updating is a board that is enrolled, and the build that is to come next.
type updating struct {
	*rig
	next string // its folder
}

func newUpdating(t *testing.T) *updating {
	t.Helper()
	u := &updating{next: os.Getenv("TOUCHMARK_IMAGE_NEXT")}
	if _, err := os.Stat(filepath.Join(u.next, "slot.img")); err != nil {
		t.Fatalf("TOUCHMARK_IMAGE_NEXT: %v: run make image-test", err)
	}
	u.rig = newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience) // it starts often
	t.Cleanup(cancel)
	u.ctx = ctx
	u.ceremony()
	u.widen()
	u.boot()
	u.enrol()
	u.run("mdel", "-i", u.path("stick"), "::"+boot.CeremonyFile) // or the board would hold the ceremony again
	u.host()
	return u
}

// widen makes room on the stick for two slots beside what is on it.
func (u *updating) widen() {
	u.t.Helper()
	old, files := u.path("stick"), u.path("files")
	u.must(os.Mkdir(files, 0o755))
	u.run("mcopy", "-i", old, "::*", files)
	u.must(os.Remove(old))
	u.run("mkfs.vfat", "-C", old, "98304")
	for _, name := range []string{boot.CeremonyFile, "policy.note"} {
		u.run("mcopy", "-i", old, filepath.Join(files, name), "::"+name)
	}
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// release reads which build is in a folder.
func (u *updating) release(folder string) (m manifest.Manifest) {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	u.must(err)
	u.must(json.Unmarshal(text, &m))
	return m
}

// orders brings a build and its order on a stick, and leaves it plugged in.
func (u *updating) orders(folder string) {
	u.t.Helper()
	m, slot := u.release(folder), filepath.Join(folder, "slot.img")
	text, note := u.path("image.order"), u.path("image.note")
	u.must(os.RemoveAll(text)) // of the build before
	u.publish()
	for _, args := range [][]string{
		{"order", "new", "image", "--slot", slot, "--board", m.Board, "--version", m.Version, "--serial", itoa(m.Serial),
			"--checkpoint", filepath.Join(u.Mirror, "checkpoint"), "--reason", "a test", "--out", text},
		{"order", "sign", "--key", u.Key("admin1"), "--out", note, text},
	} {
		if res, err := u.Run(u.ctx, u.dir, "touchmark", args...); err != nil || res.Code != 0 {
			u.t.Fatalf("touchmark %q: %v: exit code %d\n%s%s", args, err, res.Code, res.Stdout, res.Stderr)
		}
	}
	signed, err := os.ReadFile(text)
	u.must(err)
	o, err := order.Parse(signed)
	u.must(err)
	u.run("mcopy", "-o", "-i", u.path("stick"), slot, "::"+update.FileName(o.Action.(*order.Image))) // in place: the machine has the file open
	u.run("mcopy", "-o", "-i", u.path("stick"), note, "::image.note")
	u.plug()
}

// switches orders the next build and has it armed.
func (u *updating) switches() {
	u.t.Helper()
	mark := u.Views().Mark()
	u.orders(u.next)
	v, mark := u.seen(mark, "the order", func(v operator.View) bool { return v.Order != nil && v.Ask == operator.AskArm })
	u.must(u.Operator("arm " + v.Order.ID))
	u.seen(mark, "that it wants a restart", func(v operator.View) bool { return strings.Contains(v.Warning, "RESTART") })
	u.unplug()
	if s := u.state(); s.Phase != update.Switched {
		u.t.Fatalf("%+v", s)
	}
}

// start is what the boot loader does: it takes the slot that autoboot.txt names, and of its boot.img kernel and initramfs.
func (u *updating) start() {
	u.t.Helper()
	at := u.state().Boot
	f, err := os.Open(u.path("card"))
	u.must(err)
	l, err := update.ReadLayout(f)
	u.must(err)
	raw := make([]byte, l.Slot(at).Size)
	_, err = f.ReadAt(raw, l.Slot(at).Offset)
	u.must(err)
	u.must(f.Close())
	slot, image := u.path("slot"), u.path("boot.img")
	u.must(os.WriteFile(slot, raw, 0o600))
	for _, c := range []struct{ from, name, to string }{{slot, "boot.img", image}, {image, "kernel8.img", u.path("kernel")}, {image, "initrd.zst", u.path("initrd")}} {
		u.run("mcopy", "-n", "-o", "-i", c.from, "::"+c.name, c.to)
	}
	u.boot("-kernel", u.path("kernel"), "-initrd", u.path("initrd"), "-append", u.line(at))
}

// line is the command line of an image in a slot.
func (u *updating) line(s update.Slot) string {
	return strings.Replace(u.commandLine(), "touchmark.slot=2", "touchmark.slot="+itoa(uint64(s)), 1)
}

// ready has the operator do what a start asks for, and answers the display then.
func (u *updating) ready() operator.View {
	u.t.Helper()
	u.must(u.Unlock(u.ctx, 0, world.PIN))
	v, _ := u.seen(0, "the token's readiness", func(v operator.View) bool { return v.Token == "ready" && v.State == "ready" })
	return v
}

// signs shows that the board works.
func (u *updating) signs(name string) {
	u.t.Helper()
	path := u.path(name)
	u.must(os.WriteFile(path, []byte(name), 0o600))
	u.sign(path)
}

// audits has the auditor judge with the values of both builds.
func (u *updating) audits() {
	u.t.Helper()
	u.publish()
	args := []string{"verify", u.Mirror, "--trust", u.Trust, "--golden", u.golden}
	for _, of := range []struct {
		folder string
		slot   update.Slot
	}{{u.next, update.B}} {
		text, err := os.ReadFile(filepath.Join(of.folder, "golden.txt"))
		u.must(err)
		g, err := golden.Parse(text)
		u.must(err)
		g.Measured.CommandLine = boot.CommandLine(u.line(of.slot))
		text, err = g.Marshal()
		u.must(err)
		path := u.path("golden-next")
		u.must(os.WriteFile(path, text, 0o600))
		args = append(args, "--golden", path)
	}
	res, err := u.Run(u.ctx, u.dir, "touchmark-audit", args...)
	u.must(err)
	if res.Code != 0 || strings.Contains(res.Stdout, "boot-foreign") || strings.Contains(res.Stdout, "boot-unmeasured") {
		u.t.Errorf("touchmark-audit: exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
}

// TestUpdate is an update from a stick to a kept image, on the card of a machine that starts what the card says: a first trial
// without a host falls back, a second one is kept; then the older image is refused, and halts where somebody starts it all the
// same; the auditor knows every start.
func TestUpdate(t *testing.T) {
	begun := time.Now()
	u := newUpdating(t)
	next := u.release(u.next)
	u.signs("before")
	u.switches()
	u.StopHostd()
	u.cut()
	u.start()
	u.ready()
	u.seen(0, "the trial", func(v operator.View) bool {
		return strings.Contains(v.Warning, "ON TRIAL: version "+next.Version) && strings.Contains(v.Warning, "a host")
	})
	if s := u.state(); s.Phase != update.Trying || s.Boot != update.A {
		t.Fatalf("%+v", s)
	}
	t.Logf("on trial after %v", time.Since(begun))

	u.cut()
	u.start()
	u.ready()
	u.seen(0, "the old image", func(v operator.View) bool { return strings.Contains(v.Warning, "did not come up") })
	u.host()
	u.signs("fallen-back")
	t.Logf("fallen back after %v", time.Since(begun))

	u.switches()
	u.cut()
	u.start()
	u.ready()
	u.seen(0, "the end of the trial", func(operator.View) bool { return u.state().Phase == update.Settled })
	if s := u.state(); s.Boot != update.B || s.Outcome != update.Kept {
		t.Fatalf("%+v", s)
	}
	u.signs("kept")
	t.Logf("kept after %v", time.Since(begun))

	mark := u.Views().Mark()
	u.orders(u.machine.Image)
	v, _ := u.seen(mark, "a refusal", func(v operator.View) bool { return v.Event == "order-dropped" })
	if !strings.Contains(v.Message, "the image is older") {
		t.Error(v.Message)
	}
	u.cut()
	u.start()
	u.ready()
	u.signs("after")
	u.audits()

	u.cut()
	c, err := card.Open(durable.OS, u.path("card"))
	u.must(err)
	u.must(c.Set(update.State{Boot: update.A, Phase: update.Settled, Outcome: update.None, Serial: update.Serial}))
	u.must(c.Close())
	u.start() // from the slot of the older image, which the TPM's counter does not let sign any more
	var halted *world.HaltedError
	if err := u.Unlock(u.ctx, 0, world.PIN); !errors.As(err, &halted) || !strings.Contains(err.Error(), string(recovery.ImageOld)) {
		t.Errorf("the older image: %v", err)
	}
	u.signsNothing("with-the-older-image")
	t.Logf("all of it in %v", time.Since(begun))
}
