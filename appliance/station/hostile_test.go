package station

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/token"
	"touchmark/appliance/update"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
)

// unimpressed is what no hostile host may change: the log on disk and HEAD.
type unimpressed struct {
	b     *board
	files map[string]int64
}

func (b *board) unimpressed() *unimpressed {
	b.t.Helper()
	b.tpm.counts()
	return &unimpressed{b, b.files()}
}

// files are the sizes of everything on the board's disk.
func (b *board) files() map[string]int64 {
	b.t.Helper()
	sizes := map[string]int64{}
	must(b.t, filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			sizes[path] = st.Size()
		}
		return err
	}))
	return sizes
}

// still wants the TPM not written to, the disk as it was, and no job but these
// to have been on display.
func (u *unimpressed) still(jobs ...message.JobID) {
	u.b.t.Helper()
	counts := u.b.tpm.counts()
	for _, command := range []string{"NV_Extend", "PCR_Extend", "Quote"} {
		if counts[command] != 0 {
			u.b.t.Errorf("%d %s for what nobody armed", counts[command], command)
		}
	}
	if now := u.b.files(); !maps.Equal(now, u.files) {
		u.b.t.Errorf("the disk holds %v, it held %v", now, u.files)
	}
	for {
		select {
		case v := <-u.b.panel.views:
			if v.Job != nil && !slices.ContainsFunc(jobs, func(id message.JobID) bool { return id.String() == v.Job.ID }) {
				u.b.t.Errorf("the display showed job %s", v.Job.ID)
			}
		default:
			return
		}
	}
}

func TestHostileRequestsReachNobody(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	u := b.unimpressed()
	want := map[string]uint64{}
	for _, c := range intaketest.Cases() {
		m, job := c.Make(b.forge)
		delete(b.refused, job)
		b.submit(m)
		b.until(func() bool { return b.refused[job] != nil })
		if got := b.refused[job]; got.Code != c.Code {
			t.Errorf("%s: refused as %s (%s), want %s", c.Name, got.Code, got.Text, c.Code)
		}
		want[c.Code]++
	}
	u.still()
	if got := b.refusedSince(b.signs("next.db", "next")); !maps.Equal(got, want) {
		t.Errorf("the next intent counts %v, refused were %v", got, want)
	}
	if got := b.refusedSince(b.signs("last.db", "last")); len(got) != 0 {
		t.Errorf("the intent after it counts %v again", got)
	}
}

// refusedSince gives the counts of an outcome's intent.
func (b *board) refusedSince(o *ledger.Outcome) map[string]uint64 {
	b.t.Helper()
	_, body, err := ledger.Parse(b.entries[o.Intent])
	must(b.t, err)
	in := body.(*ledger.Intent)
	by, total := map[string]uint64{}, uint64(0)
	for _, c := range in.Refused {
		by[c.Code] = c.Count
		total += c.Count
	}
	if total != in.Refusals {
		b.t.Errorf("%d refusals, by code %v", in.Refusals, by)
	}
	return by
}

// refusedMessage sends what is about no job and gives the answer's code.
func (b *board) refusedMessage(raw []byte) string {
	b.t.Helper()
	clear(b.refused)
	b.send(raw)
	b.until(func() bool { return len(b.refused) > 0 })
	for _, r := range b.refused {
		return r.Code
	}
	panic("unreachable")
}

