//go:build emulated

package crash

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
)

// host is a repository host that keeps the protocol, and remembers more than
// one has to: all it ever acknowledged, and each root it ever was shown. Its
// methods are called under the run's lock.
type host struct {
	base      *base
	trust     *verify.Trust // that it pins
	entries   [][]byte      // its mirror
	committed uint64        // of them, by the newest checkpoint
	note      []byte        // that one
	kept      map[uint64][]byte
	roots     map[uint64][32]byte
	total     uint64 // as the board said last
	welcomed  string // in which state the board was
	why       string // it halted, when it last said
	helpless  bool   // a board asked for entries that are not here
	nonce     byte
	jobs      map[message.JobID]*asking
	sent      []sentEntry        // all that any board ever sent
	refused   []*message.Refused // that are about no job
	released  []released
	faults    []error
	link      *link
}

// sentEntry is one that a board sent.
type sentEntry struct {
	index uint64
	raw   []byte
}

// asking is a job of this host's.
type asking struct {
	name    string
	done    *message.Done
	refused *message.Refused
}

// released is a signature that reached the host, with all it needs to be
// believed.
type released struct {
	name   string
	intent uint64
	sig    []byte
	note   []byte
	size   uint64
}

func newHost(b *base, trust *verify.Trust) *host {
	return &host{
		base: b, trust: trust, entries: append([][]byte(nil), b.entries...), committed: b.size, note: b.note,
		kept: map[uint64][]byte{}, roots: map[uint64][32]byte{}, jobs: map[message.JobID]*asking{},
	}
}

func (h *host) fault(format string, a ...any) { h.faults = append(h.faults, fmt.Errorf(format, a...)) }

func (h *host) synced() bool {
	return h.link != nil && h.welcomed != "" && h.total == uint64(len(h.entries))
}

// root is over the mirror's first n entries.
func (h *host) root(n uint64) [32]byte {
	var t ledger.Tree
	for _, e := range h.entries[:n] {
		t.Add(ledger.LeafHash(e))
	}
	return t.Root()
}

func (h *host) head() (uint64, [32]byte) {
	n := uint64(len(h.entries))
	return n, h.root(n)
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// greet says hello.
func (h *host) greet() {
	if h.link == nil {
		return
	}
	h.welcomed = ""
	h.nonce++
	size, root := h.head()
	m := message.Hello{Origin: origin, Nonce: [16]byte{h.nonce}, HostTime: now(), HeadSize: size, HeadRoot: root}
	signed, err := message.SignNote(m.Marshal(), h.base.host)
	if err != nil {
		h.fault("hello: %w", err)
		return
	}
	h.link.put(signed)
}

// take is a message from the board.
func (h *host) take(m any) {
	switch m := m.(type) {
	case *message.Welcome:
		h.welcome(m)
	case *message.Entries:
		h.add(m)
	case *message.Fetch:
		h.serve(m)
	case *message.Checkpoint:
		h.check(m.Note)
	case *message.Refused:
		h.refusal(m)
	case *message.Done:
		h.done(m)
	}
}

func (h *host) refusal(m *message.Refused) {
	if j := h.jobs[m.Job]; j != nil {
		j.refused = m
		return
	}
	h.refused = append(h.refused, m)
	if m.Code == message.CodeHalted {
		h.haltedBoard(m.Text)
	}
	if m.Code == message.CodeForkedHead { // what was acknowledged is not what the board has any more
		h.entries = h.entries[:min(h.committed, uint64(len(h.entries)))]
		h.fetch(uint64(len(h.entries)))
	}
}

// haltedBoard hears that the board has halted, or, in place of a welcome, that it
// had: then its TPM attests nothing. It greets the board once more for each reason.
func (h *host) haltedBoard(why string) {
	switch {
	case h.welcomed == "":
		h.welcomed = message.StateHalted
	case h.why != why:
		h.greet()
	}
	h.why = why
}

func (h *host) welcome(m *message.Welcome) {
	h.check(m.Checkpoint)
	h.total, h.welcomed = m.Total, m.State
	size := uint64(len(h.entries))
	switch {
	case m.Total > size:
		h.fetch(size)
	case m.State == message.StateHalted: // nothing is forgotten as long as it may be needed
	default:
		h.entries = h.entries[:max(h.committed, m.Total)] // nobody vouched for the rest
		h.acknowledge()
	}
}

func (h *host) fetch(from uint64) {
	m := message.Fetch{From: from}
	h.link.put(m.Marshal())
}

// add mirrors entries. Those that no checkpoint covers give way.
func (h *host) add(m *message.Entries) {
	h.total = max(h.total, m.Total)
	for i, e := range m.Entries {
		at, size := m.Start+uint64(i), uint64(len(h.entries))
		h.sent = append(h.sent, sentEntry{at, bytes.Clone(e)})
		switch {
		case at > size:
			h.fetch(size)
			return
		case at == size:
		case bytes.Equal(h.entries[at], e):
			continue
		case at < h.committed:
			h.fault("entry %d is another than the one that was committed", at)
			return
		default:
			h.entries = h.entries[:at]
		}
		h.entries = append(h.entries, bytes.Clone(e))
	}
	if n := uint64(len(h.entries)); n < m.Total {
		h.fetch(n)
		return
	}
	h.acknowledge()
}

// acknowledge says what is here, for ever.
func (h *host) acknowledge() {
	size, root := h.head()
	for i, e := range h.entries {
		h.kept[uint64(i)] = e
	}
	h.link.put((&message.Mirrored{Size: size, Root: root}).Marshal())
}

// serve gives a board that lost the end of its log what it asks for.
func (h *host) serve(m *message.Fetch) {
	size := uint64(len(h.entries))
	if m.From >= size {
		h.helpless = true
		return
	}
	h.link.put((&message.Entries{Start: m.From, Total: size, Entries: h.entries[m.From:]}).Marshal())
}

// check takes a checkpoint: of one size there is one root.
func (h *host) check(n []byte) {
	if len(n) == 0 {
		return
	}
	cp, err := h.trust.OpenCheckpoint(n)
	if err != nil {
		h.fault("a checkpoint: %w", err)
		return
	}
	h.rooted(cp)
	if cp.Size > h.committed {
		h.committed, h.note = cp.Size, n
	}
}

func (h *host) rooted(cp *anchor.Checkpoint) {
	if root, ok := h.roots[cp.Size]; ok && root != cp.Root {
		h.fault("two roots for size %d", cp.Size)
	}
	h.roots[cp.Size] = cp.Root
	if cp.Size <= uint64(len(h.entries)) && h.root(cp.Size) != cp.Root {
		h.fault("the checkpoint of size %d has another root than the mirror", cp.Size)
	}
}

// done is the end of a job. Its signatures are released with it.
func (h *host) done(m *message.Done) {
	j := h.jobs[m.Job]
	if j == nil || m.Outcome >= uint64(len(h.entries)) {
		h.fault("the end of a job that nobody asked for, or whose outcome did not come: %+v", m)
		return
	}
	j.done = m
	_, body, err := ledger.Parse(h.entries[m.Outcome])
	o, isOutcome := body.(*ledger.Outcome)
	if err != nil || !isOutcome || o.Intent != m.Intent || o.Job != m.Job {
		h.fault("entry %d is not the outcome of entry %d: %w", m.Outcome, m.Intent, err)
		return
	}
	for i, it := range o.Items {
		if it.State == ledger.Signed {
			h.released = append(h.released, released{itemName(j.name, i), m.Intent, it.Signature, h.note, h.committed})
		}
	}
}

// renewed: the token signed what a cert order wanted.
func (h *host) renewed() (bool, error) {
	certs := map[uint64]bool{}
	for i, raw := range h.entries {
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return false, err
		}
		switch b := body.(type) {
		case *ledger.Order:
			certs[uint64(i)] = b.Action == ledger.KindCert
		case *ledger.Outcome:
			if certs[b.Intent] && b.Items[0].State == ledger.Signed {
				return true, nil
			}
		}
	}
	return false, nil
}

