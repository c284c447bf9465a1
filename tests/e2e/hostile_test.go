package e2e

import (
	"bytes"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/tests/swtpm"
	"touchmark/tests/world"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// hostile is a host with a valid key and bad intentions: the test itself, on the real line, in the place of the daemon.
type hostile struct {
	*rig
	*intaketest.Forge
	tpm     *swtpm.Server
	link    *serialport.Endpoint
	sid     uint32
	entries [][]byte // its mirror
	acks    bool
	refused map[message.JobID]*message.Refused
}

// invaded is a board whose host was taken over. It has said hello and holds the log.
func invaded(t *testing.T) *hostile { return invadedWith(t, world.Config{}) }

// invadedWith has a policy to which the hostile host's own tables are added.
func invadedWith(t *testing.T, cfg world.Config) *hostile {
	t.Helper()
	h := &hostile{Forge: intaketest.New(world.Origin), tpm: swtpm.Start(t), acks: true, refused: map[message.JobID]*message.Refused{}}
	plain := cfg.Policy
	cfg.TPM, cfg.Policy = h.tpm, func(toml string) string {
		if plain != nil {
			toml = plain(toml)
		}
		return toml + h.Tables("packages")
	}
	h.rig = newRig(t, cfg)
	h.must(h.Enrol(h.ctx))
	h.must(h.StartAppliance(h.ctx))
	secret, err := api.ReadKey(h.Key("repo1"))
	h.must(err)
	h.Host, err = note.NewSigner(secret)
	h.must(err)
	h.Now, h.Head = time.Now, h.root
	h.link = serialport.Start(h.ctx, serialport.EndpointConfig{Path: h.Cable.HostPath(), Initiator: true})
	t.Cleanup(func() { _ = h.link.Close() })
	h.sid = h.event(serialport.Up).SID
	h.greet()
	return h
}

func (h *hostile) root() (uint64, [32]byte) {
	var tree ledger.Tree
	for _, e := range h.entries {
		tree.Add(ledger.LeafHash(e))
	}
	return tree.Size(), tree.Root()
}

// event waits for one of a kind. A session that ends is a failure in every test here.
func (h *hostile) event(kind serialport.Kind) serialport.Event {
	h.t.Helper()
	for {
		select {
		case ev, ok := <-h.link.Events():
			switch {
			case !ok:
				h.t.Fatal("the endpoint has ended")
			case ev.Kind == serialport.Down:
				h.t.Fatalf("the session ended: %v", ev.Err)
			case ev.Kind == kind:
				return ev
			}
		case <-h.ctx.Done():
			h.t.Fatal("nothing comes over the line")
		}
	}
}

func (h *hostile) say(raw []byte) {
	h.t.Helper()
	h.must(h.link.Send(h.ctx, h.sid, 0, raw))
}

// hear takes the board's next message, and mirrors what it pushes.
func (h *hostile) hear() any {
	h.t.Helper()
	text, err := message.NewUnpacker().Unpack(h.event(serialport.Message).Body)
	h.must(err)
	m, err := message.Parse(text)
	h.must(err)
	switch m := m.(type) {
	case *message.Entries:
		if have := uint64(len(h.entries)); m.Start <= have {
			h.entries = append(h.entries[:m.Start:m.Start], m.Entries...)
		}
		if h.acks {
			n, root := h.root()
			h.say((&message.Mirrored{Size: n, Root: root}).Marshal())
		}
	case *message.Refused:
		h.refused[m.Job] = m
	}
	return m
}

// hears waits for a message of a kind that satisfies want.
func hears[T any](h *hostile, want func(T) bool) T {
	h.t.Helper()
	for {
		if m, ok := h.hear().(T); ok && want(m) {
			return m
		}
	}
}

func (h *hostile) hello(nonce byte) []byte {
	n, root := h.root()
	m := message.Hello{Origin: h.Origin, Nonce: [16]byte{nonce}, HostTime: h.Now(), HeadSize: n, HeadRoot: root}
	return intaketest.Sign(m.Marshal(), h.Host)
}

// greet says hello and fetches the log.
func (h *hostile) greet() *message.Welcome {
	h.t.Helper()
	h.say(h.hello(1))
	w := hears(h, func(*message.Welcome) bool { return true })
	h.fetch(w.Total)
	return w
}

// fetch mirrors the log up to a size.
func (h *hostile) fetch(total uint64) {
	h.t.Helper()
	for uint64(len(h.entries)) < total {
		from := uint64(len(h.entries))
		h.say((&message.Fetch{From: from}).Marshal())
		hears(h, func(e *message.Entries) bool { return e.Start == from })
	}
}

// gets wants a refusal about a job, or about no job.
func (h *hostile) gets(what string, job message.JobID, code string) {
	h.t.Helper()
	for h.refused[job] == nil {
		h.hear()
	}
	if got := h.refused[job]; got.Code != code {
		h.t.Errorf("%s: refused as %s (%s), want %s", what, got.Code, got.Text, code)
	}
	delete(h.refused, job)
}

// leaves gives the line back to an honest daemon, for which everything must be as before.
func (h *hostile) leaves() report {
	h.t.Helper()
	h.must(h.link.Close())
	h.must(h.StartHostd(h.ctx))
	h.works()
	return h.clean()
}

// damage is what a host can do to a board that nobody armed: none.
type damage struct {
	h        *hostile
	commands map[uint32]int
	files    map[string]int64
	mark     int
}

var writes = []uint32{swtpm.NVExtend, swtpm.PCRExtend, swtpm.Quote}

func (h *hostile) noDamage() *damage {
	h.t.Helper()
	d := &damage{h: h, commands: map[uint32]int{}, files: h.onDisk(), mark: h.Views().Mark()}
	for _, c := range writes {
		d.commands[c] = h.tpm.Count(c)
	}
	return d
}

func (h *hostile) onDisk() map[string]int64 {
	h.t.Helper()
	sizes := map[string]int64{}
	h.must(filepath.WalkDir(filepath.Join(h.Board, "log"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err == nil {
			sizes[path] = st.Size()
		}
		return err
	}))
	return sizes
}

// until now nothing was written to TPM or disk, and no job but these was on display.
func (d *damage) untilNow(jobs ...message.JobID) {
	d.h.t.Helper()
	for _, c := range writes {
		if n := d.h.tpm.Count(c) - d.commands[c]; n != 0 {
			d.h.t.Errorf("TPM command %#x was sent %d times for what nobody armed", c, n)
		}
	}
	if now := d.h.onDisk(); !maps.Equal(now, d.files) {
		d.h.t.Errorf("on disk is %v, there was %v", now, d.files)
	}
	for _, v := range d.h.Views().All()[d.mark:] {
		if v.Job != nil && !slices.ContainsFunc(jobs, func(id message.JobID) bool { return id.String() == v.Job.ID }) {
			d.h.t.Errorf("the display showed job %s", v.Job.ID)
		}
	}
}

// TestHostileRequests sends everything that a host with a key can be refused for, over the line. Each refusal has its name,
// none ends the session, reaches the operator, the TPM or the disk, and the next honest job is signed.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	h := invaded(t)
	d := h.noDamage()
	for _, c := range intaketest.Cases() {
		m, job := c.Make(h.Forge)
		h.say(m.Marshal())
		h.gets(c.Name, job, c.Code)
	}
	none, past := message.JobID{}, h.Now().Add(-time.Hour)
	for _, c := range []struct {
		name, code string
		raw        []byte
	}{
		{"garbage", message.CodeUnknownMessage, []byte("garbage")},
		{"a later version", message.CodeUnknownMessage, []byte("touchmark/submit/v2\n")},
		{"the largest message", message.CodeUnknownMessage, bytes.Repeat([]byte{'x'}, message.MaxMessage)},
		{"a message cut off", message.CodeBadMessage, []byte("touchmark/fetch/v1\nfrom")},
		{"a message of the board", message.CodeBadMessage, (&message.Done{Outcome: 1}).Marshal()},
		{"a false mirror", message.CodeForkedHead, (&message.Mirrored{Size: 1}).Marshal()},
		{"a fetch beyond the log", message.CodeUnknownHead, (&message.Fetch{From: 1 << 40}).Marshal()},
		{"a stranger's cancellation", message.CodeUnknownHost, h.Cancel(intaketest.Impostor("repo1"), none, h.Now())},
		{"an old cancellation", message.CodeClockSkew, h.Cancel(h.Host, none, past)},
	} {
		h.say(c.raw)
		h.gets(c.name, none, c.code)
	}
	d.untilNow()
	report := h.leaves()
	if n := report.Refusals; n != uint64(len(intaketest.Cases())+9) {
		t.Errorf("the log counts %d refusals", n)
	}
}

