// Package watch drives the rounds of a repository host (docs/rounds.md): it
// looks at staging directories, takes snapshots (package staging), asks the
// daemon for what is due (package round), publishes what is signed, runs hooks
// and raises alarms.
//
// It is a client of the daemon like any other, over the socket: nothing it does
// can get a signature that touchmark sign could not.
//
// # Guarantees
//
// The queue is on disk before anything of it is acted on, signatures are before
// the daemon may forget them, and everything is done again after a kill: a file
// that was asked for is asked for by the same key, which is the same job, a
// snapshot that was being published is published, a hook that has not succeeded
// is run.
//
// One goroutine, Run's, owns everything. Requests and hooks have one each, and
// hand their ends back.
package watch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"touchmark/hostlink/hostd/round"
	"touchmark/hostlink/hostd/staging"
	"touchmark/tpm/ledgerstore/durable"
)

// Rule is one [[watch]] table.
type Rule struct {
	round.Rule
	Files staging.Repository
	Hook  []string // program and arguments, run after publishing; none: empty
	Alarm []string // run when something begins to be wrong, is something else, and is over
}

// Options are what a Runner is made of.
type Options struct {
	State  string // directory of the queue
	Rules  []Rule
	Daemon Daemon
	Clock  func() time.Time // in the location that times of day are meant in
	NewKey func() round.Key // nil: random ones
	Log    zerolog.Logger
	Poll   time.Duration // between looks; 0: 2 s
}

const (
	defaultPoll = 2 * time.Second
	retryAsk    = 5 * time.Second  // an unfinished request is repeated
	retryDisk   = 30 * time.Second // what failed on a disk is tried again
	retryHook   = 5 * time.Minute  // a hook that failed is run again
	retell      = time.Minute      // an alarm whose text changes is raised no more often
	hookLimit   = 10 * time.Minute // a hook takes no longer
	hookGrace   = 5 * time.Second  // and this to end in good order
	longWork    = 10 * time.Minute // nor does a repository tool: then something is wrong
)

// Runner is at work. Its fields belong to Run.
type Runner struct {
	o     Options
	log   zerolog.Logger
	rules []round.Rule
	files map[string]*staging.Repository
	inbox chan func()
	done  chan struct{}
	wg    sync.WaitGroup
	ctx   context.Context // of Run, for what it starts

	state  *round.State
	disk   store
	asked  map[round.Key]*asking
	seen   map[string]*view
	hooked map[string]bool // its hook runs now
	waits  []*waiting
	unkept string // why the queue is not on disk, "" if it is
}

// asking is a request that is with the daemon, or will be again at notBefore.
type asking struct {
	cancel    func() // nil while it is not with the daemon
	cancelled bool
	notBefore time.Time
}

// view is what is known of a rule's directories, and lost with the program.
type view struct {
	last      string // of the last look: without a lock, what is looked at twice stands still
	nextLook  time.Time
	taken     bool      // a snapshot, and what it took the place of is still on disk
	force     bool      // the snapshot is needed even if it is as the one before
	notBefore time.Time // for what failed
	hookAfter time.Time
	busy      time.Time // since when a repository tool was found at work, each time
	problem   string    // of the last try
	alarm     string    // what is wrong, "" for nothing
	told      string    // what the alarm program was told last
	toldAt    time.Time
}

// New opens the queue.
func New(o Options) (*Runner, error) {
	if o.Poll == 0 {
		o.Poll = defaultPoll
	}
	if o.NewKey == nil {
		o.NewKey = func() (k round.Key) {
			rand.Read(k[:]) // never fails: crypto/rand ends the program instead
			return k
		}
	}
	r := &Runner{
		o: o, log: o.Log, files: map[string]*staging.Repository{}, inbox: make(chan func(), 64), done: make(chan struct{}),
		disk: store{dir: o.State}, asked: map[round.Key]*asking{}, seen: map[string]*view{}, hooked: map[string]bool{},
	}
	for i := range o.Rules {
		rule := &o.Rules[i]
		r.rules = append(r.rules, rule.Rule)
		r.files[rule.Name], r.seen[rule.Name] = &rule.Files, &view{}
	}
	err := round.Check(r.rules)
	if err == nil {
		err = durable.MkdirAll(filepath.Join(o.State, signedDir), 0o700)
	}
	if err == nil {
		r.state, err = r.disk.load()
	}
	return r, err
}

// Run works until ctx ends, and until what it started has ended.
func (r *Runner) Run(ctx context.Context) {
	r.begin(ctx)
	tick := time.NewTicker(r.o.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		r.tick()
		select {
		case <-ctx.Done():
		case <-tick.C:
		case f := <-r.inbox:
			f()
		}
	}
	close(r.done)
	r.wg.Wait()
}

