package mirror

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/verify"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore/durable"
)

// scene is a log with its people and a mirror that pins its first trust file.
type scene struct {
	*logtest.Log
	*logtest.Parties
	t   *testing.T
	dir string
	m   *Mirror
}

func newScene(t *testing.T) *scene {
	t.Helper()
	p := logtest.NewParties()
	s := &scene{Log: logtest.New(p.Policy), Parties: p, t: t, dir: t.TempDir()}
	s.m = open(t, s.dir, s.Log)
	s.give()
	return s
}

// give hands the mirror the entries it lacks and the newest checkpoint.
func (s *scene) give() {
	s.t.Helper()
	if err := s.try(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) try() error {
	if err := add(s.m, entries(s.Log, s.m.Size(), s.Size())); err != nil {
		return err
	}
	return s.m.Advance(s.Note)
}

// reopen closes the mirror and opens it as a restart does.
func (s *scene) reopen() {
	s.t.Helper()
	_, note := s.m.Checkpoint()
	if err := errors.Join(durable.WriteFile(filepath.Join(s.dir, checkpointFile), note, 0o600), s.m.Store.Close()); err != nil {
		s.t.Fatal(err)
	}
	trust := *s.m.trust
	m, err := Open(s.dir, &trust)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = m.Store.Close() })
	s.m = m
}

func (s *scene) wants(serial uint64, class string) {
	s.t.Helper()
	p := s.m.Policy()
	if _, ok := p.Class(class); !ok || uint64(p.Serial) != serial {
		s.t.Fatalf("policy %d is in force, want %d with class %s", p.Serial, serial, class)
	}
}

// TestPolicyFollows: a policy in the log is in force when HEAD took it, not
// before, and after a restart too, from a boot entry on or without one.
func TestPolicyFollows(t *testing.T) {
	s := newScene(t)
	first := s.Decree(ledger.KindPolicy, 0, s.NextPolicy(`"iso"`, `"images"`))
	if err := add(s.m, entries(s.Log, s.m.Size(), s.Size())); err != nil {
		t.Fatal(err)
	}
	s.wants(1, "iso") // it is here, and nothing proves it
	s.Commit()
	s.give()
	s.wants(2, "images")
	s.reopen()
	s.wants(2, "images")

	s.Decree(ledger.KindPolicy, first, s.NextPolicy(`"iso"`, `"discs"`)) // HEAD took it, and this host missed the checkpoint
	at := s.Size()
	s.Commit()
	s.Attest()
	s.Filler(logtest.Noon)
	s.Commit()
	s.give()
	s.wants(3, "discs")
	s.Append(s.boot(at-1, s.Size()))
	s.Filler(logtest.Noon)
	s.Commit()
	s.give()
	s.reopen()
	s.wants(3, "discs")
}

// TestTakenAtAStart: a commit that only the board's next start tells of.
func TestTakenAtAStart(t *testing.T) {
	s := newScene(t)
	at := s.Decree(ledger.KindPolicy, 0, s.NextPolicy(`"iso"`, `"images"`))
	s.Commit()
	s.Append(s.boot(at, s.Size()))
	s.Filler(logtest.Noon)
	s.Commit()
	s.give()
	s.wants(2, "images")
	s.reopen()
	s.wants(2, "images")
}

// boot is a boot entry that names the administrators' newest entry.
func (s *scene) boot(admin, size uint64) *ledger.Boot {
	c := s.TPM.CertifyHead([32]byte{})
	return &ledger.Boot{Number: 1, Firmware: "test", Clock: ledger.ClockOperator, Admin: admin, Committed: size, Certify: c, Quote: s.TPM.QuotePCR([32]byte{}), Recovery: "clean"}
}

// TestVoidOrder: an entry that no commit ended with has no effect, and does not
// keep the next one from having some.
func TestVoidOrder(t *testing.T) {
	s := newScene(t)
	void := *s.Parties
	s.Decree(ledger.KindPolicy, 0, void.NextPolicy(`"iso"`, `"void"`))
	s.Filler(logtest.Noon)
	s.Commit() // ends with another entry
	s.give()
	s.wants(1, "iso")
	s.Decree(ledger.KindPolicy, 0, s.NextPolicy(`"iso"`, `"images"`))
	s.Commit()
	s.give()
	s.wants(2, "images")
	s.reopen()
	s.wants(2, "images")
}

