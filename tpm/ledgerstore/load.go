package ledgerstore

import (
	"errors"
	"path/filepath"

	"touchmark/tpm/ledgerstore/durable"
)

// load opens all files, reads the log behind the base, drops a torn tail and
// completes the derived files. What does not fit the base is looked at again
// without it before it is called damage.
func (s *Store) load(progress func(done, total int64)) (err error) {
	if s.segments, err = openSegments(s.disk, s.dir); err != nil {
		return err
	}
	if err := s.openDerived(); err != nil {
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
		err = s.replay(progress)
	}
	var corrupt *CorruptError
	if !fits || errors.As(err, &corrupt) {
		err = s.startOver(progress)
	}
	if err == nil && s.end-s.based > s.baseEvery {
		err = s.writeBase()
	}
	return err
}

// startOver reads everything. A base that was not believed goes first: what is
// about to be derived again is not durable.
func (s *Store) startOver(progress func(done, total int64)) error {
	if err := s.dropBase(); err != nil {
		return err
	}
	s.totals, s.end = totals{}, 0
	return s.replay(progress)
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

// replay reads the log from s.end on.
func (s *Store) replay(progress func(done, total int64)) error {
	v, err := s.verifier(true)
	if err != nil {
		return err
	}
	v.progress = progress
	torn, err := v.run(s.totals, s.end)
	if err == nil && torn {
		err = v.scan.dropTorn()
	}
	if err != nil {
		return err
	}
	s.totals, s.end = v.totals, v.scan.pos
	if err := s.settle(v.newest); err != nil {
		return err
	}
	return v.finish()
}

// settle makes sure that what was read is on disk and not only in memory: the
// process before this one may have died before its sync, or its sync may have
// failed, after which a kernel takes the unwritten pages for clean. So the
// newest append is written again, in place, and synced.
func (s *Store) settle(newest int64) error {
	seg := s.segments[len(s.segments)-1]
	path := segmentPath(s.dir, seg.start)
	b := make([]byte, s.end-max(newest, seg.start))
	at := s.end - seg.start - int64(len(b))
	if _, err := seg.file.ReadAt(b, at); err != nil && len(b) > 0 {
		return durable.Error("read", path, err)
	}
	if _, err := seg.file.WriteAt(b, at); err != nil {
		return durable.Error("write", path, err)
	}
	return durable.Error("sync", path, seg.file.Sync())
}

// verifier reads the log in order and compares the derived files with it.
type verifier struct {
	totals   totals
	scan     *scanner
	limit    int64 // it need not look at what begins there or behind
	total    int64
	newest   int64                // position of the newest append that was read
	held     [derivedFiles][]byte // what it adds: not to be written before it is settled
	files    [derivedFiles]*checker
	stop     func() error // asked now and then; nil: never
	progress func(done, total int64)
}

func (s *Store) verifier(repair bool) (*verifier, error) {
	last := s.segments[len(s.segments)-1]
	size, err := last.file.Size()
	if err != nil {
		return nil, durable.Error("read", segmentPath(s.dir, last.start), err)
	}
	v := &verifier{total: last.start + size, limit: last.start + size}
	for i, f := range s.derived {
		v.files[i] = &checker{file: f, path: s.derivedPath(i), strict: i == hashesFile, repair: repair}
	}
	v.scan = newScanner(s.dir, s.segments, 0)
	return v, nil
}

// run reads from a position on, where the log amounts to t. torn says that it
// stopped at something that is no append.
func (v *verifier) run(t totals, pos int64) (torn bool, err error) {
	v.totals, v.newest = t, pos
	v.scan = newScanner(v.scan.dir, v.scan.segments, pos)
	for i, at := range t.sizes() {
		v.files[i].at = at
	}
	reported := pos
	for v.scan.pos < v.limit {
		if v.scan.pos-reported > reportEvery {
			reported = v.scan.pos
			if err := v.report(); err != nil {
				return false, err
			}
		}
		at := v.scan.pos
		g, torn, err := v.scan.next()
		if err != nil || torn {
			return torn, err
		}
		if g == nil {
			break
		}
		if err := v.release(); err != nil {
			return false, err
		}
		v.newest, v.held = at, v.totals.add(g)
	}
	return false, nil
}

// release passes on what was held back of the append before.
func (v *verifier) release() error {
	for i, b := range v.held {
		if err := v.files[i].add(b); err != nil {
			return err
		}
	}
	v.held = [derivedFiles][]byte{}
	return nil
}

func (v *verifier) report() error {
	if v.progress != nil {
		v.progress(v.scan.pos, v.total)
	}
	if v.stop != nil {
		return v.stop()
	}
	return nil
}

func (v *verifier) finish() error {
	if err := v.release(); err != nil {
		return err
	}
	for _, c := range v.files {
		if err := c.finish(); err != nil {
			return err
		}
	}
	return nil
}
