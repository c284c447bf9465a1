// Package recovery says what an appliance may conclude at start from a disk and
// a TPM that disagree: which commit is the newest, what is to be caught up, when
// to halt, what leads out of a halt state, and whether a mirror's entries are
// the ones that are missing.
//
// A commit is written to disk as a plan before the TPM is asked, so after any
// crash the TPM either took a plan's x or did not, and reading HEAD tells which.
// What HEAD shows and no plan explains is never repaired silently. The order of
// operations, the crash matrix and the halt states are docs/spec/anchor.md,
// sections 4 and 5.
//
// The package is pure: every function concludes from what it is given.
package recovery

import (
	"touchmark/tpm/anchor"
	"touchmark/tpm/quote"
)

// Base is a place in the log from which HEAD and PCR are explained: the newest
// boot entry, or a resume entry. The zero value is the beginning of a log on a
// new index.
type Base struct {
	Size      uint64   // commits of larger sizes came after it
	Head, PCR [32]byte // then

	// Clock is that of the newest statement from there to the next base that
	// counts, nil if there is none: a boot or resume entry's, or that of an
	// attest entry with a quote. Recovery writes one without a quote before it
	// accounts for a reset in the boot entry behind it, and may die in between.
	Clock *quote.Clock
}

// Observed is what recovery sees at start.
type Observed struct {
	// Plans are those on disk, oldest first, never applied ones among them:
	// the newest at or below Since.Size and all that follow. Older ones may
	// be left out unless nothing else explains HEAD: then they tell a HEAD
	// that went back from one that is unknown.
	Plans []anchor.Plan

	HeadMissing, AKMissing bool
	Head                   [32]byte // HEAD as read; zero before its first write
	PCR                    [32]byte // PCR as read

	// Clock is that of a fresh attestation.
	Clock quote.Clock

	// Since is the newest boot entry on disk: its committed, head and pcr.
	// Without one it is the beginning, its Head being the genesis entry's
	// base.
	Since Base
	// Resumes are the resume entries behind it, oldest first, whether they
	// took effect or not: their indices, and HEAD and PCR as they found them.
	Resumes []Base

	// Attested is the largest size that an attest or boot entry on disk calls
	// committed, Quoted the largest that an attest entry with a quote or a boot
	// entry does: these vouch for the PCR as well.
	Attested, Quoted uint64

	// Size is the number of leaves on disk, Mirror the largest number that a
	// mirror claims to hold, 0 when none was asked.
	Size, Mirror uint64
}

// Decision is what to do.
type Decision struct {
	Halt      Halt
	Committed int       // index in Plans of the newest applied plan, -1 when HEAD never took one
	ExtendPCR *[32]byte // extend the PCR by this before anything else
	PCR       [32]byte  // the PCR after that
}

// Decide compares disk and TPM. It never asks for HEAD to be extended: a plan
// that HEAD did not take stays undone, its leaves stay pending, and the next
// commit covers them. The newest applied plan's PCR_Extend, which follows
// NV_Extend, is the only step that is caught up.
//
// A resume entry that took effect is where HEAD and PCR are explained from; one
// that did not is a plan that was never applied.
func Decide(o Observed) Decision {
	switch {
	case o.AKMissing:
		return Decision{Halt: AKMissing, Committed: -1}
	case o.HeadMissing:
		return Decision{Halt: HeadMissing, Committed: -1}
	}
	committed := newestAt(o.Plans, o.Head)
	base := o.Since
	for _, r := range o.Resumes {
		if committed >= 0 && o.Plans[committed].Size > r.Size {
			base = r
		}
	}
	return o.explain(committed, base)
}

// explain decides with HEAD standing at the result of a plan, -1 if at none.
func (o *Observed) explain(committed int, base Base) Decision {
	d := Decision{Committed: committed}
	switch {
	case committed < 0 && (o.Head != base.Head || o.Attested > 0):
		d.Halt = HeadUnknown
		if o.Mirror > o.Size {
			d.Halt = HeadAhead
		}
	case builtUpon(o.Plans[committed+1:], o.Head), committed >= 0 && o.Plans[committed].Size < o.Attested:
		d.Halt = HeadBehind
	default:
		d.pcr(o, base, applied(o.Plans[:committed+1], o.Head, base))
	}
	return d
}

// newestAt is the newest plan whose application left HEAD at head.
func newestAt(plans []anchor.Plan, head [32]byte) int {
	for i := len(plans) - 1; i >= 0; i-- {
		if plans[i].Head() == head {
			return i
		}
	}
	return -1
}

// builtUpon reports whether one of the later plans presumes a HEAD other than
// head: then a commit after head had been applied when it was written.
func builtUpon(later []anchor.Plan, head [32]byte) bool {
	for _, p := range later {
		if p.Prev != head {
			return true
		}
	}
	return false
}

// applied walks the chain of applied plans back from head to the base, newest
// first.
func applied(plans []anchor.Plan, head [32]byte, base Base) (chain []anchor.Plan) {
	for i := len(plans) - 1; i >= 0 && plans[i].Size > base.Size; i-- {
		if plans[i].Head() == head {
			chain, head = append(chain, plans[i]), plans[i].Prev
		}
	}
	return chain
}

// pcr explains the PCR. Since the base it took every applied plan, perhaps not
// yet the newest; a TPM reset sets it to zero. One that came between the newest
// quote and the newest commit leaves that commit alone in it.
func (d *Decision) pcr(o *Observed, base Base, chain []anchor.Plan) {
	replay, before := base.PCR, base.PCR
	for i := len(chain) - 1; i >= 0; i-- {
		before, replay = replay, anchor.Extend(replay, chain[i].X)
	}
	reset := base.Clock != nil && base.Clock.ResetCount != o.Clock.ResetCount
	mayClear := base.Clock == nil || reset || base.Clock.RestartCount != o.Clock.RestartCount
	switch {
	case mayClear && (o.PCR == [32]byte{} || o.PCR == o.alone(chain)):
		d.PCR = o.PCR
	case reset:
		d.Halt = PCRUnexplained
	case o.PCR == replay:
		d.PCR = replay
	case len(chain) > 0 && o.PCR == before:
		d.ExtendPCR, d.PCR = &chain[0].X, replay
	default:
		d.Halt = PCRUnexplained
	}
}

// alone is the PCR with the newest applied plan in it and nothing before, zero
// if a quote has vouched for that commit already.
func (o *Observed) alone(chain []anchor.Plan) [32]byte {
	if len(chain) == 0 || chain[0].Size <= o.Quoted {
		return [32]byte{}
	}
	return anchor.Extend([32]byte{}, chain[0].X)
}
