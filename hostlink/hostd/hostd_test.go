package hostd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/loop"
	"touchmark/hostlink/hostd/queue"
	"touchmark/hostlink/hostd/socket"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/find"
	"touchmark/tpm/ledgerstore/tiles"
)

// world is a daemon with a board in memory.
type world struct {
	t      *testing.T
	timing loop.Timing
	timers timers
	d      *Daemon
	b      *board
	dir    string
	socket string
	back   atomic.Int64 // seconds that the host's clock went back
	stop   func()       // stops the daemon and waits
	count  func(queue.Ended)
	rounds func(context.Context, *api.Request) *api.Response
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldTimed(t, loop.Timing{})
}

// newWorldTimed is for tests that wait for one of the daemon's own waits; the
// others never come to pass.
func newWorldTimed(t *testing.T, timing loop.Timing) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "tm") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{t: t, timing: timing, b: newBoard(t), dir: dir, socket: filepath.Join(dir, "s")}
	w.start()
	return w
}

// start runs a daemon on the world's directory.
func (w *world) start() {
	w.t.Helper()
	for i, wait := range []*time.Duration{&w.timing.HelloRetry, &w.timing.Rejoin, &w.timing.InOrder, &w.timing.CancelWait, &w.timing.ArmedGrace, &w.timing.SendWait, &w.timing.FreshWait, &w.timing.AnswerWait} {
		if *wait == 0 {
			*wait = never + time.Duration(i)*time.Minute // each its own, so that a test can have one pass
		}
	}
	if w.timing.BusyRetry == 0 {
		w.timing.BusyRetry = time.Millisecond
	}
	d := must(New(w.options()))
	w.d = d
	l := must(socket.Listen(w.socket, 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx, w.b, l) }()
	stopped := false
	w.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("daemon: %v", err)
		}
	}
	w.t.Cleanup(func() { w.stop() })
}

func (w *world) options() Options {
	text := w.b.TrustText()
	return Options{
		State: filepath.Join(w.dir, "state"), Publish: filepath.Join(w.dir, "log"), Trust: must(verify.ParseTrust(text)),
		Key: must(note.NewSigner(w.b.hostKey)), Device: "memory", Grace: grace, Log: zerolog.Nop(),
		After:  w.timers.start,
		Clock:  func() time.Time { return noon.Add(time.Duration(-w.back.Load()) * time.Second) },
		Timing: w.timing, Ended: w.count, Rounds: w.rounds,
	}
}

// client is one signing request under way.
type client struct {
	t     *testing.T
	conn  net.Conn
	lines *api.Lines
}

func data(name string) []byte { return bytes.Repeat([]byte(name), 100) }

func item(name string, alg message.Alg) api.Item {
	h := hashstate.New(alg)
	h.Write(data(name))
	s := h.State()
	return api.Item{Name: name, Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: alg, Sum: s.Digest()}.String(),
		Size: s.Count(), State: s.Bytes()}
}

// documented is an item that comes as a document of so many bytes.
func documented(name string, size int) api.Item {
	it := item(name, message.SHA256)
	it.State, it.Document = nil, bytes.Repeat([]byte("x"), size)
	h := hashstate.New(message.SHA256)
	h.Write(it.Document)
	it.Size, it.Digest = uint64(size), message.Digest{Alg: message.SHA256, Sum: h.State().Digest()}.String()
	return it
}

func (w *world) ask(req *api.Request) *client {
	w.t.Helper()
	c := must(net.Dial("unix", w.socket))
	w.t.Cleanup(func() { _ = c.Close() })
	cl := &client{w.t, c, api.NewLines(c)}
	if err := cl.lines.Write(req); err != nil {
		w.t.Fatal(err)
	}
	return cl
}

func (w *world) sign(names ...string) *client {
	w.t.Helper()
	return w.ask(signing(names...))
}

// signing is a new request for files of these names.
func signing(names ...string) *api.Request {
	req := &api.Request{Op: api.OpSign, Timeout: timeout.Milliseconds(), Key: make([]byte, api.KeySize)}
	must(rand.Read(req.Key))
	for i, n := range names {
		req.Items = append(req.Items, item(n, []message.Alg{message.SHA256, message.SHA512}[i%2]))
	}
	return req
}

// final waits for the last answer.
func (c *client) final() *api.Response {
	c.t.Helper()
	for {
		r := c.read()
		if r.Final {
			return r
		}
	}
}

