package station

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/appliance/policy/policytest"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/past"
	"touchmark/appliance/station/token"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

const origin = "touchmark.example/station"

// patience bounds how long a test waits for something that must happen; it is
// never waited for when it does.
const patience = 2 * time.Minute

var errTPM = errors.New("TPM_RC_FAILURE")

// fakeTPM is a software TPM whose commands can be made to fail, before or
// after they take effect.
type fakeTPM struct {
	mu     sync.Mutex
	tpm    *quotetest.TPM
	fault  map[string]string // command: "before", "after" or "always"
	count  map[string]int
	slow   map[string]chan struct{} // command: it takes until this is closed
	public []byte                   // AK of a TPM that stands in for this one
	reset  string                   // the TPM is reset right before this command
	gone   error                    // what every command is answered with, nil to serve
}

func (f *fakeTPM) run(name string, do func()) error {
	f.mu.Lock()
	gate := f.slow[name]
	f.mu.Unlock()
	if gate != nil {
		gate <- struct{}{} // the test knows that it has begun
		<-gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[name]++
	if f.reset == name {
		f.reset = ""
		f.tpm.PowerCycle()
	}
	if f.gone != nil {
		return f.gone
	}
	kind := f.fault[name]
	if kind != "always" {
		delete(f.fault, name)
	}
	if kind == "before" || kind == "always" {
		return errTPM
	}
	do()
	if kind == "after" {
		return errTPM
	}
	return nil
}

// resetBefore resets the TPM right before a command, or now.
func (f *fakeTPM) resetBefore(command string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if command == "shown" {
		f.tpm.PowerCycle()
		return
	}
	f.reset = command
}

func (f *fakeTPM) fail(command, kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault[command] = kind
}

// slowDown makes a command wait: begun answers when it has begun, finish lets
// it and all later ones go on.
func (f *fakeTPM) slowDown(command string) (begun, finish func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow[command] = gate
	return func() { <-gate }, func() {
		f.mu.Lock()
		delete(f.slow, command)
		f.mu.Unlock()
		close(gate)
	}
}

func (f *fakeTPM) counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.count
	f.count = map[string]int{}
	return c
}

func (f *fakeTPM) Head() (h [32]byte, err error) {
	err = f.run("NV_Read", func() { h = f.tpm.Head })
	return h, err
}

func (f *fakeTPM) PCR() (h [32]byte, err error) {
	err = f.run("PCR_Read", func() { h = f.tpm.PCR })
	return h, err
}

func (f *fakeTPM) ExtendHead(x [32]byte) error {
	return f.run("NV_Extend", func() { f.tpm.ExtendHead(x) })
}

func (f *fakeTPM) ExtendPCR(x [32]byte) error {
	return f.run("PCR_Extend", func() { f.tpm.ExtendPCR(x) })
}

func (f *fakeTPM) CertifyHead(extra [32]byte) (a quote.Attestation, err error) {
	err = f.run("NV_Certify", func() { a = f.tpm.CertifyHead(extra) })
	return a, err
}

func (f *fakeTPM) QuotePCR(extra [32]byte) (a quote.Attestation, err error) {
	err = f.run("Quote", func() { a = f.tpm.QuotePCR(extra) })
	return a, err
}

// fakeToken signs with a software key when the test touches it.
type fakeToken struct {
	key     *ecdsa.PrivateKey
	touch   chan error // one value per awaited touch: nil signs
	waiting chan struct{}
	typed   func() // called with each PIN; may be nil

	mu       sync.Mutex
	slots    map[string]*ecdsa.PrivateKey
	verified bool
	gone     bool
}

func (t *fakeToken) Public(slot string) (crypto.PublicKey, error) {
	if k := t.in(slot); k != nil {
		return k.Public(), nil
	}
	return nil, nil
}

func (t *fakeToken) in(slot string) *ecdsa.PrivateKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slots[slot]
}

// swap takes the token out; the next one to be plugged in (set) has these keys.
func (t *fakeToken) swap(slots map[string]*ecdsa.PrivateKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slots, t.verified, t.gone = slots, false, true
}

func (t *fakeToken) VerifyPIN(pin []byte) error {
	defer clear(pin)
	if t.typed != nil {
		t.typed()
	}
	if string(pin) != "123456" {
		return errors.New("wrong PIN, 2 tries left")
	}
	t.set(true, false)
	return nil
}

func (t *fakeToken) set(verified, gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.verified, t.gone = verified, gone
}

