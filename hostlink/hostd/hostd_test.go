package hostd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/socket"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/tiles"
	"touchmark/tpm/quote"
)

// world is a daemon with a board in memory.
type world struct {
	t      *testing.T
	timing Timing
	d      *Daemon
	b      *board
	dir    string
	socket string
	back   atomic.Int64 // seconds that the host's clock went back
	stop   func()       // stops the daemon and waits
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldTimed(t, Timing{})
}

// newWorldTimed is for tests that wait for one of the daemon's own waits; the
// others never come to pass.
func newWorldTimed(t *testing.T, timing Timing) *world {
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
	for _, wait := range []*time.Duration{&w.timing.HelloRetry, &w.timing.Rejoin, &w.timing.CancelWait, &w.timing.ArmedGrace, &w.timing.SendWait, &w.timing.FreshWait, &w.timing.AnswerWait} {
		if *wait == 0 {
			*wait = never
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
		Key: must(note.NewSigner(w.b.hostKey)), Device: "memory", Grace: never, Log: zerolog.Nop(),
		Clock:  func() time.Time { return noon.Add(time.Duration(-w.back.Load()) * time.Second) },
		Timing: w.timing,
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
	h := sigformat.NewHasher(alg)
	h.Write(data(name))
	s := h.State()
	return api.Item{Name: name, Format: sigformat.OpenPGPBinary, Digest: message.Digest{Alg: alg, Sum: s.Digest()}.String(),
		Size: s.Count(), State: s.Bytes()}
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
	req := &api.Request{Op: api.OpSign, Timeout: time.Hour.Milliseconds(), Key: make([]byte, api.KeySize)}
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
	w.d.post(func() { w.d.hello(w.d.conv) })
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
		h := sigformat.NewHasher(r.Approval.Items[i].Digest.Alg)
		h.Write(data(name))
		if _, err := in.Check(name, h.State(), got.Signatures[i]); err != nil {
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
			c := w.sign("core.db", "extra.db")
			w.b.run(w.b.submitted(), func(items []ledger.ItemResult) { items[1] = tc.result })
			r := c.expect(tc.code, tc.part)
			if !strings.Contains(r.Error, "1 of 2 were signed") || !strings.HasPrefix(r.Error, "extra.db: ") {
				t.Fatalf("the error hides what was signed: %s", r.Error)
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
func TestForgedHints(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.say(&message.Event{Job: r.Job, State: "done"})
	w.b.say(&message.Event{Job: r.Job, State: "denied"})
	w.b.say(&message.Refused{Job: message.JobID{1}, Code: message.CodeDenied, Text: "not yours"})
	w.b.say(&message.Done{Job: r.Job, Intent: 0, Outcome: 1})
	c.event("denied")
	if f := hear[*message.Fetch](w.b); f.From != w.b.Size() {
		t.Fatalf("a forged done makes the host fetch from %d", f.From)
	}
	w.b.run(r, nil)
	c.expect(api.OK, "")
}

// TestArmedIsNotRefused: once the log has a job's intent, no refusal over the cable ends it or has it asked for again.
func TestArmedIsNotRefused(t *testing.T) {
	for _, code := range []string{message.CodeDenied, message.CodeArmTimeout, message.CodeCancelled, message.CodeBusy, message.CodeNoHello, message.CodeForkedHead, "expired"} {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		i, items := w.b.intent(r)
		w.b.push(i)
		w.b.acked()
		w.b.say(&message.Refused{Job: r.Job, Code: code, Text: "forged"})
		w.b.Commit()
		w.b.push(w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items}))
		w.b.say(&message.Checkpoint{Note: w.b.Note})
		w.b.acked() // and nothing else was said
		if got := c.final(); !got.OK {
			t.Errorf("%s: %+v", code, got)
		}
	}
}

// TestWithdrawnAgainAndAgain: a board that keeps saying that a job was withdrawn is not asked for ever.
func TestWithdrawnAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	for range maxUnexplained + 1 {
		w.b.say(&message.Refused{Job: w.b.submitted().Job, Code: message.CodeCancelled, Text: "cancelled by the host"})
	}
	c.expect(api.Interrupted, "says that the request was withdrawn")
}

// TestAbsurdLength: a board that claims more entries than a TPM can have committed is not asked for them.
func TestAbsurdLength(t *testing.T) {
	w := newWorld(t)
	m := w.b.welcome(w.b.connect().Hello.Nonce)
	m.Total += maxBehind + 1
	w.b.say(m)
	for !strings.Contains(w.status().Link, "absurd length") {
	}
	if w.status().Verified || len(w.b.in) > 0 {
		t.Error("its entries are asked for")
	}
}

// TestNoise: what is no message, or one that only hosts send, is ignored; a
// forged checkpoint makes the host greet again, and nothing worse.
func TestNoise(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.events <- serialport.Event{Kind: serialport.Message, Body: []byte("noise")}
	w.b.say(&message.Mirrored{Size: 5})
	w.b.say(&message.Event{Job: message.JobID{7}, State: "touch"})
	w.b.say(&message.Entries{Start: 9, Total: 10, Entries: [][]byte{[]byte("nonsense\n")}})
	if f := hear[*message.Fetch](w.b); f.From != w.b.Size() {
		t.Fatalf("fetches from %d", f.From)
	}
	w.b.say(&message.Checkpoint{Note: newBoard(t).Note})
	w.retry()
	w.b.say(w.b.welcome(w.b.hello().Hello.Nonce))
	w.b.run(r, nil)
	c.expect(api.OK, "")
	if s := w.status(); s.Evidence != "" {
		t.Fatalf("evidence %q", s.Evidence)
	}
}

// TestTooManyRequests: what waits is bounded.
func TestTooManyRequests(t *testing.T) {
	w := newWorld(t)
	for range maxJobs {
		w.sign("core.db").event("waiting-for-link")
	}
	w.sign("core.db").expect(api.DeviceFault, "waiting already")
}

// TestUncommitted: a signed outcome without a checkpoint that covers its
// intent is given to nobody.
func TestUncommitted(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	from := w.b.Size()
	i, items := w.b.intent(r)
	w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
	w.b.push(from)
	w.b.acked()
	w.b.say(&message.Checkpoint{Note: w.b.Note}) // the old one again
	w.b.say(&message.Done{Job: r.Job, Intent: i, Outcome: i + 1})
	w.b.say(&message.Event{Job: r.Job, State: "still-waiting"})
	c.event("still-waiting") // everything before it was handled
	w.b.Commit()
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	c.expect(api.OK, "")
}

// TestLyingOutcomes: whatever does not belong to this job and these bytes is
// evidence, not a signature.
func TestLyingOutcomes(t *testing.T) {
	lies := map[string]func(w *world, r *request){
		"signature of another file": func(w *world, r *request) {
			w.b.run(r, func(items []ledger.ItemResult) { items[0], items[1] = items[1], items[0] })
		},
		"no signature at all": func(w *world, r *request) {
			w.b.run(r, func(items []ledger.ItemResult) { items[0].Signature = []byte("nonsense") })
		},
		"other intent index": func(w *world, r *request) {
			from := w.b.Size()
			i, items := w.b.intent(r)
			w.b.Append(&ledger.Outcome{Intent: i - 1, Job: r.Job, Items: items})
			w.b.Commit()
			w.b.push(from)
			w.b.say(&message.Checkpoint{Note: w.b.Note})
		},
		"fewer items": func(w *world, r *request) {
			from := w.b.Size()
			i, items := w.b.intent(r)
			w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items[:1]})
			w.b.Commit()
			w.b.push(from)
			w.b.say(&message.Checkpoint{Note: w.b.Note})
		},
		"other announced digests": func(w *world, r *request) {
			s := r.states
			r.states = []sigformat.State{s[1], s[0]}
			w.b.run(r, func(items []ledger.ItemResult) { items[0], items[1] = items[1], items[0] })
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.b.meet()
			c := w.sign("core.db", "extra.db")
			lie(w, w.b.submitted())
			stop := w.b.attend() // it may come from the cable: the host asks again
			defer stop()
			c.expect(api.Evidence, "does not verify")
			if s := w.status(); s.Evidence != "" {
				t.Fatalf("hearsay is taken for evidence: %+v", s)
			}
		})
	}
}

