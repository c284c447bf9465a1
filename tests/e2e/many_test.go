package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tests/cable"
	"touchmark/tests/world"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
)

// many in the environment says how many files wait (`make queue`: a thousand), manySeed what happens meanwhile.
const many, manySeed = "TOUCHMARK_MANY", "TOUCHMARK_MANY_SEED"

// queue is a host on which files wait in several classes, each of them a rule's.
type queue struct {
	*rig
	rng     *mathrand.Rand
	dir     string
	classes []string
	files   map[string][]string // of each class, in the order in which they wait
	did     map[string]int      // accidents
	events  chan string         // what the programs do
	board   follower
	host    follower
}

// follower is somebody who looks at one life of a program.
type follower struct {
	stop func()
	wait sync.WaitGroup
}

const queueRule = `
[[watch]]
rule   = "%[1]s"
class  = "%[1]s"
dir    = "%[2]s/staging/%[1]s"
into   = "%[2]s/www/%[1]s"
lock   = "lck"
always = true
window = "12h"
batch  = %[3]d

[[watch.sign]]
file = "*.bin"
`

const queueClass = `
[[class]]
name = "%[1]s"
keys = ["packages"]
hosts = ["repo1"]
names = ["%[1]s-*.bin"]
formats = ["openpgp-binary"]
max_size = "1MiB"
rates = ["1000000/1h"]
approvals = 0
batch = 16
`

// number reads a number from the environment.
func number(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number", name, text)
	}
	return n
}

// TestManyWait: files wait in several classes while the cable is pulled; it is put back, and while one batch after the
// other is signed daemon and board are killed and the cable pulled at random. Every file is published with a signature,
// none has two of which one could be used, and of a class what came first is signed first.
func TestManyWait(t *testing.T) {
	t.Parallel()
	n, seed := number(t, many, 48), number(t, manySeed, 1)
	q := newQueue(t, n, uint64(seed))
	q.unplugged()
	waiting := q.memory()
	q.signedUnderFire(max(3, n/25))
	q.published()
	published := q.memory()
	q.board.end()
	q.host.end()
	q.shut()
	q.once()
	q.ordered()
	t.Logf("%d files, seed %d: %v; the daemon has %.1f MiB when they wait, %.1f MiB when they are published", n, seed, q.did, waiting, published)
}

// memory is what the daemon has, in MiB.
func (q *queue) memory() float64 {
	q.t.Helper()
	n, err := q.Hostd().RSS()
	q.must(err)
	return float64(n) / (1 << 20)
}

// newQueue makes a world with the classes, and what waits in them.
func newQueue(t *testing.T, n int, seed uint64) *queue {
	t.Helper()
	q := &queue{
		rng: mathrand.New(mathrand.NewPCG(seed, 0)), dir: t.TempDir(), files: map[string][]string{}, did: map[string]int{}, events: make(chan string),
		classes: []string{"red", "green", "blue", "black"}[:min(4, 1+n/12)],
	}
	rules, classes, batch := "", "", min(16, max(2, n/8))
	for _, c := range q.classes {
		rules, classes = rules+fmt.Sprintf(queueRule, c, q.dir, batch), classes+fmt.Sprintf(queueClass, c)
		for _, d := range []string{q.staging(c), filepath.Join(q.dir, "www")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range n {
		c := q.classes[i%len(q.classes)]
		q.files[c] = append(q.files[c], fmt.Sprintf("%s-%04d.bin", c, i))
	}
	q.rig = up(t, world.Config{Touch: "auto", HostTOML: rules, Policy: func(text string) string { return text + classes }})
	ctx, cancel := context.WithTimeout(t.Context(), patience+time.Duration(n)*time.Second)
	t.Cleanup(cancel)
	q.ctx = ctx
	q.followBoard()
	q.followHost()
	t.Cleanup(func() { q.board.end(); q.host.end() })
	return q
}

func (q *queue) staging(class string) string { return filepath.Join(q.dir, "staging", class) }

// unplugged has the files come while there is no link, and the daemon killed.
func (q *queue) unplugged() {
	q.t.Helper()
	q.Cable.Unplug(cable.Up)
	mark := q.Hostd().Log.Mark()
	for _, c := range q.classes {
		q.stage(c)
	}
	for _, c := range q.classes {
		q.must(q.Hostd().AwaitLog(q.ctx, mark, "staging changed", "rule="+c))
	}
	q.allWaits() // and is on disk: it answers when it has written that down
	q.restartHost(q.KillHostd)
	q.allWaits()
	q.must(q.Cable.Plug(cable.Up))
}

func (q *queue) allWaits() {
	q.t.Helper()
	waits := q.rounds()
	if len(waits) != len(q.classes) || slices.ContainsFunc(waits, func(r api.Round) bool { return len(r.Unsigned) != len(q.files[r.Rule]) }) {
		q.t.Fatalf("of what was staged this waits: %+v", waits)
	}
}

// stage makes a class's files, under the rule's lock.
func (q *queue) stage(class string) {
	q.t.Helper()
	lock := filepath.Join(q.staging(class), "lck")
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0o644)
	for errors.Is(err, fs.ErrExist) && q.ctx.Err() == nil { // the daemon looks; that is a matter of milliseconds
		f, err = os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0o644)
	}
	q.must(err)
	q.must(f.Close())
	for _, name := range q.files[class] {
		q.must(os.WriteFile(filepath.Join(q.staging(class), name), []byte("content of "+name), 0o644))
	}
	q.must(os.Remove(lock))
}

