package round

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// model is a world around a State: a staging directory for each rule, and an
// operator who does as the draws say.
type model struct {
	t       *rapid.T
	s       *State
	rules   []Rule
	now     time.Time
	keys    uint64
	content uint64
	armed   map[Key][]Item       // what the operator armed, and the board has not ended
	signed  map[string]int       // by content: how often
	live    map[string]uint64    // newest number published
	ends    map[string]time.Time // when the round that was opened last ends at the latest
	denied  map[string][]uint64  // since somebody opened a round
}

func newModel(t *rapid.T, rules []Rule) *model {
	return &model{t: t, s: &State{}, rules: rules, now: epoch, armed: map[Key][]Item{}, signed: map[string]int{}, live: map[string]uint64{}, ends: map[string]time.Time{}, denied: map[string][]uint64{}}
}

func (m *model) newKey() (k Key) {
	m.keys++
	binary.BigEndian.PutUint64(k[:], m.keys)
	return k
}

func (m *model) step() []Action {
	before := map[string]Progress{}
	for _, p := range m.s.Rules {
		before[p.Rule] = *p
	}
	acts := m.s.Step(m.now, m.rules, m.newKey)
	for _, p := range m.s.Rules {
		m.turned(before[p.Rule], p)
	}
	m.crash()
	m.invariants()
	return acts
}

// turned holds what became of a rule's round against what it was: one that ends while something waits for a signature is
// counted, for the clients that wait; none begins but by the schedule.
func (m *model) turned(before Progress, p *Progress) {
	over := !before.Until.IsZero() && !m.now.Before(before.Until)
	if n := before.Newest; over && n != nil && !n.complete() && p.Missed != before.Missed+1 {
		m.t.Fatalf("%s: a round ended without %d, and nobody is told: %+v", p.Rule, n.Number, p)
	}
	if !p.Opened.Equal(before.Opened) {
		m.ends[p.Rule] = m.now.Add(ruleOf(m.rules, p.Rule).Window)
	}
}

func (m *model) open(r *Rule, urgent bool) {
	if err := m.s.Open(m.now, r, urgent); err != nil {
		m.t.Fatal(err)
	}
	m.ends[r.Name], m.denied[r.Name] = m.now.Add(r.Window), nil
}

// crash goes on with what is on disk.
func (m *model) crash() {
	b, err := m.s.Marshal()
	if err != nil {
		m.t.Fatal(err)
	}
	s, err := Parse(b)
	if err != nil {
		m.t.Fatalf("%v in %s", err, b)
	}
	m.s = s
}

func (m *model) invariants() {
	asked := map[string]bool{}
	for _, j := range m.s.Jobs {
		for _, it := range m.s.Items(j) {
			key := fmt.Sprint(j.Class, it.Name, it.Format)
			if it.Name == "" || it.Signed || asked[key] {
				m.t.Fatalf("job %x asks for %+v", j.Key, it)
			}
			asked[key] = true
		}
		for _, ref := range j.Refs {
			if slices.Contains(m.denied[ref.Rule], ref.Number) {
				m.t.Fatalf("%d of %s was denied, and is asked for again", ref.Number, ref.Rule)
			}
		}
	}
	for _, p := range m.s.Rules {
		if p.Until.After(m.ends[p.Rule]) {
			m.t.Fatalf("%s: a round until %v, it was opened until %v", p.Rule, p.Until, m.ends[p.Rule])
		}
	}
}

// offer is a change of some of a rule's files.
func (m *model) offer(rule string, names []string, change func(string) bool) {
	snap := &Snapshot{Number: m.s.NewNumber(), Taken: m.now}
	p := m.s.Of(rule)
	for _, name := range names {
		it := Item{Name: name, Format: "openpgp-binary"}
		old := m.latest(p, name)
		if old == nil || change(name) {
			m.content++
			it.Digest, it.Size = fmt.Sprintf("sha256:%064x", m.content), m.content
		} else {
			it.Digest, it.Size = old.Digest, old.Size
		}
		snap.Items = append(snap.Items, it)
	}
	if err := m.s.Offer(m.rules, rule, snap); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) latest(p *Progress, name string) *Item {
	for _, snap := range []*Snapshot{p.Newest, p.Held, p.Live} {
		if snap == nil {
			continue
		}
		if i := slices.IndexFunc(snap.Items, func(it Item) bool { return it.Name == name }); i >= 0 {
			return &snap.Items[i]
		}
	}
	return nil
}

