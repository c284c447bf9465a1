package round

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func item(name string, v int) Item {
	return Item{Name: name, Format: "openpgp-binary", Digest: fmt.Sprintf("sha256:%064x", v), Size: uint64(v)}
}

// bench is a state under test, with keys that count up.
type bench struct {
	*State
	t     *testing.T
	rules []Rule
	now   time.Time
	keys  byte
}

func newBench(t *testing.T, rules ...Rule) *bench {
	for i := range rules {
		if rules[i].Batch == 0 {
			rules[i].Batch = MaxBatch
		}
		if rules[i].Window == 0 {
			rules[i].Window = time.Hour
		}
	}
	if err := Check(rules); err != nil {
		t.Fatal(err)
	}
	b := &bench{State: &State{}, t: t, rules: rules, now: epoch}
	b.step(0)
	return b
}

func (b *bench) step(pass time.Duration) []Action {
	b.now = b.now.Add(pass)
	return b.Step(b.now, b.rules, func() Key { b.keys++; return Key{b.keys} })
}

func (b *bench) offer(rule string, items ...Item) error {
	return b.Offer(b.rules, rule, &Snapshot{Number: b.NewNumber(), Taken: b.now, Items: items})
}

// publish publishes what is due, and runs its hooks.
func (b *bench) publish() {
	for _, a := range b.step(0) {
		if a.Do == Publish {
			b.Published(a.Rule, a.Number)
			b.Hooked(a.Rule, a.Number)
		}
	}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// asked lists what is asked for, as "class:name…".
func (b *bench) asked() string {
	var out []string
	for _, j := range b.Jobs {
		text := j.Class + ":"
		for _, it := range b.Items(j) {
			text += " " + it.Name
		}
		if j.Withdrawn {
			text += " withdrawn"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func (b *bench) wantAsked(pass time.Duration, want string) {
	b.t.Helper()
	b.step(pass)
	if got := b.asked(); got != want {
		b.t.Errorf("at %s it asks for %q, want %q", b.now.Format(time.TimeOnly), got, want)
	}
}

// TestSchedule: what waits is asked for while a round is open, and taken back when it closes.
func TestSchedule(t *testing.T) {
	b := newBench(t, Rule{Name: "core", Class: "db", At: []Daytime{8 * 60, 18 * 60}, Stale: 8 * time.Hour}, Rule{Name: "by-hand", Class: "db"})
	b.must(b.offer("core", item("core.db", 1)))
	b.must(b.offer("by-hand", item("x", 2)))
	b.wantAsked(time.Minute, "")                           // noon
	b.wantAsked(5*time.Hour+59*time.Minute, "db: core.db") // 18:00
	b.wantAsked(time.Hour, "db: core.db withdrawn")
	p := b.Of("core")
	if p.Missed != 1 || p.Why == "" || p.Overdue(b.now, &b.rules[0]) {
		t.Errorf("%+v", p)
	}
	b.End(b.now, b.Jobs[0].Key, Withdrawn, "")
	b.wantAsked(time.Hour+time.Second, "") // 20:00
	if !p.Overdue(b.now, &b.rules[0]) {
		t.Error("eight hours are no alarm")
	}
	b.must(b.State.Open(b.now, &b.rules[1], false))
	b.wantAsked(time.Minute, "db: x")
	b.End(b.now, b.Jobs[0].Key, Signed, "")
	b.wantAsked(30*time.Hour, "db: core.db") // two days later, late: the round that was missed opens now
}

// TestEnds: what each end of a job means for what waits.
func TestEnds(t *testing.T) {
	for _, tc := range []struct {
		result Result
		after  time.Duration // when it is asked for again, 0: not in this round
	}{{Withdrawn, time.Second}, {Late, afterFault}, {Faulty, afterFault}, {Refused, afterRefuse}, {Lost, afterRefuse}, {Denied, 0}} {
		b := newBench(t, Rule{Name: "core", Class: "db", Always: true})
		b.must(b.offer("core", item("core.db", 1)))
		b.wantAsked(0, "db: core.db")
		b.End(b.now, b.Jobs[0].Key, tc.result, "so it ended")
		if tc.after == 0 {
			b.wantAsked(24*time.Hour, "")
			b.must(b.State.Open(b.now, &b.rules[0], false))
			b.wantAsked(time.Second, "db: core.db")
			continue
		}
		if tc.result != Withdrawn { // that is asked for again at once
			b.wantAsked(tc.after-time.Second, "")
		}
		b.wantAsked(time.Second, "db: core.db")
		if want := tc.result != Withdrawn; (b.Of("core").Why == "so it ended") != want {
			t.Errorf("%d: why %q", tc.result, b.Of("core").Why)
		}
	}
}

// TestUrgent: an urgent round is another class, takes the place of an ordinary one, and ends with its publication.
func TestUrgent(t *testing.T) {
	b := newBench(t, Rule{Name: "core", Class: "db", Urgent: "db-now", Always: true}, Rule{Name: "extra", Class: "db", Always: true})
	b.must(b.offer("core", item("core.db", 1)))
	b.wantAsked(0, "db: core.db")
	if err := b.State.Open(b.now, &b.rules[1], true); !errors.Is(err, ErrNoUrgent) {
		t.Errorf("%v", err)
	}
	b.must(b.State.Open(b.now, &b.rules[0], true))
	b.wantAsked(0, "db: core.db withdrawn")
	b.End(b.now, b.Jobs[0].Key, Withdrawn, "")
	b.wantAsked(0, "db-now: core.db")
	b.End(b.now, b.Jobs[0].Key, Signed, "")
	acts := b.step(0)
	if len(acts) != 1 || acts[0].Do != Publish {
		t.Fatalf("%+v", acts)
	}
	b.Published("core", acts[0].Number)
	b.must(b.offer("core", item("core.db", 2)))
	b.wantAsked(0, "db: core.db")
}

// TestRoundGoesOn: what was armed is published though something newer waits, and the round goes on for that, to the end it
// had; what came of the newer one ends it, or not.
func TestRoundGoesOn(t *testing.T) {
	for name, tc := range map[string]struct {
		result Result
		asked  string // until 19:00
	}{"signed": {Signed, ""}, "denied": {Denied, ""}, "not touched": {Late, "db: core.db"}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Rule{Name: "core", Class: "db", At: []Daytime{8 * 60, 18 * 60}})
			b.must(b.offer("core", item("core.db", 1)))
			b.wantAsked(6*time.Hour, "db: core.db") // 18:00
			b.Hear(b.Jobs[0].Key)
			b.must(b.offer("core", item("core.db", 2)))
			b.End(b.now, b.Jobs[0].Key, Signed, "")
			b.publish()
			b.wantAsked(50*time.Minute, "db: core.db")
			b.End(b.now, b.Jobs[0].Key, tc.result, name)
			p := b.Of("core")
			if open := p.IsOpen(b.now, &b.rules[0]); open != (tc.result != Denied) {
				t.Errorf("open: %t", open)
			}
			if b.wantAsked(9*time.Minute, tc.asked); tc.result == Signed {
				if b.publish(); !p.Until.IsZero() {
					t.Errorf("nothing waits, and it goes on: %+v", p)
				}
			}
			b.step(time.Minute) // 19:00
			if over := p.Until.IsZero() && !p.IsOpen(b.now, &b.rules[0]); !over || (p.Missed == 1) != (tc.result != Signed) || tc.result == Denied && p.Why != name {
				t.Errorf("at its end %+v", p)
			}
		})
	}
}

// TestMissedBehindTheArmed: what waited when its round ended is told so, though something older is published after that.
func TestMissedBehindTheArmed(t *testing.T) {
	b := newBench(t, Rule{Name: "core", Class: "db", Every: 2 * time.Hour})
	b.must(b.offer("core", item("core.db", 1)))
	b.wantAsked(2*time.Hour, "db: core.db")
	b.Hear(b.Jobs[0].Key)
	b.must(b.offer("core", item("core.db", 2)))
	b.End(b.now, b.Jobs[0].Key, Signed, "")
	b.Published("core", b.step(time.Hour)[0].Number)
	if p := b.Of("core"); p.Missed != 1 || p.Why != nobody || p.Live == nil || p.Newest == nil {
		t.Errorf("%+v", p)
	}
	b.wantAsked(time.Minute, "")
}

// TestUrgentBehindTheArmed: an urgent round is for what was newest when it was opened. An older one's publication does not
// end it; its own makes what is left of it an ordinary round, for something newer.
func TestUrgentBehindTheArmed(t *testing.T) {
	b := newBench(t, Rule{Name: "core", Class: "db", Urgent: "db-now"})
	signed := func() {
		b.End(b.now, b.Jobs[0].Key, Signed, "")
		b.publish()
	}
	b.must(b.offer("core", item("core.db", 1)))
	b.must(b.State.Open(b.now, &b.rules[0], false))
	b.wantAsked(0, "db: core.db")
	b.Hear(b.Jobs[0].Key)
	b.must(b.offer("core", item("core.db", 2)))
	b.must(b.State.Open(b.now, &b.rules[0], true))
	signed()
	b.wantAsked(0, "db-now: core.db")
	b.Hear(b.Jobs[0].Key)
	b.must(b.offer("core", item("core.db", 3)))
	signed()
	b.wantAsked(0, "db: core.db")
	signed()
	if p := b.Of("core"); p.IsOpen(b.now, &b.rules[0]) || p.Urgent || p.For != 0 {
		t.Errorf("%+v", p)
	}
}

// TestBatches: rules of one class share a request for as long as they fit, in order of arrival; one that never fits is
// asked for in parts; another class waits for nobody.
func TestBatches(t *testing.T) {
	b := newBench(t, Rule{Name: "a", Class: "db", Always: true, Batch: 4}, Rule{Name: "b", Class: "db", Always: true}, Rule{Name: "c", Class: "db", Always: true, Batch: 2},
		Rule{Name: "d", Class: "iso", Always: true})
	b.must(b.offer("c", item("c1", 1), item("c2", 2), item("c3", 3)))
	b.must(b.offer("b", item("b1", 4), item("b2", 5)))
	b.must(b.offer("a", item("a1", 6)))
	b.must(b.offer("d", item("d1", 7)))
	b.wantAsked(0, "db: c1 c2; iso: d1")
	b.End(b.now, b.Jobs[0].Key, Signed, "")
	b.wantAsked(0, "iso: d1; db: c3")
	b.End(b.now, b.Jobs[1].Key, Signed, "")
	b.wantAsked(0, "iso: d1; db: b1 b2 a1")
}

// TestOfferRefused: what nobody at a display could tell apart, or is too much.
func TestOfferRefused(t *testing.T) {
	b := newBench(t, Rule{Name: "a", Class: "db"}, Rule{Name: "b", Class: "other", Urgent: "db"}, Rule{Name: "c", Class: "third"})
	b.must(b.offer("a", item("core.db", 1)))
	b.must(b.offer("c", item("core.db", 1)))
	for rule, want := range map[string]string{"b": `core.db is in rule "a" too`, "none": "no rule"} {
		if err := b.offer(rule, item("core.db", 2)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", rule, err)
		}
	}
	for _, n := range []int{0, MaxItems + 1} {
		if err := b.offer("a", make([]Item, n)...); err == nil {
			t.Errorf("%d items are taken", n)
		}
	}
}

// TestLatest: other items, or the same in another form, are another snapshot; the same items keep their signatures.
func TestLatest(t *testing.T) {
	b := newBench(t, Rule{Name: "a", Class: "db", Always: true})
	items := []Item{item("x", 1)}
	b.must(b.offer("a", items...))
	b.step(0)
	b.End(b.now, b.Jobs[0].Key, Signed, "")
	b.Published("a", b.step(0)[0].Number)
	if !b.Latest("a", "", items) || b.Latest("a", "another", items) || b.Latest("a", "", []Item{item("x", 2)}) || b.Latest("none", "", items) {
		t.Error("what is the latest?")
	}
	b.must(b.Offer(b.rules, "a", &Snapshot{Number: b.NewNumber(), Taken: b.now, Form: "another", Items: items}))
	if acts := b.step(0); len(acts) != 2 || acts[1].Do != Publish || !b.Latest("a", "another", items) {
		t.Errorf("%+v", acts)
	}
}

// TestOtherClass: what is asked for in a class that its rule has no more is withdrawn, and asked for in the new one.
func TestOtherClass(t *testing.T) {
	b := newBench(t, Rule{Name: "a", Class: "db", Urgent: "db-now", Always: true})
	b.must(b.offer("a", item("x", 1)))
	b.wantAsked(0, "db: x")
	b.rules[0].Class = "other"
	b.wantAsked(0, "db: x withdrawn")
	b.End(b.now, b.Jobs[0].Key, Withdrawn, "")
	b.wantAsked(0, "other: x")
}

// TestRuleGone: a rule that is no longer configured is withdrawn and forgotten.
func TestRuleGone(t *testing.T) {
	b := newBench(t, Rule{Name: "a", Class: "db", Always: true}, Rule{Name: "b", Class: "db", Always: true})
	b.must(b.offer("a", item("x", 1)))
	b.step(0)
	b.rules = b.rules[1:]
	b.wantAsked(0, "db: x withdrawn")
	b.End(b.now, b.Jobs[0].Key, Withdrawn, "")
	b.step(0)
	if b.Of("a") != nil || b.Of("b") == nil {
		t.Errorf("%+v", b.Rules)
	}
}

func TestNextRound(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		berlin = time.FixedZone("without zones", 3600)
	}
	r := Rule{At: []Daytime{2*60 + 30, 8 * 60}}
	for _, tc := range []struct{ last, want time.Time }{
		{time.Date(2026, 6, 1, 1, 0, 0, 0, berlin), time.Date(2026, 6, 1, 2, 30, 0, 0, berlin)},
		{time.Date(2026, 6, 1, 2, 30, 0, 0, berlin), time.Date(2026, 6, 1, 8, 0, 0, 0, berlin)},
		{time.Date(2026, 6, 1, 23, 0, 0, 0, berlin), time.Date(2026, 6, 2, 2, 30, 0, 0, berlin)},
		{time.Date(2026, 12, 31, 8, 0, 0, 0, berlin), time.Date(2027, 1, 1, 2, 30, 0, 0, berlin)},
	} {
		if got := r.NextRound(tc.last); !got.Equal(tc.want) {
			t.Errorf("after %v: %v, want %v", tc.last, got, tc.want)
		}
	}
	for at := time.Date(2026, 3, 27, 0, 0, 0, 0, berlin); at.Day() != 31; { // over the change of clocks rounds go on
		next := r.NextRound(at)
		if gap := next.Sub(at); gap <= 0 || gap > 25*time.Hour {
			t.Fatalf("after %v: %v", at, next)
		}
		at = next
	}
	if got := (&Rule{Every: time.Hour}).NextRound(epoch); !got.Equal(epoch.Add(time.Hour)) {
		t.Errorf("%v", got)
	}
	if got := (&Rule{}).NextRound(epoch); !got.IsZero() {
		t.Errorf("%v", got)
	}
}

