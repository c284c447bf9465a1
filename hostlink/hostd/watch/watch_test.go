package watch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/round"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSupersedeAndPublish: a newer version takes the place of one that is not armed; one that is, is published though
// staging moved on; what is unchanged is not asked for again.
func TestSupersedeAndPublish(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "db", "files")}
	})
	d.stage("core", "db", "db 1")
	d.stage("core", "files", "files 1")
	d.turn(2 * time.Second)
	one := d.board.open()
	if len(one) != 1 || len(one[0].req.Items) != 2 {
		t.Fatalf("%+v", one)
	}
	d.stage("core", "db", "db 2")
	d.turn(2 * time.Second)
	two := d.board.open()
	if !one[0].withdrawn || len(two) != 1 || two[0].req.Key == one[0].req.Key {
		t.Fatalf("%+v, %+v", one[0], two)
	}
	two[0].armed = true
	d.stage("core", "db", "db 3")
	d.turn(2 * time.Second)
	d.turn(time.Minute)
	d.board.touch(t, two[0])
	d.turn(2 * time.Second)
	if got := d.published("core", "db"); got != "db 2" {
		t.Errorf("published %q", got)
	}
	d.turn(2 * time.Second)
	three := d.board.open()
	if len(three) != 1 || len(three[0].req.Items) != 1 || three[0].req.Items[0].Name != "db" {
		t.Fatalf("%+v", three)
	}
	d.signAll()
	d.turn(2 * time.Second)
	if d.published("core", "db") != "db 3" || d.published("core", "files") != "files 1" {
		t.Errorf("published %q, %q", d.published("core", "db"), d.published("core", "files"))
	}
}

// TestThousandItemsOverAnHourWithoutALink: a thousand files wait in four classes, the link is down for an hour, the
// daemon is killed again and again, and so is the appliance between arming and touch. Each is signed once, none is lost,
// and of a class what came first is signed first.
func TestThousandItemsOverAnHourWithoutALink(t *testing.T) {
	const rules, files = 20, 50
	names := func(i int) (out []string) {
		for f := range files {
			out = append(out, fmt.Sprintf("r%02d-%02d.pkg", i, f))
		}
		return out
	}
	d := newDesk(t, func(dir string) (out []Rule) {
		for i := range rules {
			out = append(out, aRule(dir, fmt.Sprintf("r%02d", i), round.Rule{Class: fmt.Sprint("class", i%4), Always: true, Window: 3 * time.Hour}, "*.pkg"))
		}
		return out
	})
	d.board.down = true
	dice := rand.New(rand.NewPCG(1, 2))
	want := map[string][]string{}
	for i := range rules { // one rule's files come together, the rules one after the other
		for _, name := range names(i) {
			d.stage(fmt.Sprintf("r%02d", i), name, "package "+name)
		}
		class := fmt.Sprint("class", i%4)
		want[class] = append(want[class], names(i)...)
		d.turn(2 * time.Second)
	}
	for end := d.now.Add(time.Hour); d.now.Before(end); {
		d.turn(time.Duration(60+dice.IntN(300)) * time.Second)
		if dice.IntN(4) == 0 {
			d.kill()
		}
	}
	if len(d.board.signed) != 0 {
		t.Fatal("signed without a link")
	}
	d.board.down = false
	for turns := 0; len(d.board.signed) < rules*files; turns++ {
		if turns > 5000 {
			t.Fatalf("%d of %d signed", len(d.board.signed), rules*files)
		}
		d.turn(time.Duration(dice.IntN(30)) * time.Second)
		for _, j := range d.board.open() {
			j.armed = true
			if dice.IntN(4) > 0 {
				d.board.touch(t, j)
			}
		}
		if dice.IntN(5) == 0 {
			d.kill()
		}
	}
	for range 10 { // whatever was killed last is told the end of its jobs, and publishes
		d.turn(time.Minute)
	}
	for class, names := range want {
		if !slices.Equal(d.board.order[class], names) {
			t.Errorf("%s was signed in the order %v", class, d.board.order[class])
		}
	}
	for i := range rules {
		for _, name := range names(i) {
			if got := d.published(fmt.Sprintf("r%02d", i), name); got != "package "+name {
				t.Fatalf("published %s as %q", name, got)
			}
		}
	}
	if len(d.board.jobs) != 0 {
		t.Errorf("the daemon still keeps %d answers", len(d.board.jobs))
	}
}

