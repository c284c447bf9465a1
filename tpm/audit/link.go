package audit

import (
	"bytes"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// link does, in order and cheaply, what verifying needs from the entries
// before: the tree, the roots of commits, the intent of an outcome.
func (a *auditor) link(t *task) {
	if t.index == 0 {
		a.keys = t.genesis(a.in.Trust, a.ak, a.in.TokenRoots)
	} else if _, ok := t.body.(*ledger.Genesis); ok {
		t.evidence(CodeMisplaced, "entry %d is a second genesis", t.index)
	}
	t.keys = a.keys
	a.linkBody(t)
	a.roots.add(t.leaf, a.publishedHash(t), mayEndCommit(t.body))
}

// mayEndCommit reports whether a commit may end with this entry. One that did
// not parse gets the benefit of the doubt; it is a finding by itself.
func mayEndCommit(body any) bool {
	switch body.(type) {
	case nil, *ledger.Genesis, *ledger.Intent:
		return true
	}
	return false
}

func (a *auditor) linkBody(t *task) {
	switch b := t.body.(type) {
	case nil:
		t.evidence(CodeUnparsable, "entry %d: %v", t.index, t.err)
	case *ledger.Boot:
		a.linkCommit(t, b.Committed)
		a.sealed()
	case *ledger.Attest:
		a.linkCommit(t, b.Size)
	case *ledger.Intent:
		a.linkIntent(t, b)
	case *ledger.Outcome:
		t.intent = a.open[b.Intent]
		delete(a.open, b.Intent)
		if t.intent == nil {
			t.evidence(CodeOutcome, "outcome %d is of entry %d, which is no intent that awaits one", t.index, b.Intent)
		}
	}
	if t.body != nil && t.header.Index != t.index {
		t.evidence(CodeMisnumbered, "entry %d says it is entry %d", t.index, t.header.Index)
	}
}

// publishedHash is the published hash of a leaf, its own if there is none.
func (a *auditor) publishedHash(t *task) [32]byte {
	if a.in.LeafHash == nil || t.index >= a.limit {
		return t.leaf
	}
	h, ok := a.in.LeafHash(t.index)
	if !ok || h == t.leaf {
		return t.leaf
	}
	if len(a.altered) < maxListed {
		a.altered = append(a.altered, t.index)
	}
	return h
}

// linkCommit finds the roots of a commit that an entry attests. The commit
// covers only leaves before the entry.
func (a *auditor) linkCommit(t *task, size uint64) {
	t.size = size
	if size > t.index {
		t.evidence(CodeAhead, "entry %d speaks of a commit of %d entries, but only %d stand before it: the log lost some", t.index, size, t.index)
		return
	}
	if size == 0 {
		t.evidence(CodeUnrooted, "entry %d speaks of a commit of no entries", t.index)
		return
	}
	t.roots, t.rooted = a.roots.at(size)
	if !t.rooted {
		t.evidence(CodeUnrooted, "entry %d speaks of size %d, which was not committed when it should have been", t.index, size)
		return
	}
	if a.roots.mid(size) {
		t.evidence(CodeMid, "entry %d speaks of a commit of %d entries, the last of which is no intent", t.index, size)
	}
	a.roots.commit(size, t.roots)
}

func (a *auditor) sealed() {
	if a.newest != nil {
		a.newest.last = false
	}
}

func (a *auditor) linkIntent(t *task, b *ledger.Intent) {
	a.sealed()
	t.intent = &openIntent{index: t.index, header: t.header, job: b.Job, digests: b.SignDigests, last: true}
	a.open[t.index], a.newest = t.intent, t.intent
	text, err := message.NoteText(b.Submission)
	if err != nil {
		return // authenticate will say so
	}
	s, err := message.ParseSubmission(text)
	if err != nil {
		return
	}
	p, ok := a.roots.at(s.HeadSize)
	switch {
	case s.HeadSize > t.index:
		t.forked = "the host had verified more entries than stand before it"
	case !ok:
		t.forked = "the host had verified a size far back that was never committed"
	case s.HeadRoot != p.own && s.HeadRoot != p.claimed:
		t.forked = "the host had verified another history"
	}
}

// noteBody is the text of a note that may not be one.
func noteBody(msg []byte) ([]byte, bool) {
	text, _, ok := bytes.Cut(msg, []byte("\n\n"))
	return append(bytes.Clone(text), '\n'), ok
}
