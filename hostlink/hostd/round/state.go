// Package round decides when which files of a repository are put before the
// operator, and what is published: the rounds of docs/rounds.md.
//
// A repository changes dozens of times a day, and people do not. So a snapshot
// of what is to be signed is Offered whenever it changed; it waits until a round
// of its rule is open, and only the newest waits: a newer one takes its place,
// and what it takes it from is withdrawn from the operator's display if that can
// still be. A job that is armed runs to its end, and what it signed is published
// though the staging directory has moved on. Files that are as they were keep
// their signatures.
//
// State is everything there is to know, and plain data: whoever drives it keeps
// it on disk before acting on what Step returns, and after a crash begins with
// the State on disk. Nothing is lost by that: what Step asks for is derived from
// the state alone, so it is asked for again, and every action may be repeated.
//
// # Guarantees
//
//   - One rule has one snapshot that waits and at most one before it, which is
//     held because a job of it may have been armed. So of one class and file at
//     most one thing is before the operator.
//   - A class has one job at a time. What waits in a class is asked for in the
//     order in which it came; a newer version of a file has the place of the
//     older one. An urgent round is another class.
//   - A job leaves the state only when its end is known. Until then none of its
//     items is asked for again: no file is signed twice.
//   - Of one rule snapshots are published in order, each whole: with a signature
//     for every file.
//
// The package is pure: time and random keys are passed in.
package round

import (
	"slices"
	"time"
)

// Item is one file that is signed in one format. Name and Format say which of a
// rule's; Digest and State say what is in it.
type Item struct {
	Name   string `json:"name"` // the file's name below the rule's directory, and what the operator is shown
	Format string `json:"format"`
	Digest string `json:"digest"` // "sha256:…" of what the format is over
	Size   uint64 `json:"size"`
	State  []byte `json:"state"` // hash state, hashstate.State.Bytes
	Place  uint64 `json:"place"` // in the queue: lower came earlier
	Signed bool   `json:"signed,omitempty"`
}

// same reports whether one signature is good for both.
func (it Item) same(o Item) bool {
	return it.of(o) && it.Digest == o.Digest && it.Size == o.Size
}

// of reports whether they are versions of one thing.
func (it Item) of(o Item) bool { return it.Name == o.Name && it.Format == o.Format }

// Snapshot is a repository as it was at one time. Its files are with the
// caller, under Number.
type Snapshot struct {
	Number uint64    `json:"number"`
	Taken  time.Time `json:"taken"`
	First  time.Time `json:"first"` // since when something has waited here, versions that it took the place of included
	Form   string    `json:"form"`  // how it is published, in the driver's words
	Items  []Item    `json:"items"`
}

// complete reports whether everything is signed.
func (s *Snapshot) complete() bool {
	return !slices.ContainsFunc(s.Items, func(it Item) bool { return !it.Signed })
}

// Progress is what is known of one rule.
type Progress struct {
	Rule   string    `json:"rule"`
	Opened time.Time `json:"opened"` // the last round, or when the rule was first seen
	Until  time.Time `json:"until"`  // the round is open before that
	Urgent bool      `json:"urgent,omitempty"`
	For    uint64    `json:"for,omitempty"` // what the urgent round was opened for: the newest snapshot then, 0 for none
	After  time.Time `json:"after"`         // nothing is asked for before
	Denied uint64    `json:"denied,omitempty"`
	Missed uint64    `json:"missed,omitempty"` // rounds in a row that ended while something waited for a signature
	Why    string    `json:"why,omitempty"`    // there is no signature yet

	Look   string    `json:"look,omitempty"`   // how the directory looked when the last snapshot was taken, in the driver's words
	Newest *Snapshot `json:"newest,omitempty"` // waits
	Held   *Snapshot `json:"held,omitempty"`   // an older one whose job may have been armed
	Live   *Snapshot `json:"live,omitempty"`   // is published
	Hook   uint64    `json:"hook,omitempty"`   // snapshot whose hook has not succeeded yet
}

// current is the snapshot that is signed next, nil if nothing waits.
func (p *Progress) current() *Snapshot {
	if p.Held != nil {
		return p.Held
	}
	return p.Newest
}

// denied reports whether the operator does not want what is signed next.
func (p *Progress) denied() bool {
	cur := p.current()
	return cur != nil && cur.Number == p.Denied
}

// Key is what the daemon knows a request by.
type Key = [16]byte

// Ref names an item of a job.
type Ref struct {
	Rule   string `json:"rule"`
	Number uint64 `json:"number"`
	Item   int    `json:"item"`
}

// Job is a request that is with the daemon, or may be.
type Job struct {
	Key       Key       `json:"key"`
	Class     string    `json:"class"`
	Deadline  time.Time `json:"deadline"`
	Refs      []Ref     `json:"refs"`
	Withdrawn bool      `json:"withdrawn,omitempty"` // wanted, not confirmed
	Armed     bool      `json:"armed,omitempty"`     // as the appliance says: a hint
}

// State is the whole queue.
type State struct {
	Count uint64      `json:"count"` // numbers and places given so far
	Rules []*Progress `json:"rules"`
	Jobs  []*Job      `json:"jobs"`
}

// Of finds a rule's progress, nil if it has none yet.
func (s *State) Of(rule string) *Progress {
	i := slices.IndexFunc(s.Rules, func(p *Progress) bool { return p.Rule == rule })
	if i < 0 {
		return nil
	}
	return s.Rules[i]
}

// Job finds an open job, nil for none.
func (s *State) Job(key Key) *Job {
	i := slices.IndexFunc(s.Jobs, func(j *Job) bool { return j.Key == key })
	if i < 0 {
		return nil
	}
	return s.Jobs[i]
}

// Items are those of a job, in its order.
func (s *State) Items(j *Job) []Item {
	out := make([]Item, len(j.Refs))
	for i, ref := range j.Refs {
		if it := s.item(ref); it != nil {
			out[i] = *it
		}
	}
	return out
}

// item finds what a job is about. A job's snapshot is the held or the newest one
// for as long as the job is open.
func (s *State) item(ref Ref) *Item {
	p := s.Of(ref.Rule)
	if p == nil {
		return nil
	}
	for _, snap := range []*Snapshot{p.Held, p.Newest} {
		if snap != nil && snap.Number == ref.Number && ref.Item < len(snap.Items) {
			return &snap.Items[ref.Item]
		}
	}
	return nil
}

// Numbers are the snapshots of a rule whose files are still needed.
func (p *Progress) Numbers() []uint64 {
	var out []uint64
	for _, snap := range []*Snapshot{p.Held, p.Newest, p.Live} {
		if snap != nil {
			out = append(out, snap.Number)
		}
	}
	return out
}

// inJob reports whether an open job has something of the rule's snapshot.
func (s *State) inJob(rule string, number uint64) bool {
	return slices.ContainsFunc(s.Jobs, func(j *Job) bool {
		return slices.ContainsFunc(j.Refs, func(r Ref) bool { return r.Rule == rule && r.Number == number })
	})
}