// TestSnapshotLostInACrash: the files of a snapshot that was signed did not survive: it is taken again, and needs no
// other signature.
func TestSnapshotLostInACrash(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "db")}
	})
	d.stage("core", "db", "db 1")
	d.turn(2 * time.Second)
	d.signAll()
	must(t, os.RemoveAll(filepath.Join(d.dir, "www", ".core.touchmark")))
	d.turn(2 * time.Second)
	if got := d.published("core", "db"); got != "" {
		t.Errorf("published %q", got)
	}
	d.turn(time.Minute)
	d.turn(time.Minute)
	if got := d.published("core", "db"); got != "db 1" || len(d.board.order["db"]) != 1 {
		t.Errorf("published %q, signed %v", got, d.board.order)
	}
}

// TestOtherThanPublished: a queue that was lost gives no number again that is published, and a published directory that
// is gone is made anew, without another signature.
func TestOtherThanPublished(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "db")}
	})
	publish := func(v string) {
		d.stage("core", "db", v)
		for range 3 {
			d.turn(2 * time.Second)
			d.signAll()
		}
		d.turn(2 * time.Second)
		if got := d.published("core", "db"); got != v {
			t.Fatalf("published %q, want %q", got, v)
		}
	}
	publish("db 1")
	must(t, os.RemoveAll(filepath.Join(d.dir, "state")))
	d.start()
	publish("db 3") // the first number would be that of before
	signed := len(d.board.order["db"])
	must(t, os.RemoveAll(d.ruleOf("core").Files.Into))
	d.start()
	for range 3 {
		d.turn(2 * time.Second)
	}
	if got := d.published("core", "db"); got != "db 3" || len(d.board.order["db"]) != signed {
		t.Errorf("published %q, signed %v", got, d.board.order)
	}
}

// TestRenamedRule: what docs/rounds.md says of that.
func TestRenamedRule(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "db")}
	})
	d.stage("core", "db", "db 1")
	for range 3 {
		d.turn(2 * time.Second)
		d.signAll()
	}
	before := d.state.Of("core").Live.Number
	d.rules[0].Name, d.rules[0].Files.Rule = "kernel", "kernel"
	d.start()
	d.turn(2 * time.Second)
	if r := d.request(t, api.RoundList); !strings.Contains(r.Rounds[0].Alarm, "is published by rule \"core\"") {
		t.Errorf("%+v", r)
	}
	must(t, os.WriteFile(filepath.Join(d.rules[0].Files.Into, ".touchmark"), fmt.Appendf(nil, "touchmark/snapshot/v1\nrule kernel\nnumber %d\n", before), 0o644))
	d.board.signed = map[string]int{}
	d.start()
	for range 3 {
		d.turn(2 * time.Second)
		d.signAll()
	}
	if p := d.state.Of("kernel"); d.published("kernel", "db") != "db 1" || p.Live == nil || p.Live.Number <= before {
		t.Errorf("%+v", p)
	}
}