// TestNotTheirs: a commit that ends with an entry which the administrators did
// not make, or that skips one of theirs, is evidence, and changes nothing.
func TestNotTheirs(t *testing.T) {
	stranger := logtest.NewParties()
	for name, decree := range map[string]func(s *scene){
		"another's policy": func(s *scene) { s.Decree(ledger.KindPolicy, 0, stranger.NextPolicy(`"iso"`, `"images"`)) },
		"another's order":  func(s *scene) { s.Decree(ledger.KindNote, 0, s.Order(&order.Note{}, stranger.Admin)) },
		"another kind":     func(s *scene) { s.Decree(ledger.KindNote, 0, s.Order(&order.Close{}, s.Admin)) },
		"out of order":     func(s *scene) { s.Decree(ledger.KindNote, 1, s.Order(&order.Note{}, s.Admin)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.Filler(logtest.Noon)
			decree(s)
			s.Commit()
			if err := s.try(); !isEvidence(err, "orders-broken") {
				t.Fatalf("%v", err)
			}
			if s.m.Committed() != 1 || s.m.Policy().Serial != 1 {
				t.Fatalf("%d entries are proven, policy %d", s.m.Committed(), s.m.Policy().Serial)
			}
			s.reopen()
		})
	}
}

func TestClosedLog(t *testing.T) {
	s := newScene(t)
	s.Decree(ledger.KindClose, 0, s.Order(&order.Close{}, s.Admin))
	s.Commit()
	if s.m.Closed() {
		t.Fatal("closed before HEAD took it")
	}
	s.give()
	if s.reopen(); !s.m.Closed() {
		t.Fatal("the log is open")
	}
}

// TestLogKeyFollows: the log key that the administrators put into the log signs
// the commit that ends with their entry, and those after it, whether the entries
// or the checkpoint come first, after a restart, and under a newer policy.
func TestLogKeyFollows(t *testing.T) {
	for name, way := range map[string]func(s *scene) error{
		"entries first": (*scene).try,
		"checkpoint first": func(s *scene) error {
			if err := s.m.Advance(s.Note); err != nil {
				return err
			}
			return s.try()
		},
		"one by one": func(s *scene) error {
			for n := s.m.Size(); n < s.Size(); n++ {
				if err := errors.Join(s.m.Advance(s.Note), add(s.m, entries(s.Log, n, n+1))); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			p := s.Decree(ledger.KindPolicy, 0, s.NextPolicy(`"iso"`, `"images"`))
			s.Commit()
			s.Attest()
			if k := s.Rotate(p, s.Admin); k != s.Size()-1 {
				t.Fatal("the commit does not end with it")
			}
			if err := way(s); err != nil {
				t.Fatal(err)
			}
			if s.m.Committed() != s.Size() || !s.m.Outdated() {
				t.Fatalf("%d of %d, outdated: %v", s.m.Committed(), s.Size(), s.m.Outdated())
			}
			s.Attest()
			s.Filler(logtest.Noon)
			s.Commit()
			s.give()
			if s.reopen(); s.m.Committed() != s.Size() {
				t.Fatalf("%d of %d after a restart", s.m.Committed(), s.Size())
			}
			next := must(verify.ParseTrust(secondTrust(s)))
			if s.m.Retrust(next); s.m.Outdated() || s.m.Trust().LogKey != next.LogKey {
				t.Fatal("the next trust file does not do")
			}
		})
	}
}

// TestNextTrustFileLooksItself: a checkpoint that an earlier trust file vouched for is not known to the next.
func TestNextTrustFileLooksItself(t *testing.T) {
	s := newScene(t)
	_, note := s.m.Checkpoint()
	logtest.Must(s.m.Trust().OpenCheckpoint(note))
	pinned := *s.m.trust.Trust
	pinned.AK = logtest.New(s.Policy).Trust.AK // of another TPM
	next := *s.m.trust
	next.Trust = &pinned
	s.m.Retrust(&next)
	if _, err := s.m.Trust().OpenCheckpoint(note); err == nil {
		t.Error("another TPM's checkpoint is taken for one that was verified")
	}
}

