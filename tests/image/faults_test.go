//go:build imagetest

package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"touchmark/appliance/boot"
	"touchmark/appliance/operator"
	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/appliance/update/fat"
	imagecard "touchmark/image/card"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledgerstore/durable"
)

// TestAccidents: nobody touches; the token is pulled while it waits for a touch, and comes back; the cable is pulled and comes
// back; the operator switches the board off and on. Each time the board signs afterwards.
func TestAccidents(t *testing.T) {
	r := up(t)
	failed := func(name string, accident func()) {
		t.Helper()
		mark := r.Views().Mark()
		done := r.ask(r.file(name))
		r.arm(mark, done)
		r.must(r.Token.Await(r.ctx))
		accident()
		if res := <-done; res.Code == 0 {
			t.Errorf("%s: signed all the same", name)
		}
		if _, err := os.Stat(r.path(name + ".sig")); err == nil {
			t.Errorf("%s: there is a signature", name)
		}
	}
	failed("untouched", func() { r.must(r.Token.Expire(r.ctx)) })
	r.sign(r.file("after-the-timeout"))
	failed("pulled", func() { r.must(r.Token.Pull(r.ctx)) })
	mark := r.Views().Mark()
	r.must(r.Token.Insert(r.ctx))
	r.must(r.Unlock(r.ctx, mark, world.PIN))
	r.sign(r.file("after-the-token-came-back"))

	mark = r.Views().Mark()
	r.pullLine()
	_, mark = r.seen(mark, "that the host is gone", func(v operator.View) bool { return v.Host == "down" })
	r.plugLine()
	r.seen(mark, "that the host is back", func(v operator.View) bool { return v.Host == "repo1" })
	r.sign(r.file("after-the-cable-came-back"))

	r.off()
	r.on()
	r.sign(r.file("after-a-night"))
	r.clean()
}

// TestDamagedCard: a full disk, a boot image with one byte flipped, and a disk with no file system are each said, nothing is
// signed that is not logged, and the board goes on once they are mended.
func TestDamagedCard(t *testing.T) {
	r := up(t)
	r.sign(r.file("before"))
	r.off()

	r.fill()
	r.boot()
	var halted *world.HaltedError
	if err := r.Unlock(r.ctx, 0, world.PIN); !errors.As(err, &halted) || !strings.Contains(err.Error(), "log-unwritable") {
		t.Errorf("on a full disk: %v", err)
	}
	r.seen(0, "that the disk is full", func(v operator.View) bool { return contains(v, "left: when it is full") })
	r.signsNothing("on-a-full-disk")
	r.fetchedAnew()
	r.off()
	r.debugfs("rm full")
	r.on()
	r.sign(r.file("with-space-again"))
	r.off()

	r.flip(r.bootImage())
	r.on()
	r.sign(r.file("with-another-image"))
	r.foreign()
	r.cut()

	r.flip(r.partition(4) + boot.SuperblockAt + 0x38) // the number by which ext4 is known
	end := r.mark()
	r.boot()
	r.heard(end, "has no ext4 file system")
}

// TestWrongWord: an image whose command line has a word that nobody knows starts nothing, and if it is on trial, the next
// start is of the old one.
func TestWrongWord(t *testing.T) {
	r := newRig(t, "touchmark.shell=/bin/sh")
	c, err := card.Open(durable.OS, r.path("card"))
	r.must(err)
	r.must(c.Set(update.State{Boot: update.B, Phase: update.Switched, Outcome: update.None, Order: [32]byte{1}, Serial: update.Serial}))
	r.must(c.Close())
	r.boot()
	r.heard(0, `Touchmark: the command line's touchmark."shell" is not known: nothing is started`)
	r.cut()
	if s := r.state(); s.Phase != update.Trying || s.Boot != update.A {
		t.Errorf("%+v", s)
	}
	for _, line := range r.lines {
		if strings.HasPrefix(line, `{"`) {
			t.Errorf("the appliance runs: %s", line)
		}
	}
}