// TestAlarmAndHook: a hook is run until it succeeds; an alarm is raised once and withdrawn.
func TestAlarmAndHook(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		r := aRule(dir, "core", round.Rule{Class: "db", Stale: 2 * time.Hour}, "db")
		r.Alarm = []string{"/bin/sh", "-c", `echo "$TOUCHMARK_RULE:$TOUCHMARK_ALARM" >> ` + filepath.Join(dir, "alarms")}
		r.Hook = []string{"/bin/sh", "-c", `echo "$TOUCHMARK_RULE $TOUCHMARK_SNAPSHOT $TOUCHMARK_DIR" >> ` + filepath.Join(dir, "hooks") + `; mkdir ` + filepath.Join(dir, "second") + ` && echo not yet && exit 3; true`}
		return []Rule{r}
	})
	text := func(name string) string {
		b, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(b)
	}
	d.stage("core", "db", "db 1")
	for range 5 {
		d.turn(time.Hour)
	}
	d.wg.Wait()
	if got := text("alarms"); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "core:what changed has waited for its signature since 2026-11-21T13:00:00Z") {
		t.Errorf("alarms: %q", got)
	}
	if resp := d.request(t, api.RoundOpen); !resp.OK || !resp.Rounds[0].Open || resp.Rounds[0].Alarm == "" || !resp.Rounds[0].Stale || len(resp.Rounds[0].Unsigned) != 1 {
		t.Errorf("%+v", resp)
	}
	d.turn(2 * time.Second)
	d.signAll()
	d.turn(2 * time.Second)
	for range 6 {
		d.wg.Wait() // the hook has ended, and its end is posted
		d.handle()
		d.turn(2 * time.Minute)
	}
	d.wg.Wait()
	d.handle()
	hook := fmt.Sprintf("core %d %s\n", d.state.Of("core").Live.Number, filepath.Join(d.dir, "www", "core"))
	if got := text("hooks"); got != hook+hook {
		t.Errorf("hooks: %q", got)
	}
	if got := text("alarms"); strings.Count(got, "\n") < 2 || !strings.HasSuffix(got, "core:\n") {
		t.Errorf("alarms: %q", got)
	}
	d.turn(time.Hour)
	d.wg.Wait()
	if got := text("hooks"); got != hook+hook {
		t.Errorf("hooks after it succeeded: %q", got)
	}
}

// request asks what a client asks, at the desk's own pace.
func (d *desk) request(t *testing.T, action string, rules ...string) *api.Response {
	t.Helper()
	final := make(chan *api.Response, 1)
	d.serve(&api.Request{Op: api.OpRound, Action: action, Rules: rules}, final)
	select {
	case r := <-final:
		return r
	default:
		t.Fatalf("%s has no answer", action)
		return nil
	}
}

// TestRequests: what clients may ask, and what they are told.
func TestRequests(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Urgent: "db-now"}, "db"), aRule(dir, "extra", round.Rule{Class: "db"}, "*.db")}
	})
	d.turn(2 * time.Second)
	for _, tc := range []struct {
		action string
		rules  []string
		want   string
	}{
		{api.RoundOpen, []string{"none"}, "no rule \"none\": there are core, extra"},
		{api.RoundUrgent, []string{"extra"}, "no class for urgent rounds"},
		{api.RoundWait, nil, "nothing that touchmark-hostd does"},
		{api.RoundWait, []string{"core", "extra"}, "nothing that touchmark-hostd does"},
		{"", nil, "nothing that touchmark-hostd does"},
		{api.RoundWait, []string{"core"}, "cannot be taken"},
	} {
		if r := d.request(t, tc.action, tc.rules...); r.OK || !strings.Contains(r.Error, tc.want) {
			t.Errorf("%s %v: %+v", tc.action, tc.rules, r)
		}
	}
	d.stage("core", "db", "db 1")
	final := make(chan *api.Response, 1)
	d.serve(&api.Request{Op: api.OpRound, Action: api.RoundWait, Rules: []string{"core"}}, final)
	if r := d.request(t, api.RoundUrgent, "core"); !r.OK || !r.Rounds[0].Urgent {
		t.Errorf("%+v", r)
	}
	d.turn(2 * time.Second)
	if open := d.board.open(); len(open) != 1 || open[0].req.Class != "db-now" {
		t.Fatalf("%+v", open)
	}
	d.signAll()
	d.turn(2 * time.Second)
	d.turn(2 * time.Second)
	select {
	case r := <-final:
		if !r.OK {
			t.Errorf("%+v", r)
		}
	default:
		t.Error("a client still waits")
	}
	if r := d.request(t, api.RoundList); len(r.Rounds) != 2 || r.Rounds[0].Urgent || r.Rounds[0].Waiting != "" || r.Rounds[0].Published == 0 {
		t.Errorf("%+v", r)
	}
}

