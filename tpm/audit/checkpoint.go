package audit

import (
	"bytes"

	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
)

// checkpoint opens the checkpoint. Even one that does not verify says how many
// entries to look at.
func (a *auditor) checkpoint() {
	cp, err := a.open(a.in.Checkpoint)
	if err == nil {
		a.cp, a.limit, a.hasCP = cp, cp.Size, true
		return
	}
	a.cpErr = err
	a.limit = ledger.MaxSize
	if body, ok := noteBody(a.in.Checkpoint); ok {
		if _, size, _, err := ledger.ParseCheckpointBody(body); err == nil {
			a.limit, a.hasCP = size, true
		}
	}
}

// atCheckpoint compares the tree with the checkpoint, all entries it covers
// being folded.
func (a *auditor) atCheckpoint() {
	a.fold.At(a.log.Size()) // what is said from here on is news
	a.openAgain()
	if a.cp == nil || a.log.Size() != a.cp.Size {
		return
	}
	p, _ := a.log.At(a.cp.Size)
	altered := a.link.Altered()
	a.overEntries = p.Own == a.cp.Root
	switch {
	case p.Own == a.cp.Root && len(altered) > 0:
		a.say(finding.Warning, finding.Tiles, altered, "the published hash tiles do not follow from the entries, which are right: publish the log again")
	case p.Own == a.cp.Root:
	case p.Claimed == a.cp.Root:
		a.evidence(finding.Altered, altered, "entry %d is not the one that was committed: its hash is another", altered[0])
	default:
		a.evidence(finding.Root, nil, "the %d entries do not give the checkpoint's root: at least one was altered", a.cp.Size)
	}
	if a.log.Mid(a.cp.Size) {
		a.evidence(finding.Mid, []uint64{a.cp.Size - 1}, "the checkpoint is a commit of %d entries, the last of which ends none", a.cp.Size)
	}
	a.fold.Checkpoint(a.cp)
	effect, notes := a.link.Commit(a.cp.Size)
	for _, n := range notes {
		a.fold.Say(n)
	}
	a.fold.Committed(a.cp.Size, effect)
}

// openAgain judges by which log key the checkpoint is signed, now that the log
// has told of every key entry it covers.
func (a *auditor) openAgain() {
	expected, replaced := a.link.LogKeyAt(a.limit)
	if a.cp == nil {
		cp, err := signedBy(a.in.Trust, expected).OpenCheckpoint(a.in.Checkpoint)
		if err != nil || !replaced {
			a.evidence(finding.Checkpoint, nil, "%v", a.cpErr)
			return
		}
		a.cp = cp
		a.say(finding.Warning, finding.TrustOutdated, nil, "administrators replaced the log key, and the trust file does not know the new one: get its next version")
		return
	}
	if expected == "" {
		return
	}
	if a.cp.LogKey != expected {
		a.evidence(finding.LogKey, nil, "the checkpoint is not signed by the log key that was in force at its size: whoever has the other one signed it")
	}
}

// signedBy is a trust in which one log key counts.
func signedBy(tr *anchor.Trust, logKey string) *anchor.Trust {
	only := *tr
	only.LogKey, only.OldLogKeys = logKey, nil
	return &only
}

// opened is a checkpoint note that was looked at, or why it is none.
type opened struct {
	cp  *anchor.Checkpoint
	err error
}

// open opens a checkpoint note under the trust, each once.
func (a *auditor) open(msg []byte) (*anchor.Checkpoint, error) {
	o, ok := a.opened[string(msg)]
	if !ok {
		o.cp, o.err = a.in.Trust.OpenCheckpoint(msg)
		a.opened[string(msg)] = o
	}
	return o.cp, o.err
}

// noteBody is the text of a note that may not be one.
func noteBody(msg []byte) ([]byte, bool) {
	text, _, ok := bytes.Cut(msg, []byte("\n\n"))
	return append(bytes.Clone(text), '\n'), ok
}