// itemName is the file of a job's i-th item, and its content.
func itemName(job string, i int) string { return fmt.Sprintf("%d-%s", i, job) }

func stateOf(name string) hashstate.State {
	h := hashstate.New(message.SHA256)
	_, _ = io.WriteString(h, "content of "+name)
	return h.State()
}

// submit asks for signatures of n files.
func (h *host) submit(name string, n int) (message.JobID, error) {
	h.nonce++
	a := message.Approval{Origin: origin, Class: "db", Nonce: [16]byte{h.nonce, 1}, NotAfter: now().Add(time.Hour)}
	m := &message.Submit{}
	for i := range n {
		st := stateOf(itemName(name, i))
		a.Items = append(a.Items, message.Item{
			Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: message.SHA256, Sum: st.Digest()},
			Size: st.Count(), Name: itemName(name, i),
		})
		m.Contents = append(m.Contents, message.Content{State: st.Bytes()})
	}
	var err error
	if m.Approval, err = message.SignNote(a.Marshal()); err != nil {
		return message.JobID{}, err
	}
	id := message.JobOf(a.Marshal())
	s := message.Submission{Approval: id, HeadSize: h.committed, HeadRoot: h.root(h.committed), HostTime: now()}
	if m.Submission, err = message.SignNote(s.Marshal(), h.base.host); err != nil {
		return id, err
	}
	h.jobs[id] = &asking{name: name}
	h.link.put(m.Marshal())
	return id, nil
}

// link is one life of the line, board's end.
type link struct {
	run    *run
	life   *life
	in     chan linkpipe.Msg
	closed chan struct{}
	shut   bool
}

// room is more than a run ever sends.
const room = 1 << 12

// put sends the board a message; called under the run's lock.
func (l *link) put(body []byte) {
	l.in <- linkpipe.Msg{Kind: linkpipe.Message, SID: 1, Body: body}
}

func (l *link) Read() (linkpipe.Msg, error) {
	select {
	case m := <-l.in:
		return m, nil
	case <-l.closed:
		return linkpipe.Msg{}, io.EOF
	}
}

func (l *link) Write(m linkpipe.Msg) error {
	text, err := message.NewUnpacker().Unpack(m.Body)
	if err != nil {
		return err
	}
	parsed, err := message.Parse(text)
	if err != nil {
		return err
	}
	o := l.life.meet(hostLane, fmt.Sprintf("%T", parsed), false)
	l.run.mu.Lock()
	defer l.run.mu.Unlock()
	if o.extent == whole && l.run.host.link == l {
		l.run.host.take(parsed)
		l.run.changed()
	}
	return o.err
}

func (l *link) Close() error {
	l.run.mu.Lock()
	defer l.run.mu.Unlock()
	if !l.shut {
		l.shut = true
		close(l.closed)
	}
	if l.run.host.link == l {
		l.run.host.link = nil
	}
	return nil
}
