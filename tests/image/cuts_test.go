//go:build imagetest

package image

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/tests/announced"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
)

// moment is when the power goes.
type moment string

// Moments. That of an intent and of agreeing with the TPM are at one of the commands that the TPM gets meanwhile, or up to
// afterwards behind it; the others are at any time. A start comes after whatever the cut before has left.
const (
	inStart    moment = "start"    // from the switch to the token's readiness
	inAgreeing moment = "agreeing" // of log and TPM, in a start
	inIntent   moment = "intent"   // from the arm button on, at times beyond the token's signature
	inOutcome  moment = "outcome"  // from the touch until the host has the signature, and as long again
	inIdleness moment = "idle"     // nothing is asked for
)

// afterwards is how long after a command the power goes at the latest, some commands' time.
const afterwards = 20 * time.Millisecond

// everyTen are the moments of ten cuts.
var everyTen = []moment{inStart, inStart, inStart, inAgreeing, inAgreeing, inIntent, inIntent, inOutcome, inOutcome, inIdleness}

// TestPowerCuts: the power goes TOUCHMARK_CUTS times (50), at random moments of starts, ceremonies and in between, often in the
// start that follows a cut. The board comes up by itself each time; in the end the auditor has nothing to say against the log,
// it has each signature that the token made, and each that the host got. TOUCHMARK_SEED repeats the moments of another run.
func TestPowerCuts(t *testing.T) {
	c := &cutter{rig: up(t), random: rand.New(rand.NewPCG(seed(t), 0))}
	plan := c.plan(number(t, "TOUCHMARK_CUTS", 50))
	c.allow(time.Duration(len(plan)) * time.Minute)
	c.signed = len(c.tokenLog()) // by the ceremony of the keys
	c.learn()
	for i, m := range plan {
		began := time.Now()
		said := c.cutAt(m)
		t.Logf("cut %d: %s, %s (%.1f s)", i, m, said, time.Since(began).Seconds())
	}
	c.ready()
	c.must(c.Token.Mode(c.ctx, "ask"))
	c.sign(c.file("after-all-cuts"))
	c.clean()
	c.unlogged()
}

// seed is what the random moments come from.
func seed(t *testing.T) uint64 {
	s := number(t, "TOUCHMARK_SEED", rand.Uint64())
	t.Logf("TOUCHMARK_SEED=%d", s)
	return s
}

// number is an environment variable's.
func number[N int | uint64](t *testing.T, name string, other N) N {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return other
	}
	n, err := strconv.ParseUint(s, 10, 64)
	must(t, err)
	return N(n)
}

// cutter takes a board's power.
type cutter struct {
	*rig
	random *rand.Rand
	signed int // length of the token's log once the board is enrolled

	start    time.Duration // what an undisturbed one takes
	agreeing int           // commands that the TPM gets in it
	intent   int           // commands that the TPM gets from the arm button until the token waits for a touch
	outcome  time.Duration // from the touch until the host has the signature

	isOff bool
	names []string // of the files that were to be signed
	open  *request // not yet known to have ended
}

// request is one of the host's.
type request struct {
	ended  chan struct{}
	result world.Result // once ended
}

// plan is in which order the power goes when.
func (c *cutter) plan(cuts int) []moment {
	var plan []moment
	for i := range cuts {
		plan = append(plan, everyTen[i%len(everyTen)])
	}
	c.random.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	return plan
}

// learn watches a start and a ceremony that nobody disturbs.
func (c *cutter) learn() {
	c.t.Helper()
	c.off()
	c.isOff = true
	began, count := time.Now(), c.begin(0)
	c.must(c.Unlock(c.ctx, 0, world.PIN))
	c.start, c.agreeing = time.Since(began), count.seen()
	count = c.asks(0)
	c.must(c.Token.Await(c.ctx))
	c.intent = count.seen()
	began = time.Now()
	c.must(c.Token.Touch(c.ctx))
	c.settle()
	c.outcome = time.Since(began)
	c.t.Logf("a start takes %.1f s and %d commands to the TPM, an intent %d, an outcome %.0f ms", c.start.Seconds(), c.agreeing, c.intent, 1000*c.outcome.Seconds())
	if c.agreeing == 0 || c.intent == 0 {
		c.t.Fatal("these cannot be all")
	}
	c.must(c.Token.Mode(c.ctx, "auto"))
}

// cutAt takes the power at such a moment, and says which it was.
func (c *cutter) cutAt(m moment) (said string) {
	c.t.Helper()
	switch m {
	case inStart:
		c.takeOff()
		said = c.cutStart(0)
	case inAgreeing:
		c.takeOff()
		said = c.cutStart(1 + c.random.IntN(c.agreeing))
	case inIntent:
		c.ready()
		said = c.cutIntent(1 + c.random.IntN(c.intent))
	case inOutcome:
		c.ready()
		said = c.cutOutcome()
	case inIdleness:
		c.ready()
		said = c.later(c.start)
	}
	c.takeOff()
	return said
}

// takeOff takes the power from a board that has it.
func (c *cutter) takeOff() {
	if !c.isOff {
		c.cut()
		c.isOff = true
	}
}