// TestToolAtWork: a client that comes while a repository tool works waits for that too; a tool that never ends is an
// alarm, and who waits is told.
func TestToolAtWork(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "db")}
	})
	d.turn(2 * time.Second)
	lock := d.ruleOf("core").Files.Lock
	must(t, os.WriteFile(lock, []byte("4711\n"), 0o644))
	d.stage("core", "db", "db 1")
	wait := func() chan *api.Response {
		final := make(chan *api.Response, 1)
		d.serve(&api.Request{Op: api.OpRound, Action: api.RoundWait, Rules: []string{"core"}}, final)
		return final
	}
	first := wait()
	d.turn(2 * time.Second)
	d.stage("core", "db", "db 2")
	d.turn(2 * time.Second)
	must(t, os.Remove(lock))
	for range 3 {
		d.turn(2 * time.Second)
		d.signAll()
	}
	select {
	case r := <-first:
		if got := d.published("core", "db"); !r.OK || got != "db 2" {
			t.Errorf("%+v, %q", r, got)
		}
	default:
		t.Error("a client still waits")
	}
	must(t, os.WriteFile(lock, []byte("4711\n"), 0o644))
	d.stage("core", "db", "db 3")
	first = wait()
	d.turn(longWork - time.Second)
	if r := d.request(t, api.RoundList); r.Rounds[0].Alarm != "" || len(first) != 0 {
		t.Errorf("%+v, %d", r, len(first))
	}
	d.turn(2 * time.Second)
	if r := d.request(t, api.RoundList); !strings.Contains(r.Rounds[0].Alarm, lock) {
		t.Errorf("%+v", r)
	}
	for _, final := range []chan *api.Response{first, wait()} {
		select {
		case r := <-final:
			if r.OK || r.Code != api.BadInput || !strings.Contains(r.Error, lock) {
				t.Errorf("%+v", r)
			}
		default:
			t.Error("a client still waits")
		}
	}
	must(t, os.Remove(lock))
	d.turn(time.Minute)
	if r := d.request(t, api.RoundList); r.Rounds[0].Alarm != "" || r.Rounds[0].Snapshot == 0 {
		t.Errorf("%+v", r)
	}
}

// TestRuleChanged: another rule takes effect when the daemon is started with it, though no file changed: another name or
// form of a signature without a touch, another format with one, and what is asked for in a class that the rule has no
// more is withdrawn.
func TestRuleChanged(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "db")}
	})
	d.stage("core", "db", "db 1")
	d.turn(2 * time.Second)
	d.signAll()
	d.turn(2 * time.Second)
	if d.published("core", "db") != "db 1" {
		t.Fatal("not published")
	}
	rule, asked := &d.rules[0], d.board.asked
	restart := func(change func()) {
		change()
		d.kill()
		d.turn(2 * time.Second)
		d.turn(2 * time.Second)
	}
	restart(func() { rule.Files.Sign[0].As = "db.signature" })
	into := rule.Files.Into
	if _, err := os.Stat(filepath.Join(into, "db.signature")); err != nil || d.board.asked != asked {
		t.Errorf("asked %d times, was %d: %v", d.board.asked, asked, err)
	}
	if _, err := os.Stat(filepath.Join(into, "db.sig")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the other name stays: %v", err)
	}
	restart(func() { rule.Files.Sign[0].As = ""; rule.Files.Sign[0].Armor = true })
	if b, err := os.ReadFile(filepath.Join(into, "db.asc")); err != nil || !strings.HasPrefix(string(b), "-----BEGIN PGP") || d.board.asked != asked {
		t.Errorf("asked %d times, was %d: %q, %v", d.board.asked, asked, b, err)
	}
	text, _ := sigformat.FormatOf("openpgp-text")
	restart(func() { rule.Files.Sign[0].Armor = false; rule.Files.Sign[0].Format = text })
	if open := d.board.open(); len(open) != 1 || open[0].req.Items[0].Format != "openpgp-text" {
		t.Fatalf("%+v", open)
	}
	restart(func() { rule.Class = "other" })
	if open := d.board.open(); len(open) != 1 || open[0].req.Class != "other" {
		t.Fatalf("%+v", open)
	}
	restart(func() { rule.Files.Sign[0].Format = sigformat.OpenPGPBinary })
	if open := d.board.open(); len(open) != 0 {
		t.Fatalf("%+v", open)
	}
	if got := d.published("core", "db"); got != "db 1" {
		t.Errorf("published %q", got)
	}
	last := d.state.Of("core").Live.Number
	restart(func() {})
	if now := d.state.Of("core").Live.Number; now != last {
		t.Errorf("published again: %d, was %d", now, last)
	}
}