// TestReplay: old entries, outcomes and checkpoints said again change nothing.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	first := w.sign("core.db")
	old := w.b.Note
	r1 := w.b.submitted()
	w.b.run(r1, nil)
	first.expect(api.OK, "")
	c := w.sign("core.db")
	r := w.b.submitted()
	if r.Job == r1.Job {
		t.Fatal("two requests have one job identity")
	}
	w.b.push(0)
	w.b.say(&message.Checkpoint{Note: old})
	w.b.say(&message.Done{Job: r1.Job, Intent: 1, Outcome: 2})
	w.b.run(r, nil)
	c.expect(api.OK, "")
	if s := w.status(); s.Evidence != "" || s.Committed != w.b.Size()-1 {
		t.Fatalf("status %+v", s)
	}
}

// forked expects that everything is refused, also after a restart.
func (w *world) forked(part string) {
	w.t.Helper()
	w.sign("core.db").expect(api.Evidence, part)
	if s := w.status(); !strings.Contains(s.Evidence, part) || s.Verified {
		w.t.Fatalf("status hides the evidence: %+v", s)
	}
	w.stop()
	w.start()
	w.sign("core.db").expect(api.Evidence, part)
	if found := must(filepath.Glob(filepath.Join(w.dir, "state", "evidence-*"))); len(found) == 0 {
		w.t.Fatal("no evidence kept")
	}
}