func (t *fakeToken) PINVerified() bool { t.mu.Lock(); defer t.mu.Unlock(); return t.verified }
func (t *fakeToken) Present() bool     { t.mu.Lock(); defer t.mu.Unlock(); return !t.gone }
func (t *fakeToken) Close() error      { return nil }

func (t *fakeToken) Sign(slot string, _ crypto.PublicKey, digest []byte, _ crypto.Hash) ([]byte, error) {
	if !t.Present() {
		return nil, ceremony.ErrRemoved
	}
	if !t.PINVerified() {
		return nil, ceremony.ErrPIN
	}
	t.waiting <- struct{}{}
	if err := <-t.touch; err != nil {
		if errors.Is(err, ceremony.ErrRemoved) {
			t.set(false, true)
		}
		return nil, err
	}
	return ecdsa.SignASN1(rand.Reader, t.in(slot), digest[:min(len(digest), 32)])
}

// fakePanel keeps every view and passes commands.
type fakePanel struct {
	views    chan *operator.View // pointers: there is room for many
	commands chan operator.Command
	looked   chan struct{} // closed when the token that is there was found ready, or wrong
	once     sync.Once
}

func (p *fakePanel) Show(v operator.View) {
	p.views <- &v
	if v.Token == token.Ready || v.Token == token.Wrong {
		p.once.Do(func() { close(p.looked) })
	}
}

func (p *fakePanel) Commands() <-chan operator.Command { return p.commands }

// fakeLink is the host's end: what the board sends arrives in out.
type fakeLink struct {
	in     chan linkpipe.Msg
	out    chan linkpipe.Msg
	closed chan struct{}
	once   sync.Once
}

func newFakeLink() *fakeLink {
	return &fakeLink{in: make(chan linkpipe.Msg, 64), out: make(chan linkpipe.Msg, 1024), closed: make(chan struct{})}
}

// put hands the board a message; a link that the board has given up takes none.
func (l *fakeLink) put(m linkpipe.Msg) {
	select {
	case l.in <- m:
	case <-l.closed:
	}
}

func (l *fakeLink) Read() (linkpipe.Msg, error) {
	select {
	case m := <-l.in:
		return m, nil
	case <-l.closed:
		return linkpipe.Msg{}, io.EOF
	}
}

func (l *fakeLink) Write(m linkpipe.Msg) error {
	select {
	case l.out <- m:
		return nil
	case <-l.closed:
		return io.EOF
	}
}

func (l *fakeLink) Close() error { l.once.Do(func() { close(l.closed) }); return nil }

// board is a whole world in one process: a station, and the test as operator,
// token holder and host.
type board struct {
	t     *testing.T
	dir   string
	cfg   Config
	tpm   *fakeTPM
	token *fakeToken
	panel *fakePanel
	link  *fakeLink
	links func(context.Context) (Link, error) // in place of link
	log   func(*ledgerstore.Store) past.Log   // what the board has for a log, in place of the store
	store *ledgerstore.Store
	host  note.Signer
	admin note.Signer
	keys  *testKeys // of the log
	pol   string    // text of the policy in force
	forge *intaketest.Forge
	trust *anchor.Trust
	key   *signing.Key
	spare *ecdsa.PrivateKey // the log's second key, nil for none
	old   bool              // the token's firmware is an old one

	stop    context.CancelFunc
	done    chan error
	stirred <-chan struct{} // something happened of which the host hears nothing; nil for nothing
	acks    bool
	locked  bool     // leave the PIN to the test
	entries [][]byte // the host's mirror
	nonce   byte
	before  [2][32]byte   // HEAD and PCR before something
	first   time.Time     // host time of its first word about rounds
	away    time.Duration // how far the right time is ahead of the machine that runs the test
	refused map[message.JobID]*message.Refused
	events  []*message.Event
	ended   map[message.JobID]*message.Done
	notes   [][]byte // checkpoints received
}

func newBoard(t *testing.T) *board {
	t.Helper()
	b := bareBoard(t)
	b.enrol()
	return b
}

// twoKeys is a board whose log has a second key, "backup" in slot 9a, which is on
// another token; every class names it second.
func twoKeys(t *testing.T) *board {
	t.Helper()
	b := bareBoard(t)
	var err error
	b.spare, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	b.enrol()
	return b
}

