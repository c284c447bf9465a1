package ledgerstore

import (
	"context"
	"errors"

	"touchmark/tpm/ledgerstore/derived"
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
	v, err := s.verifier(derived.Totals{}, 0, false)
	end, rewinds := s.end, s.rewinds
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	v.limit, v.progress = end, progress
	v.stop = func() error { return context.Cause(ctx) }
	err = v.scrub()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.rewinds != rewinds {
		return errors.New("the log was taken back meanwhile: scrub again")
	}
	return s.checked(err)
}

func (v *verifier) scrub() error {
	if err := v.report(); err != nil {
		return err
	}
	torn, err := v.run()
	if err != nil {
		return err
	}
	if torn || v.scan.Pos() != v.limit {
		return v.scan.Damaged("a record cannot be read")
	}
	if err := v.check.Flush(); err != nil {
		return err
	}
	return v.report()
}