// TestFork: two logs that the appliance signed are evidence, for ever.
func TestFork(t *testing.T) {
	w := newWorld(t)
	w.b.Filler(noon)
	w.b.Commit()
	w.b.meet()
	w.b.Entries = w.b.Entries[:1]
	w.b.Filler(noon.Add(time.Second))
	w.b.Commit()
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	w.forked("two logs")
}

// TestCommitUnderWay: a host that connects between NV_Extend and checkpoint
// finds HEAD one commit ahead, explained by the entries.
func TestCommitUnderWay(t *testing.T) {
	w := newWorld(t)
	w.b.Filler(noon)
	w.b.Extend()
	w.b.Filler(noon)
	w.b.meet()
	w.sign("core.db")
	w.b.submitted()
}

// TestNotOurBoard: an attestation by another TPM, for another nonce, with
// another tag, of another kind, or none, a welcome that was recorded, a
// checkpoint of another log, another origin: nothing is submitted.
func TestNotOurBoard(t *testing.T) {
	w := newWorld(t)
	other := newBoard(t)
	h := w.b.connect()
	recorded := w.b.welcome(h.Hello.Nonce)
	say := func(change func(*message.Welcome)) {
		wel := w.b.welcome(h.Hello.Nonce)
		change(wel)
		w.b.say(wel)
		w.retry()
		h = w.b.hello() // it asks again instead of going on
	}
	say(func(m *message.Welcome) { o := other.welcome(m.Nonce); m.Attest, m.Sig = o.Attest, o.Sig })
	say(func(m *message.Welcome) { o := w.b.welcome([16]byte{1}); m.Attest, m.Sig = o.Attest, o.Sig })
	say(func(m *message.Welcome) { m.Attest, m.Sig = nil, nil })
	say(func(m *message.Welcome) { *m = *recorded })
	for _, tag := range [][32]byte{quote.CertifyTag(sha256.Sum256(h.Hello.Nonce[:])), quote.BootTag([32]byte{}), {}} {
		say(func(m *message.Welcome) { a := w.b.TPM.CertifyHead(tag); m.Attest, m.Sig = a.Attest, a.Sig })
	}
	say(func(m *message.Welcome) {
		a := w.b.TPM.QuotePCR(quote.HelloTag(m.Nonce[:])) // no NV_Certify
		m.Attest, m.Sig = a.Attest, a.Sig
	})
	say(func(m *message.Welcome) { m.Checkpoint = other.Note })
	say(func(m *message.Welcome) { m.Nonce[0] ^= 1 })
	say(func(m *message.Welcome) { m.Origin = "other.example/log" })
	if s := w.status(); s.Verified || !strings.HasPrefix(s.Link, "not verified") {
		t.Fatalf("status %+v", s)
	}
	w.b.say(w.b.welcome(h.Hello.Nonce))
	w.b.serve()
	w.sign("core.db")
	w.b.submitted()
}