// TestPartlySigned: what was signed before a batch failed is not asked for again, also not after a kill.
func TestPartlySigned(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "a", "b", "c")}
	})
	for _, name := range []string{"a", "b", "c"} {
		d.stage("core", name, "content of "+name)
	}
	d.turn(2 * time.Second)
	j := d.board.open()[0]
	j.armed = true
	d.board.touchSome(t, j, 2)
	d.turn(2 * time.Second)
	if got := d.published("core", "a"); got != "" {
		t.Errorf("half a snapshot is published: %q", got)
	}
	d.kill()
	d.turn(time.Minute)
	again := d.board.open()
	if len(again) != 1 || len(again[0].req.Items) != 1 || again[0].req.Items[0].Name != "c" {
		t.Fatalf("%+v", again)
	}
	d.signAll()
	d.turn(2 * time.Second)
	for _, name := range []string{"a", "b", "c"} {
		if got := d.published("core", name); got != "content of "+name {
			t.Errorf("published %q", got)
		}
	}
}

// TestSupersededIsRemoved: of what waits for a signature only the newest is on disk.
func TestSupersededIsRemoved(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule { return []Rule{aRule(dir, "core", round.Rule{Class: "db"}, "db")} })
	for i := range 5 {
		d.stage("core", "db", fmt.Sprint("db ", i))
		d.turn(2 * time.Second)
	}
	left, err := os.ReadDir(filepath.Join(d.dir, "www", ".core.touchmark"))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestRun: the real loop answers, and ends with what it started.
func TestRun(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule { return []Rule{aRule(dir, "core", round.Rule{Class: "db"}, "db")} })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { d.Run(ctx); close(ended) }()
	if r := d.Serve(ctx, &api.Request{Action: api.RoundList}); !r.OK {
		t.Errorf("%+v", r)
	}
	stop()
	<-ended
	if r := d.Serve(t.Context(), &api.Request{Action: api.RoundList}); r.OK || r.Code != api.NoDaemon {
		t.Errorf("%+v", r)
	}
}

// TestNothingWithoutTheQueue: what cannot be kept on disk is not acted on, and is an alarm until it can.
func TestNothingWithoutTheQueue(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule {
		return []Rule{aRule(dir, "core", round.Rule{Class: "db", Always: true}, "db")}
	})
	d.turn(2 * time.Second)
	state := filepath.Join(d.dir, "state")
	must(t, os.Rename(state, state+".away"))
	d.stage("core", "db", "db 1")
	d.turn(2 * time.Second)
	d.turn(2 * time.Second)
	if r := d.request(t, api.RoundList); d.board.asked != 0 || !strings.Contains(r.Rounds[0].Alarm, "the queue cannot be kept") {
		t.Errorf("asked %d times, %+v", d.board.asked, r)
	}
	if r := d.request(t, api.RoundOpen); r.OK || r.Code != api.CannotWrite || !strings.Contains(r.Error, "the queue cannot be kept") || !strings.Contains(r.Error, "no such file") {
		t.Errorf("%+v", r)
	}
	must(t, os.Rename(state+".away", state))
	d.turn(2 * time.Second)
	d.signAll()
	d.turn(2 * time.Second)
	d.turn(2 * time.Second)
	if got := d.published("core", "db"); got != "db 1" {
		t.Errorf("published %q", got)
	}
	if r := d.request(t, api.RoundList); r.Rounds[0].Alarm != "" {
		t.Errorf("%+v", r)
	}
}

// TestDamagedQueue: a daemon does not begin with half a queue.
func TestDamagedQueue(t *testing.T) {
	d := newDesk(t, func(dir string) []Rule { return []Rule{aRule(dir, "core", round.Rule{Class: "db"}, "db")} })
	must(t, os.WriteFile(filepath.Join(d.dir, "state", stateFile), []byte(`{"count":1,"rules":null,"jobs":null} x`), 0o600))
	if _, err := New(d.o); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("%v", err)
	}
}