// board plays daemon, appliance and operator for one open job.
func (m *model) board(j *Job, what string) {
	items, armed := m.armed[j.Key]
	switch {
	case what == "arm" && !armed:
		m.armed[j.Key] = m.s.Items(j)
		m.s.Hear(j.Key)
	case what == "arm unheard" && !armed:
		m.armed[j.Key] = m.s.Items(j)
	case what == "touch" && armed:
		m.touch(j, items)
		m.s.End(m.now, j.Key, Signed, "")
	case what == "withdraw" && j.Withdrawn && !armed:
		m.s.End(m.now, j.Key, Withdrawn, "withdrawn")
	case what == "deny":
		for _, ref := range j.Refs {
			m.denied[ref.Rule] = append(m.denied[ref.Rule], ref.Number)
		}
		m.s.End(m.now, j.Key, Denied, "denied")
	case what == "fail":
		touched := rapid.IntRange(0, len(items)).Draw(m.t, "touched")
		m.touch(j, items[:touched])
		m.s.Partly(j.Key, slices.Repeat([]bool{true}, touched))
		m.s.End(m.now, j.Key, rapid.SampledFrom([]Result{Late, Faulty, Refused, Lost}).Draw(m.t, "failure"), "it failed")
	}
}

// touch signs items of an armed job, from the first on.
func (m *model) touch(j *Job, items []Item) {
	if now := m.s.Items(j); !slices.EqualFunc(items, now[:len(items)], Item.same) {
		m.t.Fatalf("an armed job changed: %v, was %v", now, items)
	}
	for _, it := range items {
		if m.signed[it.Digest]++; m.signed[it.Digest] > 1 {
			m.t.Fatalf("%v was signed twice", it)
		}
	}
}

func (m *model) publish(a Action) {
	p := m.s.Of(a.Rule)
	cur := p.current()
	if cur == nil || cur.Number != a.Number {
		return // asked for again after a crash
	}
	for _, it := range cur.Items {
		if m.signed[it.Digest] != 1 {
			m.t.Fatalf("published with %v signed %d times", it, m.signed[it.Digest])
		}
	}
	if cur.Number <= m.live[a.Rule] {
		m.t.Fatalf("%s: %d published after %d", a.Rule, cur.Number, m.live[a.Rule])
	}
	m.live[a.Rule] = cur.Number
	before := *p
	m.s.Published(a.Rule, a.Number)
	switch {
	case p.Newest == nil && (!p.Until.IsZero() || p.Missed != 0):
		m.t.Fatalf("nothing waits, and the round is not over: %+v", p)
	case p.Newest != nil && (!p.Until.Equal(before.Until) || p.Missed != before.Missed):
		m.t.Fatalf("%d waits, and its round is another than before: %+v, %+v", p.Newest.Number, before, p)
	}
	m.crash()
}

// settle is a diligent operator, until nothing is left to do.
func (m *model) settle() {
	for i := range m.rules {
		m.open(&m.rules[i], false)
	}
	for range 1000 {
		acts := m.step()
		if len(acts) == 0 {
			return
		}
		for _, a := range acts {
			switch {
			case a.Do == Publish:
				m.publish(a)
			case a.Do == Hook:
				m.s.Hooked(a.Rule, a.Number)
			case a.Do == Ask && m.s.Job(a.Job.Key) != nil:
				if !a.Job.Withdrawn {
					m.board(m.s.Job(a.Job.Key), "arm")
				}
				m.board(m.s.Job(a.Job.Key), "touch")
			case a.Do == Withdraw && m.s.Job(a.Job.Key) != nil:
				m.board(m.s.Job(a.Job.Key), "withdraw")
			}
		}
		for i := range m.rules {
			m.open(&m.rules[i], false)
		}
	}
	m.t.Fatal("it never comes to rest")
}

