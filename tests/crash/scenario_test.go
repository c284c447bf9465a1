//go:build emulated

package crash

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tests/pivemu"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledger/tokenkey/tokenkeytest"
)

// scenario is something that the board does, and that is ended at each step.
type scenario struct {
	name    string
	least   int                // steps that it takes at the very least
	prepare func(r *run) error // what comes before; nothing counts
	act     func(r *run) error
	// wanted brings about what act was for, on a board without faults, on which
	// it may have come about already.
	wanted func(r *run) error
	halts  string // word of the halt that is there before, "" for none
	closes bool   // nothing is signed afterwards
}

// scenarios are all of them.
func scenarios() []scenario {
	return []scenario{
		{name: "start", least: 15, prepare: nothing, act: (*run).up, wanted: nothing},
		{name: "start that mends a commit", least: 17, prepare: dyingAt("killed after", tpmLane), act: (*run).up, wanted: nothing},
		{name: "start after power was lost at the touch", least: 16, prepare: dyingAt("power lost before", tokenLane), act: (*run).up, wanted: nothing},
		{name: "start from a mirror", least: 20, prepare: rolledBack, act: (*run).up, wanted: nothing, halts: "head-"},
		{name: "ceremony", least: 12, prepare: (*run).up, act: signing("job.db", 1), wanted: nothing},
		{name: "batch", least: 14, prepare: (*run).up, act: signing("batch.db", 3), wanted: nothing},
		{name: "ceremony that nobody touches", least: 12, prepare: untouched, act: expired, wanted: nothing},
		{name: "policy change", least: 12, prepare: (*run).up, act: ordering(newPolicy), wanted: obeyed(newPolicy)},
		{name: "note", least: 12, prepare: (*run).up, act: ordering(aNote), wanted: obeyed(aNote)},
		{name: "note without a host", least: 8, prepare: withoutHost, act: onStick, wanted: obeyed(aNote)},
		{name: "time order", least: 15, prepare: clockBehind, act: ordering(theTime), wanted: (*run).timed, halts: "the clock"},
		{name: "time order of a clock that is ahead", least: 15, prepare: clockAhead, act: ordering(theTime), wanted: (*run).timed, halts: "the clock"},
		{name: "resume", least: 15, prepare: foreign, act: ordering(resume), wanted: (*run).resumed, halts: "head-"},
		{name: "log key", least: 14, prepare: secondKey, act: ordering(theKey), wanted: obeyed(theKey)},
		{name: "a further token's key", least: 12, prepare: joinable, act: ordering(aToken), wanted: joined},
		{name: "renewal", least: 14, prepare: laterOn, act: ordering(aRenewal), wanted: (*run).renewed},
		{name: "close", least: 12, prepare: (*run).up, act: ordering(theEnd), wanted: (*run).closed, closes: true},
		{name: "shutdown", least: 4, prepare: (*run).up, act: (*run).leave, wanted: nothing},
		{name: "shutdown while the token waits", least: 8, prepare: untouched, act: (*run).leaveArmed, wanted: nothing},
	}
}

func nothing(*run) error { return nil }

// modeNamed is one of modes.
func modeNamed(name string, l lane) mode {
	for _, m := range modes() {
		if m.name == name && m.lane == l {
			return m
		}
	}
	panic("no such mode: " + name)
}

// dyingAt is a board that died in a ceremony, at the first step of a lane.
func dyingAt(name string, l lane) func(*run) error {
	return func(r *run) error {
		if err := r.up(); err != nil {
			return err
		}
		p := &point{modeNamed(name, l), 1}
		r.life.count(p)
		if _, err := r.ask("before.db", 1); !errors.Is(err, errDead) {
			return fmt.Errorf("it did not die: %w", err)
		}
		return r.next(p)
	}
}

// next ends a life as a point demands and begins the next.
func (r *run) next(p *point) error {
	if err := r.kill(); err != nil {
		return err
	}
	if err := r.lose(p); err != nil {
		return err
	}
	r.begin()
	return nil
}

// lose takes the power away if the point says so.
func (r *run) lose(p *point) error {
	r.tpm.Intercept(nil)
	if p == nil || !p.power && !p.lies {
		r.disk.Kill()
		return nil
	}
	keep, n := p.keep, 0
	if keep == nil {
		keep = keepNone
	}
	r.disk.PowerCut(func(of int) int { n++; return keep(n+p.n, of) })
	return r.tpm.PowerCycle()
}

// rolledBack is a board with an older disk.
func rolledBack(r *run) error {
	old := r.disk.Clone()
	if err := r.up(); err != nil {
		return err
	}
	for _, name := range []string{"lost.db", "lost2.db"} {
		if err := r.signs(name); err != nil {
			return err
		}
	}
	if err := r.down(); err != nil {
		return err
	}
	r.disk = old
	r.host.sent = nil // they were on the disk that is gone
	r.begin()
	return nil
}

