package recovery

import (
	"fmt"
	"testing"

	"touchmark/tpm/anchor"
	"touchmark/tpm/quote"
)

// machine is disk and TPM of an appliance, moved step by step. It crashes
// after any step; what it then knows goes through Decide.
type machine struct {
	plans          []anchor.Plan
	applied        []bool
	head, pcr      [32]byte
	base, baseHead [32]byte
	baseSize, size uint64
	attested       uint64
	resets         uint32
	logged         uint32 // resets as of the newest attestation on disk
}

func (m *machine) plan() {
	m.size += 2
	x := [32]byte{byte(m.size), byte(len(m.plans))}
	m.plans = append(m.plans, anchor.Plan{Size: m.size, X: x, Prev: m.head})
	m.applied = append(m.applied, false)
}

func (m *machine) newest() *anchor.Plan { return &m.plans[len(m.plans)-1] }

func (m *machine) nvExtend() {
	m.head = anchor.Extend(m.head, m.newest().X)
	m.applied[len(m.applied)-1] = true
}
func (m *machine) pcrExtend() { m.pcr = anchor.Extend(m.pcr, m.newest().X) }
func (m *machine) attest() {
	m.logged = m.resets
	for i, a := range m.applied {
		if a {
			m.attested = m.plans[i].Size
		}
	}
}
func (m *machine) powerCycle() {
	m.pcr = [32]byte{}
	m.resets++
}

func (m *machine) observe() Observed {
	return Observed{Plans: m.plans, Head: m.head, PCR: m.pcr, Since: Base{m.baseSize, m.baseHead, m.base, &quote.Clock{ResetCount: m.logged}}, Attested: m.attested, Clock: quote.Clock{ResetCount: m.resets}, Size: m.size}
}

// recover does what Decide says and checks it against the truth.
func (m *machine) recover(t *testing.T) {
	t.Helper()
	d := Decide(m.observe())
	if d.Halt != "" {
		t.Fatalf("halt %s", d.Halt)
	}
	committed := -1
	for i, a := range m.applied {
		if a {
			committed = i
		}
	}
	if d.Committed != committed {
		t.Fatalf("committed %d, want %d", d.Committed, committed)
	}
	if d.ExtendPCR != nil {
		m.pcr = anchor.Extend(m.pcr, *d.ExtendPCR)
	}
	if m.pcr != d.PCR {
		t.Fatalf("PCR %x, want %x", m.pcr, d.PCR)
	}
}

// boot writes the boot entry that follows recovery.
func (m *machine) boot() {
	m.base, m.baseHead, m.baseSize = m.pcr, m.head, 0
	for i, a := range m.applied {
		if a {
			m.baseSize = m.plans[i].Size
		}
	}
	m.size++
	m.attest()
}

// Every combination of: crash after each step of a commit, with or without a
// power cycle, recovery itself crashing before its boot entry, and the same
// again for two more commits.
func TestDecideCrashMatrix(t *testing.T) {
	steps := []func(*machine){(*machine).plan, (*machine).nvExtend, (*machine).pcrExtend, (*machine).attest}
	const variants = 5 * 2 * 2 // crash point, power cycle, crash in recovery
	n := 0
	for a := range variants {
		for b := range variants {
			for c := range variants {
				n++
				t.Run(fmt.Sprint(a, b, c), func(t *testing.T) {
					m := &machine{}
					for _, v := range []int{a, b, c} {
						for _, step := range steps[:v%5] {
							step(m)
						}
						if v/5%2 == 1 {
							m.powerCycle()
						}
						m.recover(t)
						if v/10 == 1 {
							m.recover(t) // the first recovery died before its boot entry
						}
						m.boot()
					}
				})
			}
		}
	}
	if n != 8000 {
		t.Fatalf("%d cases", n)
	}
}

func TestDecideHalts(t *testing.T) {
	build := func() *machine {
		m := &machine{}
		for range 3 {
			m.plan()
			m.nvExtend()
			m.pcrExtend()
			m.attest()
		}
		return m
	}
	for _, tt := range []struct {
		name string
		harm func(m *machine, o *Observed)
		want Halt
	}{
		{"no AK", func(_ *machine, o *Observed) { o.AKMissing = true }, AKMissing},
		{"no HEAD", func(_ *machine, o *Observed) { o.HeadMissing = true }, HeadMissing},
		{"HEAD extended by somebody", func(_ *machine, o *Observed) { o.Head = anchor.Extend(o.Head, [32]byte{1}) }, HeadUnknown},
		{"another TPM, never written", func(_ *machine, o *Observed) { o.Head = [32]byte{} }, HeadUnknown},
		{"another TPM, before any attestation", func(_ *machine, o *Observed) { o.Head, o.Attested = [32]byte{}, 0 }, HeadBehind},
		{"disk rolled back", func(_ *machine, o *Observed) { o.Plans = o.Plans[:2] }, HeadUnknown},
		{"disk rolled back, a mirror has more", func(_ *machine, o *Observed) { o.Plans, o.Mirror = o.Plans[:2], o.Size+1 }, HeadAhead},
		{"TPM state rolled back", func(m *machine, o *Observed) { o.Head = m.plans[1].Head() }, HeadBehind},
		{"TPM state rolled back far", func(m *machine, o *Observed) { o.Head, o.Attested = m.plans[0].Head(), 0 }, HeadBehind},
		{"PCR extended by somebody", func(_ *machine, o *Observed) { o.PCR = anchor.Extend(o.PCR, [32]byte{1}) }, PCRUnexplained},
		{"PCR cleared without a reset", func(_ *machine, o *Observed) { o.PCR = [32]byte{} }, PCRUnexplained},
		{"PCR extended after a reset", func(_ *machine, o *Observed) { o.Clock.ResetCount, o.PCR = 1, [32]byte{1} }, PCRUnexplained},
		{"PCR kept through a reset", func(_ *machine, o *Observed) { o.Clock.ResetCount = 1 }, PCRUnexplained},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := build()
			o := m.observe()
			tt.harm(m, &o)
			if d := Decide(o); d.Halt != tt.want || d.ExtendPCR != nil {
				t.Errorf("%+v, want halt %q", d, tt.want)
			}
		})
	}
}

func TestDecideRestart(t *testing.T) {
	m := &machine{}
	m.plan()
	m.nvExtend()
	m.pcrExtend()
	o := m.observe()
	o.Clock.RestartCount = 1
	if d := Decide(o); d.Halt != "" || d.PCR != m.pcr {
		t.Errorf("a resume that kept the PCR: %+v", d)
	}
	o.PCR = [32]byte{}
	if d := Decide(o); d.Halt != "" || d.PCR != [32]byte{} || d.ExtendPCR != nil {
		t.Errorf("a restart that cleared it: %+v", d)
	}
}

func TestDecideNothingYet(t *testing.T) {
	if d := Decide(Observed{}); d.Halt != "" || d.Committed != -1 || d.ExtendPCR != nil {
		t.Errorf("%+v", d)
	}
}