// TestTPMReset: the TPM loses its power and gets it back while the board runs, somebody else writes to its register, and it is
// reset and stays so. The board goes on with a boot entry, halts until a start, waits for it; the auditor finds no evidence.
func TestTPMReset(t *testing.T) {
	r := up(t)
	r.must(r.tpm.PlatformLocked()) // since the ceremony
	r.sign(r.file("before"))
	before := r.clean()

	mark := r.Views().Mark()
	r.tpm.Record()
	r.must(r.tpm.PowerCycle())
	r.seen(mark, "that it has started again", func(v operator.View) bool { return v.Event == "ready" })
	r.must(r.tpm.LockedFirst(append(kernels, swtpm.PCRRead)...)) // of the board's look at its TPM, if the reset came into one
	r.sign(r.file("after-the-reset"))
	if after := r.clean(); after != before+1 {
		t.Errorf("%d boot entries, then %d", before, after)
	}

	mark = r.Views().Mark()
	_, err := r.tpm.Tool("tpm2_pcrextend", "14:sha256="+strings.Repeat("67", 32))
	r.must(err)
	r.seen(mark, "a halt", func(v operator.View) bool { return v.Halt == string(recovery.PCRUnexplained) })
	r.signsNothing("while-halted")
	r.cut()
	r.startTPM()
	r.tpm.Record()
	r.on()
	r.must(r.tpm.LockedFirst(kernels...))
	t.Logf("the TPM's commands of a start: %x", r.tpm.Recorded())
	r.sign(r.file("after-the-halt"))

	mark = r.Views().Mark()
	r.tpm.Record()
	r.must(r.tpm.Reset()) // and nobody starts it: TPM_RC_INITIALIZE, whatever it is asked
	r.seen(mark, "that the TPM does not answer", func(v operator.View) bool {
		return v.Event == "tpm-error" && strings.Contains(v.Message, "switch the board off and on")
	})
	if slices.ContainsFunc(r.tpm.Recorded(), func(c swtpm.Recorded) bool { return c.Code == swtpm.Startup }) {
		t.Errorf("the board starts its TPM: %x", r.tpm.Recorded())
	}
	r.cut()
	r.on()
	r.sign(r.file("after-all"))
	r.clean()
}

// kernels are the commands that the kernel gives a TPM by itself: it finds out what it has, and takes randomness from it.
// None of them needs an authorization, and none of the board's programs gives them before it is locked.
var kernels = []uint32{swtpm.SelfTest, swtpm.GetCapability, swtpm.GetRandom}

// signsNothing has the host ask a board that is to refuse.
func (r *rig) signsNothing(name string) {
	r.t.Helper()
	if res := <-r.ask(r.file(name)); res.Code == 0 {
		r.t.Errorf("%s: signed", name)
	}
	if _, err := os.Stat(r.path(name + ".sig")); err == nil {
		r.t.Errorf("%s: there is a signature", name)
	}
}

func contains(v operator.View, words string) bool { return strings.Contains(v.Warning, words) }

// left are the blocks that fill leaves, fewer than a commit needs.
const left = 2

// fill fills the data partition.
func (r *rig) fill() {
	r.t.Helper()
	m := regexp.MustCompile(`Free blocks: +([0-9]+)`).FindStringSubmatch(r.debugfs("show_super_stats -h"))
	if m == nil {
		r.t.Fatal("debugfs does not tell how many blocks are free")
	}
	free, err := strconv.Atoi(m[1])
	r.must(err)
	r.debugfs("write " + r.file("filler") + " full")
	r.debugfs(fmt.Sprintf("fallocate full 1 %d", free-left-free/1000)) // some blocks go into saying where they are
}

// bootImage is where on the card the middle of slot A's boot.img is: the build has it in one piece.
func (r *rig) bootImage() int64 {
	r.t.Helper()
	f, err := os.Open(r.path("card"))
	r.must(err)
	defer f.Close()
	size := r.partition(3) - r.partition(2)
	slot, err := fat.Open(io.NewSectionReader(f, r.partition(2), size), size)
	r.must(err)
	image, err := slot.Find(imagecard.BootFile)
	r.must(err)
	return r.partition(2) + image.Offset() + image.Size/2
}

// flip changes a byte of the card.
func (r *rig) flip(at int64) {
	r.t.Helper()
	f, err := os.OpenFile(r.path("card"), os.O_RDWR, 0)
	r.must(err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	r.must(err)
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	r.must(err)
}

// foreign has the auditor name a start that booted what the build is not.
func (r *rig) foreign() {
	r.t.Helper()
	r.publish()
	res, err := r.Run(r.ctx, r.dir, "touchmark-audit", "verify", r.Mirror, "--trust", r.Trust, "--golden", r.golden)
	r.must(err)
	if res.Code != 1 || !strings.Contains(res.Stdout, "boot-foreign") {
		r.t.Errorf("touchmark-audit: exit code %d, want a warning boot-foreign:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
}
