// Package published compares a repository with a log: each signature of the
// log's key in the repository must have been announced in the log before it
// was made, and be over the file it lies beside; each signature that the log
// says was made, and that the repository does not have, is named.
//
// The package is pure: files and entries are given to it. It believes that the
// entries are those of the log; package audit says whether they are.
package published

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// MaxSignature bounds a signature file in bytes.
const MaxSignature = openpgp.MaxSignatureFile

// maxNames bounds the names that are remembered in case something newer comes.
const maxNames = 1 << 17

// waiting bounds the intents whose outcomes are awaited, as an audit does.
const waiting = 4096

// State says what became of a signature in the repository or in the log.
type State string

// The states, gravest first.
const (
	Unlogged    State = "signature-unlogged" // by the log's key, and no intent of the log announced it
	Mismatch    State = "signature-mismatch" // announced, but not over the file it lies beside
	NotRead     State = "not-read"           // larger than any signature: what it is nobody knows
	Missing     State = "file-missing"       // the file it is over is not there
	Foreign     State = "signature-foreign"  // by another key, or in a form that no log of this version has
	Unpublished State = "never-published"    // signed, says the log, and not in the repository
	Unsure      State = "perhaps-signed"     // may have been signed, whatever the log says, and is not in the repository
	Keys        State = "certificate"        // OpenPGP keys under the name of a signature
	Superseded  State = "superseded"         // not in the repository, as something newer of its name was signed
	Good        State = "published"          // announced, and over its file
)

// Found is a signature in the repository, or one that is not there.
type Found struct {
	State State         `json:"state"`
	File  string        `json:"file"`            // in the repository; the claimed name if it is not there
	Text  string        `json:"text,omitempty"`  // what is wrong
	Entry *uint64       `json:"entry,omitempty"` // the intent's index
	Job   message.JobID `json:"-"`
	Time  *time.Time    `json:"time,omitempty"` // of the signature or intent

	sig   *openpgp.Signature // nil of one that is not OpenPGP's
	raw   []byte
	over  []hashstate.State // of the file, empty if it is missing; with each hash if the signature does not say which
	named bool
	taken bool
}

// Repository is what was found in a repository.
type Repository struct {
	keys   certificate.Keyring
	origin string
	jobs   map[message.JobID][]*Found // not matched with an intent yet
	loose  map[string][]*Found        // by the file's digest: signatures that name no job
	done   []Found
}

// New begins with the pinned certificates of a log and its origin.
func New(keys certificate.Keyring, origin string) *Repository {
	return &Repository{keys: keys, origin: origin, jobs: map[message.JobID][]*Found{}, loose: map[string][]*Found{}}
}

// Add takes a signature file, as Apart gives it; over is what Hash said of it. Of a file that holds
// signatures with what they are over, it takes each by a key of the log.
func (r *Repository) Add(name string, signature []byte, over []hashstate.State) {
	inside := r.enclosed(signature)
	for _, e := range inside {
		r.add(name, e.signature, e.over, true)
	}
	if _, _, _, err := read(signature); len(inside) > 0 || err != nil && Encloses(name) && len(signaturesOf(fileOf(signature))) == 0 {
		return // or JSON of any other kind, which is nobody's signature
	}
	r.add(name, signature, over, false)
}

// add takes a signature; named says that what it stands in names a key of the log
// for it.
func (r *Repository) add(name string, signature []byte, over []hashstate.State, named bool) {
	f := &Found{File: name, over: over, named: named}
	_, s, content, err := read(signature)
	switch {
	case err != nil && r.claims(signature):
		f.State, f.Text = Unlogged, "it names a key of this log, in a form that the log never makes: "+err.Error()
	case err != nil && len(over) > 0:
		f.raw = signature
		for _, s := range over {
			r.loose[string(s.Digest())] = append(r.loose[string(s.Digest())], f)
		}
		return
	case err != nil && certificates(signature):
		f.State = Keys
	case err != nil:
		f.State, f.Text = Foreign, err.Error()
	case r.keys.Find(s.Fingerprint) == nil:
		f.State, f.Text = Foreign, fmt.Sprintf("made by key %X", s.Fingerprint)
	case s.Origin != r.origin:
		f.State, f.Text = Unlogged, fmt.Sprintf("it names log %q", s.Origin)
	default:
		f.Job, f.sig, f.raw, f.Time = s.Job, s, content.Packet, &s.Created
		f.over = slices.DeleteFunc(slices.Clone(over), func(o hashstate.State) bool { return o.Alg() != s.Alg })
		r.jobs[s.Job] = append(r.jobs[s.Job], f)
		return
	}
	r.done = append(r.done, *f)
}

// Match takes the log's entries, in order, and says what there is to say of
// each signature as soon as it is known.
type Match struct {
	r    *Repository
	say  func(Found) error
	open map[uint64]*intent
	fifo []uint64
	gone map[string]Found // newest signature of a name, not in the repository
}

// intent is one whose outcome is awaited.
type intent struct {
	index uint64
	time  time.Time
	items []message.Item
	here  []bool // in the repository
}

// Against begins a comparison; say is given every finding, also good ones.
func (r *Repository) Against(say func(Found) error) *Match {
	return &Match{r: r, say: say, open: map[uint64]*intent{}, gone: map[string]Found{}}
}

// Entry takes an entry of the log; what does not parse is no intent.
func (m *Match) Entry(index uint64, raw []byte) error {
	h, body, err := ledger.Parse(raw)
	if err != nil {
		return nil
	}
	switch b := body.(type) {
	case *ledger.Intent:
		return m.intent(index, h, b)
	case *ledger.Outcome:
		return m.outcome(b)
	}
	return nil
}