// end has nobody look any more.
func (f *follower) end() {
	f.stop()
	f.wait.Wait()
}

func (q *queue) following(f *follower, look func(context.Context)) {
	ctx, cancel := context.WithCancel(q.ctx)
	f.stop = cancel
	f.wait.Go(func() { look(ctx) })
}

func (q *queue) tell(ctx context.Context, what string) {
	select {
	case q.events <- what:
	case <-ctx.Done():
	}
}

// followBoard is the operator of one life of the board: he arms whatever is shown.
func (q *queue) followBoard() {
	views := q.Views()
	q.following(&q.board, func(ctx context.Context) {
		shown := ""
		for mark := 0; ; {
			v, next, err := views.Wait(ctx, mark, func(operator.View) bool { return true })
			if err != nil {
				return
			}
			mark = next
			switch {
			case v.Ask != operator.AskArm:
				shown = ""
			case v.Job.ID != shown:
				shown = v.Job.ID
				if q.Operator("arm "+shown) != nil {
					return
				}
				q.tell(ctx, "shown")
			}
			if v.Ask == operator.AskTouch {
				q.tell(ctx, "touch")
			}
		}
	})
}

// Lines of the daemon's log, and what they mean here.
var told = []struct{ words, what string }{{"submitted", "submitted"}, {"a request ended", "ended"}, {"repository published", "published"}}

// followHost follows one life of the daemon.
func (q *queue) followHost() {
	log := q.Hostd().Log
	q.following(&q.host, func(ctx context.Context) {
		for mark := 0; ; {
			line, next, err := log.Wait(ctx, mark, func(string) bool { return true })
			if err != nil {
				return
			}
			mark = next
			for _, w := range told {
				if strings.Contains(line, w.words) && strings.Contains(line, " WRN ") {
					q.tell(ctx, w.what+" badly")
				} else if strings.Contains(line, w.words) {
					q.tell(ctx, w.what)
				}
			}
		}
	})
}

func (q *queue) restartHost(end func()) {
	q.t.Helper()
	q.host.end()
	end()
	q.must(q.LaunchHostd(q.ctx, "repo1"))
	q.followHost()
}

func (q *queue) killBoard() {
	q.t.Helper()
	q.board.end()
	q.KillAppliance()
	q.must(q.StartAppliance(q.ctx))
	q.followBoard()
}

func (q *queue) pull() {
	q.t.Helper()
	q.Cable.Unplug(cable.Up)
	q.must(q.Cable.Plug(cable.Up))
}