// TestGreetsUntilProven: a board that does not answer is greeted again and
// again, with a new nonce each time; so is one that has proven itself and then
// says what does not verify.
func TestGreetsUntilProven(t *testing.T) {
	w := newWorldTimed(t, Timing{HelloRetry: 20 * time.Millisecond})
	nonces := map[[16]byte]bool{w.b.connect().Hello.Nonce: true}
	for range 3 {
		nonces[w.b.hello().Hello.Nonce] = true
	}
	if len(nonces) != 4 {
		t.Errorf("%d nonces in 4 greetings", len(nonces))
	}
	w.b.drop()
	w.stop()

	w = newWorld(t)
	w.b.meet()
	for !w.status().Verified {
		continue
	}
	w.d.post(func() { w.d.o.Timing.HelloRetry = time.Millisecond })
	w.b.say(&message.Checkpoint{Note: newBoard(t).Note})
	w.b.hello()
	w.b.drop()
}

// TestLinkLoss drops the link at each point of a job; the same job is
// submitted again only while the log has no intent of it, and the client gets
// its signature in the end.
func TestLinkLoss(t *testing.T) {
	t.Run("before arming", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		first := w.b.submitted()
		w.b.drop()
		c.event("link-lost")
		w.b.meet()
		again := w.b.submitted()
		if again.Job != first.Job || !bytes.Equal(again.submit.Approval, first.submit.Approval) {
			t.Fatal("submitted again as another job")
		}
		w.b.run(again, nil)
		c.expect(api.OK, "")
	})
	t.Run("after the intent", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		i, items := w.b.intent(r)
		w.b.push(i)
		w.b.acked()
		w.b.drop()
		c.event("link-lost")
		w.b.Commit()
		w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
		w.b.meet() // hears a fetch and acknowledgements only, no second submission
		c.expect(api.OK, "")
	})
	t.Run("outcome missed", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		w.b.drop()
		i, items := w.b.intent(r)
		w.b.Commit()
		w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
		w.b.meet()
		c.expect(api.OK, "")
	})
}

func TestBusyAndNoHello(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeBusy, Text: "the operator has not confirmed the clock yet"})
	r = w.b.submitted()
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeNoHello, Text: "say hello first"})
	w.b.say(w.b.welcome(w.b.hello().Hello.Nonce))
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

// TestQueue: requests are submitted one after the other, in order.
func TestQueue(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	first := w.sign("core.db")
	r1 := w.b.submitted()
	second := w.sign("extra.db")
	second.event("queued")
	w.b.run(r1, nil)
	first.expect(api.OK, "")
	r2 := w.b.submitted()
	if r2.Approval.Items[0].Name != "extra.db" {
		t.Fatalf("submitted %+v", r2.Approval)
	}
	w.b.run(r2, nil)
	second.expect(api.OK, "")
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.back.Store(5)
	if err := c.lines.Write(&api.Request{Op: api.OpCancel}); err != nil {
		t.Fatal(err)
	}
	n := hear[*message.CancelNote](w.b)
	if n.Cancel.HostTime.Before(r.Submission.HostTime) {
		t.Error("the cancellation is older than the submission, because the clock went back")
	}
	if _, by, err := message.OpenNote(n.Note, []note.Verifier{w.b.host}); err != nil || len(by) != 1 || n.Cancel.Job != r.Job {
		t.Fatalf("cancel %+v, %v", n.Cancel, err)
	}
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeCancelled, Text: "cancelled by the host"})
	c.expect(api.Interrupted, "nothing was signed")
}

