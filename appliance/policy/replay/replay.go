// Package replay asks what a policy would have made of a log: which jobs of the
// past it would have refused, and how near its rates came to their bounds.
//
// It reads entries as they stand and verifies no more than the policy does; an
// audit says whether a log is to be believed. It decides with the functions
// that decide on the board, at the times of the log's intents, and counts what
// policy.md section 4 counts. A job that would have been refused uses up
// nothing of the rates that the next ones are held to. The package is pure.
package replay

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"touchmark/appliance/policy"
	"touchmark/tpm/ledger"
)

// Report is what came of a replay.
type Report struct {
	Origin   string         `json:"origin"`
	Serial   uint64         `json:"serial"`
	Hash     string         `json:"hash"`
	Entries  uint64         `json:"entries"`
	Jobs     int            `json:"jobs"`
	Admitted int            `json:"admitted"`
	Refused  int            `json:"refused"`
	Codes    map[string]int `json:"codes"`   // how many for which reason
	First    []Refused      `json:"first"`   // the first MaxRefused of them
	Windows  []Window       `json:"windows"` // in the policy's order
}

// Refused is a past job that the policy would have refused.
type Refused struct {
	Entry uint64   `json:"entry"` // of its intent
	Time  string   `json:"time"`
	Class string   `json:"class"`
	Names []string `json:"names"`
	Code  string   `json:"code"`
	Text  string   `json:"text"`
}

// Window is the fullest window of a rate: so many items were in fact signed, or
// may have been, in one window that ended at End.
type Window struct {
	Class string `json:"class"`
	Rate  string `json:"rate"`
	Most  int    `json:"most"`
	Allow int    `json:"allow"`
	End   string `json:"end,omitempty"` // "" if nothing was
	Entry uint64 `json:"entry"`
}

// Replay takes the entries of a log one by one.
type Replay struct {
	policy *policy.Policy
	would  *policy.History // of what the policy admits
	did    *policy.History // of all that counts
	open   *job            // the newest intent, its outcome not yet read
	report Report
}

type job struct {
	index   uint64
	at      time.Time
	class   string
	items   int
	refusal *policy.Refusal
}

// New begins a replay with a policy.
func New(p *policy.Policy) *Replay {
	r := &Replay{policy: p, would: policy.NewHistory(), did: policy.NewHistory()}
	r.report = Report{Origin: p.Origin, Serial: p.Serial, Hash: fmt.Sprintf("%x", p.Hash), Codes: map[string]int{}, First: []Refused{}}
	for _, c := range p.Classes {
		for _, rate := range c.Rates {
			r.report.Windows = append(r.report.Windows, Window{Class: c.Name, Rate: rate.Text, Allow: rate.Count})
		}
	}
	return r
}

// ErrOtherLog says that the policy is for another log.
var ErrOtherLog = errors.New("another log")

// Add takes the next entry.
func (r *Replay) Add(entry []byte) error {
	h, body, err := ledger.Parse(entry)
	if err != nil {
		return fmt.Errorf("entry %d: %w", r.report.Entries, err)
	}
	if h.Index != r.report.Entries {
		return fmt.Errorf("entry %d says that it is entry %d", r.report.Entries, h.Index)
	}
	r.report.Entries++
	switch b := body.(type) {
	case *ledger.Genesis:
		return r.genesis(b)
	case *ledger.Intent:
		r.settle(nil)
		return r.intent(h, b)
	case *ledger.Outcome:
		if r.open != nil && r.open.index == b.Intent {
			r.settle(b)
		}
	}
	return nil
}

func (r *Replay) genesis(g *ledger.Genesis) error {
	p, err := policy.Open(g.Policy)
	if err != nil {
		return fmt.Errorf("the policy in the genesis entry: %w", err)
	}
	if p.Origin != r.policy.Origin {
		return fmt.Errorf("%w: the policy is for %s, the log is %s", ErrOtherLog, r.policy.Origin, p.Origin)
	}
	return nil
}

// intent asks the policy about a job.
func (r *Replay) intent(h ledger.Header, b *ledger.Intent) error {
	j := &job{index: h.Index, at: h.Time}
	r.open = j
	r.report.Jobs++
	request, err := r.policy.Authenticate(b.Approval, b.Submission)
	if err == nil {
		_, err = r.policy.Admit(request, r.would, h.Time)
	}
	a, perr := approvalOf(b)
	if perr != nil {
		return fmt.Errorf("entry %d: %w", h.Index, perr)
	}
	j.class, j.items = a.Class, len(a.Items)
	if err == nil {
		r.report.Admitted++
		return nil
	}
	if !errors.As(err, &j.refusal) {
		return err
	}
	r.report.Refused++
	r.report.Codes[j.refusal.Code]++
	if len(r.report.First) < MaxRefused {
		one := Refused{Entry: h.Index, Time: stamp(h.Time), Class: a.Class, Code: j.refusal.Code, Text: j.refusal.Text}
		for _, it := range a.Items {
			one.Names = append(one.Names, it.Name)
		}
		r.report.First = append(r.report.First, one)
	}
	return nil
}

// settle counts the open job by its outcome, nil for none.
func (r *Replay) settle(o *ledger.Outcome) {
	j := r.open
	if j == nil {
		return
	}
	r.open = nil
	n := j.items
	if o != nil && len(o.Items) == j.items {
		n = 0
		for _, it := range o.Items {
			if it.State.Counts() {
				n++
			}
		}
	}
	if j.refusal == nil {
		r.would.Add(j.class, j.at, n)
	}
	r.did.Add(j.class, j.at, n)
	r.measure(j)
}

// measure looks whether the windows that end with a job are the fullest.
func (r *Replay) measure(j *job) {
	c, ok := r.policy.Class(j.class)
	if !ok {
		return
	}
	for _, rate := range c.Rates {
		i := slices.IndexFunc(r.report.Windows, func(w Window) bool { return w.Class == c.Name && w.Rate == rate.Text })
		if n := r.did.Count(c.Name, j.at.Add(-rate.Window)); n > r.report.Windows[i].Most {
			w := &r.report.Windows[i]
			w.Most, w.End, w.Entry = n, stamp(j.at), j.index
		}
	}
}

// Report ends the replay.
func (r *Replay) Report() *Report {
	r.settle(nil)
	out := r.report
	return &out
}
