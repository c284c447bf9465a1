// Package soak has the real programs do ceremonies, one after another, with an
// operator, a token, a TPM and a host that do at random what people and devices
// do: denials early and late, time-outs, tokens pulled, wrong PINs, TPM errors,
// daemons killed. At the end the auditor must find nothing, the log must account
// for every touch, and neither program may have grown.
//
// `go test` does a few, the same each time; `make soak` twenty thousand others.
package soak

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tests/cable"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
)

var (
	ceremonies = flag.Int("ceremonies", 120, "how many")
	seed       = flag.Uint64("seed", 1, "of what happens; 0: another one each time")
)

// patience bounds one ceremony: many times what one takes, so that it means a hang.
const patience = 2 * time.Minute

// soak is a world that is worked in, and what it must say in the end.
type soak struct {
	*world.World
	t      *testing.T
	ctx    context.Context // of the ceremony under way
	rng    *mathrand.Rand
	proofs *verify.Trust
	mark   int // of the panel: what was seen of it

	did   map[string]int // ceremonies by what was done to them
	items map[string]int // items by the outcome that is certain
}

// TestSoak does them.
func TestSoak(t *testing.T) {
	if *seed == 0 {
		*seed = mathrand.Uint64()
	}
	t.Logf("seed %d", *seed)
	s := newSoak(t, *seed)
	before := s.traces()
	g := newGrowth(s)
	for n := range *ceremonies {
		s.one(n)
		g.sample(n)
	}
	g.flat()
	for who, now := range s.traces() {
		before[who].noMore(t, who, now)
	}
	s.clean()
	t.Logf("%d ceremonies: %v", *ceremonies, s.did)
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	bin := os.Getenv("TOUCHMARK_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "build", "bin")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := &soak{t: t, ctx: ctx, rng: mathrand.New(mathrand.NewPCG(seed, 0)), did: map[string]int{}, items: map[string]int{}}
	w, err := world.New(t.Context(), world.Config{Dir: t.TempDir(), Bin: bin, TPM: swtpm.Start(t), Policy: world.Unlimited})
	if err != nil {
		t.Fatalf("%v: run make build first?", err)
	}
	s.World = w
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	s.ok(s.Enrol(ctx))
	s.ok(s.StartAppliance(ctx))
	s.ok(s.StartHostd(ctx))
	text, err := api.ReadTrust(s.Trust)
	s.ok(err)
	s.proofs, err = verify.ParseTrust(text)
	s.ok(err)
	s.signed(1)
	return s
}

func (s *soak) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("after %v: %v", s.did, err)
	}
}

// accident is a way in which a ceremony can go, or what can come between two of them.
type accident struct {
	name   string
	weight int
	do     func(*soak)
}

// accidents are all of them. What is done to the programs themselves is not among them (restart).
var accidents = []accident{
	{"signed", 700, func(s *soak) { s.signed(1) }},
	{"batch", 60, func(s *soak) { s.signed(2 + s.rng.IntN(3)) }},
	{"denied early", 60, (*soak).deniedEarly},
	{"denied late", 30, (*soak).deniedLate},
	{"denied late and touched", 20, (*soak).deniedAndTouched},
	{"withdrawn", 20, (*soak).withdrawn},
	{"timed out", 40, (*soak).timedOut},
	{"token pulled", 20, (*soak).pulled},
	{"token pulled between", 15, (*soak).pulledBetween},
	{"TPM error", 20, (*soak).tpmError},
	{"cable pulled", 15, (*soak).unplugged},
}

// one does ceremony n in a random way.
func (s *soak) one(n int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	s.ctx = ctx
	if n < *ceremonies*3/4 && s.rng.IntN(60) == 0 { // the last quarter is one life of the daemon
		s.restart()
	}
	total := 0
	for _, a := range accidents {
		total += a.weight
	}
	at := s.rng.IntN(total)
	for _, a := range accidents {
		if at -= a.weight; at < 0 {
			s.did[a.name]++
			a.do(s)
			return
		}
	}
}

// asked is a client that waits for a job.
type asked struct {
	s    *soak
	req  *api.Request
	sess *client.Session
	done chan error
	resp *api.Response
}

