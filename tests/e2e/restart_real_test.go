package e2e

import (
	"context"
	"slices"
	"sync"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/frame"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tests/cable"
	"touchmark/tests/world"
)

// tap reads along on the cable, down to the messages, and cuts it at one of them.
type tap struct {
	mu     sync.Mutex // guards all below
	ways   [2]way
	told   []said
	at     said
	lost   bool
	first  string // kind of the message from which on they count; "" once it has passed
	broken bool
	passed map[said]chan struct{} // closed when it has passed
}

// way is one direction.
type way struct {
	decoder frame.Decoder
	sid     uint32
	next    uint16 // number of the fragment that comes next
	part    [2][]byte
}

func (r *rig) tap() *tap {
	t := &tap{}
	r.Cable.SetFault(cable.Up, func(p []byte) []byte { return t.pass(0, "up ", p) })
	r.Cable.SetFault(cable.Down, func(p []byte) []byte { return t.pass(1, "down ", p) })
	return t
}

// cutAt forgets what passed and cuts the cable at the given message, counted from the first one of a kind on, when it has
// arrived or just before. What the job before still has to say does not count.
func (t *tap) cutAt(first string, at said, lost bool) (stopped <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told, t.first, t.at, t.lost = nil, first, at, lost
	t.passed = map[said]chan struct{}{at: make(chan struct{})}
	return t.passed[at]
}

// watch forgets what passed and waits later, in order, for the given messages.
func (r *rig) watch(t *tap, list ...said) (wait func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told, t.first, t.passed = nil, list[0].kind, map[said]chan struct{}{}
	for _, st := range list {
		t.passed[st] = make(chan struct{})
	}
	passed := t.passed
	return func() {
		r.t.Helper()
		for _, st := range list {
			select {
			case <-passed[st]:
			case <-r.ctx.Done():
				r.t.Fatalf("%v never passes: %v", st, t.story())
			}
		}
	}
}

func (t *tap) mend() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken, t.at = false, said{}
}

func (t *tap) story() []said {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.told)
}

// pass looks at bytes on their way. While the cable is cut they are lost.
func (t *tap) pass(w int, direction string, p []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken {
		return nil
	}
	for rest := p; len(rest) > 0; {
		f, n, ok := t.ways[w].decoder.Feed(rest)
		rest = rest[n:]
		if ok && f.Type.IsData() {
			t.fragment(&t.ways[w], direction, f)
		}
	}
	if t.broken && t.lost {
		return nil
	}
	return p
}

// fragment puts messages together again. Those that are sent again count once.
func (t *tap) fragment(w *way, direction string, f frame.Frame) {
	if f.SID != w.sid {
		*w = way{decoder: w.decoder, sid: f.SID}
	}
	if f.Seq != w.next {
		return
	}
	w.next++
	channel := 0
	if f.Type&frame.FlagBulk != 0 {
		channel = 1
	}
	w.part[channel] = append(w.part[channel], f.Payload...)
	if f.Type&frame.FlagLast == 0 {
		return
	}
	body := w.part[channel]
	w.part[channel] = nil
	text, err := message.NewUnpacker().Unpack(body)
	if err != nil {
		return
	}
	if m, err := message.Parse(text); err == nil {
		t.message(direction + kindOf(m))
	}
}

func (t *tap) message(kind string) {
	if t.first != "" && t.first != kind {
		return
	}
	t.first = ""
	st := said{kind, 1}
	for _, o := range t.told {
		if o.kind == kind {
			st.n++
		}
	}
	t.told = append(t.told, st)
	t.broken = t.broken || st == t.at
	if c := t.passed[st]; c != nil {
		close(c)
	}
}

// armed puts an operator at the board who arms whatever is shown, until stop is called.
func (r *rig) armed() (stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan struct{})
	views := r.Views()
	go func() {
		defer close(done)
		last := ""
		for mark := max(0, views.Mark()-1); ; {
			v, next, err := views.Wait(ctx, mark, func(v operator.View) bool { return v.Job != nil && v.Ask == operator.AskArm && v.Job.ID != last })
			if err != nil || r.Operator("arm "+v.Job.ID) != nil {
				return
			}
			mark, last = next, v.Job.ID
		}
	}()
	return func() { cancel(); <-done }
}

// TestProgramsRestartedAtEveryMessage does to the real programs, on a real (pseudo-)terminal, what TestRestartAtEveryStep
// does in one process: at each message of a greeting and of a job, kill the daemon, kill the board, pull the cable. The
// auditor and the token's own log of what it was asked have the last word.
func TestProgramsRestartedAtEveryMessage(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.must(r.Token.Mode(r.ctx, "auto"))
	tp := r.tap()
	stop := r.armed()
	defer func() { stop() }()
	greeting, job := r.messages(tp)
	t.Logf("greeting %v, job %v", greeting, job)
	n := 0
	for i, at := range slices.Concat(greeting, job) {
		greets := i < len(greeting)
		for _, what := range []string{"core killed", "hostd killed", "cable pulled"} {
			n++
			first := job[0].kind
			if greets {
				first = greeting[0].kind
			}
			stopped := tp.cutAt(first, at, n%2 == 0)
			if greets {
				r.KillHostd()
				r.must(r.LaunchHostd(r.ctx, "repo1"))
			}
			s := r.ask(nil, r.file("f", 100))
			select {
			case <-stopped:
			case <-r.ctx.Done():
				t.Fatalf("%v never passes: %v", at, tp.story())
			}
			codes := []int{api.OK}
			if greets {
				codes = []int{api.OK, api.NoDaemon} // the client may have found nobody
			}
			switch what {
			case "core killed":
				codes = append(codes, api.DeviceFault, api.MaySigned)
				stop()
				r.KillAppliance()
				tp.mend()
				r.must(r.StartAppliance(r.ctx))
				stop = r.armed()
			case "hostd killed":
				r.KillHostd()
				tp.mend()
				r.must(r.StartHostd(r.ctx))
			case "cable pulled":
				r.Cable.Unplug(cable.Up)
				tp.mend()
				r.must(r.Cable.Plug(cable.Up))
			}
			s.outcome(codes...)
			if t.Failed() {
				t.Fatalf("%s at %v; since then passed %v", what, at, tp.story())
			}
		}
	}
	r.ask(nil, r.file("last", 1000)).end(api.OK)
	r.accounted()
}

// messages records what passes when the daemon greets the board, and when a job is done.
func (r *rig) messages(tp *tap) (greeting, job []said) {
	r.t.Helper()
	wait := r.watch(tp, said{"up hello", 1}, said{"up mirrored", 1}) // the daemon's last word of a greeting
	r.StopHostd()
	r.must(r.StartHostd(r.ctx))
	wait()
	greeting = tp.story()
	wait = r.watch(tp, said{"up submit", 1}, said{"down done", 1}, said{"up mirrored", 2}) // and of a job: the intent, the outcome
	r.ask(nil, r.file("f", 100)).end(api.OK)
	wait()
	job = tp.story()
	if len(greeting) < 2 || len(job) < 8 {
		r.t.Fatalf("too little passed: %v, %v", greeting, job)
	}
	return greeting, job
}