func TestMalformedMessagesEndNoSession(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	u := b.unimpressed()
	fetch := (&message.Fetch{}).Marshal()
	stranger := intaketest.Impostor("repo1")
	order := "touchmark/order-note/v1\norigin " + origin + "\nafter 0 " + strings.Repeat("0", 64) + "\nreason YQ==\n"
	for name, c := range map[string]struct {
		code string
		raw  []byte
	}{
		"garbage":                {message.CodeUnknownMessage, []byte("garbage")},
		"one NUL":                {message.CodeUnknownMessage, []byte{0}},
		"a later version":        {message.CodeUnknownMessage, []byte("touchmark/fetch/v2\nfrom 0\n")},
		"an approval by itself":  {message.CodeUnknownMessage, b.forge.Honest("x").Submit().Approval},
		"a packed message":       {message.CodeUnknownMessage, message.NewPacker().Pack(bytes.Repeat(fetch, 9))},
		"too large":              {message.CodeBadMessage, append(fetch, make([]byte, message.MaxMessage)...)},
		"a fetch of nothing":     {message.CodeBadMessage, []byte("touchmark/fetch/v1\n")},
		"a fetch and more":       {message.CodeBadMessage, append(bytes.Clone(fetch), fetch...)},
		"a fetch beyond the log": {message.CodeUnknownHead, (&message.Fetch{From: 1 << 40}).Marshal()},
		"a false mirror":         {message.CodeForkedHead, (&message.Mirrored{Size: 1}).Marshal()},
		"a message of the board": {message.CodeBadMessage, (&message.Done{Outcome: 1}).Marshal()},
		"a welcome":              {message.CodeBadMessage, (&message.Checkpoint{Note: []byte("x\n")}).Marshal()},
		"unasked entries":        {message.CodeBadMessage, (&message.Entries{Total: 1, Entries: [][]byte{b.entries[0]}}).Marshal()},
		"a host's own order":     {message.CodeBadSignature, (&message.Order{Note: intaketest.Sign([]byte(order), b.host)}).Marshal()},
		"an order of nobody":     {message.CodeBadSignature, (&message.Order{Note: intaketest.Sign([]byte(order))}).Marshal()},
		"an order of no note":    {message.CodeBadMessage, (&message.Order{Note: []byte(order)}).Marshal()},
		"a hello without a note": {message.CodeBadMessage, (&message.Hello{Origin: origin, HostTime: b.now()}).Marshal()},
		"a stranger's cancel":    {message.CodeUnknownHost, b.forge.Cancel(stranger, message.JobID{1}, b.now())},
		"an old cancel":          {message.CodeClockSkew, b.forge.Cancel(b.host, message.JobID{1}, b.now().Add(-time.Hour))},
		"a submit of no notes":   {message.CodeBadMessage, (&message.Submit{Approval: []byte("a\n"), Submission: []byte("b\n"), Contents: []message.Content{{State: []byte{1}}}}).Marshal()},
	} {
		if got := b.refusedMessage(c.raw); got != c.code {
			t.Errorf("%s: %s, want %s", name, got, c.code)
		}
	}
	u.still()
	b.signs("next.db", "next")
}

// A recorded hello opens a conversation for whoever sends it, who can then read
// what is public, and nothing else: the attestation is over the old nonce, and
// what is not signed now, or was used up, does nothing.
func TestARecordedHelloIsWorthLittle(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.up()
	hello := b.hello()
	b.send(hello)
	old := b.receive().(*message.Welcome)
	r := b.forge.Honest("content")
	b.submit(r.Submit())
	b.told(message.EventShown)
	b.cancelAt(b.host, r, 0)
	b.answered(r.Job(), message.CodeCancelled)
	b.event(message.CodeCancelled)
	u := b.unimpressed()
	b.up()
	b.send(hello)
	again := b.receive().(*message.Welcome)
	if again.Nonce != old.Nonce {
		t.Fatalf("%x is attested for a hello of %x", again.Nonce, old.Nonce)
	}
	b.submit(r.Submit())
	b.answered(r.Job(), message.CodeCancelled)
	fresh := b.forge.Honest("other content")
	fresh.Hosts = []note.Signer{intaketest.Impostor("repo1")}
	b.refusedAs(fresh.Job(), fresh.Submit(), message.CodeUnknownHost)
	if code := b.refusedMessage((&message.Mirrored{Size: 1}).Marshal()); code != message.CodeForkedHead {
		t.Error(code)
	}
	u.still()
}

// lines counts what is logged.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(b []byte) (int, error) { l.n.Add(1); return len(b), nil }