// TestHostileReplays sends again what was cancelled, denied and signed with the approval of two persons, and cancels what is
// not its own or was asked for anew.
func TestHostileReplays(t *testing.T) {
	t.Parallel()
	h := invaded(t)
	later := func(r *intaketest.Request, seconds int) *message.Submit {
		again := *r
		again.Submission.HostTime = r.Submission.HostTime.Add(time.Duration(seconds) * time.Second)
		return again.Submit()
	}
	shown := func(job message.JobID) func(*message.Event) bool {
		return func(e *message.Event) bool { return e.Job == job && e.State == message.EventShown }
	}
	r := h.Honest("content")
	r.Approval.Class, r.Approvers = intaketest.Approved, []note.Signer{h.Alice, h.Bob}
	job, asked := r.Job(), r.Submission.HostTime
	h.say(r.Submit().Marshal())
	hears(h, shown(job))
	d := h.noDamage()
	h.say(h.Cancel(h.Other, job, asked))
	h.gets("another host's cancellation", message.JobID{}, message.CodeHostForbidden)
	h.say(h.Cancel(h.Host, job, asked))
	h.gets("its own cancellation", job, message.CodeCancelled)
	h.say(r.Submit().Marshal())
	h.gets("the submission again", job, message.CodeCancelled)
	h.say(later(r, 1).Marshal())
	hears(h, shown(job))
	h.say(h.Cancel(h.Host, job, asked))
	h.gets("the cancellation again", message.JobID{}, message.CodeStaleCancel)
	h.must(h.Operator("deny " + job.String()))
	h.gets("", job, message.CodeDenied)
	h.say(later(r, 1).Marshal())
	h.gets("what was denied", job, message.CodeDenied)
	d.untilNow(job)
	h.say(later(r, 2).Marshal())
	hears(h, shown(job))
	h.must(h.Operator("arm " + job.String()))
	touching := func(e *message.Event) bool { return e.State == message.EventTouch }
	hears(h, touching)
	h.say(h.Cancel(h.Host, job, asked.Add(9*time.Second)))
	touch := hears(h, touching) // once more: it is too late
	if touch.Seconds < 1 || touch.Seconds > 15 {
		t.Errorf("%d seconds to touch", touch.Seconds)
	}
	h.must(h.Token.Touch(h.ctx))
	first := hears(h, func(*message.Done) bool { return true })
	others := *r
	others.Approvers = []note.Signer{h.Bob, h.AliceLaptop}
	for _, m := range []*message.Submit{r.Submit(), later(r, 20), later(&others, 21)} {
		h.say(m.Marshal())
		if again := hears(h, func(*message.Done) bool { return true }); *again != *first {
			t.Errorf("the same job has the outcomes %+v and %+v", first, again)
		}
	}
	h.leaves()
}

