//go:build emulated

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/appliance/sigformat"
	"touchmark/tests/announced"
	"touchmark/tpm/audit"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/quote"
)

// judge looks at a board that has stopped in good order, and at all that ever
// left it. lied: the disk lost what it said that it had.
func (r *run) judge(lied bool) error {
	log, err := r.log()
	if err != nil {
		return err
	}
	l, err := read(r, log)
	if err != nil {
		return err
	}
	errs := slices.Clone(r.host.faults)
	errs = append(errs, r.keysKept(), r.nothingLost(log, lied), r.audited(log), l.announced(r), r.released(log), r.headExplained(l))
	return errors.Join(errs...)
}

// log is what is on the disk.
func (r *run) log() (entries [][]byte, err error) {
	r.disk.Intercept(nil)
	s, err := ledgerstore.Options{Disk: r.disk}.Open(logDir)
	if err != nil {
		return nil, err
	}
	for e, err := range s.Entries(0, s.Size()) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, bytes.Clone(e))
	}
	return entries, s.Close()
}

// keysKept: the board has the private half of the log key in force, and of no
// other.
func (r *run) keysKept() error {
	if _, err := r.ring().Find(r.host.trust.LogKey); err != nil {
		return err
	}
	if k, err := r.ring().Next(); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a log key that is not in force stayed: %v, %w", k, err)
	}
	return nil
}

// nothingLost: what the host acknowledged is there, byte by byte; from a disk
// that lies at least what was committed. From one that does not, so is whatever
// the host was sent: a copy with anything else would make the board look forked.
func (r *run) nothingLost(log [][]byte, lied bool) error {
	for i, e := range r.host.kept {
		if lied && i >= r.host.committed {
			continue
		}
		if i >= uint64(len(log)) || !bytes.Equal(log[i], e) {
			return fmt.Errorf("entry %d, which the host had, is lost", i)
		}
	}
	for _, e := range r.host.sent {
		if !lied && (e.index >= uint64(len(log)) || !bytes.Equal(log[e.index], e.raw)) {
			return fmt.Errorf("entry %d, which the host was sent, never was on the disk", e.index)
		}
	}
	return nil
}

func (r *run) audited(log [][]byte) error {
	report, err := audit.Run(audit.Input{
		Trust: r.host.trust.Trust, Checkpoint: r.host.note, Pending: log[r.host.committed:],
		Entries: func(from uint64) iter.Seq2[[]byte, error] {
			return func(yield func([]byte, error) bool) {
				for _, e := range log[from:] {
					if !yield(e, nil) {
						return
					}
				}
			}
		},
	})
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		if f.Severity == finding.Evidence {
			err = errors.Join(err, fmt.Errorf("the auditor: %s: %s (entries %v)", f.Code, f.Explanation, f.Entries))
		}
	}
	return err
}

// ledgerFacts are what the log says.
type ledgerFacts struct {
	announced.Log
	heads map[uint64][32]byte // by committed size
	size  uint64              // the largest
}

func read(r *run, log [][]byte) (*ledgerFacts, error) {
	l := &ledgerFacts{heads: map[uint64][32]byte{}}
	ak, err := quote.ParseAK(r.base.trust.AK)
	if err != nil {
		return nil, err
	}
	var roots []([32]byte)
	var tree ledger.Tree
	for i, raw := range log {
		_, body, err := ledger.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		roots = append(roots, tree.Root())
		tree.Add(ledger.LeafHash(raw))
		l.Add(uint64(i), body)
		switch b := body.(type) {
		case *ledger.Boot:
			l.commit(b.Committed, b.Head)
		case *ledger.Attest:
			x := ledger.X(ledger.CheckpointBody(origin, b.Size, roots[b.Size]))
			facts, err := ak.VerifyNV(b.Certify, r.base.trust.HeadName, quote.CertifyTag(x))
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", i, err)
			}
			l.commit(b.Size, facts.Contents)
		}
	}
	return l, nil
}

func (l *ledgerFacts) commit(size uint64, head [32]byte) {
	l.heads[size] = head
	l.size = max(l.size, size)
}

// covering is HEAD after the commit that took an entry.
func (l *ledgerFacts) covering(index uint64) ([32]byte, error) {
	size := uint64(0)
	for n := range l.heads {
		if n > index && (size == 0 || n < size) {
			size = n
		}
	}
	if size == 0 {
		return [32]byte{}, fmt.Errorf("entry %d was never committed", index)
	}
	return l.heads[size], nil
}

// announced: whatever the token was asked to sign, and whatever its own log says
// that it signed, stands in an intent that HEAD had taken just before, and the
// outcome does not deny that it was asked.
func (l *ledgerFacts) announced(r *run) (err error) {
	signed := announced.Signatures(r.apdus.String())
	if len(signed) > len(r.touched) {
		return fmt.Errorf("the token's log has %d signatures, it was asked %d times", len(signed), len(r.touched))
	}
	for _, t := range r.touched {
		err = errors.Join(err, l.Explained(t.digest[:32], func(index uint64, item int) error { return l.asked(t, index, item) }))
	}
	for _, d := range signed {
		err = errors.Join(err, l.Admits(d))
	}
	return err
}

func (l *ledgerFacts) asked(t touched, index uint64, item int) error {
	head, err := l.covering(index)
	switch end := l.End(index); {
	case err != nil:
		return err
	case head != t.head:
		return fmt.Errorf("the token was asked for entry %d when HEAD had not taken it", index)
	case end == nil || !end.Items[item].State.Asked():
		return fmt.Errorf("the token was asked for entry %d, the log says %+v", index, end)
	}
	return nil
}

// headExplained: HEAD stands where the log says.
func (r *run) headExplained(l *ledgerFacts) error {
	head, err := r.head()
	if err == nil && head != l.heads[l.size] {
		err = errors.New("HEAD is not where the log's last commit left it")
	}
	return err
}

// released: each signature that reached the host was proved when it did.
func (r *run) released(log [][]byte) (err error) {
	for _, s := range r.host.released {
		err = errors.Join(err, r.proved(log, s))
	}
	return err
}

func (r *run) proved(log [][]byte, s released) error {
	path, err := inclusion(log[:s.size], s.intent)
	if err != nil {
		return err
	}
	p := ledger.Proof{Origin: origin, Index: s.intent, Size: s.size, Intent: log[s.intent], Path: path, Checkpoint: s.note}
	text, err := p.Marshal()
	if err != nil {
		return err
	}
	in, err := r.host.trust.OpenProof(text)
	if err == nil {
		_, err = in.Check(s.name, sigformat.OpenPGPBinary, stateOf(s.name), s.sig)
	}
	if err != nil {
		return fmt.Errorf("%s was released: %w", s.name, err)
	}
	return nil
}

// hashes answers tlog's questions about entries in memory.
type hashes []tlog.Hash

func (h hashes) ReadHashes(at []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range at {
		out = append(out, h[i])
	}
	return out, nil
}

func inclusion(log [][]byte, index uint64) (path [][32]byte, err error) {
	var stored hashes
	for i, e := range log {
		more, err := tlog.StoredHashes(int64(i), e, stored)
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
	}
	if index >= uint64(len(log)) {
		return nil, fmt.Errorf("entry %d is not under the checkpoint of size %d", index, len(log))
	}
	proof, err := tlog.ProveRecord(int64(len(log)), int64(index), stored)
	for _, h := range proof {
		path = append(path, h)
	}
	return path, err
}