// ask has a client ask for n items, as touchmark sign does.
func (s *soak) ask(n int) *asked {
	s.t.Helper()
	s.mark = s.Views().Mark()
	sess, err := client.Daemon{Socket: s.Socket}.Open()
	s.ok(err)
	sess.Return = patience
	a := &asked{s: s, sess: sess, done: make(chan error, 1), req: &api.Request{Op: api.OpSign, Timeout: patience.Milliseconds(), Key: random(api.KeySize)}}
	for i := range n {
		h := hashstate.New(message.SHA256)
		_, _ = h.Write(random(1 + s.rng.IntN(300))) // never fails
		st := h.State()
		a.req.Items = append(a.req.Items, api.Item{Name: fmt.Sprintf("file-%d", i), Format: sigformat.OpenPGPBinary.Name,
			Digest: message.Digest{Alg: message.SHA256, Sum: st.Digest()}.String(), Size: st.Count(), State: st.Bytes()})
	}
	go func() {
		var err error
		if a.resp, err = sess.Wait(a.req); err == nil && a.resp.OK {
			sess.Taken()
		}
		sess.Close()
		a.done <- err
	}()
	return a
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// view waits for what the panel shows next.
func (s *soak) view(want func(operator.View) bool) operator.View {
	s.t.Helper()
	v, mark, err := s.Views().Wait(s.ctx, s.mark, want)
	s.ok(err)
	s.mark = mark
	return v
}

func asks(what operator.Ask) func(operator.View) bool {
	return func(v operator.View) bool { return v.Ask == what }
}

// arm arms the job once it is shown.
func (a *asked) arm() *asked {
	a.s.t.Helper()
	a.s.ok(a.s.Operator("arm " + a.s.view(asks(operator.AskArm)).Job.ID))
	return a
}

// awaited arms, waits until the token blinks, and returns the job's identity.
func (a *asked) awaited() (job string) {
	a.s.t.Helper()
	a.arm()
	job = a.s.view(asks(operator.AskTouch)).Job.ID
	a.s.ok(a.s.Token.Await(a.s.ctx))
	return job
}

// end waits for the answer, which must be one of the codes, and checks every signature that came.
func (a *asked) end(codes ...int) int {
	s := a.s
	s.t.Helper()
	select {
	case err := <-a.done:
		s.ok(err)
	case <-s.ctx.Done():
		s.t.Fatalf("a client waits for ever, after %v\n%s", s.did, s.Hostd().LogTail())
	}
	found := false
	for _, c := range codes {
		found = found || a.resp.Code == c
	}
	if !found {
		s.t.Fatalf("after %v: code %d (%s), want one of %v", s.did, a.resp.Code, a.resp.Error, codes)
	}
	if a.resp.OK {
		a.verify()
	}
	return a.resp.Code
}

// verify checks signatures and proofs from trust/ alone.
func (a *asked) verify() {
	a.s.t.Helper()
	for i, it := range a.req.Items {
		in, err := a.s.proofs.OpenProof(a.resp.Proofs[i])
		a.s.ok(err)
		st, err := hashstate.Parse(message.SHA256, it.State)
		a.s.ok(err)
		_, err = in.Check(it.Name, sigformat.OpenPGPBinary, st, a.resp.Signatures[i])
		a.s.ok(err)
	}
	a.s.items["signed"] += len(a.req.Items)
}

func (s *soak) signed(n int) {
	s.t.Helper()
	a := s.ask(n).arm()
	for range n {
		s.ok(s.Token.Touch(s.ctx))
	}
	a.end(api.OK)
}

func (s *soak) deniedEarly() {
	a := s.ask(1)
	s.ok(s.Operator("deny " + s.view(asks(operator.AskArm)).Job.ID))
	a.end(api.Denied)
}

func (s *soak) deniedLate() {
	s.denies(s.Token.Expire)
	s.items["denied"]++
}

func (s *soak) deniedAndTouched() {
	s.denies(s.Token.Touch)
	s.items["signed-withheld"]++
}

// denies denies when the APDU is out; then somebody does something to the token.
func (s *soak) denies(then func(context.Context) error) {
	a := s.ask(1)
	s.ok(s.Operator("deny " + a.awaited()))
	s.view(asks(operator.AskNoTouch))
	s.ok(then(s.ctx))
	a.end(api.Denied)
}

// withdrawn is a client that is interrupted before anybody armed.
func (s *soak) withdrawn() {
	a := s.ask(1)
	s.view(asks(operator.AskArm))
	a.sess.Cancel()
	a.end(api.Interrupted)
}

func (s *soak) timedOut() {
	a := s.ask(1)
	a.awaited()
	s.ok(s.Token.Expire(s.ctx))
	a.end(api.TimedOut)
	s.items["timed-out"]++
}

// pulled takes the token out while it waits for a touch.
func (s *soak) pulled() {
	a := s.ask(1)
	a.awaited()
	s.ok(s.Token.Pull(s.ctx))
	a.end(api.DeviceFault)
	s.reinsert()
}

func (s *soak) pulledBetween() {
	s.mark = s.Views().Mark()
	s.ok(s.Token.Pull(s.ctx))
	s.view(func(v operator.View) bool { return v.Token == "missing" })
	s.reinsert()
	s.signed(1)
}

// reinsert puts the token back and types the PIN, at times a wrong one first.
func (s *soak) reinsert() {
	s.ok(s.Token.Insert(s.ctx))
	s.view(asks(operator.AskPIN))
	if s.rng.IntN(2) == 0 {
		s.did["PIN wrong"]++
		if err := s.Unlock(s.ctx, s.mark-1, "654321"); err == nil {
			s.t.Fatal("a wrong PIN is accepted")
		}
		s.mark = s.Views().Mark()
	}
	s.ok(s.Unlock(s.ctx, s.mark-1, world.PIN))
}

// tpmError makes one command of a commit fail, carried out or not. The board goes on, after a restart at the latest.
func (s *soak) tpmError() {
	codes := []uint32{swtpm.NVExtend, swtpm.PCRExtend, swtpm.NVCertify, swtpm.Quote}
	kinds := []swtpm.Kind{swtpm.Refuse, swtpm.ApplyAndRefuse, swtpm.Close, swtpm.ApplyAndClose}
	s.ok(s.Token.Mode(s.ctx, "auto"))
	s.TPM.Fail(swtpm.Fault{Code: codes[s.rng.IntN(len(codes))], Kind: kinds[s.rng.IntN(len(kinds))], RC: swtpm.RCFailure})
	a := s.ask(1)
	stop := s.arming()
	a.end(api.OK, api.DeviceFault, api.MaySigned, api.Denied)
	stop()
	s.TPM.Heal()
	s.ok(s.Token.Mode(s.ctx, "ask"))
	if all := s.Views().All(); all[len(all)-1].Halted != "" {
		s.did["board restarted"]++
		s.StopAppliance()
		mark := s.Hostd().Log.Mark()
		s.ok(s.StartAppliance(s.ctx))
		s.ok(s.Hostd().AwaitLog(s.ctx, mark, "log verified"))
	}
}

// arming arms whatever is shown, as often as it is shown, until stop is called: a board that must first look where its TPM
// is, and cannot, shows the job once more.
func (s *soak) arming() (stop func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan struct{})
	views, mark := s.Views(), s.mark
	go func() {
		defer close(done)
		for {
			v, next, err := views.Wait(ctx, mark, asks(operator.AskArm))
			if err == nil {
				err = s.Operator("arm " + v.Job.ID)
			}
			if err != nil {
				return // its end; if it came too early the client waits for ever, and end says so
			}
			mark = next
		}
	}()
	return func() { cancel(); <-done }
}

// unplugged pulls the cable during a job and puts it back: the client gets its signature.
func (s *soak) unplugged() {
	a := s.ask(1)
	a.awaited()
	s.Cable.Unplug(cable.Up)
	s.ok(s.Cable.Plug(cable.Up))
	s.ok(s.Token.Touch(s.ctx))
	a.end(api.OK)
}

// restart ends the daemon, in good order or not, with a job under way or not, and starts it again.
func (s *soak) restart() {
	end := s.KillHostd
	if s.rng.IntN(2) == 0 {
		end = s.StopHostd
	}
	if s.rng.IntN(2) == 0 {
		s.did["daemon restarted"]++
		end()
		s.ok(s.StartHostd(s.ctx))
		return
	}
	s.did["daemon restarted with a job"]++
	a := s.ask(1)
	a.awaited()
	end()
	s.ok(s.StartHostd(s.ctx))
	s.ok(s.Token.Touch(s.ctx))
	a.end(api.OK)
}