// TestSlowOperator leaves a job on the display while the log is mirrored, a thousand entries of it, hellos are answered and
// other jobs queue until there are too many. Then it is signed.
func TestSlowOperator(t *testing.T) {
	t.Parallel()
	h := invaded(t)
	first := h.Honest("first")
	h.say(first.Submit().Marshal())
	_, mark, err := h.Views().Wait(h.ctx, 0, asks(operator.AskArm))
	h.must(err)
	d := h.noDamage()
	for mirrored := 0; mirrored < 1000; mirrored += len(h.entries) {
		total := uint64(len(h.entries))
		h.entries = nil
		h.fetch(total)
	}
	for nonce := range byte(3) {
		h.say(h.hello(10 + nonce))
		hears(h, func(w *message.Welcome) bool { return w.Nonce == [16]byte{10 + nonce} })
	}
	var waiting []message.JobID
	for i := range 16 {
		r := h.Honest(string(rune('a' + i)))
		h.say(r.Submit().Marshal())
		hears(h, func(e *message.Event) bool { return e.Job == r.Job() && e.State == message.EventQueued })
		waiting = append(waiting, r.Job())
	}
	late := h.Honest("late")
	h.say(late.Submit().Marshal())
	h.gets("the 17th that waits", late.Job(), message.CodeTooMany)
	d.untilNow(first.Job())
	for _, job := range waiting {
		h.say(h.Cancel(h.Host, job, h.Now().Add(time.Second)))
		h.gets("a job that waits", job, message.CodeCancelled)
	}
	v, _, err := h.Views().Wait(h.ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm && v.Queue == 0 })
	h.must(err)
	if v.Job.ID != first.Job().String() {
		t.Fatalf("job %s is on the display", v.Job.ID)
	}
	h.must(h.Operator("arm " + v.Job.ID))
	hears(h, func(e *message.Event) bool { return e.State == message.EventTouch })
	h.must(h.Token.Touch(h.ctx))
	hears(h, func(m *message.Done) bool { return m.Job == first.Job() })
	h.leaves()
}