func TestParseDaytime(t *testing.T) {
	for s, want := range map[string]Daytime{"00:00": 0, "08:30": 510, "23:59": 1439, "24:00": -1, "8:30": -1, "08:60": -1, "": -1, "08:30 ": -1} {
		if got, err := ParseDaytime(s); (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
}

// FuzzParse: whatever stands in the file, it is refused or can be worked with, and is written as it means.
func FuzzParse(f *testing.F) {
	b := newBench(&testing.T{}, testRules...)
	f.Add([]byte(`{"count":0,"rules":null,"jobs":null}`))
	b.must(b.offer("iso", item("a.iso", 1), item("b.iso", 2), item("c.iso", 3)))
	b.step(0)
	b.must(b.offer("iso", item("a.iso", 4), item("b.iso", 2)))
	b.step(0)
	text, err := b.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(strings.Replace(string(text), `"item":0`, `"item":9`, 1)))
	f.Add([]byte(strings.Replace(string(text), "a.iso", "../a", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		first, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(first)
		if err != nil {
			t.Fatalf("%v in %s", err, first)
		}
		keys := byte(100)
		for range 3 {
			for _, a := range again.Step(epoch, testRules, func() Key { keys++; return Key{keys} }) {
				switch a.Do {
				case Publish:
					again.Published(a.Rule, a.Number)
				case Ask:
					again.Items(a.Job)
					again.End(epoch, a.Job.Key, Signed, "")
				}
			}
		}
	})
}

// TestParseRefuses: nothing is in a queue that could not have been written there.
func TestParseRefuses(t *testing.T) {
	b := newBench(t, Rule{Name: "iso", Class: "iso", Always: true})
	b.must(b.offer("iso", item("a.iso", 1), item("b.iso", 2)))
	b.step(0)
	text, err := b.Marshal()
	b.must(err)
	for name, c := range map[string][2]string{
		"behind its end": {"", "x"}, "unknown field": {`"count"`, `"County"`}, "a path": {`"a.iso"`, `"x/a.iso"`}, "an option": {`"a.iso"`, `"-a.iso"`}, "no digest": {`"sha256:`, `"md5:`},
		"no such item": {`"item":0`, `"item":7`}, "an item before the first": {`"item":0`, `"item":-1`}, "no such snapshot": {`"refs":[{"rule":"iso","number":1`, `"refs":[{"rule":"iso","number":2`},
		"a number from nowhere": {`"count":`, `"count":0,"count":0`}, "no refs": {`"jobs":[{`, `"jobs":[null,{`},
	} {
		bad := strings.Replace(string(text), c[0], c[1], 1)
		if name == "behind its end" {
			bad = string(text) + "x"
		}
		if name == "a number from nowhere" {
			bad = strings.Replace(string(text), `"count":3`, `"count":0`, 1)
		}
		if bad == string(text) {
			t.Fatalf("%s: nothing was changed in %s", name, text)
		}
		if _, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
