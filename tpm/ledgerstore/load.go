package ledgerstore

import (
	"errors"
	"path/filepath"

	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/segment"
)

// load opens all files, reads the log behind the base, drops a torn tail and
// completes the derived files. What does not fit the base is looked at again
// without it before it is called damage.
func (s *Store) load(o Options) (err error) {
	if s.log, err = segment.Open(s.disk, s.dir, o.segmentSize); err != nil {
		return err
	}
	if s.derived, err = derived.Open(s.disk, s.dir); err != nil {
		return err
	}
	if err := syncNames(s.disk, s.dir); err != nil {
		return err
	}
	fits, err := s.resume()
	if err != nil {
		return err
	}
	if fits {
		err = s.replay(o.Progress)
	}
	var corrupt *CorruptError
	if !fits || errors.As(err, &corrupt) {
		err = s.startOver(o.Progress)
	}
	if err == nil && s.end-s.based > s.baseEvery {
		err = s.writeBase()
	}
	return err
}

// syncNames makes the names of all files durable, and that of the directory:
// whoever made them may have been interrupted before it came to that.
func syncNames(d durable.Disk, dir string) error {
	for _, up := range []string{dir, filepath.Dir(dir)} {
		if err := d.SyncDir(up); err != nil {
			return durable.Error("sync", up, err)
		}
	}
	return nil
}

// resume takes over what the base says, if there is one and it fits: the
// segments before its position are there in full, it fits the derived files,
// and the last entry is where they say and has its hash.
func (s *Store) resume() (fits bool, err error) {
	t, end, err := s.derived.Base()
	if err != nil || t == nil {
		return false, err
	}
	if ok, err := s.log.Reaches(end); err != nil || !ok {
		return false, err
	}
	if ok, err := s.endsAt(t.Tree.Size(), end); err != nil || !ok {
		return false, err
	}
	s.totals, s.end, s.based = *t, end, end
	return true, nil
}

// endsAt reports whether the append with entry n-1 is what the log has before
// a position, and that entry has its hash.
func (s *Store) endsAt(n uint64, end int64) (bool, error) {
	r, pos, err := s.record(n - 1)
	if err != nil {
		return false, segment.UnlessCorrupt(err)
	}
	hashes, err := s.derived.Leaves(n-1, 1)
	if err != nil || ledger.LeafHash(r.Payload) != hashes[0] {
		return false, err
	}
	pos += r.Size()
	if !r.Last { // the append's plan
		if r, err = segment.NewWindow(0).Record(s.log, pos); err != nil {
			return false, segment.UnlessCorrupt(err)
		}
		pos += r.Size()
	}
	return r.Last && pos == end, nil
}

// startOver reads everything. A base that was not believed goes first: what is
// about to be derived again is not durable.
func (s *Store) startOver(progress func(done, total int64)) error {
	if err := s.dropBase(); err != nil {
		return err
	}
	s.totals, s.end = derived.Totals{}, 0
	return s.replay(progress)
}

// replay reads the log from s.end on.
func (s *Store) replay(progress func(done, total int64)) error {
	v, err := s.verifier(s.totals, s.end, true)
	if err != nil {
		return err
	}
	v.progress = progress
	torn, err := v.run()
	if err == nil && torn {
		err = v.scan.DropTorn()
	}
	if err != nil {
		return err
	}
	s.totals, s.end = v.check.Totals, v.scan.Pos()
	if err := s.log.Settle(v.newest, s.end); err != nil {
		return err
	}
	return v.check.Finish()
}

// verifier reads the log in order and compares the derived files with it.
type verifier struct {
	scan     *segment.Scanner
	check    *derived.Checker
	limit    int64        // it need not look at what begins there or behind
	newest   int64        // position of the newest append that was read
	stop     func() error // asked now and then; nil: never
	progress func(done, total int64)
}

// verifier begins at a position, where the log amounts to t.
func (s *Store) verifier(t derived.Totals, pos int64, repair bool) (*verifier, error) {
	size, err := s.log.Len()
	return &verifier{scan: s.log.Clone().Scan(pos), check: s.derived.Checker(t, repair), limit: size, newest: pos}, err
}

// run reads to the end. torn says that it stopped at something that is no
// append.
func (v *verifier) run() (torn bool, err error) {
	reported := v.scan.Pos()
	for v.scan.Pos() < v.limit {
		if v.scan.Pos()-reported > reportEvery {
			reported = v.scan.Pos()
			if err := v.report(); err != nil {
				return false, err
			}
		}
		at := v.scan.Pos()
		g, torn, err := v.scan.Next()
		if err != nil || torn {
			return torn, err
		}
		if g == nil {
			break
		}
		if err := v.check.Add(g); err != nil {
			return false, err
		}
		v.newest = at
	}
	return false, nil
}

func (v *verifier) report() error {
	if v.progress != nil {
		v.progress(v.scan.Pos(), v.limit)
	}
	if v.stop != nil {
		return v.stop()
	}
	return nil
}
