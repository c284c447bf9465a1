package recovery

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
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
	roots  [][32]byte // of the first 1, 2, ... leaves
	tree   ledger.Tree
	plans  []anchor.Plan
	ends   []int // number of leaves after each append
	safe   int
	sure   int // of a mirror: as far as it saw that HEAD took the leaves
}

func (s *store) append(p *anchor.Plan, ls ...leaf) {
	for _, l := range ls {
		s.tree.Add(l.hash)
		s.roots = append(s.roots, s.tree.Root())
	}
	s.leaves = append(s.leaves, ls...)
	s.ends = append(s.ends, len(s.leaves))
	if p != nil {
		s.plans = append(s.plans, *p)
	}
}

// cut keeps the first n leaves.
func (s *store) cut(n int) {
	s.leaves, s.roots, s.safe, s.sure = s.leaves[:n:n], s.roots[:n:n], min(s.safe, n), min(s.sure, n)
	s.ends = slices.DeleteFunc(slices.Clone(s.ends), func(e int) bool { return e > n })
	s.plans = slices.DeleteFunc(slices.Clone(s.plans), func(p anchor.Plan) bool { return p.Size > uint64(n) })
	s.tree = ledger.Tree{}
	for _, l := range s.leaves {
		s.tree.Add(l.hash)
	}
}

// root is that of the first n leaves, n from 1.
func (s *store) root(n uint64) [32]byte { return s.roots[n-1] }

func (s *store) x(n uint64) [32]byte { return ledger.X(ledger.CheckpointBody(origin, n, s.root(n))) }

