package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/hostd/staging"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// board is daemon, link, appliance and operator behind a Daemon. It remembers jobs by key, as the daemon's spool does, and
// outlives the runners that ask it. Everything is done by its owner's goroutine: calls back wait in due.
type board struct {
	down   bool // the link
	jobs   map[round.Key]*boardJob
	order  map[string][]string // of each class: what was signed, in order
	signed map[string]int      // by name and digest
	due    []func()            // what a runner is told next
	asked  int
}

type boardJob struct {
	req       *Request
	done      func(*Answer) // nil while nobody waits
	armed     bool
	withdrawn bool
	signed    bool
	denied    bool
}

func newBoard() *board {
	return &board{jobs: map[round.Key]*boardJob{}, order: map[string][]string{}, signed: map[string]int{}}
}

func (b *board) Sign(_ context.Context, r *Request, armed func(), done func(*Answer)) (cancel func()) {
	b.asked++
	j := b.jobs[r.Key]
	switch {
	case j == nil && b.down:
		b.due = append(b.due, func() { done(&Answer{Result: round.Faulty, Why: "no link", Close: func(bool) {}}) })
		return func() {}
	case j == nil:
		j = &boardJob{req: r}
		b.jobs[r.Key] = j
	}
	j.done = done
	if j.armed {
		b.due = append(b.due, armed)
	}
	if j.signed {
		b.answer(j)
	}
	return func() {
		if !j.armed {
			j.withdrawn = true
			b.end(j, &Answer{Result: round.Withdrawn, Why: "withdrawn"})
		}
	}
}

// take gives what a runner is told next.
func (b *board) take() []func() {
	due := b.due
	b.due = nil
	return due
}

func (b *board) end(j *boardJob, a *Answer) {
	if j.done == nil {
		return
	}
	done := j.done
	j.done = nil
	a.Close = func(taken bool) {
		if taken {
			delete(b.jobs, j.req.Key)
		}
	}
	b.due = append(b.due, func() { done(a) })
}

func (b *board) answer(j *boardJob) {
	a := &Answer{Result: round.Signed}
	for _, it := range j.req.Items {
		a.Signatures = append(a.Signatures, staging.Signature{Signature: []byte("signature of " + it.Digest), Proof: []byte("proof of " + it.Name)})
	}
	b.end(j, a)
}

// touch signs an armed job: the appliance does so whether anybody listens or not.
func (b *board) touch(t testing.TB, j *boardJob) {
	j.signed = true
	for _, it := range j.req.Items {
		b.signed[it.Name+it.Digest]++
		if b.signed[it.Name+it.Digest] > 1 {
			t.Fatalf("%s was signed twice", it.Name)
		}
		b.order[j.req.Class] = append(b.order[j.req.Class], it.Name)
	}
	b.answer(j)
}

// touchSome signs some items of an armed job before nobody touches any more.
func (b *board) touchSome(t testing.TB, j *boardJob, n int) {
	whole := j.req
	part := *whole
	part.Items = whole.Items[:n]
	done := j.done
	j.done, j.req = nil, &part
	b.touch(t, j) // nobody is told
	j.done, j.req = done, whole
	a := &Answer{Result: round.Late, Why: "nobody touched", Signatures: make([]staging.Signature, len(whole.Items))}
	for i, it := range part.Items {
		a.Signatures[i] = staging.Signature{Signature: []byte("signature of " + it.Digest), Proof: []byte("proof of " + it.Name)}
	}
	b.end(j, a)
}

// open lists jobs that wait for the operator, in an order that does not change from run to run.
func (b *board) open() []*boardJob {
	var out []*boardJob
	for _, j := range b.jobs {
		if !j.signed && !j.withdrawn && !j.denied {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(x, y *boardJob) int { return slices.Compare(x.req.Key[:], y.req.Key[:]) })
	return out
}

// desk is a runner under a test's clock, without a goroutine of its own.
type desk struct {
	*Runner
	t     *testing.T
	dir   string
	rules []Rule
	board *board
	now   time.Time
	keys  uint64
}

func newDesk(t *testing.T, rules func(dir string) []Rule) *desk {
	t.Helper()
	d := &desk{t: t, dir: disktest.QuickDir(t), board: newBoard(), now: noon}
	d.rules = rules(d.dir)
	for i := range d.rules {
		must(t, os.MkdirAll(d.rules[i].Files.Dir, 0o755))
		must(t, os.MkdirAll(filepath.Dir(d.rules[i].Files.Into), 0o755))
	}
	d.start()
	return d
}

// start begins with what is on disk, as after a kill.
func (d *desk) start() {
	d.t.Helper()
	r, err := New(Options{
		State: filepath.Join(d.dir, "state"), Rules: d.rules, Daemon: d.board, Log: zerolog.Nop(),
		Clock: func() time.Time { return d.now },
		NewKey: func() (k round.Key) {
			d.keys++
			binary.BigEndian.PutUint64(k[:], d.keys)
			return k
		},
	})
	must(d.t, err)
	r.begin(d.t.Context())
	d.Runner = r
}

// kill ends the runner without a word: what it was to be told is lost, and nobody waits for its jobs.
func (d *desk) kill() {
	d.board.due = nil
	for _, j := range d.board.jobs {
		j.done = nil
	}
	d.start()
}

// turn lets some time pass, and everything happen that is due.
func (d *desk) turn(pass time.Duration) {
	d.now = d.now.Add(pass)
	d.tick()
	for len(d.board.due) > 0 {
		for _, f := range d.board.take() {
			f()
		}
		d.handle()
		d.tick()
	}
}

// handle does what was posted.
func (d *desk) handle() {
	for {
		select {
		case f := <-d.inbox:
			f()
		default:
			return
		}
	}
}

func (d *desk) stage(rule, name, content string) {
	d.t.Helper()
	path := filepath.Join(d.ruleOf(rule).Files.Dir, name)
	must(d.t, os.WriteFile(path+".tmp", []byte(content), 0o644))
	must(d.t, os.Rename(path+".tmp", path))
}

// published is a file as clients get it, with its signature checked; "" if there is none.
func (d *desk) published(rule, name string) string {
	d.t.Helper()
	into := d.ruleOf(rule).Files.Into
	b, err := os.ReadFile(filepath.Join(into, name))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	must(d.t, err)
	sig, err := os.ReadFile(filepath.Join(into, name+".sig"))
	must(d.t, err)
	h := hashstate.New(message.SHA256)
	_, _ = h.Write(b) // takes everything
	if want := "signature of " + (message.Digest{Alg: message.SHA256, Sum: h.State().Digest()}).String(); string(sig) != want {
		d.t.Fatalf("%s has the signature %q, want %q", name, sig, want)
	}
	return string(b)
}

// signAll is an operator who arms and touches all that is shown.
func (d *desk) signAll() {
	for _, j := range d.board.open() {
		j.armed = true
		d.board.touch(d.t, j)
	}
}

func aRule(dir, name string, r round.Rule, files ...string) Rule {
	r.Name = name
	if r.Batch == 0 {
		r.Batch = round.MaxBatch
	}
	if r.Window == 0 {
		r.Window = time.Hour
	}
	out := Rule{Rule: r, Files: staging.Repository{Rule: name, Dir: filepath.Join(dir, "staging", name), Into: filepath.Join(dir, "www", name), Lock: filepath.Join(dir, "staging", name, "lck")}}
	for _, f := range files {
		out.Files.Sign = append(out.Files.Sign, staging.Sign{File: f, Format: sigformat.OpenPGPBinary, Alg: message.SHA256})
	}
	return out
}