// begin puts in order what a killed daemon left, and holds the queue against
// what is published: a number that is there is never given again, and where
// another snapshot is than the queue knows, or none, one is published anew.
func (r *Runner) begin(ctx context.Context) {
	r.ctx = ctx
	for name, files := range r.files {
		if err := files.Unlock(); err != nil {
			r.log.Error().Err(err).Str("rule", name).Msg("a lock of our own stays")
		}
		number, err := files.Published()
		if err != nil {
			continue // the first snapshot says so
		}
		r.state.Count = max(r.state.Count, number)
		if p := r.state.Of(name); p != nil && p.Live != nil && p.Find(number) == nil {
			r.seen[name].force = true
		}
	}
}

// post hands f to Run; it reports false when that has ended.
func (r *Runner) post(f func()) bool {
	select {
	case r.inbox <- f:
		return true
	case <-r.done:
		return false
	}
}

// tick is everything that is due now.
func (r *Runner) tick() {
	now := r.o.Clock()
	r.takeWaits(now)
	acts := r.state.Step(now, r.rules, r.o.NewKey) // knows every rule from here on
	for i := range r.rules {
		if r.look(now, &r.rules[i]) {
			acts = r.state.Step(now, r.rules, r.o.NewKey)
		}
	}
	if r.save() {
		r.cleanTaken()
		for _, a := range acts {
			r.act(now, a)
		}
		r.forgetAsked()
	}
	r.alarms(now)
	r.answerWaits()
}

// save keeps the state on disk. Without that nothing is done.
func (r *Runner) save() bool {
	r.unkept = ""
	if err := r.disk.save(r.state); err != nil {
		r.unkept = "the queue cannot be kept, nothing is asked for or published: " + err.Error()
	}
	return r.unkept == ""
}

// look takes a snapshot if the staging directory has changed, and reports
// whether it did.
func (r *Runner) look(now time.Time, rule *round.Rule) bool {
	v, files, p := r.seen[rule.Name], r.files[rule.Name], r.state.Of(rule.Name)
	if now.Before(v.notBefore) || now.Before(v.nextLook) {
		return false
	}
	v.nextLook = now.Add(r.o.Poll)
	look, err := files.Look()
	still := look == v.last || files.Lock != ""
	v.last = look
	switch {
	case err == nil && (look == "" || look == p.Look && !v.force):
		v.rest()
		return false
	case err == nil && !still:
		err = staging.ErrMoved
		fallthrough
	case err != nil:
		r.notTaken(now, rule.Name, err)
		return false
	}
	number := r.state.Count + 1 // taken when it is offered
	items, look, err := files.Snapshot(number)
	if err == nil {
		err = r.offer(now, rule.Name, number, items)
	}
	if err != nil {
		r.notTaken(now, rule.Name, err)
		return false
	}
	p.Look, v.taken, v.force, v.problem, v.busy = look, true, false, "", time.Time{}
	return true
}

// notTaken waits for a repository tool to end its work: the next look comes
// soon. One that never ends it, because it was killed and has left its lock, is
// a failure like others.
func (r *Runner) notTaken(now time.Time, rule string, err error) {
	v := r.seen[rule]
	passes := staging.Passes(err)
	if passes && v.busy.IsZero() {
		v.busy = now
	}
	switch {
	case !passes:
		v.busy = time.Time{}
		r.fail(now, rule, err)
	case now.Sub(v.busy) >= longWork:
		r.fail(now, rule, fmt.Errorf("nothing can be taken since %s: %w", v.busy.Format(time.RFC3339), err))
	}
}

// rest notes that there is nothing to take.
func (v *view) rest() {
	if !v.busy.IsZero() {
		v.busy, v.problem = time.Time{}, ""
	}
}

// offer queues a snapshot, unless everything in it that is signed is as before.
func (r *Runner) offer(now time.Time, rule string, number uint64, items []round.Item) error {
	form := r.files[rule].Form()
	if r.state.Latest(rule, form, items) && !r.seen[rule].force {
		r.clean(rule)
		return nil
	}
	err := r.state.Offer(r.rules, rule, &round.Snapshot{Number: r.state.NewNumber(), Taken: now.UTC(), Form: form, Items: items})
	if err == nil {
		r.log.Info().Str("rule", rule).Uint64("snapshot", number).Int("files", len(items)).Msg("staging changed")
	}
	return err
}

// fail notes what is wrong with a rule's directories, and waits before it is
// tried again.
func (r *Runner) fail(now time.Time, rule string, err error) {
	v := r.seen[rule]
	if v.problem != err.Error() {
		r.log.Error().Err(err).Str("rule", rule).Msg("repository")
	}
	v.problem, v.notBefore = err.Error(), now.Add(retryDisk)
}

