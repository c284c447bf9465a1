package recovery

import (
	"fmt"
	"slices"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// view is what the log says of the past, as the board reads it at start.
type view struct {
	o     Observed
	boots uint64
	open  []uint64 // intents without an outcome
	close uint64   // size that a commit of the newest close entry has
	ended bool     // a close entry took effect
}

// attested notes that an entry calls a size committed.
func (v *view) attested(size uint64) {
	v.o.Attested = max(v.o.Attested, size)
	v.ended = v.ended || size == v.close && size > 0
}

func (m *model) read() (v view) {
	v.o = Observed{Plans: m.disk.plans, Head: m.head, PCR: m.pcr, Clock: m.clock, Size: uint64(len(m.disk.leaves))}
	v.o.Since.Head = m.base
	for i, l := range m.disk.leaves {
		switch b := l.body.(type) {
		case *ledger.Boot:
			v.o.Since, v.o.Resumes = Base{b.Committed, b.Head, b.PCR, &l.nv.Clock}, nil
			v.attested(b.Committed)
			v.boots = b.Number
		case *ledger.Attest:
			v.attested(b.Size)
			if l.q != nil {
				v.o.Since.Clock = &l.nv.Clock
			}
		case *ledger.Order:
			if b.Action == ledger.KindClose {
				v.close = uint64(i) + 1
			}
			if b.Action == ledger.KindResume {
				v.o.Resumes = append(v.o.Resumes, Base{uint64(i), l.nv.Contents, b.PCR, &l.nv.Clock})
			}
		case *ledger.Intent:
			v.open = append(v.open, uint64(i))
		case *ledger.Outcome:
			v.open = slices.DeleteFunc(v.open, func(x uint64) bool { return x == b.Intent })
		}
	}
	for _, s := range m.mirrors {
		v.o.Mirror = max(v.o.Mirror, uint64(len(s.leaves)))
	}
	v.recent()
	return v
}

// recent leaves out the plans that a start in O(log n) does not read.
func (v *view) recent() {
	at := slices.IndexFunc(v.o.Plans, func(p anchor.Plan) bool { return p.Head() == v.o.Head })
	for i, p := range v.o.Plans {
		if p.Size <= v.o.Since.Size && (at < 0 || i <= at) {
			v.o.Plans = v.o.Plans[i:]
			v.recentFrom()
			return
		}
	}
}

// recentFrom drops older plans one by one as long as the next one will do.
func (v *view) recentFrom() {
	for len(v.o.Plans) > 1 && v.o.Plans[1].Size <= v.o.Since.Size && v.o.Plans[0].Head() != v.o.Head {
		v.o.Plans = v.o.Plans[1:]
	}
}

// start is what an appliance does when it starts. It answers whether the board
// is ready, false if it was led out of a halt state and must start again.
func (m *model) start() bool {
	m.disk.safe = len(m.disk.leaves) // the newest append is written and synced again
	v := m.read()
	d := Decide(v.o)
	m.judge(v, d)
	if d.Halt != "" {
		m.note("halt %s", d.Halt)
		m.seen["halt "+string(d.Halt)]++
		m.leadOut(v, d)
		return false
	}
	if d.ExtendPCR != nil {
		m.seen["PCR caught up"]++
		if !m.extend("PCR_Extend at start", &m.pcr, *d.ExtendPCR) {
			return false
		}
	}
	m.must(m.pcr == d.PCR, "the PCR is not as recovery says")
	m.mend(v, v.o.Plans[d.Committed].Size)
	m.write(nil, m.boot(v.boots+1))
	return true
}

func (m *model) boot(number uint64) leaf {
	b := &ledger.Boot{Number: number, Committed: m.newest, Head: m.head, PCR: m.pcr}
	return leaf{body: b, nv: m.nv(), q: m.quote()}
}

// has reports whether a copy holds everything that HEAD took.
func (m *model) has(s *store) bool {
	return !m.strange && m.newest <= uint64(len(s.leaves)) && s.root(m.newest) == m.roots[m.newest]
}

// lost reports whether HEAD took what no copy has.
func (m *model) lost() bool { return !m.has(&m.disk) && !m.has(&m.mirrors[0]) && !m.has(&m.mirrors[1]) }

// judge holds a decision against the truth.
func (m *model) judge(v view, d Decision) {
	has := m.has(&m.disk)
	switch d.Halt {
	case "", PCRUnexplained:
		m.must(has, "goes on although HEAD took size %d and the disk has %d", m.newest, v.o.Size)
		m.must(v.o.Plans[d.Committed].Size == m.newest, "takes size %d for committed, it is %d", v.o.Plans[d.Committed].Size, m.newest)
		m.must((d.Halt != "") == m.pcrTaint, "halt %q, PCR extended by others: %v", d.Halt, m.pcrTaint)
	default:
		m.must(!has, "halts with %s although nothing is amiss", d.Halt)
	}
}

// mend makes good what a crash kept from being written.
func (m *model) mend(v view, committed uint64) {
	var bodies []any
	if v.o.Attested < committed {
		m.seen["commit attested at start"]++
		bodies = append(bodies, leaf{body: &ledger.Attest{Size: committed}, nv: m.nv()})
	}
	for _, i := range v.open {
		bodies = append(bodies, &ledger.Outcome{Intent: i})
	}
	if len(bodies) > 0 {
		m.write(nil, bodies...)
	}
}

// leadOut does what the halt state's instructions say.
func (m *model) leadOut(v view, d Decision) {
	if d.Halt == PCRUnexplained && m.rnd.IntN(2) == 0 {
		m.power()
		return
	}
	if (d.Halt == HeadAhead || d.Halt == HeadUnknown) && m.fetch(v) {
		return
	}
	if d.Halt == HeadBehind || d.Halt == PCRUnexplained || m.lost() {
		m.resume(v, d)
		return
	}
	panic(wrong(fmt.Sprintf("halted with %s; HEAD took size %d, and no mirror that has it was of use", d.Halt, m.newest)))
}

// fetch takes missing entries from the mirrors.
func (m *model) fetch(v view) bool {
	for _, s := range m.mirrors {
		if len(s.leaves) <= len(m.disk.leaves) {
			continue
		}
		at, err := chainOf(v.o)
		m.must(err == nil, "%v", err)
		miss := &Missing{trust: &anchor.Trust{Origin: origin}, tree: m.disk.tree.Clone(), disk: v.o.Size, at: at}
		for _, l := range s.leaves[len(m.disk.leaves):] {
			miss.resumed = func(*ledger.Order) ([32]byte, error) { return l.nv.Contents, nil }
			if miss.take(l.hash, l.body) != nil {
				break
			}
		}
		size, plans, err := miss.Found(m.head)
		if err != nil {
			continue
		}
		m.must(size == m.newest && s.root(size) == m.roots[size], "a mirror's entries were taken for what HEAD took")
		m.seen["fetched from a mirror"]++
		for _, p := range plans {
			m.pointIn(4, "while fetching")
			m.disk.append(&p, s.leaves[len(m.disk.leaves):p.Size]...)
			m.sync()
		}
		return true
	}
	return false
}

// resume is the administrators' way out.
func (m *model) resume(v view, d Decision) {
	by := &order.Resume{Halt: string(d.Halt), Head: m.head, PCR: m.pcr}
	if m.chance(3) {
		m.power()
		v = m.read()
		if d = Decide(v.o); d.Halt == "" {
			return
		}
	}
	m.must(d.Resume(v.o, by) == nil, "cannot be led out: %v", d.Resume(v.o, by))
	m.note("resumes at %d", v.o.Size)
	m.forget()
	var bodies []any
	for _, i := range v.open {
		bodies = append(bodies, &ledger.Outcome{Intent: i})
	}
	bodies = append(bodies, leaf{body: &ledger.Order{Action: ledger.KindResume, PCR: m.pcr}, nv: m.nv()})
	p := &anchor.Plan{}
	m.write(p, bodies...)
	defer func(head [32]byte) {
		if m.head != head {
			m.seen["resumed"]++
			m.pcrTaint = false
		}
	}(m.head)
	if m.extendHead(*p) {
		m.extend("PCR_Extend of a resume entry", &m.pcr, p.X)
	}
}

// forget drops what HEAD took and nobody has: from now on other entries stand
// at those sizes. Mirrors keep what the board has, too.
func (m *model) forget() {
	n := uint64(len(m.disk.leaves))
	for size, root := range m.roots {
		if size > n || m.disk.root(size) != root {
			delete(m.roots, size)
			m.strange = true // HEAD took something that no log says
		}
	}
	m.newest = 0
	for size := range m.roots {
		m.newest = max(m.newest, size)
	}
	for i := range m.mirrors {
		m.mirrors[i].cut(min(len(m.mirrors[i].leaves), int(n)))
	}
}

// mirror brings a mirror up to date. It gives back only what is pending.
func (m *model) mirror(i int) {
	s := &m.mirrors[i]
	n := 0
	for n < min(len(s.leaves), len(m.disk.leaves)) && s.leaves[n].hash == m.disk.leaves[n].hash {
		n++
	}
	m.must(n >= s.sure, "entry %d, which HEAD took, is another one on a mirror", n)
	s.cut(n)
	s.append(nil, m.disk.leaves[n:]...)
	s.sure = int(m.newest)
}

// ceremony signs something, or takes an administrators' order. It answers
// whether the board may go on without a start.
func (m *model) ceremony(kind string, host bool) (ready bool) {
	v := m.read()
	m.must(v.o.Attested == m.newest && len(v.open) == 0, "a ceremony begins although something is to be made good")
	if v.ended {
		return true
	}
	index := uint64(len(m.disk.leaves))
	p := &anchor.Plan{}
	if kind == ledger.KindIntent {
		m.write(p, &ledger.Intent{})
	} else {
		m.write(p, &ledger.Order{Action: kind})
	}
	if host {
		m.mirror(0)
	}
	m.point("before NV_Extend")
	if !m.extendHead(*p) {
		m.seen["not committed"]++
		m.outcome(kind, index)
		return true
	}
	m.point("between the extends")
	if !m.extend("PCR_Extend", &m.pcr, p.X) {
		m.outcome(kind, index)
		return false // owes the PCR this commit
	}
	m.point("before the touch")
	m.must(m.newest == p.Size && m.roots[p.Size] == m.disk.root(p.Size), "the token signs what HEAD did not take")
	m.write(nil, leaf{body: &ledger.Attest{Size: p.Size}, nv: m.nv(), q: m.quote()})
	m.outcome(kind, index)
	m.seen["done: "+kind]++
	return true
}

// outcome ends an intent.
func (m *model) outcome(kind string, index uint64) {
	if kind == ledger.KindIntent {
		m.write(nil, &ledger.Outcome{Intent: index})
	}
}

// something is what a board does on an ordinary day.
func (m *model) something() bool {
	if m.rnd.IntN(5) == 0 {
		return m.ceremony(ledger.KindNote, m.rnd.IntN(2) == 0)
	}
	return m.ceremony(ledger.KindIntent, true)
}