// cutStart waits for the moment in a start that the operator attends: the n-th command to the TPM, or any.
func (c *cutter) cutStart(n int) string {
	c.t.Helper()
	began, count := time.Now(), c.begin(n)
	ctx, stop := context.WithCancel(c.ctx)
	unlocked := make(chan struct{})
	go func() {
		defer close(unlocked)
		_ = c.Unlock(ctx, 0, world.PIN) // which the cut may end
	}()
	defer func() { stop(); <-unlocked }()
	if n == 0 {
		return c.later(c.start)
	}
	select {
	case <-count.reached:
		return fmt.Sprintf("command %d, %s", n, c.later(afterwards))
	case <-unlocked:
		return fmt.Sprintf("it has come up in %.1f s", time.Since(began).Seconds())
	}
}

// cutIntent waits for the n-th command of one.
func (c *cutter) cutIntent(n int) string {
	c.t.Helper()
	select {
	case <-c.asks(n).reached:
		return fmt.Sprintf("command %d, %s", n, c.later(afterwards))
	case <-c.open.ended:
		return "it was over"
	}
}

// cutOutcome waits for some time after the touch.
func (c *cutter) cutOutcome() string {
	c.t.Helper()
	c.must(c.Token.Mode(c.ctx, "ask"))
	c.asks(0)
	c.must(c.Token.Touch(c.ctx))
	c.must(c.Token.Mode(c.ctx, "auto"))
	return c.later(2 * c.outcome)
}

// later lets a random part of some time pass, which nothing else can choose: whatever the board does then, its power goes.
func (c *cutter) later(longest time.Duration) string {
	d := time.Duration(c.random.Int64N(int64(longest)))
	<-time.After(d)
	return fmt.Sprintf("after %.0f ms", d.Seconds()*1000)
}

// begin switches the board on and counts the commands that its TPM gets.
func (c *cutter) begin(n int) *commands {
	c.t.Helper()
	c.startTPM()
	count := c.count(n)
	c.boot()
	c.isOff = false
	return count
}

// ready has the board up, and the request that the cut before has met at its end.
func (c *cutter) ready() {
	c.t.Helper()
	if c.isOff {
		c.begin(0)
		c.must(c.Unlock(c.ctx, 0, world.PIN))
	}
	c.settle()
}

// asks has the host ask for a signature and the operator arm it, and counts the commands to the TPM from there on.
func (c *cutter) asks(n int) *commands {
	c.t.Helper()
	name := fmt.Sprint("cut-", len(c.names))
	c.names = append(c.names, name)
	mark := c.Views().Mark()
	done := c.ask(c.file(name))
	job := c.asked(mark, done)
	q := &request{ended: make(chan struct{})}
	c.open = q
	go func() { q.result = <-done; close(q.ended) }()
	count := c.count(n)
	c.must(c.Operator("arm " + job))
	return count
}

// settle waits for the end of a request that a power cut may have met before it was logged: it then comes again, to be armed.
func (c *cutter) settle() {
	c.t.Helper()
	if c.open == nil {
		return
	}
	ctx, stop := context.WithCancel(c.ctx)
	defer stop()
	go func() {
		for mark := 0; ; {
			v, next, err := c.Views().Wait(ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm })
			if err != nil || c.Operator("arm "+v.Job.ID) != nil {
				return
			}
			mark = next
		}
	}()
	select {
	case <-c.open.ended:
	case <-ctx.Done():
		c.t.Fatal("the request never ends")
	}
	res, name := c.open.result, c.names[len(c.names)-1]
	_, err := os.Stat(c.path(name + ".sig"))
	if has := err == nil; has != (res.Code == 0) {
		c.t.Errorf("%s: exit code %d, and a signature: %t: %s", name, res.Code, has, strings.TrimSpace(res.Stderr))
	}
	c.open = nil
}

// commands counts those that a TPM gets.
type commands struct {
	n       atomic.Int64
	reached chan struct{} // closed at the one that was asked for
}

// seen is how many came so far.
func (n *commands) seen() int { return int(n.n.Load()) }

// count counts the commands from now on, until the TPM loses its power or others are counted.
func (c *cutter) count(until int) *commands {
	n := &commands{reached: make(chan struct{})}
	c.tpm.Intercept(func(uint32) *swtpm.Fault {
		if n.n.Add(1) == int64(until) {
			close(n.reached)
		}
		return nil
	})
	return n
}

// unlogged has each signature that the token made stand in the published log, each intent have its outcome, and each
// signature that the host got be good by itself and in the log.
func (c *cutter) unlogged() {
	c.t.Helper()
	var log announced.Log
	for _, e := range c.entries() {
		log.Add(e.index, e.body)
	}
	if open := log.Open(); len(open) > 0 {
		c.t.Errorf("intents without an outcome: %v", open)
	}
	signatures := announced.Signatures(c.tokenLog()[c.signed:])
	for _, digest := range signatures {
		if err := log.Admits(digest); err != nil {
			c.t.Errorf("an unlogged signature: %v", err)
		}
	}
	sigs, err := filepath.Glob(c.path("*.sig"))
	c.must(err)
	c.t.Logf("of %d files the token signed %d, the host got %d", len(c.names)+1, len(signatures), len(sigs))
	if len(signatures) == 0 || len(signatures) < len(sigs) {
		c.t.Error("the token's log does not have them")
	}
	for i, s := range sigs {
		sigs[i] = strings.TrimSuffix(s, ".sig")
	}
	res, err := c.Run(c.ctx, c.dir, "touchmark", append([]string{"verify"}, sigs...)...)
	c.must(err)
	if res.Code != 0 {
		c.t.Errorf("touchmark verify: exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
}
