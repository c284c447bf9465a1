package anchor

// Plan is a commit written to disk before the TPM is asked: the checkpoint of
// the first Size leaves has X, and HEAD stood at Prev. It was applied if HEAD
// ever stood at Head().
type Plan struct {
	Size    uint64
	X, Prev [32]byte
}

// Head is where HEAD stands right after the plan was applied.
func (p Plan) Head() [32]byte { return Extend(p.Prev, p.X) }

// Halt is a reason to stop and ask people; empty means go on.
type Halt string

// The halt states. None of them is ever repaired silently.
const (
	HeadMissing    Halt = "head-missing"    // the TPM has no HEAD index
	AKMissing      Halt = "ak-missing"      // the TPM has no attestation key, or another one
	HeadAhead      Halt = "head-ahead"      // HEAD took commits this disk does not have, a mirror may have them
	HeadUnknown    Halt = "head-unknown"    // HEAD fits no commit on this disk and no mirror knows more
	HeadBehind     Halt = "head-behind"     // HEAD stands at a commit although a later one was applied: another TPM state
	PCRUnexplained Halt = "pcr-unexplained" // somebody else extended the PCR, or a reset is hidden
)

// Observed is what recovery sees at start.
type Observed struct {
	Plans []Plan // on disk, oldest first; may include plans that were never applied

	HeadMissing, AKMissing bool
	Head                   [32]byte // HEAD as read; zero before its first write
	PCR                    [32]byte // PCR as read

	// BasePCR and BaseSize are the pcr and committed values of the newest
	// boot entry on disk, both zero when the log has none. Plans must hold
	// every plan with a size above BaseSize and the newest at or below it.
	BasePCR  [32]byte
	BaseSize uint64

	// Attested is the largest size that an attest or boot entry on disk calls
	// committed.
	Attested uint64

	// Reset and Restarted say whether resetCount and restartCount of a fresh
	// attestation differ from those of the newest attestation on disk.
	Reset, Restarted bool

	// Size is the number of leaves on disk, Mirror the largest number that a
	// mirror claims to hold, 0 when none was asked.
	Size, Mirror uint64
}

// Decision is what to do.
type Decision struct {
	Halt       Halt
	Committed  int       // index in Plans of the newest applied plan, -1 when HEAD never took one
	NotApplied []int     // indices of plans that HEAD never took, rising
	ExtendPCR  *[32]byte // extend the PCR by this before anything else
	PCR        [32]byte  // the PCR after that
}

// Decide compares disk and TPM. It never asks for HEAD to be extended: a plan
// that HEAD did not take stays undone, its leaves stay pending, and the next
// commit covers them. The newest applied plan's PCR_Extend, which follows
// NV_Extend, is the only step that is caught up.
func Decide(o Observed) Decision {
	switch {
	case o.AKMissing:
		return Decision{Halt: AKMissing, Committed: -1}
	case o.HeadMissing:
		return Decision{Halt: HeadMissing, Committed: -1}
	}
	d := Decision{Committed: newestAt(o.Plans, o.Head)}
	if d.Committed < 0 && (o.Head != [32]byte{} || o.Attested > 0) {
		d.Halt = HeadUnknown
		if o.Mirror > o.Size {
			d.Halt = HeadAhead
		}
		return d
	}
	if builtUpon(o.Plans[d.Committed+1:], o.Head) || d.Committed >= 0 && o.Plans[d.Committed].Size < o.Attested {
		d.Halt = HeadBehind
		return d
	}
	var applied []Plan
	applied, d.NotApplied = split(o.Plans, o.Head)
	d.pcr(o, applied)
	return d
}

// newestAt is the newest plan whose application left HEAD at head.
func newestAt(plans []Plan, head [32]byte) int {
	for i := len(plans) - 1; i >= 0; i-- {
		if plans[i].Head() == head {
			return i
		}
	}
	return -1
}

// builtUpon reports whether one of the later plans presumes a HEAD other than
// head: then a commit after head had been applied when it was written.
func builtUpon(later []Plan, head [32]byte) bool {
	for _, p := range later {
		if p.Prev != head {
			return true
		}
	}
	return false
}

// split walks the chain of applied plans back from head.
func split(plans []Plan, head [32]byte) (applied []Plan, not []int) {
	for i := len(plans) - 1; i >= 0; i-- {
		if plans[i].Head() == head {
			applied, head = append(applied, plans[i]), plans[i].Prev
		} else {
			not = append(not, i)
		}
	}
	reverse(applied)
	reverse(not)
	return applied, not
}

func reverse[T any](s []T) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

// pcr explains the PCR. Since the last boot entry it took every applied plan,
// perhaps not yet the newest; a TPM reset sets it to zero.
func (d *Decision) pcr(o Observed, applied []Plan) {
	replay, before := o.BasePCR, o.BasePCR
	var newest *Plan
	for i := range applied {
		if applied[i].Size > o.BaseSize {
			newest = &applied[i]
			before, replay = replay, Extend(replay, newest.X)
		}
	}
	switch {
	case (o.Reset || o.Restarted) && o.PCR == [32]byte{}:
		d.PCR = o.PCR
	case o.Reset:
		d.Halt = PCRUnexplained
	case o.PCR == replay:
		d.PCR = replay
	case newest != nil && o.PCR == before:
		x := newest.X
		d.ExtendPCR, d.PCR = &x, replay
	default:
		d.Halt = PCRUnexplained
	}
}
