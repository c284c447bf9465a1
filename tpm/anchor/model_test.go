package anchor

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/quote"
)

// leaf is an entry of the model's log with what its attestations say.
type leaf struct {
	hash [32]byte
	body any
	nv   quote.NVFacts
	q    *quote.QuoteFacts
}

// store is what a disk or a mirror holds. Only safe leaves survive a power
// cut: a sync may lie.
type store struct {
	leaves []leaf
	plans  []Plan
	ends   []int // number of leaves after each append
	safe   int
	sure   int // of a mirror: as far as it saw that HEAD took the leaves
}

func (s *store) append(p *Plan, ls ...leaf) {
	s.leaves = append(s.leaves, ls...)
	s.ends = append(s.ends, len(s.leaves))
	if p != nil {
		s.plans = append(s.plans, *p)
	}
}

// cut keeps the first n leaves.
func (s *store) cut(n int) {
	s.leaves, s.safe, s.sure = s.leaves[:n:n], min(s.safe, n), min(s.sure, n)
	s.ends = slices.DeleteFunc(slices.Clone(s.ends), func(e int) bool { return e > n })
	s.plans = slices.DeleteFunc(slices.Clone(s.plans), func(p Plan) bool { return p.Size > uint64(n) })
}

func (s *store) tree() *ledger.Tree {
	var t ledger.Tree
	for _, l := range s.leaves {
		t.Add(l.hash)
	}
	return &t
}

func (s *store) root(n uint64) [32]byte {
	var t ledger.Tree
	for _, l := range s.leaves[:n] {
		t.Add(l.hash)
	}
	return t.Root()
}

func (s *store) x(n uint64) [32]byte { return ledger.X(ledger.CheckpointBody(origin, n, s.root(n))) }

// model is a board in every respect that docs/spec/anchor.md speaks of, and
// all that can go wrong with it. What it does wrong it says by failing.
type model struct {
	rnd     *rand.Rand
	faults  bool // until the schedule is over
	trace   []string
	serial  uint64
	disk    store
	mirrors [2]store // 0 acknowledges before each commit, 1 when it pleases

	// The TPM.
	head, pcr [32]byte
	base      [32]byte // HEAD before the genesis entry
	clock     quote.Clock

	// The truth that the board is measured by.
	roots    map[uint64][32]byte // of every size that HEAD took
	newest   uint64
	strange  bool // somebody else extended HEAD, or it went back, and nobody resumed yet
	pcrTaint bool // somebody else extended the PCR since the TPM was reset

	seen map[string]int // what schedules came by
}

// crash ends what the board is doing.
type crash struct{}

// wrong is a broken promise.
type wrong string

func (m *model) must(ok bool, format string, a ...any) {
	if !ok {
		panic(wrong(fmt.Sprintf(format, a...)))
	}
}

func (m *model) note(format string, a ...any) { m.trace = append(m.trace, fmt.Sprintf(format, a...)) }

// chance is true once in n, as long as there are faults.
func (m *model) chance(n int) bool { return m.faults && m.rnd.IntN(n) == 0 }

// point is a place where the board may die.
func (m *model) point(where string) { m.pointIn(25, where) }

func (m *model) pointIn(n int, where string) {
	if m.chance(n) {
		m.note("dies %s", where)
		m.seen["died "+where]++
		panic(crash{})
	}
}

// write appends and syncs. The process may die before or after; the sync may
// lie.
func (m *model) write(p *Plan, bodies ...any) {
	m.point("before an append")
	ls := make([]leaf, len(bodies))
	for i, b := range bodies {
		m.serial++
		l, ok := b.(leaf)
		if !ok {
			l = leaf{body: b}
		}
		l.hash = ledger.LeafHash(binary.BigEndian.AppendUint64(nil, m.serial))
		ls[i] = l
	}
	m.disk.append(nil, ls...)
	if p != nil {
		p.Size = uint64(len(m.disk.leaves))
		p.X, p.Prev = m.disk.x(p.Size), m.head
		m.disk.plans = append(m.disk.plans, *p)
	}
	m.point("before the sync of an append")
	m.sync()
	m.point("after an append")
}

func (m *model) sync() {
	if !m.chance(40) {
		m.disk.safe = len(m.disk.leaves)
	}
}

// extend is an extend command: done or not, and whatever it answers. The
// answer tells a failure from a success, reading back tells what was done;
// reading may fail, too.
func (m *model) extend(what string, value *[32]byte, x [32]byte) (applied bool) {
	done, fails := !m.chance(12), m.chance(12)
	if done {
		*value = Extend(*value, x)
		m.clock.Millis++
	}
	m.point("in " + what)
	if (fails || !done) && m.chance(4) {
		m.seen["the TPM did not answer"]++
		panic(crash{})
	}
	if fails && done {
		m.seen[what+" applied but reported failed"]++
	}
	return done
}

