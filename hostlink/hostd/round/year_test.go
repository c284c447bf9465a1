package round

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A year of a repository like Arch Linux's, by this package's own rules: three repositories whose databases change at any
// time of day, one operator who comes to rounds, mostly. docs/rounds.md has the result.

// changesPerDay is how often each repository's database and list of files change.
var changesPerDay = []struct {
	rule string
	n    int
}{{"core", 12}, {"extra", 40}, {"multilib", 4}}

// missed is the chance that nobody comes to a round, on a workday and at the weekend.
var missed = [2]float64{0.03, 0.3}

type plan struct {
	name string
	rule Rule
}

var plans = []plan{
	{"one round a day", Rule{At: []Daytime{9 * 60}, Window: 2 * time.Hour}},
	{"three rounds a day", Rule{At: []Daytime{8 * 60, 13 * 60, 18 * 60}, Window: time.Hour}},
	{"seven rounds a day", Rule{At: []Daytime{8 * 60, 10 * 60, 12 * 60, 14 * 60, 16 * 60, 18 * 60, 20 * 60}, Window: time.Hour}},
	{"always open, from 8 to 22", Rule{Always: true, Window: 4 * time.Hour}},
}

// year is one simulation.
type year struct {
	plan
	s          *State
	rules      []Rule
	dice       *rand.Rand
	now        time.Time
	comes      time.Time // the operator, next; zero: nothing to come for
	came       bool      // to what is open now, or has missed it
	keys       uint64
	content    uint64
	changed    map[string][]time.Time // changes that are not published yet, by rule
	waits      []time.Duration
	ceremonies int
	touches    int
}

func newYear(p plan) *year {
	y := &year{plan: p, s: &State{}, dice: rand.New(rand.NewPCG(2026, 11)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), changed: map[string][]time.Time{}}
	for _, c := range changesPerDay {
		r := p.rule
		r.Name, r.Class, r.Batch = c.rule, "pacman-db", MaxBatch
		y.rules = append(y.rules, r)
	}
	return y
}

func (y *year) newKey() (k Key) {
	y.keys++
	binary.BigEndian.PutUint64(k[:], y.keys)
	return k
}

// step does what is to be done at once: publishing and withdrawing.
func (y *year) step() {
	for again := true; again; {
		again = false
		for _, a := range y.s.Step(y.now, y.rules, y.newKey) {
			switch a.Do {
			case Publish:
				y.published(a)
				again = true
			case Hook:
				y.s.Hooked(a.Rule, a.Number)
			case Withdraw:
				y.s.End(y.now, a.Job.Key, Withdrawn, "")
				again = true
			}
		}
	}
	y.call()
}

func (y *year) published(a Action) {
	taken := y.s.Of(a.Rule).Find(a.Number).Taken
	y.s.Published(a.Rule, a.Number)
	rest := y.changed[a.Rule]
	for len(rest) > 0 && !rest[0].After(taken) {
		y.waits, rest = append(y.waits, y.now.Sub(rest[0])), rest[1:]
	}
	y.changed[a.Rule] = rest
}

// call has the operator come, some time after something is to be signed.
func (y *year) call() {
	if len(y.s.Jobs) == 0 {
		y.comes, y.came = time.Time{}, false
		return
	}
	if y.came || !y.comes.IsZero() {
		return
	}
	weekend := 0
	if d := y.now.Weekday(); d == time.Saturday || d == time.Sunday {
		weekend = 1
	}
	if !y.rule.Always && y.dice.Float64() < missed[weekend] {
		y.came = true
		return
	}
	y.comes = y.now.Add(time.Duration(5+y.dice.IntN(30)) * time.Minute)
	if h := y.comes.Hour(); y.rule.Always && (h < 8 || h >= 22) { // he sleeps
		y.comes = time.Date(y.comes.Year(), y.comes.Month(), y.comes.Day(), 8, 5, 0, 0, time.UTC)
		if h >= 22 {
			y.comes = y.comes.AddDate(0, 0, 1)
		}
	}
}

// sign is the operator's coming.
func (y *year) sign() {
	y.comes = time.Time{}
	for _, j := range slices.Clone(y.s.Jobs) {
		y.ceremonies++
		y.touches += len(j.Refs)
		y.s.End(y.now, j.Key, Signed, "")
	}
}

func (y *year) change(rule string) {
	y.content++
	snap := &Snapshot{Number: y.s.NewNumber(), Taken: y.now}
	for _, name := range []string{".db.tar.gz", ".files.tar.gz"} {
		snap.Items = append(snap.Items, Item{Name: rule + name, Format: "openpgp-binary", Digest: fmt.Sprintf("sha256:%064x", y.content), Size: 1})
	}
	if err := y.s.Offer(y.rules, rule, snap); err != nil {
		panic(err)
	}
	y.changed[rule] = append(y.changed[rule], y.now)
}

// nextChange is when which repository changes next.
func (y *year) nextChange() (time.Time, string) {
	total := 0
	for _, c := range changesPerDay {
		total += c.n
	}
	at := y.now.Add(time.Duration(y.dice.ExpFloat64() / float64(total) * float64(24*time.Hour)))
	k := y.dice.IntN(total)
	for _, c := range changesPerDay {
		if k -= c.n; k < 0 {
			return at, c.rule
		}
	}
	return at, changesPerDay[0].rule
}

// turn is when a round of the first rule opens or closes next; those of the others do so with it.
func (y *year) turn() time.Time {
	p := y.s.Of(y.rules[0].Name)
	next := y.rules[0].NextRound(p.Opened)
	if next.IsZero() || !p.Until.IsZero() && p.Until.Before(next) {
		next = p.Until
	}
	return next
}

func (y *year) run() {
	end := y.now.AddDate(1, 0, 0)
	y.step()
	for change, rule := y.nextChange(); y.now.Before(end); {
		y.now = change
		if t := y.turn(); !t.IsZero() && t.Before(y.now) {
			y.now = t
		}
		if !y.comes.IsZero() && y.comes.Before(y.now) {
			y.now = y.comes
		}
		switch {
		case y.now.Equal(y.comes):
			y.sign()
		case y.now.Equal(change):
			y.change(rule)
			change, rule = y.nextChange()
		}
		y.step()
	}
}

// row is a line of the table in docs/rounds.md.
func (y *year) row() string {
	slices.Sort(y.waits)
	at := func(part float64) string {
		return fmt.Sprintf("%.1f h", y.waits[int(part*float64(len(y.waits)-1))].Hours())
	}
	perDay := float64(y.ceremonies) / 365
	return fmt.Sprintf("| %s | %.1f | %.1f | %s | %s | %s | %.0f years |", y.name, perDay, float64(y.touches)/365, at(0.5), at(0.95), at(1), 100_000/perDay/365)
}

// TestYear: docs/rounds.md tells what a simulated year gives.
func TestYear(t *testing.T) {
	page, err := os.ReadFile("../../../docs/rounds.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plans {
		y := newYear(p)
		y.run()
		if row := y.row(); !strings.Contains(string(page), "\n"+row+"\n") {
			t.Errorf("docs/rounds.md does not have: %s", row)
		}
		if n := len(y.waits); n < 19_000 || n > 22_000 {
			t.Errorf("%s: %d changes were published", p.name, n)
		}
	}
}