func (m *Match) intent(index uint64, h ledger.Header, b *ledger.Intent) error {
	text, err := message.NoteText(b.Approval)
	if err != nil {
		return nil
	}
	a, err := message.ParseApproval(text)
	if err != nil || len(a.Items) != len(b.SignDigests) {
		return nil
	}
	in := &intent{index, h.Time, a.Items, make([]bool, len(a.Items))}
	m.open[index], m.fifo = in, append(m.fifo, index)
	for ; m.fifo[0]+waiting <= index; m.fifo = m.fifo[1:] {
		delete(m.open, m.fifo[0])
	}
	for _, f := range m.r.jobs[b.Job] {
		f.Entry = &in.index
		f.State, f.Text = m.r.judge(f, in, b)
		if err := m.say(*f); err != nil {
			return err
		}
	}
	delete(m.r.jobs, b.Job)
	return m.loose(in, b)
}

// loose finds the signatures that name no job: SSH's and raw ones.
func (m *Match) loose(in *intent, b *ledger.Intent) error {
	cert := m.r.keys.Find(b.Key)
	for i, it := range in.items {
		format, known := sigformat.FormatOf(it.Format)
		if !known || cert == nil || cert.Fits(format.Family) != nil {
			continue
		}
		for _, f := range m.r.loose[string(it.Digest.Sum)] {
			if f.taken || format.Check(cert.Key, it.Digest, b.SignDigests[i], f.raw, in.time, m.r.origin, b.Job) != nil {
				continue
			}
			f.State, f.Entry, f.Time, f.taken, in.here[i] = Good, &in.index, &in.time, true, true
			if err := m.say(*f); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge finds the item that a signature belongs to.
func (r *Repository) judge(f *Found, in *intent, b *ledger.Intent) (State, string) {
	for i, d := range b.SignDigests {
		if _, err := openpgp.VerifyDigest(r.keys.Find(f.sig.Fingerprint).Key, f.raw, d.Sum); err != nil || f.sig.Alg != d.Alg {
			continue
		}
		in.here[i] = true
		if len(f.over) == 0 {
			return Missing, "the file that it is over is not there"
		}
		if !bytes.Equal(f.over[0].Digest(), in.items[i].Digest.Sum) {
			return Mismatch, "the file beside it is not the one that was signed"
		}
		format, _ := sigformat.FormatOf(in.items[i].Format)
		if _, err := format.Verify(r.keys.Find(f.sig.Fingerprint).Key, f.raw, f.over[0]); err != nil {
			return Mismatch, err.Error()
		}
		if !f.sig.Created.Equal(in.time) {
			return Mismatch, "its time is not the intent's"
		}
		return Good, ""
	}
	return Unlogged, fmt.Sprintf("the intent of its job, entry %d, announced other signatures", in.index)
}

func (m *Match) outcome(b *ledger.Outcome) error {
	in := m.open[b.Intent]
	if in == nil || len(b.Items) != len(in.items) {
		return nil
	}
	delete(m.open, b.Intent)
	for i, it := range b.Items {
		if it.State == ledger.NotStarted {
			continue
		}
		if err := m.item(in, i, it.State); err != nil {
			return err
		}
	}
	return nil
}

// item takes one item's outcome. What was signed anew replaces what was signed
// under the same name before.
func (m *Match) item(in *intent, i int, state ledger.State) error {
	name := in.items[i].Name
	f := Found{State: Unpublished, File: name, Text: fmt.Sprintf("%s, %s", state, in.items[i].Digest), Entry: &in.index, Time: &in.time}
	if !in.here[i] && state != ledger.Signed {
		f.State = Unsure
		return m.say(f)
	}
	if old, ok := m.gone[name]; ok {
		delete(m.gone, name)
		old.State = Superseded
		if err := m.say(old); err != nil {
			return err
		}
	}
	switch {
	case in.here[i]:
		return nil
	case len(m.gone) >= maxNames:
		return m.say(f)
	}
	m.gone[name] = f
	return nil
}

// Finish says what no intent spoke of.
func (m *Match) Finish() error {
	var errs []error
	for _, f := range m.r.done {
		errs = append(errs, m.say(f))
	}
	for _, name := range slices.Sorted(maps.Keys(m.gone)) {
		errs = append(errs, m.say(m.gone[name]))
	}
	for _, id := range slices.SortedFunc(maps.Keys(m.r.jobs), func(a, b message.JobID) int { return bytes.Compare(a[:], b[:]) }) {
		for _, f := range m.r.jobs[id] {
			f.State, f.Text = Unlogged, fmt.Sprintf("job %s is not in the log", f.Job)
			errs = append(errs, m.say(*f))
		}
	}
	for _, digest := range slices.Sorted(maps.Keys(m.r.loose)) {
		for _, f := range m.r.loose[digest] {
			if f.taken {
				continue
			}
			f.taken = true
			if f.State, f.Text = Foreign, "no signature that this log's keys make"; certificates(f.raw) {
				f.State, f.Text = Keys, ""
			}
			if f.named {
				f.State, f.Text = Mismatch, "it names a key of this log, whose signature over that it is not"
			}
			if slices.ContainsFunc(m.r.keys, func(c *certificate.Certificate) bool { return c.Bare() && sigformat.Made(c.Key, f.raw, f.over) }) {
				f.State, f.Text = Unlogged, "no intent announced it"
			}
			errs = append(errs, m.say(*f))
		}
	}
	return errors.Join(errs...)
}