// extendHead commits a plan and keeps the truth.
func (m *model) extendHead(p Plan) bool {
	before := m.head
	defer func() {
		if m.head == before {
			return
		}
		if root, ok := m.roots[p.Size]; ok && root != m.disk.root(p.Size) {
			panic(wrong(fmt.Sprintf("two roots for size %d", p.Size)))
		}
		m.must(p.Size > m.newest || m.strange, "size %d is committed after size %d", p.Size, m.newest)
		m.roots[p.Size], m.newest, m.strange = m.disk.root(p.Size), p.Size, false
	}()
	return m.extend("NV_Extend", &m.head, p.X)
}

func (m *model) nv() quote.NVFacts {
	m.clock.Millis++
	return quote.NVFacts{Clock: m.clock, Contents: m.head}
}

func (m *model) quote() *quote.QuoteFacts {
	return &quote.QuoteFacts{Clock: m.clock, PCRDigest: quote.PCRDigest(m.pcr)}
}

// view is what the log says of the past, as the board reads it at start.
type view struct {
	o     Observed
	boots uint64
	open  []uint64 // intents without an outcome
	full  bool     // the newest commit has an attest or boot entry
}

func (m *model) read() (v view) {
	v.o = Observed{Plans: m.disk.plans, Head: m.head, PCR: m.pcr, Clock: m.clock, Size: uint64(len(m.disk.leaves))}
	v.o.Since.Head = m.base
	for i, l := range m.disk.leaves {
		switch b := l.body.(type) {
		case *ledger.Boot:
			v.o.Since, v.o.Resumes = Base{b.Committed, b.Head, b.PCR, &l.nv.Clock}, nil
			v.o.Attested, v.boots = max(v.o.Attested, b.Committed), b.Number
		case *ledger.Attest:
			v.o.Attested = max(v.o.Attested, b.Size)
			if l.q != nil {
				v.o.Since.Clock = &l.nv.Clock
			}
		case *ledger.Order:
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
	at := slices.IndexFunc(v.o.Plans, func(p Plan) bool { return p.Head() == v.o.Head })
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
		miss := &Missing{trust: &Trust{Origin: origin}, tree: m.disk.tree(), disk: v.o.Size, at: at}
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
	p := &Plan{}
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

// ceremony signs something, or is an administrators' note.
func (m *model) ceremony() (ready bool) {
	v := m.read()
	m.must(v.o.Attested == m.newest && len(v.open) == 0, "a ceremony begins although something is to be made good")
	index := uint64(len(m.disk.leaves))
	admin := m.rnd.IntN(5) == 0
	p := &Plan{}
	if admin {
		m.write(p, &ledger.Order{Action: ledger.KindNote})
	} else {
		m.write(p, &ledger.Intent{})
	}
	if !admin || m.rnd.IntN(2) == 0 {
		m.mirror(0)
	}
	m.point("before NV_Extend")
	if !m.extendHead(*p) {
		m.seen["not committed"]++
		if !admin {
			m.write(nil, &ledger.Outcome{Intent: index})
		}
		return true
	}
	m.point("between the extends")
	if !m.extend("PCR_Extend", &m.pcr, p.X) {
		if !admin {
			m.write(nil, &ledger.Outcome{Intent: index})
		}
		return false // owes the PCR this commit
	}
	m.point("before the touch")
	m.must(m.newest == p.Size && m.roots[p.Size] == m.disk.root(p.Size), "the token signs what HEAD did not take")
	m.write(nil, leaf{body: &ledger.Attest{Size: p.Size}, nv: m.nv(), q: m.quote()})
	if !admin {
		m.write(nil, &ledger.Outcome{Intent: index})
		m.seen["signed"]++
	}
	return true
}

// power is a power cut with all that the disk forgets.
func (m *model) power() {
	m.note("power cut")
	ends := slices.DeleteFunc(append([]int{m.disk.safe}, m.disk.ends...), func(e int) bool { return e < m.disk.safe })
	if n := ends[m.rnd.IntN(len(ends))]; n < len(m.disk.leaves) {
		m.seen["power cut with lost writes"]++
		m.disk.cut(n)
	}
	m.pcr, m.pcrTaint = [32]byte{}, false
	m.clock.ResetCount++
}

// suspend may clear the PCR or keep it.
func (m *model) suspend() {
	m.note("suspended")
	m.clock.RestartCount++
	if m.rnd.IntN(2) == 0 {
		m.pcr, m.pcrTaint = [32]byte{}, false
	}
}

// strangers do what no honest board does.
func (m *model) strangers() {
	switch m.rnd.IntN(4) {
	case 0:
		m.note("somebody extends HEAD")
		m.head, m.strange = Extend(m.head, [32]byte{byte(m.serial), 1}), true
	case 1:
		// To a commit before one that the log knows of: going back over one
		// that nothing on disk speaks of, or together with the disk, looks
		// like one never made. No TPM does either.
		p := m.disk.plans[m.rnd.IntN(len(m.disk.plans))]
		if !m.strange && p.Size < m.read().o.Attested && m.roots[p.Size] == m.disk.root(p.Size) {
			m.note("HEAD went back to size %d", p.Size)
			m.head, m.strange, m.disk.safe = p.Head(), true, len(m.disk.leaves)
		}
	case 2:
		m.note("somebody extends the PCR")
		m.pcr, m.pcrTaint = Extend(m.pcr, [32]byte{byte(m.serial), 2}), true
	case 3:
		if m.strange {
			return
		}
		m.note("the card is replaced by an older copy")
		m.disk.cut(m.disk.ends[m.rnd.IntN(len(m.disk.ends))])
		if m.rnd.IntN(2) == 0 {
			m.note("and the mirrors are gone")
			m.mirrors = [2]store{}
		}
	}
}

// attempt does something that may crash; it answers whether it was done.
func (m *model) attempt(do func() bool) (done bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case crash:
			if m.rnd.IntN(2) == 0 {
				m.power()
			}
		default:
			panic(r)
		}
	}()
	return do()
}

// run is one schedule.
func (m *model) run() {
	ready := false
	m.attempt(func() bool { // enrolment, which either is done or begins anew
		m.faults = false
		p := &Plan{}
		m.write(p, &ledger.Genesis{Base: m.head})
		m.extendHead(*p)
		m.extend("PCR_Extend", &m.pcr, p.X)
		m.write(nil, leaf{body: &ledger.Attest{Size: 1}, nv: m.nv(), q: m.quote()})
		m.faults = true
		return true
	})
	for range 6 + m.rnd.IntN(16) {
		switch {
		case m.rnd.IntN(10) == 0:
			m.strangers()
			ready = false
		case m.rnd.IntN(8) == 0:
			m.power()
			ready = false
		case m.rnd.IntN(12) == 0:
			m.suspend()
			ready = false
		case m.rnd.IntN(4) == 0:
			m.mirror1()
		case !ready:
			ready = m.attempt(m.start)
		default:
			ready = m.attempt(m.ceremony)
		}
	}
	m.faults = false
	for n := 0; !ready || n == 0; n++ {
		m.must(n < 8, "does not become ready")
		ready = m.attempt(m.start)
	}
	m.must(m.ceremony(), "does not sign")
	m.audit()
}

// mirror1 lets the other mirror catch up while the board is well.
func (m *model) mirror1() {
	if v := m.read(); Decide(v.o).Halt == "" {
		m.mirror(1)
	}
}

// audit replays the log: nothing in it may look like what it is not.
func (m *model) audit() {
	var r Replay
	var found []Problem
	for i, l := range m.disk.leaves {
		switch b := l.body.(type) {
		case *ledger.Genesis:
			found = append(found, r.Genesis(b)...)
		case *ledger.Attest:
			found = append(found, r.Attest(b, m.disk.x(b.Size), &l.nv, l.q)...)
		case *ledger.Boot:
			found = append(found, r.Boot(b, m.disk.x(b.Committed), &l.nv, l.q)...)
		case *ledger.Order:
			r.Order(b, uint64(i), &l.nv)
		}
	}
	for _, p := range found {
		m.must(p.Info || p.Warning, "false finding %s: %s", p.Code, p.Text)
	}
	m.must(r.Head() == m.head && r.Committed() == m.newest, "the replay ends at size %d, HEAD took %d", r.Committed(), m.newest)
	for size, root := range m.roots {
		m.must(m.disk.root(size) == root, "the entries up to size %d, which HEAD took, are lost", size)
	}
}

func newModel(seed uint64, seen map[string]int) *model {
	m := &model{rnd: rand.New(rand.NewPCG(seed, 1)), roots: map[uint64][32]byte{}, seen: seen}
	if m.rnd.IntN(4) == 0 {
		m.head, m.base = [32]byte{9}, [32]byte{9} // the HEAD of an earlier log
	}
	return m
}

// TestModel runs 10,000 schedules of what can go wrong. A failure names its
// seed and what led to it.
func TestModel(t *testing.T) {
	const schedules = 10_000
	seen := map[string]int{}
	for seed := range uint64(schedules) {
		m := newModel(seed, seen)
		func() {
			defer func() {
				if r := recover(); r != nil {
					w, ok := r.(wrong)
					if !ok {
						panic(r)
					}
					t.Errorf("seed %d: %s, after %q", seed, w, m.trace)
				}
			}()
			m.run()
		}()
		if t.Failed() {
			return
		}
	}
	for _, what := range []string{
		"signed", "not committed", "resumed", "fetched from a mirror", "PCR caught up", "commit attested at start", "power cut with lost writes",
		"halt head-ahead", "halt head-unknown", "halt head-behind", "halt pcr-unexplained", "the TPM did not answer",
		"NV_Extend applied but reported failed", "PCR_Extend applied but reported failed", "died between the extends", "died in NV_Extend",
		"died in PCR_Extend", "died before the sync of an append", "died while fetching", "died in PCR_Extend of a resume entry", "died in PCR_Extend at start",
	} {
		if seen[what] < 20 {
			t.Errorf("%s: only %d times in %d schedules", what, seen[what], schedules)
		}
	}
	t.Log(seen)
}