var testRules = []Rule{
	{Name: "core", Class: "db", Urgent: "db-now", Batch: 4, At: []Daytime{8 * 60, 18 * 60}, Window: time.Hour, Stale: 24 * time.Hour},
	{Name: "extra", Class: "db", Batch: 16, Every: 4 * time.Hour, Window: 30 * time.Minute},
	{Name: "iso", Class: "iso", Batch: 2, Always: true, Window: 2 * time.Hour},
	{Name: "pool", Class: "db", Batch: 3, Window: 2 * time.Hour},
}

var testFiles = map[string][]string{
	"core": {"core.db.tar.gz", "core.files.tar.gz"}, "extra": {"extra.db.tar.gz"}, "iso": {"a.iso", "b.iso", "SHA256SUMS"},
	"pool": {"p1", "p2", "p3", "p4", "p5", "p6", "p7"},
}

// TestNothingIsLostAndNothingSignedTwice: whatever staging directories, operator,
// link and power do, an armed job stays as it is, no content is signed twice (but
// for one whose signature is lost), snapshots are published whole and in order,
// what was denied is not asked for before somebody opens a round, a round ends when
// it was to, or when nothing waits any more, and in the end everything newest is
// published.
func TestNothingIsLostAndNothingSignedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, testRules)
		m.step()
		for range rapid.IntRange(1, 60).Draw(t, "moves") {
			m.now = m.now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "minutes")) * time.Minute)
			acts := m.step()
			switch move := rapid.IntRange(0, 9).Draw(t, "move"); move {
			case 0, 1, 2:
				rule := rapid.SampledFrom(testRules).Draw(t, "rule").Name
				m.offer(rule, testFiles[rule], func(name string) bool { return rapid.Bool().Draw(t, name) })
			case 3:
				r := rapid.SampledFrom(testRules).Draw(t, "rule")
				m.open(&r, r.Urgent != "" && rapid.Bool().Draw(t, "urgent"))
			case 4:
				for _, a := range acts {
					if a.Do == Publish {
						m.publish(a)
					}
				}
			default:
				if len(m.s.Jobs) > 0 {
					j := rapid.SampledFrom(m.s.Jobs).Draw(t, "job")
					m.board(j, rapid.SampledFrom([]string{"arm", "arm unheard", "touch", "touch", "withdraw", "deny", "fail"}).Draw(t, "board"))
				}
			}
		}
		m.settle()
		for _, p := range m.s.Rules {
			if len(testFiles[p.Rule]) > 0 && (p.Newest != nil || p.Held != nil || !p.Waiting().IsZero()) {
				t.Fatalf("%s still waits: %+v", p.Rule, p)
			}
		}
	})
}

// TestOrderOfAClass: what came first is signed first, in batches, though a newer
// version takes the place of what waits.
func TestOrderOfAClass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rules []Rule
		for i := range rapid.IntRange(2, 12).Draw(t, "rules") {
			rules = append(rules, Rule{Name: fmt.Sprint("r", i), Class: fmt.Sprint("c", i%2), Batch: rapid.IntRange(1, 4).Draw(t, "batch"), Window: time.Hour})
		}
		m := newModel(t, rules)
		m.step()
		var first []string // rules in the order in which something of them began to wait
		for range rapid.IntRange(1, 30).Draw(t, "offers") {
			rule := rapid.SampledFrom(rules).Draw(t, "rule").Name
			m.offer(rule, []string{rule + ".db"}, func(string) bool { return true })
			if !slices.Contains(first, rule) {
				first = append(first, rule)
			}
			m.step()
		}
		var asked []string
		for i := range rules {
			m.open(&rules[i], false)
		}
		for {
			m.step()
			if len(m.s.Jobs) == 0 {
				break
			}
			j := m.s.Jobs[rapid.IntRange(0, len(m.s.Jobs)-1).Draw(t, "next")]
			for _, ref := range j.Refs {
				asked = append(asked, ref.Rule)
			}
			m.board(j, "arm")
			m.board(j, "touch")
		}
		for c := range 2 {
			of := func(names []string) []string {
				return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return ruleOf(rules, n).Class != fmt.Sprint("c", c) })
			}
			if !slices.Equal(of(asked), of(first)) {
				t.Fatalf("asked for %v, came %v", of(asked), of(first))
			}
		}
	})
}