// TestFloodAndDeny presses deny under a flood of everything: the button is obeyed, the TPM attests no more than its ration
// of hellos, and the flood leaves nothing.
func TestFloodAndDeny(t *testing.T) {
	t.Parallel()
	h := invaded(t)
	r := h.Honest("content")
	h.say(r.Submit().Marshal())
	_, mark, err := h.Views().Wait(h.ctx, 0, asks(operator.AskArm))
	h.must(err)
	d, attested, begun := h.noDamage(), h.tpm.Count(swtpm.NVCertify), time.Now()
	rss, err := h.Appliance().RSS()
	h.must(err)
	cases := intaketest.Cases()
	for i := range 500 {
		m, _ := cases[i%len(cases)].Make(h.Forge)
		h.say(m.Marshal())
		h.say(h.hello(byte(i)))
		if i == 250 {
			h.must(h.Operator("deny " + r.Job().String()))
		}
		for drained := false; !drained; { // it reads, or it loses its session
			select {
			case ev := <-h.link.Events():
				if ev.Kind == serialport.Down {
					t.Fatalf("the session ended: %v", ev.Err)
				}
			default:
				drained = true
			}
		}
	}
	_, _, err = h.Views().Wait(h.ctx, mark, func(v operator.View) bool { return v.Event == message.CodeDenied })
	h.must(err)
	d.untilNow(r.Job())
	if after, err := h.Appliance().RSS(); err != nil || after > rss+32<<20 {
		t.Errorf("core and link hold %d bytes, before the flood %d (%v)", after, rss, err)
	}
	// A burst, then one in ten seconds.
	if n := h.tpm.Count(swtpm.NVCertify) - attested; n > 8+1+int(time.Since(begun)/(10*time.Second)) {
		t.Errorf("%d attestations for 500 hellos", n)
	}
	h.leaves()
}

// TestWelcomeBindsTheNonce checks a welcome as a host must, and that another nonce's attestation does not pass for it.
func TestWelcomeBindsTheNonce(t *testing.T) {
	t.Parallel()
	h := invaded(t)
	first, second := h.greet(), h.greet()
	if bytes.Equal(first.Attest, second.Attest) {
		t.Error("one attestation was sent twice: it is not fresh")
	}
	_, body, err := ledger.Parse(h.entries[0])
	h.must(err)
	g := body.(*ledger.Genesis)
	ak, err := quote.ParseAK(g.AK)
	h.must(err)
	h.say(h.hello(7))
	w := hears(h, func(w *message.Welcome) bool { return w.Nonce == [16]byte{7} })
	a := quote.Attestation{Attest: w.Attest, Sig: w.Sig}
	for _, c := range []struct {
		nonce byte
		good  bool
	}{{7, true}, {8, false}} {
		n := [16]byte{c.nonce}
		if _, err := ak.VerifyNV(a, g.HeadName, quote.HelloTag(n[:])); (err == nil) != c.good {
			t.Errorf("nonce %d: %v", c.nonce, err)
		}
	}
	h.leaves()
}