// secondTrust is version 2 of the trust file, which names the log key in force.
func secondTrust(s *scene) []byte {
	next := s.Trust
	next.Version, next.Previous = 2, s.m.trust.Hash()
	return must(next.Sign(s.Admin))
}

// TestStrangeLogKey: a checkpoint by a key that no order names proves nothing,
// whatever the TPM attests, nor does one by a key whose order the administrators
// did not sign, and one by a key that was replaced is evidence.
func TestStrangeLogKey(t *testing.T) {
	t.Run("no order", func(t *testing.T) {
		s := newScene(t)
		private, public := logtest.NewKey(logtest.Origin)
		s.Signer, s.Trust.LogKey = must(note.NewSigner(private)), public
		s.Filler(logtest.Noon)
		s.Commit()
		if err := s.try(); !errors.Is(err, ErrLogKey) || s.m.Committed() != 1 {
			t.Fatalf("%v", err)
		}
	})
	t.Run("another's order", func(t *testing.T) {
		s := newScene(t)
		s.Rotate(0, logtest.NewParties().Admin)
		if err := s.try(); !errors.Is(err, ErrLogKey) || s.m.Committed() != 1 {
			t.Fatalf("%v", err)
		}
	})
	t.Run("replaced", func(t *testing.T) {
		s := newScene(t)
		old, key := s.Signer, s.Trust.LogKey
		s.Rotate(0, s.Admin)
		s.give()
		s.Attest()
		s.Signer, s.Trust.LogKey, s.Trust.OldLogKeys = old, key, nil
		s.Filler(logtest.Noon)
		s.Commit()
		if err := s.try(); !isEvidence(err, "log-key") {
			t.Fatalf("%v", err)
		}
	})
	t.Run("another TPM", func(t *testing.T) {
		s := newScene(t)
		other := newLog()
		if err := s.m.Advance(other.Note); err == nil || errors.Is(err, ErrLogKey) || s.m.strange != nil {
			t.Fatalf("%v", err)
		}
	})
}

// TestLongAbsence: more entries than may wait for a checkpoint come before one by
// a key that the newest of them names: the TPM's word is enough to wait.
func TestLongAbsence(t *testing.T) {
	s := newScene(t)
	filler := s.Filler(logtest.Noon)
	text := s.Entries[filler]
	for n := s.Size(); n < maxPending+10; n++ {
		index := []byte("index " + strconv.FormatUint(n, 10) + "\n")
		s.Entries = append(s.Entries, bytes.Replace(text, []byte("index 1\n"), index, 1))
	}
	s.Rotate(0, s.Admin)
	if err := s.m.Advance(s.Note); err != nil {
		t.Fatal(err)
	}
	for s.m.Size() < s.Size() {
		if err := add(s.m, entries(s.Log, s.m.Size(), min(s.m.Size()+512, s.Size()))); err != nil {
			t.Fatal(err)
		}
	}
	if s.m.Committed() != s.Size() {
		t.Fatalf("%d of %d", s.m.Committed(), s.Size())
	}
	if !strings.Contains(ErrLogKey.Error(), "next version of the trust file") {
		t.Fatal("it says not what to do")
	}
}

// TestUnreadableEntryIsNoEvidence: what this host's disk does not give back
// accuses nobody.
func TestUnreadableEntryIsNoEvidence(t *testing.T) {
	s := newScene(t)
	s.Decree(ledger.KindPolicy, 0, s.NextPolicy(`"iso"`, `"images"`))
	s.Commit()
	if err := add(s.m, entries(s.Log, s.m.Size(), s.Size())); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(s.dir, "*", "log-*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("%q, %v", segments, err)
	}
	for _, f := range segments {
		if err := os.Truncate(f, 100); err != nil {
			t.Fatal(err)
		}
	}
	var e *Evidence
	if err := s.m.Advance(s.Note); err == nil || errors.As(err, &e) {
		t.Errorf("%v, want an error that is no evidence", err)
	}
}
