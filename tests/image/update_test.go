//go:build imagetest

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/golden"
	"touchmark/tpm/ledger"
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

// start is what the boot loader does: it takes the slot that autoboot.txt names.
func (u *updating) start() {
	u.t.Helper()
	at := u.state().Boot
	u.boot(append(u.load(at), "-append", u.line(at))...)
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

// published is what the build in a folder published, with the command line of a slot, and the file with it.
func (u *updating) published(folder string, at update.Slot) (g golden.Image, path string) {
	u.t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "golden.txt"))
	u.must(err)
	g, err = golden.Parse(text)
	u.must(err)
	g.Measured.CommandLine = boot.CommandLine(u.line(at))
	text, err = g.Marshal()
	u.must(err)
	path = u.path("golden-" + at.String())
	u.must(os.WriteFile(path, text, 0o600))
	return g, path
}

// story is what the published log says of images: each order, each change, each start with what it measured.
func (u *updating) story() (said []string) {
	u.t.Helper()
	u.publish()
	for _, e := range u.entries() {
		switch b := e.body.(type) {
		case *ledger.Boot:
			said = append(said, started(golden.Image{Firmware: b.Firmware, Measured: b.Measured}))
		case *ledger.Update:
			said = append(said, fmt.Sprintf("update from %s to %s, %x", b.From, b.To, b.Image))
		case *ledger.Order:
			if b.Action == ledger.KindImage {
				said = append(said, "order of an image")
			}
		}
	}
	return said
}

func started(g golden.Image) string { return fmt.Sprintf("start of %s, %s", g.Firmware, g.Measured) }

// told: the published log tells of the enrolment's start, a trial that fell back, one that was kept, and no more than a start
// behind it; the auditor knows each start by what the two builds published.
func (u *updating) told() {
	u.t.Helper()
	a, oldFile := u.published(u.machine.Image, update.A)
	b, nextFile := u.published(u.next, update.B)
	forth := fmt.Sprintf("update from %s to %s, %x", a.Firmware, b.Firmware, b.Measured.Image)
	back := fmt.Sprintf("update from %s to %s, ", b.Firmware, a.Firmware)
	want := []string{
		started(a), "order of an image", forth, started(b), back, started(a),
		"order of an image", forth, started(b), started(b),
	}
	if got := u.story(); !slices.Equal(got, want) {
		u.t.Errorf("the log says\n%s, not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	u.judged(0, map[string]uint64{"firmware-updated": 3}, oldFile, nextFile)
	u.judged(1, map[string]uint64{"firmware-updated": 3, "boot-foreign": 3}, oldFile) // as long as nobody has the next build's values
}

// judged has the auditor judge with the values of some builds, and wants of what is about starts these findings, so often.
func (u *updating) judged(code int, want map[string]uint64, builds ...string) {
	u.t.Helper()
	args := []string{"verify", u.Mirror, "--trust", u.Trust, "--json"}
	for _, path := range builds {
		args = append(args, "--golden", path)
	}
	res, err := u.Run(u.ctx, u.dir, "touchmark-audit", args...)
	u.must(err)
	var report struct{ Findings []finding.Finding }
	u.must(json.Unmarshal([]byte(res.Stdout), &report))
	got := map[string]uint64{}
	for _, f := range report.Findings {
		if f.Severity != finding.Info || f.Code == finding.Updated || f.Code == finding.BootUnknown {
			got[f.Code] = f.Count
		}
	}
	if res.Code != code || !maps.Equal(got, want) {
		u.t.Errorf("touchmark-audit: exit code %d, %v; want %d, %v\n%s", res.Code, got, code, want, res.Stdout)
	}
}

// TestUpdate is an update from a stick to a kept image, on the card of a machine that starts what the card says. After each
// part the board signs, but for the last.
func TestUpdate(t *testing.T) {
	u := newUpdating(t)
	for _, part := range []struct {
		what string
		do   func()
	}{
		{"a trial without a host", u.tries},
		{"it falls back", u.fallsBack},
		{"a trial that is kept", u.keeps},
		{"the older image is refused", u.refuses},
		{"what the log says", u.told},
		{"the older image is started all the same", u.halts},
	} {
		begun := time.Now()
		part.do()
		t.Logf("%s: %.0f s", part.what, time.Since(begun).Seconds())
	}
}

// tries is a trial in which no host comes.
func (u *updating) tries() {
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
		u.t.Fatalf("%+v", s)
	}
}

// fallsBack is the start after that.
func (u *updating) fallsBack() {
	u.cut()
	u.start()
	u.ready()
	u.seen(0, "the old image", func(v operator.View) bool { return strings.Contains(v.Warning, "did not come up") })
	u.host()
	u.signs("fallen-back")
}

// keeps is a second trial, with a host.
func (u *updating) keeps() {
	u.switches()
	u.cut()
	u.start()
	u.ready()
	u.seen(0, "the end of the trial", func(operator.View) bool { return u.state().Phase == update.Settled })
	if s := u.state(); s.Boot != update.B || s.Outcome != update.Kept {
		u.t.Fatalf("%+v", s)
	}
	u.signs("kept")
}

// refuses is an order of the image that was before, and another start of the one that was kept.
func (u *updating) refuses() {
	mark := u.Views().Mark()
	u.orders(u.machine.Image)
	v, _ := u.seen(mark, "a refusal", func(v operator.View) bool { return v.Event == "order-dropped" })
	if !strings.Contains(v.Message, "the image is older") {
		u.t.Error(v.Message)
	}
	u.cut()
	u.start()
	u.ready()
	u.signs("after")
}

// halts is a start of the older image, which somebody has the card name and the TPM's counter does not let sign any more.
func (u *updating) halts() {
	u.cut()
	c, err := card.Open(durable.OS, u.path("card"))
	u.must(err)
	u.must(c.Set(update.State{Boot: update.A, Phase: update.Settled, Outcome: update.None, Serial: update.Serial}))
	u.must(c.Close())
	u.start()
	var halted *world.HaltedError
	if err := u.Unlock(u.ctx, 0, world.PIN); !errors.As(err, &halted) || !strings.Contains(err.Error(), string(recovery.ImageOld)) {
		u.t.Errorf("the older image: %v", err)
	}
	u.signsNothing("with-the-older-image")
}