// model is a board in every respect that docs/spec/anchor.md speaks of, and
// all that can go wrong with it. What it does wrong it says by failing.
type model struct {
	rnd     *rand.Rand
	faults  bool  // until the schedule is over
	forced  []int // if not nil, the chances that come true; see chance
	chances int
	cut     bool // with forced: what ends is the power, not the process
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

// chance is true once in n, as long as there are faults; or where the test
// says, if it counts the chances.
func (m *model) chance(n int) bool {
	if m.forced == nil {
		return m.faults && m.rnd.IntN(n) == 0
	}
	if m.faults {
		m.chances++
	}
	return m.faults && slices.Contains(m.forced, m.chances)
}

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
func (m *model) write(p *anchor.Plan, bodies ...any) {
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
		*value = anchor.Extend(*value, x)
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
func (m *model) extendHead(p anchor.Plan) bool {
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
func (m *model) strangers(what int) {
	switch what {
	case 0:
		m.note("somebody extends HEAD")
		m.head, m.strange = anchor.Extend(m.head, [32]byte{byte(m.serial), 1}), true
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
		m.pcr, m.pcrTaint = anchor.Extend(m.pcr, [32]byte{byte(m.serial), 2}), true
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
			if m.forced != nil && m.cut || m.forced == nil && m.rnd.IntN(2) == 0 {
				m.power()
			}
		default:
			panic(r)
		}
	}()
	return do()
}

// enrol makes the log; there is nothing to be saved if it fails.
func (m *model) enrol() {
	p := &anchor.Plan{}
	m.write(p, &ledger.Genesis{Base: m.head})
	m.extendHead(*p)
	m.extend("PCR_Extend", &m.pcr, p.X)
	m.write(nil, leaf{body: &ledger.Attest{Size: 1}, nv: m.nv(), q: m.quote()})
	m.faults = true
}

// until tries again, through starts, until the board did it.
func (m *model) until(do func() bool) {
	for n := 0; ; n++ {
		m.must(n < 40, "does not become ready")
		for !m.attempt(m.start) {
			n++
			m.must(n < 40, "does not become ready")
		}
		if m.attempt(do) {
			return
		}
	}
}

// end ends every schedule: without more faults the board works, and its log is
// good.
func (m *model) end() {
	m.faults = false
	m.until(m.something)
	m.audit()
}

// run is one schedule.
func (m *model) run() {
	m.enrol()
	ready := false
	for range 6 + m.rnd.IntN(12) {
		switch {
		case m.rnd.IntN(10) == 0:
			m.strangers(m.rnd.IntN(4))
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
			ready = m.attempt(m.something)
		}
	}
	if m.rnd.IntN(4) == 0 {
		m.until(m.closing)
	}
	m.end()
}

func (m *model) closing() bool { return m.ceremony(ledger.KindClose, false) }

// mirror1 lets the other mirror catch up while the board is well.
func (m *model) mirror1() {
	if v := m.read(); Decide(v.o).Halt == "" {
		m.mirror(1)
	}
}

// audit replays the log: nothing in it may look like what it is not.
func (m *model) audit() {
	var r anchor.Replay
	var found []anchor.Problem
	for i, l := range m.disk.leaves {
		switch b := l.body.(type) {
		case *ledger.Intent, *ledger.Outcome:
			m.must(!r.Closed(), "entry %d follows the end of the log", i)
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
	v := m.read()
	m.must(r.Closed() == v.ended, "closed: %v, the board says %v", r.Closed(), v.ended)
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

// try runs a schedule and says what promise it broke, "" if none.
func (m *model) try(run func()) (broken string) {
	defer func() {
		if r := recover(); r != nil {
			w, ok := r.(wrong)
			if !ok {
				panic(r)
			}
			broken = fmt.Sprintf("%s, after %q", w, m.trace)
		}
	}()
	run()
	return ""
}

// TestModel runs 10,000 schedules of what can go wrong. A failure names its
// seed and what led to it.
func TestModel(t *testing.T) {
	const schedules = 10_000
	seen := map[string]int{}
	for seed := range uint64(schedules) {
		m := newModel(seed, seen)
		if broken := m.try(m.run); broken != "" {
			t.Fatalf("seed %d: %s", seed, broken)
		}
	}
	for _, what := range []string{
		"done: intent", "done: note", "done: close", "not committed", "resumed", "fetched from a mirror", "PCR caught up", "commit attested at start", "power cut with lost writes",
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

// scenarios are days in the life of a board, one for each step that has an
// order of operations.
var scenarios = map[string]func(m *model){
	"start":       func(m *model) { m.until(func() bool { return true }) },
	"ceremony":    func(m *model) { m.until(func() bool { return m.ceremony(ledger.KindIntent, true) }) },
	"policy":      func(m *model) { m.until(func() bool { return m.ceremony(ledger.KindPolicy, true) }) },
	"no host":     func(m *model) { m.until(func() bool { return m.ceremony(ledger.KindTime, false) }) },
	"close":       func(m *model) { m.until(m.closing) },
	"two in turn": func(m *model) { m.until(m.something); m.until(m.something) },
	"HEAD taken":  func(m *model) { m.strangers(0); m.until(m.something) },
	"HEAD back": func(m *model) {
		m.until(m.something)
		m.strangers(1)
		m.until(m.something)
	},
	"PCR taken": func(m *model) { m.strangers(2); m.until(m.something) },
	"fetch": func(m *model) {
		m.until(m.something)
		m.mirror1()
		m.disk.cut(1)
		m.until(m.something)
	},
	"all copies lost": func(m *model) {
		m.until(m.something)
		m.disk.cut(2)
		m.mirrors = [2]store{}
		m.until(m.something)
	},
	"suspended": func(m *model) { m.until(m.something); m.suspend(); m.until(m.something) },
}

// TestEveryFault is the crash matrix: in each scenario every single fault, and
// every two: each step cut off by the end of the process or of the power, each
// command not applied or applied and reported failed or not answered, each sync
// a lie.
func TestEveryFault(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			runs := 0
			run := func(cut bool, forced ...int) (chances int) {
				m := newModel(1, map[string]int{})
				m.cut, m.forced = cut, append([]int{}, forced...)
				if broken := m.try(func() { m.enrol(); scenario(m); m.end() }); broken != "" {
					t.Fatalf("power cut %v, faults %v: %s", cut, forced, broken)
				}
				runs++
				return m.chances
			}
			for a := range run(false) {
				n := max(run(false, a+1), run(true, a+1))
				for b := a + 2; b <= n; b++ {
					run(b%2 == 0, a+1, b)
				}
			}
			t.Logf("%d runs", runs)
		})
	}
}
