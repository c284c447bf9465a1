package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/appliance/update/cardtest"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/world"
	"touchmark/tpm/device"
	"touchmark/tpm/ledgerstore/durable"
)

// carded is a world whose board is started from a card, and to which sticks are brought.
type carded struct {
	*rig
	card, stick string
}

func newCarded(t *testing.T, s update.State) *carded {
	c := &carded{card: cardtest.Write(t, s), stick: t.TempDir()}
	c.rig = up(t, world.Config{Wrap: func(program string, argv []string) []string {
		if program == "appliance" && slices.Contains(argv, "run") {
			argv = append(slices.Clone(argv), "--card", c.card, "--board", "test", "--orders", c.stick)
		}
		return argv
	}})
	return c
}

// state is what the card says.
func (c *carded) state() update.State {
	c.t.Helper()
	opened, err := card.Open(durable.OS, c.card)
	c.must(err)
	defer func() { c.must(opened.Close()) }()
	return opened.State()
}

// warned waits for a warning on the display.
func (c *carded) warned(of string) {
	c.t.Helper()
	_, _, err := c.Views().Wait(c.ctx, 0, func(v operator.View) bool { return strings.Contains(v.Warning, of) })
	c.must(err)
}

// floor is the TPM's counter, raised first.
func (c *carded) floor(raise uint64) uint64 {
	c.t.Helper()
	tpm, err := device.Open(c.TPM.Spec())
	c.must(err)
	defer func() { c.must(tpm.Close()) }()
	if raise > 0 {
		c.must(tpm.RaiseFloor(raise))
	}
	at, err := tpm.Floor()
	c.must(err)
	return at
}

// image has the administrator order an image, whose slot is brought on a stick.
func (c *carded) image(version, serial string) (note string) {
	c.t.Helper()
	im, slot := cardtest.Image(version, 0)
	path := filepath.Join(c.work, "slot.img")
	c.must(os.WriteFile(path, slot, 0o644))
	c.must(os.WriteFile(filepath.Join(c.stick, update.FileName(im)), slot, 0o644))
	return c.order("image", "--slot", path, "--board", "test", "--version", version, "--serial", serial)
}

// Administrators order another image: it is written to the other slot, the order goes into log and TPM, and the next start
// is to try it. What is older is refused, and the auditor finds all in order.
func TestImageOrder(t *testing.T) {
	c := newCarded(t, update.First())
	c.works()
	c.orders(c.image("9.9.9", "2"))
	c.warned("RESTART")
	s := c.state()
	if s.Phase != update.Switched || s.Boot != update.B || s.Serial != 2 {
		t.Fatalf("%+v", s)
	}
	raw, err := os.ReadFile(c.card)
	c.must(err)
	l, err := update.ReadLayout(bytes.NewReader(raw))
	c.must(err)
	if _, slot := cardtest.Image("9.9.9", 2); !bytes.HasPrefix(raw[l.B.Offset:], slot) {
		t.Error("slot B does not hold the image")
	}
	c.StopAppliance() // the program, not the machine
	c.must(c.StartAppliance(c.ctx))
	c.warned("RESTART")
	c.works()
	if res := c.client(api.Refused, "order", "submit", c.image("0.0.1", "1")); !strings.Contains(res.Stderr, "the image is older") {
		t.Error(res.Stderr)
	}
	c.clean()
	if at := c.floor(0); at != update.Serial {
		t.Errorf("the TPM's counter stands at %d", at)
	}
}

// An image on trial is kept once token and host are there; one that is older than the TPM allows signs nothing.
func TestImageOnTrial(t *testing.T) {
	c := newCarded(t, update.State{Boot: update.B, Phase: update.Switched, Outcome: update.None, Serial: update.Serial, Start: update.Start{1}})
	c.works()
	_, _, err := c.Views().Wait(c.ctx, 0, func(v operator.View) bool { return c.state().Phase == update.Settled })
	c.must(err)
	if s := c.state(); s.Boot != update.B || s.Outcome != update.Kept {
		t.Errorf("%+v", s)
	}
	c.StopAppliance()
	c.floor(update.Serial + 1)
	c.must(c.LaunchAppliance())
	v, _, err := c.Views().Wait(c.ctx, 0, func(v operator.View) bool {
		if v.Ask == operator.AskTime {
			c.must(c.Operator("time yes"))
		}
		return v.Halted != ""
	})
	c.must(err)
	if v.Halt != "image-old" || !strings.Contains(v.Halted, "write the newest") {
		t.Errorf("%s: %s", v.Halt, v.Halted)
	}
}
