//go:build emulated

// Package crash ends the board at every step of everything it does, in every
// way, on the real software TPM, and looks at what is left.
//
// The station is the real one, in this process, and so are the TPM (swtpm), the
// token (pivemu, over piv and its APDUs) and the auditor; the disk is one in
// memory that forgets what was not synced, and the host keeps the protocol. A
// step is a command to the TPM, a call that changes the disk, a signature by the
// token or a message to the host. Steps are found by counting those of a run
// without a fault, so a new step is covered by itself. A life whose process was
// killed, or whose power went, has no effect on anything any more: its devices
// do nothing for it.
//
// After each fault: the board is started again, led out of a halt if the
// specification says that it halts there, brought to what was wanted in the
// first place, and judged (judge_test.go): no signature without its intent, no
// entry lost, no two roots for one size, nothing that an auditor calls evidence.
package crash

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"touchmark/tests/swtpm"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// lane is a device.
type lane string

const (
	tpmLane   lane = "TPM"
	diskLane  lane = "disk"
	tokenLane lane = "token"
	hostLane  lane = "host"
)

// extent is how much of a step is carried out.
type extent int

const (
	none extent = iota
	half        // of a write
	whole
)

// mode is what happens at a step.
type mode struct {
	name    string
	lane    lane
	extent  extent
	silent  bool  // the TPM does not answer, in place of answering with an error
	err     error // that is reported, if the process goes on
	dies    bool  // the process ends there
	power   bool  // because the power goes
	keep    keep  // what of unsynced writes is left then
	lasting bool  // the same at every later step of the lane
	lies    bool  // syncs do nothing from here on; in the end the power goes
	writes  bool  // at writes only
}

// keep chooses what a power cut leaves of what was not synced.
type keep func(n, of int) int

var (
	keepAll   keep = func(int, int) int { return 0 }
	keepNone  keep = func(_, of int) int { return min(1, of-1) }
	keepSome  keep = func(n, of int) int { return (7*n + 2) % of }
	keepOther keep = func(n, of int) int { return (5*n + 3) % of }
)

// modes are all of them.
func modes() []mode {
	all := []mode{
		{name: "refused", lane: tpmLane},
		{name: "done, called refused", lane: tpmLane, extent: whole},
		{name: "no answer", lane: tpmLane, silent: true},
		{name: "done, no answer", lane: tpmLane, extent: whole, silent: true},
		{name: "fails", lane: diskLane, err: unix.EIO},
		{name: "done, called failed", lane: diskLane, extent: whole, err: unix.EIO},
		{name: "torn", lane: diskLane, extent: half, err: unix.ENOSPC, writes: true},
		{name: "full from here on", lane: diskLane, extent: half, err: unix.ENOSPC, lasting: true, writes: true},
		{name: "read-only from here on", lane: diskLane, err: unix.EROFS, lasting: true},
		{name: "lies from here on", lane: diskLane, lies: true},
		{name: "killed in the middle", lane: diskLane, extent: half, dies: true, writes: true},
		{name: "power lost, torn", lane: diskLane, dies: true, power: true, keep: keepSome},
		{name: "power lost, torn otherwise", lane: diskLane, dies: true, power: true, keep: keepOther},
		{name: "power lost, all written", lane: diskLane, dies: true, power: true, keep: keepAll},
		{name: "fails", lane: tokenLane, err: errToken},
		{name: "done, called failed", lane: tokenLane, extent: whole, err: errToken},
	}
	for _, l := range []lane{tpmLane, diskLane, tokenLane, hostLane} {
		all = append(all,
			mode{name: "killed before", lane: l, dies: true},
			mode{name: "killed after", lane: l, extent: whole, dies: true},
			mode{name: "power lost before", lane: l, dies: true, power: true, keep: keepNone},
			mode{name: "power lost after", lane: l, extent: whole, dies: true, power: true, keep: keepNone})
	}
	return all
}

// errToken is a token that answers with an error; errDead is what a process
// that has ended gets from its devices.
var (
	errToken = errors.New("the token answers with an error")
	errDead  = errors.New("this process has ended")
)

