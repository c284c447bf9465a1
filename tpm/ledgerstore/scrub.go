package ledgerstore

import (
	"context"
	"errors"
	"fmt"

	"touchmark/tpm/ledgerstore/durable"
)

// Scrub reads the whole log and checks every record and everything derived
// from it, which Open does for the newest part only. It may run beside
// everything else but Rewind and Close. progress, if not nil, hears of the
// bytes read. What it finds is a *CorruptError; it changes nothing, but has
// the next Open read everything, which makes good what can be.
func (s *Store) Scrub(ctx context.Context, progress func(done, total int64)) error {
	s.mu.RLock()
	if s.lock == nil {
		s.mu.RUnlock()
		return s.broken
	}
	v, err := s.verifier(false)
	end, rewinds := s.end, s.rewinds
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	v.limit, v.total, v.progress = end, end, progress
	v.stop = func() error { return context.Cause(ctx) }
	err = v.scrub(end)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.rewinds != rewinds {
		return errors.New("the log was taken back meanwhile: scrub again")
	}
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		return s.distrust(corrupt)
	}
	return err
}

func (v *verifier) scrub(end int64) error {
	if err := v.report(); err != nil {
		return err
	}
	torn, err := v.run(totals{}, 0)
	if err != nil {
		return err
	}
	if torn || v.scan.pos != end {
		at := v.scan.pos - v.scan.segments[v.scan.current].start
		return damaged(v.scan.path(), at, "a record cannot be read")
	}
	if err := v.release(); err != nil {
		return err
	}
	for _, c := range v.files {
		if err := c.flush(); err != nil {
			return err
		}
	}
	return v.report()
}

// suspect is the answer to a read that found something wrong.
func (s *Store) suspect(path string, at int64, reason string) error {
	return s.distrust(&CorruptError{path, at, reason, startAgain})
}

// distrust has the next Open read everything, as far as the disk lets it.
func (s *Store) distrust(e *CorruptError) error {
	if s.opened && s.suspected.CompareAndSwap(false, true) {
		if err := durable.IgnoreMissing(s.disk.Remove(s.basePath())); err != nil {
			return fmt.Errorf("%w (%w)", e, err)
		}
	}
	return e
}
