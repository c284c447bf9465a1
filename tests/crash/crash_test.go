//go:build emulated

package crash

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tests/pivemu"
)

// full in the environment asks for every mode at every step, which takes some
// minutes (make powercut); else some are chosen.
const full = "TOUCHMARK_POWERCUT"

// workers is how many boards there are at a time.
const workers = 2

// trial is one thing to try.
type trial struct {
	scenario
	at *point // nil: nothing happens
}

func (c trial) String() string {
	if c.at == nil {
		return c.name
	}
	return fmt.Sprintf("%s: %s", c.name, c.at)
}

// result is what came of it.
type result struct {
	trial
	steps map[lane][]string
	hit   bool
	err   error
}

// TestCrashes ends everything that the board does at every step, in every way.
func TestCrashes(t *testing.T) {
	b := enrolled(t)
	gallery := &gallery{dir: t.TempDir(), base: b}
	var counted []trial
	for _, sc := range scenarios() {
		counted = append(counted, trial{scenario: sc})
	}
	var trials []trial
	m := &matrix{t: t, base: b, gallery: gallery}
	for _, res := range m.all(counted) {
		n := 0
		for _, steps := range res.steps {
			n += len(steps)
		}
		if n < res.least {
			t.Errorf("%s: %d steps are implausibly few: %q", res.name, n, res.steps)
		}
		trials = append(trials, enumerate(res)...)
	}
	if t.Failed() {
		return
	}
	if os.Getenv(full) == "" {
		trials = some(trials)
	}
	hits := 0
	for _, res := range m.all(trials) {
		if res.hit {
			hits++
		}
	}
	t.Logf("%d histories, in %d of them something happened; %d signatures for gpgv", len(trials), hits, gallery.size())
	if hits < len(trials)*9/10 {
		t.Errorf("only %d of %d points were reached", hits, len(trials))
	}
	gallery.judge(t)
}

// enumerate gives every mode at every step of a counted run.
func enumerate(res result) (trials []trial) {
	for _, m := range modes() {
		for i, name := range res.steps[m.lane] {
			if m.writes && !strings.HasPrefix(name, "write ") {
				continue
			}
			trials = append(trials, trial{res.scenario, &point{m, i + 1}})
		}
	}
	return trials
}

// some are every so many of the trials: of each scenario and each mode some.
func some(trials []trial) (few []trial) {
	const every = 59 // shares no factor with how many steps things have
	for i, c := range trials {
		if i%every == 0 {
			few = append(few, c)
		}
	}
	return few
}

// matrix makes trials on several boards at a time.
type matrix struct {
	t       *testing.T
	base    *base
	gallery *gallery
	benches []*bench
}

func (m *matrix) all(trials []trial) []result {
	for len(m.benches) < workers {
		m.benches = append(m.benches, newBench(m.t, m.base.copyCard(m.t, len(m.benches))))
	}
	results := make([]result, len(trials))
	next := make(chan int)
	var wg sync.WaitGroup
	for _, h := range m.benches {
		wg.Go(func() {
			for i := range next {
				results[i] = m.one(h, trials[i])
			}
		})
	}
	for i := range trials {
		if i > 0 && i%500 == 0 {
			m.t.Logf("%d of %d", i, len(trials))
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return results
}

func (m *matrix) one(h *bench, c trial) result {
	r, err := newRun(h, m.base)
	if err != nil {
		m.t.Errorf("%s: %v", c, err)
		return result{trial: c, err: err}
	}
	res := result{trial: c}
	res.steps, res.hit, res.err = r.history(c)
	if res.err != nil {
		m.t.Errorf("%s: %v\nthe board's log:\n%s", c, res.err, tail(r.lines.String()))
		_ = r.kill() // it may hang
	}
	m.gallery.add(r.host.released)
	return res
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// history is one trial.
func (r *run) history(c trial) (steps map[lane][]string, hit bool, err error) {
	if err := c.prepare(r); err != nil {
		return nil, false, fmt.Errorf("before: %w", err)
	}
	l := r.life
	l.count(c.at)
	err = c.act(r)
	var hang *hangError
	switch {
	case errors.As(err, &hang), c.at == nil && err != nil:
		return nil, false, err
	case err != nil:
		if terr := r.told(c, err); terr != nil {
			return nil, true, terr
		}
	}
	if err := r.leaves(c.at); err != nil {
		return nil, false, err
	}
	steps, hit = l.counted()
	if err := r.recovers(c); err != nil {
		return steps, hit, fmt.Errorf("after %w", err)
	}
	return steps, hit, r.judge(c.at != nil && c.at.lies)
}

// counted are the steps, and whether something happened.
func (l *life) counted() (map[lane][]string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counting = false
	return l.steps, l.hit
}

// leaves ends the life in which something happened: as it demands, or else in
// good order.
func (r *run) leaves(p *point) error {
	if p != nil && (p.dies || p.lasting || p.lies) {
		if err := r.kill(); err != nil {
			return err
		}
		return r.lose(p)
	}
	if r.life.rest(); r.stop != nil {
		if err := r.down(); err != nil {
			return err
		}
	}
	return r.lose(nil)
}

// told: a disk that fails is named, with what to do, on the display or by the
// process that does not come up.
func (r *run) told(c trial, err error) error {
	var errno unix.Errno
	p := c.at
	if p.lane != diskLane || p.dies || !errors.As(p.err, &errno) || errors.Is(err, errDead) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.view.Halted
	if r.failed != nil {
		text = r.failed.Error()
	}
	if !strings.Contains(text, errno.Error()) || !strings.Contains(text, "disk") {
		return fmt.Errorf("%w, but the display does not say that the disk fails: %q", err, text)
	}
	return nil
}

// recovers starts the board again, leads it out of a halt that it may be in, has
// it do what was wanted, and sign.
func (r *run) recovers(c trial) error {
	r.alone = false
	r.begin()
	if err := errors.Join(r.card.SetTouchMode(pivemu.TouchAuto), os.RemoveAll(r.stick)); err != nil {
		return err
	}
	r.start()
	if err := r.await("a board that is back", r.back); err != nil {
		return fmt.Errorf("the restart: %w", err)
	}
	if err := r.ledOut(c); err != nil {
		return err
	}
	if err := c.wanted(r); err != nil {
		return fmt.Errorf("the restart, what was wanted: %w", err)
	}
	if !c.closes {
		if err := r.await("a board that is ready", r.ready); err != nil {
			return err
		}
		if err := r.signs("last.db"); err != nil {
			return err
		}
	}
	// A closed log takes nothing from a host that has more.
	if err := r.await("a host that has everything", func() bool { return r.host.synced() || c.closes && r.host.total < uint64(len(r.host.entries)) }); err != nil {
		return err
	}
	return r.down()
}

// ledOut has administrators lead the board out of a halt, which must be one
// that the specification allows there.
func (r *run) ledOut(c trial) error {
	halted := r.shown().Halted
	if halted == "" {
		return nil
	}
	lied := c.at != nil && c.at.lies
	switch {
	case c.halts != "" && strings.Contains(halted, c.halts):
		return nil // what is wanted leads out of it
	case c.closes && strings.Contains(halted, closedText):
		return nil
	case lied && strings.HasPrefix(halted, "head-"):
		return ordering(resume)(r)
	}
	return fmt.Errorf("the restart it halts, where it must not: %s", halted)
}