func (c *client) read() *api.Response {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	r := new(api.Response)
	if err := c.lines.Read(r); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// event waits for progress of this name.
func (c *client) event(state string) {
	c.t.Helper()
	for {
		r := c.read()
		if r.Final {
			c.t.Fatalf("final answer %+v, want event %s", r, state)
		}
		if r.Event != nil && r.Event.State == state {
			return
		}
	}
}

func (c *client) expect(code int, part string) *api.Response {
	c.t.Helper()
	r := c.final()
	if r.Code != code || !strings.Contains(r.Error, part) {
		c.t.Fatalf("code %d, %q; want %d, …%s…", r.Code, r.Error, code, part)
	}
	if code != api.OK && (r.OK || r.Signatures != nil) {
		c.t.Fatalf("a failure that gives something out: %+v", r)
	}
	c.take()
	return r
}

// take says that the answer has been used, and waits until the daemon knows.
func (c *client) take() {
	c.t.Helper()
	if err := c.lines.Write(&api.Request{Op: api.OpTaken}); err != nil {
		return // a daemon that had no more to say has hung up
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c.conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		c.t.Fatal(err)
	}
}

// settled returns when the daemon has taken every event of the link; what is
// posted to it then comes after them.
func (w *world) settled() {
	w.t.Helper()
	for len(w.b.events) > 0 {
		w.status()
	}
}

// retry has the daemon greet again, as HelloRetry does when it passes: a test
// in which it passed by itself could be overtaken by it.
func (w *world) retry() {
	w.t.Helper()
	w.settled()
	w.pass(w.timing.HelloRetry)
}

func (w *world) status() *api.Status {
	return w.ask(&api.Request{Op: api.OpStatus}).expect(api.OK, "").Status
}

func TestSignBatch(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db", "extra.db")
	r := w.b.submitted()
	if r.Approval.Class != "pacman-db" || r.Host != "repo1" || len(r.Approval.Items) != 2 {
		t.Fatalf("submitted %+v", r.Approval)
	}
	w.b.say(&message.Event{Job: r.Job, State: "shown"})
	c.event("shown")
	w.b.run(r, nil)
	got := c.expect(api.OK, "")
	tr := w.options().Trust
	for i, name := range []string{"core.db", "extra.db"} {
		in := must(tr.OpenProof(got.Proofs[i]))
		h := hashstate.New(r.Approval.Items[i].Digest.Alg)
		h.Write(data(name))
		if _, err := in.Check(name, sigformat.OpenPGPBinary, h.State(), got.Signatures[i]); err != nil {
			t.Fatal(err)
		}
	}
	w.ask(&api.Request{Op: api.OpPublish}).expect(api.OK, "")
	checkPublished(t, w)
}

// checkPublished reads the published directory back.
func checkPublished(t *testing.T, w *world) {
	t.Helper()
	published := must(tiles.Open(filepath.Join(w.dir, "log")))
	if !bytes.Equal(must(published.Checkpoint()), w.b.Note) {
		t.Fatal("published checkpoint is not the newest")
	}
	n := 0
	for e, err := range published.Entries(0) {
		if err != nil || !bytes.Equal(e, w.b.Entries[n]) {
			t.Fatalf("published entry %d differs: %v", n, err)
		}
		n++
	}
	pending := must(published.Pending())
	if n+len(pending) != len(w.b.Entries) {
		t.Fatalf("%d entries and %d pending published, the log has %d", n, len(pending), len(w.b.Entries))
	}
}

// TestStopPublishes: what is published is current when the daemon has stopped.
func TestStopPublishes(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
	w.stop()
	checkPublished(t, w)
}

func TestOutcomes(t *testing.T) {
	for _, tc := range []struct {
		result ledger.ItemResult
		code   int
		part   string
	}{
		{ledger.ItemResult{State: ledger.Denied}, api.Denied, "denied"},
		{ledger.ItemResult{State: ledger.TimedOut}, api.TimedOut, "raise the alarm"},
		{ledger.ItemResult{State: ledger.Withheld, Hash: [32]byte{1}}, api.Denied, "destroyed"},
		{ledger.ItemResult{State: ledger.Failed, Reason: "token-removed"}, api.DeviceFault, "token removed"},
		{ledger.ItemResult{State: ledger.NotStarted, Reason: "denied"}, api.DeviceFault, "try again"},
		{ledger.ItemResult{State: ledger.Unknown}, api.MaySigned, "may exist"},
	} {
		t.Run(string(tc.result.State), func(t *testing.T) {
			w := newWorld(t)
			w.b.meet()
			c, req := w.sign("core.db", "extra.db"), signing("a.db", "b.db")
			w.b.run(w.b.submitted(), func(items []ledger.ItemResult) { items[1] = tc.result })
			r := c.expect(tc.code, tc.part)
			if !strings.Contains(r.Error, "1 of 2 were signed") || !strings.HasPrefix(r.Error, "extra.db: ") {
				t.Fatalf("the error hides what was signed: %s", r.Error)
			}
			req.Partly = true
			c = w.ask(req)
			w.b.run(w.b.submitted(), func(items []ledger.ItemResult) { items[1] = tc.result })
			r = c.final()
			if s, p := r.Signatures, r.Proofs; r.OK || r.Code != tc.code || len(s) != 2 || len(p) != 2 || s[0] == nil || p[0] == nil || s[1] != nil || p[1] != nil {
				t.Errorf("signatures %x with proofs %q", s, p)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for code, want := range map[string]int{
		message.CodeRateExceeded: api.Refused, message.CodeExpired: api.TimedOut,
		message.CodeHalted: api.DeviceFault, message.CodeInternal: api.DeviceFault,
	} {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		w.b.say(&message.Refused{Job: r.Job, Code: code, Text: "because of a reason"})
		c.expect(want, "because of a reason")
		w.stop()
	}
}

func TestDenied(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	w.b.say(&message.Refused{Job: w.b.submitted().Job, Code: message.CodeDenied, Text: "x"})
	c.expect(api.Denied, "denied by the operator")
	c = w.sign("core.db")
	w.b.say(&message.Refused{Job: w.b.submitted().Job, Code: message.CodeArmTimeout, Text: "x"})
	c.expect(api.TimedOut, "nobody armed")
}

func TestClassChoice(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	w.sign("notes.txt").expect(api.Refused, "no class of the policy lets host repo1 have notes.txt signed")
	w.sign("core.db", "arch.iso").expect(api.Usage, "different classes")
	isos := signing("a.iso")
	isos.Class = "isos"
	w.ask(isos).
		expect(api.Refused, "no class \"isos\": it has pacman-db, iso")
}

// TestMay: what the policy has against files is told before they are hashed, and only that.
func TestMay(t *testing.T) {
	w := newWorld(t)
	may := func(class string, items ...api.Item) *client {
		return w.ask(&api.Request{Op: api.OpMay, Class: class, Items: items})
	}
	file := func(name string, size uint64) api.Item {
		return api.Item{Name: name, Format: sigformat.OpenPGPBinary.Name, Size: size}
	}
	big, most := file("a.iso", 1<<30+1), file("a.iso", 1<<30)
	if r := may("", big).final(); !r.OK {
		t.Errorf("of a log that is not known yet: %+v", r)
	}
	w.b.meet()
	w.settled()
	for class, named := range map[string]string{"": "iso", "iso": "iso"} {
		may(class, most, big).expect(api.Refused, "the policy refuses: too-large: a.iso: 1073741825 bytes, class "+named+" allows 1073741824")
		if r := may(class, most).final(); !r.OK {
			t.Errorf("%+v", r)
		}
	}
	may("iso", file("core.db", 1)).expect(api.Refused, "signs only *.iso")
	may("isos", most).expect(api.Refused, "no class \"isos\"")
	may("", file("notes.txt", 1)).expect(api.Refused, "no class of the policy lets host repo1")
	if r := may("", make([]api.Item, message.MaxItems+1)...).final(); !r.OK {
		t.Errorf("%+v", r)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	good, key := item("a.db", message.SHA256), make([]byte, api.KeySize)
	with := func(change func(*api.Item)) api.Request {
		it := good
		change(&it)
		return api.Request{Op: api.OpSign, Timeout: 1000, Key: key, Items: []api.Item{it}}
	}
	for part, req := range map[string]api.Request{
		"sign 1 to 16":           {Op: api.OpSign, Timeout: 1000},
		"timeout":                {Op: api.OpSign, Items: []api.Item{good}},
		"a key of 0 bytes":       {Op: api.OpSign, Timeout: 1000, Items: []api.Item{good}},
		"touchmark jobs":         {Op: api.OpFetch, Job: "42"},
		"is not kept here":       {Op: api.OpFetch, Job: message.JobID{}.String()},
		"two files are called":   {Op: api.OpSign, Timeout: 1000, Key: key, Items: []api.Item{good, good}},
		"unknown operation":      {Op: "sing"},
		"artifact name":          with(func(i *api.Item) { i.Name = "a b" }),
		"format":                 with(func(i *api.Item) { i.Format = "x509" }),
		"is not a digest":        with(func(i *api.Item) { i.Digest = "md5:00" }),
		"hash state":             with(func(i *api.Item) { i.State = i.State[1:] }),
		"do not belong":          with(func(i *api.Item) { i.Size++ }),
		"send one of them":       with(func(i *api.Item) { i.Document = []byte("x") }),
		"a document of 32769":    with(func(i *api.Item) { i.State, i.Document = nil, make([]byte, message.MaxDocument+1) }),
		"bytes of documents":     {Op: api.OpSign, Timeout: 1000, Key: key, Items: []api.Item{documented("a.db", 30<<10), documented("b.db", 30<<10), documented("c.db", 30<<10)}},
		"do not belong together": with(func(i *api.Item) { i.Digest = item("b.db", message.SHA256).Digest }),
	} {
		w.ask(&req).expect(api.Usage, part)
	}
	c := must(net.Dial("unix", w.socket))
	defer func() { _ = c.Close() }()
	cl := &client{t, c, api.NewLines(c)}
	if _, err := c.Write([]byte("{nonsense\n")); err != nil {
		t.Fatal(err)
	}
	cl.expect(api.Usage, "malformed line")
}

// TestForgedHints: events, done and refusals for other jobs decide nothing.
// TestArmedIsNotRefused: once the log has a job's intent, no refusal over the cable ends it or has it asked for again.
// TestWithdrawnAgainAndAgain: a board that keeps saying that a job was withdrawn is not asked for ever.
// TestAbsurdLength: a board that claims more entries than a TPM can have committed is not asked for them.
// TestNoise: what is no message, or one that only hosts send, is ignored; a
// forged checkpoint makes the host greet again, and nothing worse.
// TestTooManyRequests: what waits is bounded.
// TestUncommitted: a signed outcome without a checkpoint that covers its
// intent is given to nobody.
// TestLyingOutcomes: whatever does not belong to this job and these bytes is
// evidence, not a signature.
// TestReplay: old entries, outcomes and checkpoints said again change nothing.
// forked expects that everything is refused, also after a restart.
// TestFork: two logs that the appliance signed are evidence, for ever.
// TestCommitUnderWay: a host that connects between NV_Extend and checkpoint
// finds HEAD one commit ahead, explained by the entries.
// TestNotOurBoard: an attestation by another TPM, for another nonce, with
// another tag, of another kind, or none, a welcome that was recorded, a
// checkpoint of another log, another origin: nothing is submitted.
// TestGreetsUntilProven: a board that does not answer is greeted again and
// again, with a new nonce each time; so is one that has proven itself and then
// says what does not verify.
// TestLinkLoss drops the link at each point of a job; the same job is
// submitted again only while the log has no intent of it, and the client gets
// its signature in the end.
// TestQueue: requests are submitted one after the other, in order.
// TestCancelUnconfirmed: silence after a cancel is not a promise.
// TestClientGone: a client that vanishes withdraws its job.
// expire lets the timeout of the first job pass now.
// TestRestart: a daemon that is restarted goes on from its mirror.
// TestDiskFull: when the mirror cannot take an intent, it is not acknowledged
// and the job is withdrawn; after a restart with room all is well.
// TestStopWithSilentClient: who connected and says nothing does not keep the
// daemon from stopping.
func TestStopWithSilentClient(t *testing.T) {
	w := newWorld(t)
	c := must(net.Dial("unix", w.socket))
	defer func() { _ = c.Close() }()
	w.status() // by now the silent one was accepted
	w.stop()
}

// TestBoardWithoutALog: a board that cannot read its disk has nothing to show but
// its halt state; a host that has nothing either says so, one that has its log
// keeps that, and offers it.
// TestHaltsUnderAJob: a board that was ready and halts is not called ready any more.
func TestMirrorOfAnotherLog(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	w.stop()
	o := w.options()
	other := newBoard(t)
	o.Trust = must(verify.ParseTrust(other.TrustText()))
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Fatalf("New: %v", err)
	}
}

func TestLogOp(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.ask(&api.Request{Op: api.OpLog, Last: 1})
	r := c.read()
	if r.Entry == nil || !bytes.Equal(r.Entry.Text, w.b.Entries[0]) || !r.Entry.Committed {
		t.Fatalf("entry %+v", r)
	}
	c.expect(api.OK, "")
	for kind, want := range map[string]int{ledger.KindGenesis: 1, ledger.KindOutcome: 0} {
		c, n := w.ask(&api.Request{Op: api.OpLog, Find: &find.Query{Kinds: []string{kind}}}), 0
		for r = c.read(); !r.Final; r = c.read() {
			n++
		}
		if n != want || !r.OK {
			t.Errorf("%d entries of kind %s: %+v", n, kind, r)
		}
	}
	w.ask(&api.Request{Op: api.OpLog, Find: &find.Query{Digest: "1"}}).expect(api.Usage, "8 or more")
}