// TestCancelUnconfirmed: silence after a cancel is not a promise.
func TestCancelUnconfirmed(t *testing.T) {
	w := newWorldTimed(t, Timing{CancelWait: time.Millisecond})
	w.b.meet()
	c := w.sign("core.db")
	w.b.submitted()
	if err := c.lines.Write(&api.Request{Op: api.OpCancel}); err != nil {
		t.Fatal(err)
	}
	hear[*message.CancelNote](w.b)
	c.expect(api.MaySigned, "does not confirm")
}

// TestClientGone: a client that vanishes withdraws its job.
func TestClientGone(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if n := hear[*message.CancelNote](w.b); n.Cancel.Job != r.Job {
		t.Fatal("another job cancelled")
	}
}

// expire lets the timeout of the first job pass now.
func (w *world) expire() {
	w.d.post(func() { w.d.expire(w.d.jobs[0]) })
}

func TestTimeouts(t *testing.T) {
	t.Run("never armed", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		w.expire()
		hear[*message.CancelNote](w.b)
		w.b.say(&message.Refused{Job: r.Job, Code: message.CodeCancelled, Text: "cancelled"})
		c.expect(api.TimedOut, "nothing was signed")
	})
	t.Run("armed, no outcome", func(t *testing.T) {
		w := newWorldTimed(t, Timing{ArmedGrace: time.Millisecond})
		w.b.meet()
		c := w.sign("core.db")
		i, _ := w.b.intent(w.b.submitted())
		w.b.push(i)
		w.b.acked()
		w.expire()
		c.expect(api.MaySigned, "committed")
	})
	t.Run("armed, outcome after all", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		r := w.b.submitted()
		i, items := w.b.intent(r)
		w.b.push(i)
		w.b.acked()
		w.expire()
		w.b.Commit()
		w.b.push(w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items}))
		w.b.say(&message.Checkpoint{Note: w.b.Note})
		c.expect(api.OK, "")
	})
	t.Run("link down, submitted", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		c := w.sign("core.db")
		w.b.submitted()
		w.b.drop()
		c.event("link-lost")
		w.expire()
		c.expect(api.MaySigned, "the link is down")
	})
	t.Run("behind another", func(t *testing.T) {
		w := newWorld(t)
		w.b.meet()
		w.sign("core.db")
		w.b.submitted()
		c := w.sign("extra.db")
		c.event("queued")
		w.d.post(func() { w.d.expire(w.d.jobs[1]) })
		c.expect(api.TimedOut, "other requests")
	})
	t.Run("no link", func(t *testing.T) {
		w := newWorld(t)
		w.b.events <- serialport.Event{Kind: serialport.Unavailable, Err: &serialport.OpenError{Path: "/dev/ttyX", Err: serialport.ErrAbsent}}
		for !strings.Contains(w.status().Link, "absent") {
			continue // the daemon takes requests and link events in any order
		}
		c := w.sign("core.db")
		c.event("waiting-for-link")
		w.d.post(func() { w.d.lapse(w.d.jobs[0]) })
		c.expect(api.LinkDown, "/dev/ttyX: serial device is absent")
	})
}

// TestRestart: a daemon that is restarted goes on from its mirror.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
	w.stop()
	w.start()
	h := w.b.connect()
	if h.Hello.HeadSize != w.b.Size() || h.Hello.HeadRoot != w.b.Root(w.b.Size()) {
		t.Fatalf("hello after a restart has head %d", h.Hello.HeadSize)
	}
	w.b.say(w.b.welcome(h.Hello.Nonce))
	c = w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