// point is where something happens: at the n-th step of the mode's lane.
type point struct {
	mode
	n int
}

func (p point) String() string { return fmt.Sprintf("%s %d, %s", p.lane, p.n, p.name) }

// life is one life of the board's process: its devices ask it about each step.
type life struct {
	over chan struct{} // closed when it has ended

	mu       sync.Mutex // guards what follows
	dead     bool
	counting bool
	steps    map[lane][]string // that were counted
	at       *point
	hit      bool
	lying    bool
}

func newLife() *life { return &life{over: make(chan struct{}), steps: map[lane][]string{}} }

// count begins to count, and to wait for the point at which something happens.
func (l *life) count(at *point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counting, l.at = true, at
}

// rest ends that.
func (l *life) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counting, l.at = false, nil
}

// end is the end of the process.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.die()
}

// die is end for those who hold mu.
func (l *life) die() {
	if !l.dead {
		l.dead = true
		close(l.over)
	}
}

func (l *life) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

func (l *life) lies() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lying
}

// verdict is what a device is to do about a step.
type verdict struct {
	extent extent
	silent bool
	err    error // nil: it succeeds
}

// meet counts a step and says what happens at it.
func (l *life) meet(on lane, name string, write bool) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return verdict{none, true, errDead}
	}
	if !l.counting {
		return verdict{extent: whole}
	}
	l.steps[on] = append(l.steps[on], name)
	p := l.at
	if p == nil || p.lane != on || len(l.steps[on]) != p.n && !(p.lasting && l.hit) || p.writes && !write {
		return verdict{extent: whole}
	}
	l.hit = true
	switch {
	case p.dies:
		l.die()
		return verdict{p.extent, true, errDead}
	case p.lies:
		l.lying = true
		return verdict{extent: whole}
	}
	return verdict{p.extent, p.silent, cmpErr(p.err)}
}

// errTPM is the error of a TPM that refuses, which its answer says.
var errTPM = errors.New("the TPM refuses")

func cmpErr(err error) error {
	if err == nil {
		return errTPM
	}
	return err
}

// onTPM is asked about each command.
func (l *life) onTPM(code uint32) *swtpm.Fault {
	o := l.meet(tpmLane, commandName(code), false)
	if o.err == nil {
		return nil
	}
	f := &swtpm.Fault{RC: swtpm.RCFailure}
	switch {
	case o.silent && o.extent == whole:
		f.Kind = swtpm.ApplyAndClose
	case o.silent:
		f.Kind = swtpm.Close
	case o.extent == whole:
		f.Kind = swtpm.ApplyAndRefuse
	default:
		f.Kind = swtpm.Refuse
	}
	return f
}

func commandName(code uint32) string {
	for name, c := range map[string]uint32{
		"NV_Extend": swtpm.NVExtend, "PCR_Extend": swtpm.PCRExtend, "NV_Certify": swtpm.NVCertify, "Quote": swtpm.Quote,
		"NV_Read": swtpm.NVRead, "PCR_Read": swtpm.PCRRead, "NV_ReadPublic": swtpm.NVReadPublic, "ReadPublic": swtpm.ReadPublic,
	} {
		if c == code {
			return name
		}
	}
	return fmt.Sprintf("%#x", code)
}

// onDisk is asked about each call.
func (l *life) onDisk(c disktest.Call) (disktest.Fault, error) {
	if !c.Changes {
		if l.ended() {
			return disktest.Cut, nil
		}
		return disktest.NotApplied, nil
	}
	o := l.meet(diskLane, c.Op+" "+c.Path, c.Op == "write")
	switch {
	case o.err == nil:
		return disktest.NotApplied, nil
	case errors.Is(o.err, errDead) && o.extent == none:
		return disktest.Cut, nil
	case o.extent == half:
		return disktest.Torn, o.err
	case o.extent == whole:
		return disktest.Applied, o.err
	}
	return disktest.NotApplied, o.err
}