// signedUnderFire has everything signed and published, with so many accidents at random moments.
func (q *queue) signedUnderFire(accidents int) {
	q.t.Helper()
	ways := []struct {
		name string
		do   func()
	}{
		{"board and daemon killed", func() { q.killBoard(); q.restartHost(q.KillHostd) }}, {"board killed", q.killBoard}, {"cable pulled", q.pull},
		{"daemon killed", func() { q.restartHost(q.KillHostd) }}, {"daemon stopped", func() { q.restartHost(q.StopHostd) }},
	}
	moments := 3 * len(q.all()) / 2 / (accidents + 1) // about so many come between two
	for left := 1 + q.rng.IntN(moments); !q.finished(); {
		var what string
		select {
		case what = <-q.events:
		case <-q.ctx.Done():
			q.t.Fatalf("nothing happens any more, after %v: %+v\n%s", q.did, q.rounds(), q.Hostd().LogTail())
		}
		if left--; left == 0 && accidents > 0 {
			way := ways[accidents%len(ways)]
			if accidents > len(ways) {
				way = ways[q.rng.IntN(len(ways))]
			}
			accidents, left = accidents-1, 1+q.rng.IntN(2*moments)
			q.did[way.name]++
			way.do()
			what = "ended badly"
		}
		if what == "ended badly" { // what failed waits for minutes, or for somebody who opens a round
			q.client(api.OK, "round", "open")
		}
	}
}

// all names everything that waits, by class.
func (q *queue) all() (out []string) {
	for _, c := range q.classes {
		out = append(out, q.files[c]...)
	}
	return out
}

func (q *queue) rounds() []api.Round {
	q.t.Helper()
	var list struct{ Rounds []api.Round }
	q.must(json.Unmarshal([]byte(q.client(api.OK, "round", "--json").Stdout), &list))
	return list.Rounds
}

// finished reports whether everything is published, by what clients would find.
func (q *queue) finished() bool {
	return !slices.ContainsFunc(q.classes, func(c string) bool {
		_, err := os.Stat(filepath.Join(q.dir, "www", c, ".touchmark"))
		return err != nil
	})
}

// published wants every file to be where clients look, with a signature that verifies.
func (q *queue) published() {
	q.t.Helper()
	for _, c := range q.classes {
		var paths []string
		for _, name := range q.files[c] {
			path := filepath.Join(q.dir, "www", c, name)
			b, err := os.ReadFile(path)
			if err != nil || string(b) != "content of "+name {
				q.t.Fatalf("published as %s: %q, %v", name, b, err)
			}
			paths = append(paths, path)
		}
		for some := range slices.Chunk(paths, 100) {
			q.client(api.OK, append([]string{"verify", "-q"}, some...)...)
		}
	}
}

// entry is what the log says of one file in one job.
type entry struct {
	name  string
	state ledger.State
}

// entries reads the published log, what is pending included.
func (r *rig) entries() (out []entry) {
	r.t.Helper()
	log, err := tiles.Open(r.Mirror)
	r.must(err)
	var texts [][]byte
	for text, err := range log.Entries(0) {
		r.must(err)
		texts = append(texts, text)
	}
	pending, err := log.Pending()
	r.must(err)
	names, next := map[uint64][]string{}, uint64(0)
	for _, text := range append(texts, pending...) {
		h, body, err := ledger.Parse(text)
		r.must(err)
		if h.Index < next {
			continue // pending once, and committed by now
		}
		next = h.Index + 1
		switch b := body.(type) {
		case *ledger.Intent:
			approval, err := message.NoteText(b.Approval)
			r.must(err)
			a, err := message.ParseApproval(approval)
			r.must(err)
			for _, it := range a.Items {
				names[h.Index] = append(names[h.Index], it.Name)
			}
		case *ledger.Outcome:
			for i, it := range b.Items {
				out = append(out, entry{names[b.Intent][i], it.State})
			}
		}
	}
	return out
}

// once wants one signature of each file in the log, the auditor to find nothing, and the token to have been touched no
// more often than the log accounts for.
func (q *queue) once() {
	q.t.Helper()
	signed := map[string]int{}
	for _, e := range q.entries() {
		if e.state == ledger.Signed {
			signed[e.name]++
		} else {
			q.did["item "+string(e.state)]++
		}
	}
	for _, name := range q.all() {
		if signed[name] != 1 {
			q.t.Errorf("%s was signed %d times", name, signed[name])
		}
	}
	q.accounted()
}

// ordered wants what came first in a class to be signed first.
func (q *queue) ordered() {
	q.t.Helper()
	for _, c := range q.classes {
		var signed []string
		for _, e := range q.entries() {
			if e.state == ledger.Signed && strings.HasPrefix(e.name, c+"-") {
				signed = append(signed, e.name)
			}
		}
		if !slices.Equal(signed, q.files[c]) {
			q.t.Errorf("%s was signed in the order\n%v", c, signed)
		}
	}
}