// A host that floods the board with everything it can be refused for costs it
// neither TPM nor disk, lines in the log of events, or memory.
func TestAFloodCostsLittle(t *testing.T) {
	const rounds = 5
	b := newBoard(t)
	said := &lines{}
	b.cfg.Log = zerolog.New(said)
	still := time.Now() // what comes too early or too late must not be in time on a slow machine
	b.cfg.Clock = func() time.Time { return still }
	b.forge.Now = b.cfg.Clock
	b.start()
	b.connect()
	u := b.unimpressed()
	var flood [][]byte
	for _, c := range intaketest.Cases() {
		m, _ := c.Make(b.forge)
		flood = append(flood, m.Marshal())
	}
	for i := range 100 {
		flood = append(flood, []byte("garbage"), bytes.Repeat([]byte("x"), message.MaxMessage), b.forge.Cancel(b.host, message.JobID{byte(i)}, b.now()))
	}
	stranger := intaketest.Sign((&message.Hello{Origin: origin, HostTime: b.now()}).Marshal(), intaketest.Impostor("repo1"))
	begun, before := time.Now(), heap()
	for range rounds {
		for _, raw := range flood {
			b.send(stranger) // gets no answer
			b.send(raw)
			if _, ok := b.receive().(*message.Refused); !ok {
				t.Fatal("not refused")
			}
		}
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	u.still()
	periods := int(time.Since(begun)/hostLogPeriod) + 2
	if n, most := int(said.n.Load()), hostLogBurst*periods+10; n > most {
		t.Errorf("%d lines logged, at most %d", n, most)
	}
	by := b.refusedSince(b.signs("next.db", "next"))
	var total uint64
	for _, n := range by {
		total += n
	}
	if want := uint64(2 * rounds * len(flood)); total != want {
		t.Errorf("%d refusals counted of %d", total, want)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// lengthen puts n more entries at the end of the log of a board that is off.
func (b *board) lengthen(n int) {
	b.t.Helper()
	store, err := ledgerstore.Open(b.dir)
	must(b.t, err)
	raw, err := store.Entry(1)
	must(b.t, err)
	h, attest, err := ledger.Parse(raw)
	must(b.t, err)
	var more [][]byte
	for range n {
		h.Index = store.Size() + uint64(len(more))
		e, err := ledger.Marshal(h, attest)
		must(b.t, err)
		more = append(more, e)
	}
	must(b.t, store.Append(more, nil))
	must(b.t, store.Close())
}

// told waits for the board to hint at a state.
func (b *board) told(state string) *message.Event {
	b.t.Helper()
	for {
		if e, ok := b.receive().(*message.Event); ok && e.State == state {
			return e
		}
	}
}

// While a job waits for its operator, the log is mirrored, hellos are answered
// and other jobs queue, up to a bound; the job on display stays.
func TestASlowOperatorBlocksNothing(t *testing.T) {
	b := newBoard(t)
	b.lengthen(1000)
	b.start()
	b.connect()
	first := b.forge.Honest("first")
	b.submit(first.Submit())
	b.told(message.EventShown)
	u := b.unimpressed()
	for range 3 {
		b.entries = nil // a new mirror
		if w := b.connect(); w.Total < 1000 || w.State != message.StateReady || len(w.Attest) == 0 {
			t.Fatalf("%+v", w)
		}
	}
	var waiting []message.JobID
	for i := range maxQueue {
		r := b.forge.Honest("file", string(rune('a'+i)))
		b.submit(r.Submit())
		b.event("queued")
		waiting = append(waiting, r.Job())
	}
	late := b.forge.Honest("late")
	b.refusedAs(late.Job(), late.Submit(), message.CodeTooMany)
	u.still(first.Job())
	b.command(operator.Command{Verb: operator.Arm, Job: first.Job().String()})
	b.awaitTouch()
	b.token.touch <- nil
	if o := b.end(first.Job()); o.Items[0].State != ledger.Signed {
		t.Fatalf("%+v", o)
	}
	b.shown(waiting[0])
}

// The host's share of the loop is the last: a button that is pressed while the
// board is busy with one of the host's messages is obeyed before the next.
func TestTheOperatorGoesBeforeTheHost(t *testing.T) {
	b := newBoard(t)
	entered, release := make(chan struct{}), make(chan struct{})
	b.cfg.Status = func(v operator.View) {
		if v.Event == "queued" {
			entered <- struct{}{}
			<-release
		}
	}
	b.start()
	b.connect()
	first, second := b.forge.Honest("first"), b.forge.Honest("second")
	b.submit(first.Submit())
	b.shown(first.Job())
	b.submit(second.Submit())
	<-entered
	for range cap(b.link.in) {
		b.send([]byte("garbage"))
	}
	b.command(operator.Command{Verb: operator.Deny, Job: first.Job().String()})
	for range cap(b.panel.commands) + 1 { // once these are taken or queued, the first is with the loop
		b.command(operator.Command{Verb: operator.Arm, Job: "none"})
	}
	close(release)
	for {
		r, ok := b.receive().(*message.Refused)
		if !ok {
			continue
		}
		if r.Job != first.Job() || r.Code != message.CodeDenied {
			t.Fatalf("before the operator was heard, the host was told %+v", r)
		}
		return
	}
}

// Events tell each step and how long it lasts.
func TestEvents(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.view("the PIN checked", func(v operator.View) bool { return v.Token == token.Ready })
	b.connect()
	r := b.forge.Honest("one", "two")
	want := []message.Event{
		{State: message.EventShown, Seconds: 600}, // that it is armed, its intent tells
		{State: message.EventTouch, Seconds: 15}, {State: message.EventTouch, Seconds: 15, Item: 1},
	}
	var got []message.Event
	begun := time.Now()
	next := func() {
		for {
			e, ok := b.receive().(*message.Event)
			if !ok {
				continue
			}
			left := e.Seconds
			if n := len(got); n < len(want) && left < want[n].Seconds && want[n].Seconds-left <= int(time.Since(begun)/time.Second) {
				left = want[n].Seconds // a machine that stood still meanwhile
			}
			got = append(got, message.Event{State: e.State, Item: e.Item, Seconds: left})
			begun = time.Now()
			return
		}
	}
	b.submit(r.Submit())
	next()
	b.arm(r.Job())
	next()
	b.token.touch <- nil
	next()
	b.token.touch <- nil
	b.end(r.Job())
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A link process that says its session came up again and again is one line of
// the log in many.
func TestALinkProcessThatTalksIsNotLogged(t *testing.T) {
	b := newBoard(t)
	said := &lines{}
	b.cfg.Log = zerolog.New(said)
	b.start()
	begun := time.Now()
	for range 2000 {
		b.link.in <- linkpipe.Msg{Kind: linkpipe.Log, Text: "nothing"}
	}
	b.connect()
	if n, most := int(said.n.Load()), hostLogBurst*(int(time.Since(begun)/hostLogPeriod)+2)+10; n > most {
		t.Errorf("%d lines logged, at most %d", n, most)
	}
}

// The welcome says who the board is, and proves where its log stands with this
// TPM, now.
func TestTheWelcomeProvesWhoSpeaks(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	w := b.connect()
	_, body, err := ledger.Parse(b.entries[0])
	must(t, err)
	policyText, err := message.NoteText(body.(*ledger.Genesis).Policy)
	must(t, err)
	if w.Origin != origin || w.Firmware != update.Version || w.Policy != sha256.Sum256(policyText) || w.Nonce != [16]byte{b.nonce} || w.Total != uint64(len(b.entries)) {
		t.Errorf("%+v", w)
	}
	nonce := [16]byte{b.nonce}
	facts, err := b.tpm.tpm.AK().VerifyNV(quote.Attestation{Attest: w.Attest, Sig: w.Sig}, b.trust.HeadName, quote.HelloTag(nonce[:]))
	if err != nil || facts.Contents != b.tpm.tpm.Head {
		t.Errorf("HEAD %x attested, it is %x, %v", facts.Contents, b.tpm.tpm.Head, err)
	}
	cp, err := b.trust.OpenCheckpoint(w.Checkpoint)
	must(t, err)
	var tree ledger.Tree
	for _, e := range b.entries[:cp.Size] {
		tree.Add(ledger.LeafHash(e))
	}
	if cp.Root != tree.Root() || cp.Size == 0 {
		t.Errorf("checkpoint of %d entries", cp.Size)
	}
}
