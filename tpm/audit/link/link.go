// Package link gives each entry of a log what verifying and judging it needs
// from the entries before: the tree and the roots of commits, the intent of an
// outcome, what administrators put in force. It goes through the entries in
// order and is cheap: the only signatures verified here are those of
// administrators and those that a key made about itself, which are few.
//
// Memory does not depend on the length of the log. The package is pure.
package link

import (
	"bytes"
	"fmt"
	"slices"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/audit/task"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// maxAltered bounds the entries listed as altered: as many as a finding lists.
const maxAltered = 100

// Config is what a Linker is told of the log beforehand.
type Config struct {
	Trust      *anchor.Trust
	AK         *quote.AK
	TokenRoots *attest.Roots    // nil: Yubico's
	Tile       history.TileFunc // published hash tiles, nil for none
	Limit      uint64           // up to where they are published
	// Audited is the size audited before; from Attested on attestations are
	// verified all the same.
	Audited, Attested uint64
}

// Linker links the entries of one log. Make one with New.
type Linker struct {
	Config
	Log *history.Log

	keys    *task.Keys
	leaves  leafTile
	altered []uint64 // entries whose published leaf hash is another
	open    map[uint64]*task.Intent
	opened  []uint64 // keys of open, rising, and of some that are closed
	newest  *task.Intent
	orders  orders
	behind  bool // an entry speaks of what was not read, or not whole
}

// New links the entries behind those that log has.
func New(c Config, log *history.Log) *Linker {
	return &Linker{Config: c, Log: log, open: map[uint64]*task.Intent{}}
}

// Altered lists the entries whose published leaf hash is another, the first
// hundred of them.
func (l *Linker) Altered() []uint64 { return l.altered }

// Held is how many intents are remembered for their outcomes.
func (l *Linker) Held() int { return max(len(l.open), len(l.opened)) }

// Behind reports whether an entry speaks of an intent or a commit so far back
// that it was not read, or not whole: nothing can be said of it then.
func (l *Linker) Behind() bool { return l.behind }

// Link does one entry, which was read.
func (l *Linker) Link(t *task.Task) {
	if t.Index == 0 {
		l.keys = t.Genesis(l.Trust, l.AK, l.TokenRoots)
		l.orders.own = slices.Clone(l.keys.Own)
	} else if _, ok := t.Body.(*ledger.Genesis); ok {
		t.Evidence(finding.Misplaced, "entry %d is a second genesis", t.Index)
	}
	t.Keys = l.keys
	l.body(t)
	l.Log.Add(t.Leaf, l.publishedHash(t), mayEndCommit(t.Body))
}

// mayEndCommit reports whether a commit may end with this entry. One that did
// not parse gets the benefit of the doubt; it is a finding by itself.
func mayEndCommit(body any) bool { return body == nil || ledger.EndsCommit(body) }

// Depth says what of an entry was audited before.
func (l *Linker) Depth(index uint64) task.Depth {
	switch {
	case index >= l.Audited:
		return task.Whole
	case index >= l.Attested:
		return task.Attested
	}
	return task.Recalled
}

func (l *Linker) body(t *task.Task) {
	switch b := t.Body.(type) {
	case nil:
		t.Evidence(finding.Unparsable, "entry %d: %v", t.Index, t.Err)
	case *ledger.Boot:
		l.commit(t, b.Committed)
		l.sealed()
		t.Keys = l.keys // the policy that HEAD has taken by now
		if t.Rooted && b.Admin != l.orders.newest {
			t.Evidence(finding.OrderChain, "boot entry %d says that entry %d is the newest administrative one, that is entry %d", t.Index, b.Admin, l.orders.newest)
		}
	case *ledger.Attest:
		l.commit(t, b.Size)
	case *ledger.Intent:
		l.intent(t, b)
	case *ledger.Order:
		l.sealed()
		l.order(t, b)
	case *ledger.Outcome:
		l.outcome(t, b)
	}
	if t.Body != nil && t.Header.Index != t.Index {
		t.Evidence(finding.Misnumbered, "entry %d says it is entry %d", t.Index, t.Header.Index)
	}
}

func (l *Linker) outcome(t *task.Task, b *ledger.Outcome) {
	in := l.open[b.Intent]
	if t.Depth == task.Whole && b.Intent < l.Attested {
		l.behind = true // at most a glance was taken at the intent
	}
	if in == nil {
		l.behind = l.behind || b.Intent < l.Log.Start()
		t.Evidence(finding.Outcome, "outcome %d is of entry %d, which is no intent that awaits one", t.Index, b.Intent)
		return
	}
	if in.Cert == nil {
		t.Intent = in
		delete(l.open, b.Intent)
		return
	}
	// What was signed changes the certificate, and a glance has left it out.
	if b = t.WholeOutcome(); b == nil {
		return
	}
	t.Intent = in
	delete(l.open, in.Index)
	l.certified(t, b)
}

// publishedHash is the published hash of a leaf, its own if there is none.
func (l *Linker) publishedHash(t *task.Task) [32]byte {
	if l.Tile == nil || t.Index >= l.Limit {
		return t.Leaf
	}
	h, ok := l.leaves.hash(l.Tile, t.Index)
	if !ok || h == t.Leaf {
		return t.Leaf
	}
	if len(l.altered) < maxAltered {
		l.altered = append(l.altered, t.Index)
	}
	return h
}

// leafTile is the level 0 tile last read.
type leafTile struct {
	read bool
	n    uint64
	data []byte
}

func (l *leafTile) hash(tile history.TileFunc, index uint64) (h [32]byte, ok bool) {
	if n := index >> history.TileHeight; !l.read || n != l.n {
		*l = leafTile{true, n, tile(0, n)}
	}
	at := int(index&(1<<history.TileHeight-1)) * len(h)
	if len(l.data) < at+len(h) {
		return h, false
	}
	return [32]byte(l.data[at:]), true
}

// commit finds the roots of a commit that an entry attests. The commit covers
// only leaves before the entry.
func (l *Linker) commit(t *task.Task, size uint64) {
	t.Size = size
	if size > t.Index {
		t.Evidence(finding.Ahead, "entry %d speaks of a commit of %d entries, but only %d stand before it: the log lost some", t.Index, size, t.Index)
		return
	}
	if size == 0 {
		t.Evidence(finding.Unrooted, "entry %d speaks of a commit of no entries", t.Index)
		return
	}
	t.Roots, t.Rooted = l.Log.At(size)
	if !t.Rooted {
		l.behind = l.behind || size <= l.Log.Start()
		t.Evidence(finding.Unrooted, "entry %d speaks of size %d, which was not committed when it should have been", t.Index, size)
		return
	}
	if l.Log.Mid(size) {
		t.Evidence(finding.Mid, "entry %d speaks of a commit of %d entries, the last of which ends none", t.Index, size)
	}
	effect, notes := l.Commit(size)
	t.Effect, t.Notes = effect, append(t.Notes, notes...)
}

func (l *Linker) sealed() {
	if l.newest != nil {
		l.newest.Last = false
	}
}

func (l *Linker) intent(t *task.Task, b *ledger.Intent) {
	l.sealed()
	t.Intent = &task.Intent{Index: t.Index, Header: t.Header, Job: b.Job, Digests: b.SignDigests, Items: itemsOf(b), Last: true}
	l.awaitOutcome(t.Intent)
	l.usable(t, b.Key)
	text, err := message.NoteText(b.Submission)
	if err != nil {
		return // authenticate will say so
	}
	s, err := message.ParseSubmission(text)
	if err != nil {
		return
	}
	t.Forked, t.Unchecked = l.hostHead(t.Index, s)
	if t.Forked == "" && !t.Unchecked && !l.Log.Own(s.HeadSize, s.HeadRoot) {
		t.Claimed = append(t.Claimed, finding.Of(finding.Evidence, finding.HeadFork, fmt.Sprintf("intent %d: the host had verified the history of the published leaf hashes, which is another", t.Index), []uint64{t.Index}))
	}
}

// hostHead says what is wrong with the history that a host committed to, or
// that it is too far back to be compared.
func (l *Linker) hostHead(index uint64, s message.Submission) (forked string, unchecked bool) {
	if s.HeadSize > index {
		return "the host had verified more entries than stand before it", false
	}
	is, known := l.Log.Is(s.HeadSize, s.HeadRoot)
	if known && !is {
		return "the host had verified another history", false
	}
	return "", !known
}

// awaitOutcome remembers an intent for its outcome; those that wait for longer
// than anything may take are given up.
func (l *Linker) awaitOutcome(in *task.Intent) {
	l.open[in.Index], l.newest = in, in
	l.opened = append(l.opened, in.Index)
	for l.opened[0]+history.Window <= in.Index {
		delete(l.open, l.opened[0])
		l.opened = l.opened[1:]
	}
}

// itemsOf are an intent's items unless all are of the format openpgp-binary, of
// which no more need be known. An approval that is none has none: authenticate
// will say so.
func itemsOf(b *ledger.Intent) []message.Item {
	if bytes.Count(b.Approval, []byte("\nitem "+sigformat.OpenPGPBinary.Name+" ")) == len(b.SignDigests) {
		return nil
	}
	text, err := message.NoteText(b.Approval)
	if err != nil {
		return nil
	}
	a, err := message.ParseApproval(text)
	if err != nil || len(a.Items) != len(b.SignDigests) {
		return nil
	}
	return a.Items
}
