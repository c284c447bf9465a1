package derived

import (
	"crypto/sha256"
	"encoding/binary"
	"sort"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// ClassID stands for a policy class in Jobs: the first bytes of the SHA-256 of
// its name. Classes are named by administrators, who gain nothing from two
// that look alike.
type ClassID [8]byte

// ClassOf is the ID of a class.
func ClassOf(name string) ClassID {
	sum := sha256.Sum256([]byte(name))
	return ClassID(sum[:])
}

// Job is what a start must know of an intent or an outcome.
type Job struct {
	Index   uint64 // of the entry
	Outcome bool   // it is one; else an intent
	Items   int    // of an intent; of an outcome those that count in rates

	Intent uint64 // of an outcome: the intent's index

	ID             message.JobID // of an intent
	Class          ClassID       // of an intent
	Time, NotAfter time.Time     // of an intent; whole seconds
}

// An item of Jobs is
//
//	index u64 | type u8 | items u8 | time u64 | not-after u64 | class (8) | job (32)
//
// where times count seconds since 1970, and an outcome has the index of its
// intent in place of the time, and zeros behind it.
const (
	jobSize    = 8 + 1 + 1 + 8 + 8 + 8 + 32
	jobIntent  = 1
	jobOutcome = 2
)

func (j Job) encode(b []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint64(b, j.Index)
	if j.Outcome {
		b = append(b, jobOutcome, byte(j.Items))
		b = binary.BigEndian.AppendUint64(b, j.Intent)
		return append(b, make([]byte, at+jobSize-len(b))...)
	}
	b = append(b, jobIntent, byte(j.Items))
	b = binary.BigEndian.AppendUint64(b, uint64(j.Time.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(j.NotAfter.Unix()))
	b = append(b, j.Class[:]...)
	return append(b, j.ID[:]...)
}

// DecodeJob reads an item of Jobs; ok is false if it is none.
func DecodeJob(b []byte) (j Job, ok bool) {
	j = Job{Index: binary.BigEndian.Uint64(b), Outcome: b[8] == jobOutcome, Items: int(b[9])}
	if n := binary.BigEndian.Uint64(b[10:]); j.Outcome {
		j.Intent = n
		return j, j.Intent < j.Index
	} else {
		j.Time = time.Unix(int64(n), 0).UTC()
	}
	j.NotAfter = time.Unix(int64(binary.BigEndian.Uint64(b[18:])), 0).UTC()
	j.Class, j.ID = ClassID(b[26:]), message.JobID(b[34:])
	return j, b[8] == jobIntent
}

// Before counts the items for the first n entries in a file whose items begin
// with the index of an entry, rising; t counts all of them.
func (s *Set) Before(which File, t *Totals, n uint64) (uint64, error) {
	var failed error
	all := int(t.Sizes()[which] / ItemSize[which])
	i := sort.Search(all, func(i int) bool {
		var b [8]byte
		if err := s.Read(which, b[:], int64(i)*ItemSize[which]); err != nil {
			failed = err
		}
		return binary.BigEndian.Uint64(b[:]) >= n
	})
	return uint64(i), failed
}

// jobOf takes from an entry what Jobs has of it; ok is false if that is
// nothing. Whoever appended the entry has checked its form.
func jobOf(entry []byte) (j Job, ok bool) {
	g, ok := ledger.Glance(entry)
	switch {
	case !ok:
		return Job{}, false
	case g.Outcome():
		return Job{Outcome: true, Items: g.Counted(), Intent: g.Intent}, true
	}
	return Job{Items: g.Items, ID: g.Job, Class: ClassOf(g.Class), Time: g.Time, NotAfter: g.NotAfter}, true
}
