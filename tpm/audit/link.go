package audit

import (
	"bytes"

	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/history"
	"touchmark/tpm/ledger"
)

// link does, in order and cheaply, what verifying needs from the entries
// before: the tree, the roots of commits, the intent of an outcome.
func (a *auditor) link(t *task) {
	if t.index == 0 {
		a.keys = t.genesis(a.in.Trust, a.ak, a.in.TokenRoots)
	} else if _, ok := t.body.(*ledger.Genesis); ok {
		t.evidence(finding.Misplaced, "entry %d is a second genesis", t.index)
	}
	t.keys, t.known = a.keys, a.knownAt(t.index)
	a.linkBody(t)
	a.log.Add(t.leaf, a.publishedHash(t), mayEndCommit(t.body))
}

// mayEndCommit reports whether a commit may end with this entry. One that did
// not parse gets the benefit of the doubt; it is a finding by itself.
func mayEndCommit(body any) bool { return body == nil || ledger.EndsCommit(body) }

// knownAt says what of an entry was audited before.
func (a *auditor) knownAt(index uint64) known {
	switch {
	case index >= a.old:
		return unknown
	case index >= a.attestFrom:
		return attested
	}
	return recalled
}

func (a *auditor) linkBody(t *task) {
	switch b := t.body.(type) {
	case nil:
		t.evidence(finding.Unparsable, "entry %d: %v", t.index, t.err)
	case *ledger.Boot:
		a.linkCommit(t, b.Committed)
		a.sealed()
		t.keys = a.keys // the policy that HEAD has taken by now
		if t.rooted && b.Admin != a.orders.newest {
			t.evidence(finding.OrderChain, "boot entry %d says that entry %d is the newest administrative one, that is entry %d", t.index, b.Admin, a.orders.newest)
		}
	case *ledger.Attest:
		a.linkCommit(t, b.Size)
	case *ledger.Intent:
		a.linkIntent(t, b)
	case *ledger.Order:
		a.sealed()
		a.linkOrder(t, b)
	case *ledger.Outcome:
		t.intent = a.open[b.Intent]
		delete(a.open, b.Intent)
		if t.intent == nil {
			t.evidence(finding.Outcome, "outcome %d is of entry %d, which is no intent that awaits one", t.index, b.Intent)
		}
	}
	if t.body != nil && t.header.Index != t.index {
		t.evidence(finding.Misnumbered, "entry %d says it is entry %d", t.index, t.header.Index)
	}
}

// publishedHash is the published hash of a leaf, its own if there is none.
func (a *auditor) publishedHash(t *task) [32]byte {
	if a.in.Tile == nil || t.index >= a.limit {
		return t.leaf
	}
	h, ok := a.leaves.hash(a.in.Tile, t.index)
	if !ok || h == t.leaf {
		return t.leaf
	}
	if len(a.altered) < maxAltered {
		a.altered = append(a.altered, t.index)
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

// linkCommit finds the roots of a commit that an entry attests. The commit
// covers only leaves before the entry.
func (a *auditor) linkCommit(t *task, size uint64) {
	t.size = size
	if size > t.index {
		t.evidence(finding.Ahead, "entry %d speaks of a commit of %d entries, but only %d stand before it: the log lost some", t.index, size, t.index)
		return
	}
	if size == 0 {
		t.evidence(finding.Unrooted, "entry %d speaks of a commit of no entries", t.index)
		return
	}
	t.roots, t.rooted = a.log.At(size)
	if !t.rooted {
		t.evidence(finding.Unrooted, "entry %d speaks of size %d, which was not committed when it should have been", t.index, size)
		return
	}
	if a.log.Mid(size) {
		t.evidence(finding.Mid, "entry %d speaks of a commit of %d entries, the last of which ends none", t.index, size)
	}
	a.log.Commit(size)
	a.effect(t, size)
}

func (a *auditor) sealed() {
	if a.newest != nil {
		a.newest.last = false
	}
}

func (a *auditor) linkIntent(t *task, b *ledger.Intent) {
	a.sealed()
	t.intent = &openIntent{index: t.index, header: t.header, job: b.Job, digests: b.SignDigests, last: true}
	a.awaitOutcome(t.intent)
	text, err := message.NoteText(b.Submission)
	if err != nil {
		return // authenticate will say so
	}
	s, err := message.ParseSubmission(text)
	if err != nil {
		return
	}
	t.forked, t.unchecked = a.hostHead(t.index, s)
}

// hostHead says what is wrong with the history that a host committed to, or
// that it is too far back to be compared.
func (a *auditor) hostHead(index uint64, s message.Submission) (forked string, unchecked bool) {
	if s.HeadSize > index {
		return "the host had verified more entries than stand before it", false
	}
	is, known := a.log.Is(s.HeadSize, s.HeadRoot)
	if known && !is {
		return "the host had verified another history", false
	}
	return "", !known
}

// awaitOutcome remembers an intent for its outcome; those that wait for longer
// than anything may take are given up.
func (a *auditor) awaitOutcome(in *openIntent) {
	a.open[in.index], a.newest = in, in
	a.opened = append(a.opened, in.index)
	for a.opened[0]+history.Window <= in.index {
		delete(a.open, a.opened[0])
		a.opened = a.opened[1:]
	}
}

// noteBody is the text of a note that may not be one.
func noteBody(msg []byte) ([]byte, bool) {
	text, _, ok := bytes.Cut(msg, []byte("\n\n"))
	return append(bytes.Clone(text), '\n'), ok
}
