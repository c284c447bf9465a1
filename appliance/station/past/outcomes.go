package past

import (
	"errors"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// lookBack is how many entries Outcomes reads at most: some ceremonies' worth, so
// that a start takes as long whatever the length of the log.
const lookBack = 64

// Ended is a ceremony of a host's job whose outcome the log has.
type Ended struct {
	Job   message.JobID
	Time  time.Time // of the outcome
	Class string
	Host  string
	Items []ledger.ItemResult
}

// Outcomes answers the newest outcomes, newest first, at most n. It is for
// people: what cannot be read is left out, and is found elsewhere.
func (p *Past) Outcomes(n int) (list []Ended) {
	read := 0
	for raw, err := range p.cfg.Store.Backward(p.cfg.Store.Size()) {
		if read++; err != nil || read > lookBack || len(list) >= n {
			break
		}
		hdr, body, err := ledger.Parse(raw)
		out, ok := body.(*ledger.Outcome)
		if err != nil || !ok {
			continue
		}
		e := Ended{Job: out.Job, Time: hdr.Time, Items: out.Items}
		if e.Class, e.Host, ok = p.asked(out.Intent); ok {
			list = append(list, e)
		}
	}
	return list
}

// asked tells for which class a job was asked, and by whom.
func (p *Past) asked(intent uint64) (class, host string, ok bool) {
	raw, err := p.cfg.Store.Entry(intent)
	if err != nil {
		return "", "", false
	}
	_, body, err := ledger.Parse(raw)
	in, ok := body.(*ledger.Intent)
	if err != nil || !ok {
		return "", "", false
	}
	text, err := message.NoteText(in.Approval)
	if err != nil {
		return "", "", false
	}
	a, err := message.ParseApproval(text)
	var unverified *note.UnverifiedNoteError // it was verified before it came into the log
	if _, open := note.Open(in.Submission, note.VerifierList()); errors.As(open, &unverified) {
		host = unverified.Note.UnverifiedSigs[0].Name
	}
	return a.Class, host, err == nil
}