func bareBoard(t *testing.T) *board {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	b := &board{t: t, dir: t.TempDir(), acks: true,
		refused: map[message.JobID]*message.Refused{}, ended: map[message.JobID]*message.Done{}}
	b.tpm = &fakeTPM{tpm: quotetest.New(), fault: map[string]string{}, count: map[string]int{}, slow: map[string]chan struct{}{}}
	b.token = &fakeToken{key: key, slots: map[string]*ecdsa.PrivateKey{"9c": key}, touch: make(chan error), waiting: make(chan struct{}, 16)}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newSigner(t *testing.T, name string) (note.Signer, string) {
	t.Helper()
	secret, vkey, err := note.GenerateKey(rand.Reader, name)
	must(t, err)
	s, err := note.NewSigner(secret)
	must(t, err)
	return s, vkey
}

func (b *board) policyNote() []byte {
	admin, adminKey := newSigner(b.t, "admin")
	b.admin = admin
	host, hostKey := newSigner(b.t, "repo1")
	b.host = host
	b.forge = intaketest.New(origin)
	b.forge.Host, b.forge.Head, b.forge.Now = host, b.root, time.Now
	text := policytest.Policy{Origin: origin, Admin: adminKey, Host: hostKey, Classes: []policytest.Class{
		{Name: "db", Names: "*.db", MaxSize: "1MiB", Rate: "20/1h", Batch: 4},
	}}.Text() + b.forge.Tables("packages")
	if b.spare != nil {
		text = strings.ReplaceAll(text, `keys = ["packages"]`, `keys = ["packages", "backup"]`)
		text = strings.Replace(text, "[[key]]", "[[key]]\nname = \"backup\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n[[key]]", 1)
	}
	b.pol = text
	n, err := message.SignNote([]byte(text), admin)
	must(b.t, err)
	return n
}

// genesis is the first entry, for an AK with its creation.
func (b *board) genesis(ak []byte, creation func(outside []byte) quote.Creation, now time.Time) *ledger.Genesis {
	t := b.t
	logKey, vkey := newSigner(t, origin)
	b.keys = &testKeys{have: map[string]note.Signer{vkey: logKey}}
	keys := []ledger.TokenKey{b.record(b.token.key, "packages", "9c", now)}
	if b.spare != nil {
		keys = append(keys, b.record(b.spare, "backup", "9a", now))
	}
	g := &ledger.Genesis{Keys: keys}
	b.cfg = Config{LogKeys: b.keys, Log: zerolog.Nop(), TokenPoll: time.Millisecond, TPMRetry: time.Millisecond}
	g.Origin, g.LogKey, g.AK, g.Creation = origin, vkey, ak, creation(ledger.OutsideInfo(origin, g.Attestations(), g.Nonce))
	g.Head, g.HeadName, g.PCR, g.Policy = b.tpm.tpm.HeadIndex, b.tpm.tpm.HeadName(), b.tpm.tpm.PCRIndex, b.policyNote()
	var err error
	b.key, err = signing.NewKey(b.token.key.Public(), now)
	must(t, err)
	return g
}

// record is what the log says of a key.
func (b *board) record(key *ecdsa.PrivateKey, name, slot string, now time.Time) ledger.TokenKey {
	pgp, err := signing.NewKey(key.Public(), now)
	must(b.t, err)
	cert, err := certificate.New(pgp, "Test <test@example.org>", func(d []byte, h crypto.Hash) ([]byte, error) {
		return key.Sign(rand.Reader, d, h)
	})
	must(b.t, err)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	must(b.t, err)
	firmware := "5.7.1"
	if b.old {
		firmware = "5.4.3"
	}
	return ledger.TokenKey{
		Name: name, Slot: slot, Family: "openpgp-data", Algorithm: "p256", Fingerprint: pgp.Fingerprint(), SPKI: spki,
		Token: ledger.TokenInfo{Serial: 1, Firmware: firmware, Emulated: true}, Attestation: ledger.TokenAttestation{Slot: []byte("slot"), Intermediate: []byte("device")}, Cert: cert,
	}
}

func (b *board) enrol() {
	t := b.t
	now := time.Now().UTC().Truncate(time.Second)
	g := b.genesis(b.tpm.tpm.Public(), b.tpm.tpm.Creation, now)
	raw, err := ledger.Marshal(ledger.Header{Time: now}, g)
	must(t, err)
	store, err := ledgerstore.Create(b.dir)
	must(t, err)
	x := ledger.X(ledger.CheckpointBody(origin, 1, ledger.LeafHash(raw)))
	must(t, store.Append([][]byte{raw}, &anchor.Plan{Size: 1, X: x}))
	b.tpm.tpm.ExtendHead(x)
	b.tpm.tpm.ExtendPCR(x)
	a := &ledger.Attest{Size: 1, Certify: b.tpm.tpm.CertifyHead(quote.CertifyTag(x)), Quote: b.tpm.tpm.QuotePCR(quote.QuoteTag(x))}
	raw2, err := ledger.Marshal(ledger.Header{Index: 1, Time: now}, a)
	must(t, err)
	must(t, store.Append([][]byte{raw2}, nil))
	must(t, store.Close())
	b.trust, b.cfg.TPM = anchor.TrustOf(raw, g), b.tpm
}

// start opens the log and runs a station on it; it returns when the token, if there
// is one, has its PIN.
func (b *board) start() {
	t := b.t
	t.Helper()
	store, err := ledgerstore.Open(b.dir)
	must(t, err)
	b.panel = &fakePanel{views: make(chan *operator.View, 1<<16), commands: make(chan operator.Command, 16), looked: make(chan struct{})}
	b.link = newFakeLink()
	b.store = store
	cfg := b.cfg
	cfg.Store, cfg.Panel = store, b.panel
	if b.log != nil {
		cfg.Store = b.log(store)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	first := make(chan *fakeLink, 1)
	first <- b.link
	cfg.Link = func(ctx context.Context) (Link, error) {
		select {
		case l := <-first:
			return l, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if b.links != nil {
		cfg.Link = b.links
	}
	cfg.Token = func() (Token, error) {
		if !b.token.Present() {
			return nil, errors.New("no token")
		}
		return b.token, nil
	}
	s := New(cfg)
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.done = stop, make(chan error, 1)
	go func() { s.Run(ctx); _ = store.Close(); b.done <- nil }()
	t.Cleanup(b.kill)
	if !b.locked {
		b.unlock()
	}
}

// unlock types the PIN, and waits until it has been checked: what a test does next
// must not depend on who is faster.
func (b *board) unlock() {
	b.t.Helper()
	b.command(operator.Command{Verb: operator.PIN, PIN: []byte("123456")})
	if !b.token.Present() {
		return
	}
	select {
	case <-b.panel.looked:
	case <-time.After(patience):
		b.t.Fatal("the PIN is never checked")
	}
}

// kill ends the station's run in good order; crash-like ends are made by
// faults instead.
func (b *board) kill() {
	if b.stop == nil {
		return
	}
	b.stop()
	select {
	case err := <-b.done:
		must(b.t, err)
	case <-time.After(patience):
		b.t.Fatal("the station does not stop")
	}
	b.stop = nil
}

func (b *board) command(c operator.Command) { b.panel.commands <- c }

// view waits for a view that satisfies ok.
func (b *board) view(what string, ok func(operator.View) bool) operator.View {
	b.t.Helper()
	deadline := time.After(patience)
	var last operator.View
	for {
		select {
		case v := <-b.panel.views:
			if last = *v; ok(last) {
				return last
			}
		case <-deadline:
			b.t.Fatalf("the display never showed: %s; it shows %s %q, token %s, asks %v, job %+v", what, last.Event, last.Message, last.Token, last.Ask, last.Job)
		}
	}
}

func (b *board) event(name string) operator.View {
	b.t.Helper()
	return b.view(name, func(v operator.View) bool { return v.Event == name })
}

func (b *board) send(body []byte) { b.link.put(linkpipe.Msg{Kind: linkpipe.Message, Body: body}) }

// receive takes the board's next message and does what a host does with it:
// mirror entries and acknowledge them, note ends.
func (b *board) receive() any {
	b.t.Helper()
	select {
	case m := <-b.link.out:
		p, err := fromBoard(m)
		must(b.t, err)
		b.take(p)
		return p
	case <-time.After(patience):
		b.t.Fatal("the board says nothing")
	}
	return nil
}

// fromBoard reads a message as a host does.
func fromBoard(m linkpipe.Msg) (any, error) {
	text, err := message.NewUnpacker().Unpack(m.Body)
	if err != nil {
		return nil, err
	}
	return message.Parse(text)
}

func (b *board) take(p any) {
	switch p := p.(type) {
	case *message.Entries:
		if p.Start != uint64(len(b.entries)) {
			b.t.Fatalf("entries from %d, have %d", p.Start, len(b.entries))
		}
		b.entries = append(b.entries, p.Entries...)
		if b.acks {
			b.ack()
		}
		if p.Total > uint64(len(b.entries)) {
			b.send((&message.Fetch{From: uint64(len(b.entries))}).Marshal())
		}
	case *message.Refused:
		b.refused[p.Job] = p
	case *message.Done:
		b.ended[p.Job] = p
	case *message.Event:
		b.events = append(b.events, p)
	case *message.Checkpoint:
		b.notes = append(b.notes, p.Note)
	}
}

func (b *board) root() (uint64, [32]byte) {
	var tree ledger.Tree
	for _, e := range b.entries {
		tree.Add(ledger.LeafHash(e))
	}
	return tree.Size(), tree.Root()
}

func (b *board) ack() {
	n, root := b.root()
	b.send((&message.Mirrored{Size: n, Root: root}).Marshal())
}

func (b *board) now() time.Time { return time.Now().Add(b.away).UTC().Truncate(time.Second) }

// up begins a session.
func (b *board) up() { b.link.put(linkpipe.Msg{Kind: linkpipe.Up, SID: 1}) }

// hello makes the host's next hello.
func (b *board) hello() []byte {
	b.t.Helper()
	n, root := b.root()
	b.nonce++
	h := message.Hello{Origin: origin, Nonce: [16]byte{b.nonce}, HostTime: b.now(), HeadSize: n, HeadRoot: root}
	signed, err := message.SignNote(h.Marshal(), b.host)
	must(b.t, err)
	return signed
}

// connect brings the link up, says hello and fetches the log.
func (b *board) connect() *message.Welcome {
	b.t.Helper()
	n, _ := b.root()
	b.up()
	b.send(b.hello())
	var w *message.Welcome
	for w == nil { // what was said to the session before may come first
		w, _ = b.receive().(*message.Welcome)
	}
	if w.Total > n {
		b.send((&message.Fetch{From: n}).Marshal())
		for uint64(len(b.entries)) < w.Total {
			b.receive()
		}
	}
	return w
}

// job makes a submission for files of the given contents.
func (b *board) job(names []string, contents ...string) (message.JobID, *message.Submit) {
	b.nonce++
	a := message.Approval{Origin: origin, Class: "db", Nonce: [16]byte{b.nonce}, NotAfter: b.now().Add(time.Hour)}
	m := &message.Submit{}
	for i, name := range names {
		h := hashstate.New(message.SHA256)
		_, _ = io.WriteString(h, contents[i])
		st := h.State()
		a.Items = append(a.Items, message.Item{Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: message.SHA256, Sum: st.Digest()}, Size: st.Count(), Name: name})
		m.Contents = append(m.Contents, message.Content{State: st.Bytes()})
	}
	b.sign(m, a, b.host)
	return message.JobOf(a.Marshal()), m
}

func (b *board) sign(m *message.Submit, a message.Approval, host note.Signer) {
	b.t.Helper()
	var err error
	m.Approval, err = message.SignNote(a.Marshal())
	must(b.t, err)
	n, root := b.root()
	s := message.Submission{Approval: message.JobOf(a.Marshal()), HeadSize: n, HeadRoot: root, HostTime: b.now()}
	m.Submission, err = message.SignNote(s.Marshal(), host)
	must(b.t, err)
}

func (b *board) submit(m *message.Submit) { b.send(m.Marshal()) }

// armed submits and arms one job and waits until its intent is on its way.
// shown waits until the job is on display and the PIN, which the operator typed
// at the start, has been checked.
func (b *board) shown(id message.JobID) {
	b.t.Helper()
	b.view("the job, to be armed", func(v operator.View) bool {
		return v.Ask == operator.AskArm && v.Job != nil && v.Job.ID == id.String() && (b.locked || v.Token == token.Ready)
	})
}

func (b *board) arm(id message.JobID) {
	b.t.Helper()
	b.shown(id)
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
}

// awaitTouch serves the host's side until the token waits for a touch.
func (b *board) awaitTouch() {
	b.t.Helper()
	b.until(func() bool {
		select {
		case <-b.token.waiting:
			return true
		default:
			return false
		}
	})
}

// until serves the host's side until something has happened.
func (b *board) until(happened func() bool) {
	b.t.Helper()
	deadline := time.After(patience)
	for !happened() {
		select {
		case m := <-b.link.out:
			p, err := fromBoard(m)
			must(b.t, err)
			b.take(p)
		case <-b.token.waiting:
			b.token.waiting <- struct{}{}
		case <-b.stirred:
		case <-deadline:
			b.t.Fatal("it never happened")
		}
	}
}

// end serves the host's side until a job is done and answers its outcome.
func (b *board) end(id message.JobID) *ledger.Outcome {
	b.t.Helper()
	b.until(func() bool { return b.ended[id] != nil })
	d := b.ended[id]
	b.until(func() bool { return uint64(len(b.entries)) > d.Outcome })
	_, body, err := ledger.Parse(b.entries[d.Outcome])
	must(b.t, err)
	o, ok := body.(*ledger.Outcome)
	if !ok || o.Job != id || o.Intent != d.Intent {
		b.t.Fatalf("entry %d is not the outcome of job %s", d.Outcome, id)
	}
	return o
}