func signing(name string, n int) func(*run) error {
	return func(r *run) error {
		j, err := r.ask(name, n)
		if err == nil {
			err = r.await("rest", r.rests)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if err == nil && j.done == nil {
			err = errors.New("refused")
		}
		return err
	}
}

// untouched is a board whose token waits for a touch.
func untouched(r *run) error {
	if err := r.up(); err != nil {
		return err
	}
	return r.card.SetTouchMode(pivemu.TouchAsk)
}

func (r *run) waiting() error {
	r.mu.Lock()
	_, err := r.host.submit("armed.db", 2)
	life := r.life
	r.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		select {
		case <-life.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = r.await("no touch", func() bool { return r.halted() || ctx.Err() != nil || r.jobEnded() })
		cancel()
	}()
	err = r.card.WaitTouch(ctx)
	cancel()
	r.mu.Lock()
	r.changed()
	r.mu.Unlock()
	<-gone
	return err
}

// jobEnded: every job that was asked for has.
func (r *run) jobEnded() bool {
	for _, j := range r.host.jobs {
		if j.done == nil && j.refused == nil {
			return false
		}
	}
	return true
}

// expired is a ceremony that nobody comes to.
func expired(r *run) error {
	if err := r.waiting(); err != nil {
		return err
	}
	if err := r.card.TimeOut(); err != nil {
		return err
	}
	return r.await("the end of the job", func() bool { return r.jobEnded() && r.rests() })
}

func newPolicy(r *run) ([]byte, error) {
	hash := sha256.Sum256([]byte(r.base.policy))
	next := strings.NewReplacer("serial = 1", "serial = 2", `previous = ""`, fmt.Sprintf("previous = \"%x\"", hash), "600/1h", "500/1h").Replace(r.base.policy)
	return message.SignNote([]byte(next), r.base.admin)
}

func aNote(r *run) ([]byte, error)  { return r.order(&order.Note{}) }
func theEnd(r *run) ([]byte, error) { return r.order(&order.Close{}) }

// theTime is another order each time: one that a death cut off may have had its effect.
func theTime(r *run) ([]byte, error) {
	return r.order(&order.Time{To: now().Add(time.Duration(len(r.orders)) * time.Second)})
}

func theKey(r *run) ([]byte, error) {
	return r.order(&order.Key{LogKey: r.host.trust.LogKey})
}

// secondKey is a board on which the log key that is to come was made. Its host
// was given the trust note that says so: it takes both.
func secondKey(r *run) error {
	k, err := r.ring().MakeNext(origin)
	if err != nil {
		return err
	}
	next := *r.base.trust
	next.Version, next.Previous = 2, r.base.trust.Hash()
	next.LogKey, next.OldLogKeys = k.Public, []string{r.base.trust.LogKey}
	signed, err := next.Sign(r.base.admin)
	if err != nil {
		return err
	}
	if r.host.trust, err = r.base.pinned.Next(signed); err != nil {
		return err
	}
	return r.up()
}

// spare is the key of a further token.
var spare = sync.OnceValue(func() ledger.TokenKey { return tokenkeytest.New(tokenkeytest.Spec{}).Record })

// joinable is a board whose policy has a table for that key.
func joinable(r *run) error {
	if err := r.up(); err != nil {
		return err
	}
	return ordering(spareTable)(r)
}

func spareTable(r *run) ([]byte, error) {
	hash := sha256.Sum256([]byte(r.base.policy))
	const table = "[[key]]\nname = \"spare\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n\n[[key]]"
	next := strings.NewReplacer("serial = 1", "serial = 2", `previous = ""`, fmt.Sprintf("previous = \"%x\"", hash), "[[key]]", table).Replace(r.base.policy)
	return message.SignNote([]byte(next), r.base.admin)
}

func aToken(r *run) ([]byte, error) {
	k := spare()
	return r.order(&order.Key{Token: &k})
}

// joined wants the order behind the policy's to be in force.
func joined(r *run) error {
	if len(r.orders) < 2 {
		return ordering(aToken)(r)
	}
	if err := r.bring(r.orders[1]); err != nil {
		return err
	}
	return r.inForce()
}

// laterOn is a board that signed its certificate more than a second ago.
func laterOn(r *run) error {
	r.advanced = 2 * time.Second
	return r.up()
}

func aRenewal(r *run) ([]byte, error) {
	return r.order(&order.Cert{Key: "packages", Expires: now().Add(time.Duration(1+len(r.orders)) * time.Hour)})
}

// renewed wants the certificate to have been renewed. An order that came to its
// end without a signature is used up: then it takes another.
func (r *run) renewed() error {
	if len(r.orders) > 0 {
		if err := obeyed(aRenewal)(r); err != nil {
			return err
		}
	}
	if is, err := r.host.renewed(); is || err != nil {
		return err
	}
	if err := ordering(aRenewal)(r); err != nil {
		return err
	}
	is, err := r.host.renewed()
	if err == nil && !is {
		err = errors.New("the order is in force, and the certificate was not renewed")
	}
	return err
}

func resume(r *run) ([]byte, error) {
	var head, pcr [32]byte
	err := r.beside(func(t *device.TPM) (err error) {
		if head, err = t.Head(); err == nil {
			pcr, err = t.PCR()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.order(&order.Resume{Halt: r.shown().Halt, Head: head, PCR: pcr})
}

func ordering(write func(*run) ([]byte, error)) func(*run) error {
	return func(r *run) error {
		signed, err := write(r)
		if err != nil {
			return err
		}
		if err := r.bring(signed); err != nil {
			return err
		}
		return r.inForce()
	}
}

// inForce says whether the order that was brought last is.
func (r *run) inForce() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.host.refused {
		if strings.Contains(m.Text, "took effect already") {
			return nil
		}
	}
	for i := len(r.events) - 1; i >= 0; i-- {
		switch r.events[i] {
		case "order-done":
			return nil
		case "order-dropped":
			return fmt.Errorf("the order was dropped: %s", r.view.Message)
		}
	}
	if strings.Contains(r.view.Halted, closedText) {
		return nil
	}
	if r.view.Halted != "" {
		return fmt.Errorf("halted: %s", r.view.Halted)
	}
	return errors.New("the order is not in force")
}

// obeyed brings the same order again, or another if there was none yet.
func obeyed(write func(*run) ([]byte, error)) func(*run) error {
	return func(r *run) error {
		if len(r.orders) == 0 {
			return ordering(write)(r)
		}
		if err := r.bring(r.orders[0]); err != nil {
			return err
		}
		return r.inForce()
	}
}

// withoutHost is a board with nobody on the line.
func withoutHost(r *run) error {
	r.alone = true
	return r.up()
}

// onStick brings an order by a directory.
func onStick(r *run) error {
	signed, err := aNote(r)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.orders = append(r.orders, signed)
	r.mu.Unlock()
	path := filepath.Join(r.stick, "order")
	if err := os.WriteFile(path, signed, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path, path+".note"); err != nil {
		return err
	}
	err = r.await("the end of an order", func() bool {
		for _, e := range r.events {
			if e == "order-done" || e == "order-dropped" {
				return r.rests()
			}
		}
		return r.halted()
	})
	if err != nil {
		return err
	}
	return r.inForce()
}

// clockBehind is a board whose clock ran ahead for a while: it has halted.
func clockBehind(r *run) error {
	r.advanced = 100 * 3600e9
	if err := r.up(); err != nil {
		return err
	}
	if err := r.down(); err != nil {
		return err
	}
	r.advanced = 0
	r.begin()
	return r.haltsWith("the clock")
}

// clockAhead is a board whose clock was set further ahead than any TPM explains: it has halted.
func clockAhead(r *run) error {
	if err := errors.Join(r.up(), r.down()); err != nil {
		return err
	}
	r.advanced = 450 * 24 * time.Hour
	r.begin()
	return r.haltsWith("the clock")
}

// haltsWith starts a life that must halt.
func (r *run) haltsWith(word string) error {
	r.start()
	if err := r.await("a halt", func() bool { return r.halted() && r.host.welcomed != "" }); err != nil {
		return err
	}
	if v := r.shown(); !strings.Contains(v.Halted, word) {
		return fmt.Errorf("halted with %q, not %q", v.Halted, word)
	}
	return nil
}

// timed orders the time as often as it takes: on its way the board may find that
// the end of its log is missing, which its host gives it.
func (r *run) timed() (err error) {
	for range 3 {
		if r.shown().Halted == "" {
			return nil
		}
		if err = ordering(theTime)(r); err == nil {
			return nil
		}
		if err := r.await("a board that is back", r.back); err != nil {
			return err
		}
	}
	return err
}

// foreign is a TPM whose HEAD somebody else extended.
func foreign(r *run) error {
	if err := r.beside(func(t *device.TPM) error { return t.ExtendHead([32]byte{1}) }); err != nil {
		return err
	}
	return r.haltsWith("head-unknown")
}

func (r *run) resumed() error {
	if r.shown().Halted == "" {
		return nil
	}
	return ordering(resume)(r)
}

// closedText is in the halt of a closed log.
const closedText = "administrators ended this log"

func (r *run) closed() error {
	if r.shown().Halted != "" {
		return nil
	}
	return obeyed(theEnd)(r)
}

// leave is the shutdown of an idle board.
func (r *run) leave() error {
	r.stop()
	select {
	case <-r.ended:
	case <-r.life.over:
		return errDead
	}
	if r.life.ended() {
		return errDead
	}
	return nil
}

// leaveArmed is one while the token waits, which is touched all the same.
func (r *run) leaveArmed() error {
	if err := r.waiting(); err != nil {
		return err
	}
	r.stop()
	err := r.await("the warning", func() bool {
		for _, e := range r.events {
			if e == "do-not-touch" {
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	if err := r.card.Touch(); err != nil {
		return err
	}
	return r.leave()
}
