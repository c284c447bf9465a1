package round

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"touchmark/hostlink/message"
)

// Marshal encodes the state, for a file of the driver's.
func (s *State) Marshal() ([]byte, error) {
	b, err := json.Marshal(s)
	if err == nil && len(b) > MaxState {
		err = fmt.Errorf("the queue has %d bytes, more than %d: have fewer files in one rule", len(b), MaxState)
	}
	return b, err
}

// Parse reads what Marshal wrote, and nothing else: whoever could write that
// file may not name files or jobs that never were.
func Parse(b []byte) (*State, error) {
	if len(b) > MaxState {
		return nil, fmt.Errorf("the queue has %d bytes, more than %d", len(b), MaxState)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	s := new(State)
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("the queue cannot be read: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the queue goes on after its end")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("the queue is damaged: %w", err)
	}
	return s, nil
}

func (s *State) check() error {
	var names []string
	for _, p := range s.Rules {
		if p == nil || slices.Contains(names, p.Rule) {
			return errors.New("a rule is there twice, or not at all")
		}
		names = append(names, p.Rule)
		for _, snap := range []*Snapshot{p.Held, p.Newest, p.Live} {
			if err := s.checkSnapshot(snap); err != nil {
				return fmt.Errorf("rule %q: %w", p.Rule, err)
			}
		}
		if p.Held != nil && (p.Newest == nil || p.Held.Number >= p.Newest.Number) || p.Live != nil && p.current() != nil && p.Live.Number >= p.current().Number {
			return fmt.Errorf("rule %q: its snapshots are out of order", p.Rule)
		}
	}
	for i, j := range s.Jobs {
		if j == nil || len(j.Refs) == 0 || len(j.Refs) > MaxBatch || slices.ContainsFunc(s.Jobs[:i], func(o *Job) bool { return o.Key == j.Key || o.Class == j.Class }) {
			return errors.New("a job is there twice, or of no known size")
		}
		if slices.ContainsFunc(j.Refs, func(ref Ref) bool { return ref.Item < 0 || s.item(ref) == nil }) {
			return errors.New("a job is about something that is not there")
		}
	}
	return nil
}

func (s *State) checkSnapshot(snap *Snapshot) error {
	if snap == nil {
		return nil
	}
	if snap.Number == 0 || snap.Number > s.Count || len(snap.Items) == 0 || len(snap.Items) > MaxItems {
		return fmt.Errorf("snapshot %d of %d items", snap.Number, len(snap.Items))
	}
	for _, it := range snap.Items {
		if err := CheckName(it.Name); err != nil {
			return err
		}
		if _, err := message.ParseDigest(it.Digest); err != nil {
			return err
		}
		if len(it.State) > message.MaxState || it.Place > s.Count {
			return fmt.Errorf("%s has a bad state or place", it.Name)
		}
	}
	return nil
}

// CheckName says whether a file may be one that is signed: an artifact name
// (docs/spec/message.md §1) that is one name of a directory.
func CheckName(name string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("%q is no name of a file in the rule's directory", name)
	}
	return message.ValidName(name)
}