// act does one thing that the state asks for. Each may be asked for again.
func (r *Runner) act(now time.Time, a round.Action) {
	switch a.Do {
	case round.Ask:
		r.ask(now, a.Job)
	case round.Withdraw:
		if at := r.asked[a.Job.Key]; at != nil && at.cancel != nil && !at.cancelled {
			at.cancelled = true
			at.cancel()
		}
	case round.Publish:
		r.publish(now, a.Rule, a.Number)
	case round.Hook:
		r.hook(now, a.Rule, a.Number)
	}
}

// ask has a job signed, if it is not with the daemon already.
func (r *Runner) ask(now time.Time, j *round.Job) {
	at := r.asked[j.Key]
	if at == nil {
		at = &asking{}
		r.asked[j.Key] = at
	}
	if at.cancel != nil || now.Before(at.notBefore) {
		return
	}
	key := j.Key
	at.cancelled = false
	at.cancel = r.o.Daemon.Sign(r.ctx, r.request(now, j),
		func() { r.post(func() { r.state.Hear(key) }) },
		func(a *Answer) {
			if !r.post(func() { r.answered(key, a) }) {
				a.Close(false)
			}
		})
}

// request is what a job is with the daemon.
func (r *Runner) request(now time.Time, j *round.Job) *Request {
	items, refs := r.state.Items(j), slices.Clone(j.Refs)
	return &Request{Key: j.Key, Class: j.Class, Patience: j.Deadline.Sub(now), Items: items, Read: func(i int) ([]byte, error) {
		files := r.files[refs[i].Rule] // never changes
		if files == nil {
			return nil, fmt.Errorf("the rule %q is gone", refs[i].Rule)
		}
		return files.Read(refs[i].Number, items[i].Name)
	}}
}

// answered takes the end of a request. The daemon may forget it when signatures
// and state are on disk.
func (r *Runner) answered(key round.Key, a *Answer) {
	now, at := r.o.Clock(), r.asked[key]
	at.cancel = nil
	if a.Open {
		at.notBefore = now.Add(retryAsk)
		a.Close(false)
		return
	}
	if err := r.disk.put(r.state.Items(r.state.Job(key)), a.Signatures); err != nil {
		r.log.Error().Err(err).Msg("signatures cannot be kept: they will be asked for again")
		at.notBefore = now.Add(retryDisk)
		a.Close(false)
		return
	}
	ev := r.log.Info()
	if a.Result != round.Signed && a.Result != round.Withdrawn {
		ev = r.log.Warn().Str("why", a.Why)
	}
	ev.Str("class", r.state.Job(key).Class).Msg("a request ended")
	if a.Result != round.Signed {
		r.state.Partly(key, a.signed())
	}
	r.state.End(now, key, a.Result, a.Why)
	delete(r.asked, key)
	a.Close(r.save())
}

// signed says which items have a signature.
func (a *Answer) signed() (of []bool) {
	for _, s := range a.Signatures {
		of = append(of, len(s.Signature) > 0)
	}
	return of
}

// forgetAsked drops requests that the state has no job for.
func (r *Runner) forgetAsked() {
	for key, at := range r.asked {
		if r.state.Job(key) == nil && at.cancel == nil {
			delete(r.asked, key)
		}
	}
}

// publish puts a signed snapshot before clients.
func (r *Runner) publish(now time.Time, rule string, number uint64) {
	v, p := r.seen[rule], r.state.Of(rule)
	files := r.files[rule]
	if files == nil || now.Before(v.notBefore) {
		return
	}
	snap := p.Find(number)
	if snap == nil {
		return
	}
	err := files.Publish(number, snap.Items, r.disk.get)
	if errors.Is(err, staging.ErrDamaged) {
		r.state.Discard(rule, number)
		v.force = true
	}
	if err != nil {
		r.fail(now, rule, err)
		return
	}
	r.state.Published(rule, number)
	v.problem = ""
	if len(r.ruleOf(rule).Hook) == 0 {
		r.state.Hooked(rule, number)
	}
	r.log.Info().Str("rule", rule).Uint64("snapshot", number).Msg("repository published")
	if r.save() {
		r.clean(rule)
	}
}

// cleanTaken removes the snapshots that newer ones have taken the place of.
func (r *Runner) cleanTaken() {
	for name, v := range r.seen {
		if v.taken {
			v.taken = false
			r.clean(name)
		}
	}
}

// clean removes the files that the state on disk does not need any more.
func (r *Runner) clean(rule string) {
	err := errors.Join(r.files[rule].Keep(r.state.Of(rule).Numbers()), r.disk.clean(r.state))
	if err != nil {
		r.log.Warn().Err(err).Str("rule", rule).Msg("old snapshots stay on disk")
	}
}

func (r *Runner) ruleOf(name string) *Rule {
	i := slices.IndexFunc(r.o.Rules, func(o Rule) bool { return o.Name == name })
	if i < 0 {
		return &Rule{}
	}
	return &r.o.Rules[i]
}