// TestDiskFull: when the mirror cannot take an intent, it is not acknowledged
// and the job is withdrawn; after a restart with room all is well.
func TestDiskFull(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit unix.Rlimit
	must(0, unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	must(0, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: limit.Max}))
	defer func() { must(0, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)) }()
	i, items := w.b.intent(r)
	w.b.push(i)
	if n := hear[*message.CancelNote](w.b); n.Cancel.Job != r.Job {
		t.Fatal("another job withdrawn")
	}
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeCancelled, Text: "cancelled"})
	c.expect(api.CannotWrite, "the mirror of the log cannot be written")
	if s := w.status(); s.Verified || !strings.Contains(s.Link, "file too large") {
		t.Fatalf("status %+v", s)
	}
	must(0, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	w.stop()
	w.b.Append(&ledger.Outcome{Intent: i, Job: r.Job, Items: items})
	w.start()
	w.b.meet()
	c = w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	c.expect(api.OK, "")
}

// TestStopWithSilentClient: who connected and says nothing does not keep the
// daemon from stopping.
func TestStopWithSilentClient(t *testing.T) {
	w := newWorld(t)
	c := must(net.Dial("unix", w.socket))
	defer func() { _ = c.Close() }()
	w.status() // by now the silent one was accepted
	w.stop()
}

func TestHaltedBoard(t *testing.T) {
	w := newWorld(t)
	w.b.noAttest = true
	h := w.b.connect()
	c := w.sign("core.db")
	c.event("waiting-for-link")
	m := w.b.welcome(h.Hello.Nonce)
	m.State, m.Halt = message.StateHalted, "head-unknown"
	w.b.say(m)
	c.expect(api.DeviceFault, "halted (head-unknown) and signs nothing: its display says")
	if s := w.status(); s.Board != message.StateHalted || s.Halt != "head-unknown" || s.Verified || s.Code != api.DeviceFault || !strings.Contains(s.Link, "head-unknown") {
		t.Fatalf("status %+v", s)
	}
}

// TestBoardWithoutALog: a board that cannot read its disk has nothing to show but
// its halt state; a host that has nothing either says so, one that has its log
// keeps that, and offers it.
func TestBoardWithoutALog(t *testing.T) {
	for _, full := range []bool{false, true} {
		w := newWorld(t)
		if full {
			w.b.meet()
			for !w.status().Verified {
				continue
			}
			w.b.drop()
		}
		m := w.b.welcome(w.b.connect().Hello.Nonce)
		m.State, m.Halt, m.Total, m.Attest, m.Sig, m.Checkpoint = message.StateHalted, "disk-failed", 0, nil, nil, nil
		w.b.say(m)
		for w.status().Halt != "disk-failed" {
			continue
		}
		w.sign("core.db").expect(api.DeviceFault, "halted (disk-failed)")
		w.b.say(&message.Fetch{})
		if full {
			if e := hear[*message.Entries](w.b); e.Total != w.b.Size() {
				t.Fatalf("offers %d entries", e.Total)
			}
		}
		w.quiet()
	}
}

// TestHaltsUnderAJob: a board that was ready and halts is not called ready any more.
func TestHaltsUnderAJob(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	c := w.sign("core.db")
	r := w.b.submitted()
	w.b.say(&message.Refused{Job: r.Job, Code: message.CodeHalted, Text: "the appliance has halted"})
	c.expect(api.DeviceFault, "halted")
	h := hear[*message.HelloNote](w.b)
	if s := w.status(); s.Verified {
		t.Fatalf("status before the board answered: %+v", s)
	}
	m := w.b.welcome(h.Hello.Nonce)
	m.State, m.Halt, m.Attest, m.Sig = message.StateHalted, "closed", nil, nil
	w.b.say(m)
	w.sign("extra.db").expect(api.DeviceFault, "halted")
	if s := w.status(); s.Verified || !strings.Contains(s.Link, "halted") {
		t.Fatalf("status %+v", s)
	}
}

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
	if got := w.ask(&api.Request{Op: api.OpCert}).expect(api.OK, ""); !bytes.Equal(got.Cert, w.b.Trust.Cert) {
		t.Fatal("certificate differs")
	}
}
