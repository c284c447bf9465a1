//go:build emulated

package crash

import (
	"fmt"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
)

// deed is what root, or a screwdriver, does to the TPM while the board is off,
// and what the next start makes of it.
type deed struct {
	name string
	do   func(r *run) error
	says string             // on the display; "" if the board goes on
	out  func(r *run) error // what leads out of it; nil: nothing but the right TPM
}

var deeds = []deed{
	{"TPM2_Clear", tool("tpm2_clear", "-c", "p"), "ak-missing", nil},
	{"another TPM", func(r *run) error { return r.tpm.Restore(r.base.blank) }, "head-missing", (*run).backInPlace},
	{"HEAD hidden by the platform", tool("tpm2_hierarchycontrol", "-C", "p", "phEnableNV", "clear"), "head-missing", (*run).cycled},
	{"HEAD undefined", refused("tpm2_nvundefine", "-C", "p", headIndex), "", nil},
	{"HEAD undefined by its owner", refused("tpm2_nvundefine", "-C", "o", headIndex), "", nil},
	{"HEAD written", refused("tpm2_nvwrite", "-C", headIndex, headIndex, "-i", "/dev/null"), "", nil},
	{"garbage extended into HEAD", extending((*device.TPM).ExtendHead), "head-unknown", (*run).resumed},
	{"the TPM as it was before", (*run).putBack, "head-behind", (*run).resumed},
	{"garbage extended into the PCR", extending((*device.TPM).ExtendPCR), "pcr-unexplained", (*run).cycled},
	{"the TPM reset and the true log replayed", (*run).replayed, "pcr-unexplained", (*run).cycled},
	{"suspended and resumed", func(r *run) error { return r.tpm.Cycle(swtpm.Resume) }, "", nil},
	{"reset without a shutdown", func(r *run) error { return r.tpm.PowerCycle() }, "", nil},
}

const headIndex = "0x01800100"

func tool(name string, args ...string) func(*run) error {
	return func(r *run) error { _, err := r.tpm.Tool(name, args...); return err }
}

// refused is what a TPM does not do, even for root.
func refused(name string, args ...string) func(*run) error {
	return func(r *run) error {
		out, err := r.tpm.Tool(name, args...)
		if err == nil {
			return fmt.Errorf("the TPM did it: %s", out)
		}
		return nil
	}
}

func extending(f func(*device.TPM, [32]byte) error) func(*run) error {
	return func(r *run) error {
		return r.beside(func(t *device.TPM) error { return f(t, [32]byte{0x67}) })
	}
}

// putBack gives the TPM the memory that it had before the last signature.
func (r *run) putBack() error { return r.tpm.Restore(r.base.flash) }

// backInPlace puts the right TPM back, whose memory is that of now.
func (r *run) backInPlace() error { return r.tpm.Restore(r.flash) }

func (r *run) cycled() error { return r.tpm.PowerCycle() }

// replayed extends into the PCR of a TPM that was reset what the log says.
func (r *run) replayed() error {
	log, err := r.log()
	if err != nil {
		return err
	}
	var tree ledger.Tree
	xs := map[uint64][32]byte{}
	var sizes []uint64
	for _, raw := range log {
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return err
		}
		if a, isAttest := body.(*ledger.Attest); isAttest {
			sizes = append(sizes, a.Size)
		}
		tree.Add(ledger.LeafHash(raw))
		xs[tree.Size()] = ledger.X(ledger.CheckpointBody(origin, tree.Size(), tree.Root()))
	}
	if err := r.tpm.PowerCycle(); err != nil {
		return err
	}
	return r.beside(func(t *device.TPM) error {
		for _, n := range sizes {
			if err := t.ExtendPCR(xs[n]); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestRootAtTheTPM: what is done to the TPM beside the board is either refused
// by it, or explained, or a halt that says what to do and can be led out of; and
// the auditor finds nothing worse than that people were needed.
func TestRootAtTheTPM(t *testing.T) {
	b := enrolled(t)
	h := newBench(t, b.copyCard(t, 0))
	for _, d := range deeds {
		t.Run(d.name, func(t *testing.T) {
			r, err := newRun(h, b)
			ok(t, err)
			t.Cleanup(func() { ok(t, r.kill()) })
			ok(t, r.up())
			ok(t, r.signs("before.db"))
			ok(t, r.down())
			r.flash, err = h.tpm.Flash()
			ok(t, err)
			ok(t, d.do(r))
			ok(t, r.meetsDeed(d))
			if d.says != "" && d.out == nil {
				return
			}
			ok(t, r.signs("after.db"))
			ok(t, r.down())
			ok(t, r.judge(false))
		})
	}
}

// meetsDeed starts the board, which halts or not, and leads it out.
func (r *run) meetsDeed(d deed) error {
	r.begin()
	r.start()
	if err := r.await("a board that is back", r.back); err != nil {
		return err
	}
	if d.says == "" {
		return r.await("a board that is ready", r.ready)
	}
	if v := r.shown(); !strings.HasPrefix(v.Halted, d.says) || v.Ask != operator.AskNothing {
		return fmt.Errorf("the display says %q, and not %s", v.Halted, d.says)
	}
	if d.out == nil {
		return r.down()
	}
	if err := d.out(r); err != nil {
		return err
	}
	if r.shown().Halted == "" {
		return nil // without a restart
	}
	if err := r.down(); err != nil {
		return err
	}
	r.begin()
	return r.up()
}
