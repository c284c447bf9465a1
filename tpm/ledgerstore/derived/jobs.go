package derived

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sort"
	"strconv"
	"time"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
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
// nothing. It looks at those lines only: whoever appended the entry has
// checked its form.
func jobOf(entry []byte) (j Job, ok bool) {
	l := lines{rest: entry}
	l.take(ledger.Domain)
	switch kind := l.value("kind"); string(kind) {
	case ledger.KindIntent:
		j = l.intent()
	case ledger.KindOutcome:
		j = l.outcome()
	default:
		return Job{}, false
	}
	return j, !l.bad
}

func (l *lines) intent() (j Job) {
	l.value("index")
	j.Time = l.time("time")
	for _, key := range []string{"sequence", "policy", "key", "refusals"} {
		l.value(key)
	}
	for l.at("refused") {
		l.value("refused")
	}
	if n, err := hex.Decode(j.ID[:], l.sized("job", hex.EncodedLen(len(j.ID)))); err != nil || n != len(j.ID) {
		l.bad = true
	}
	a := lines{rest: l.block("approval")}
	a.take(message.ApprovalDomain)
	a.value("origin")
	j.Class = ClassOf(string(a.value("class")))
	a.value("nonce")
	j.NotAfter = a.time("not-after")
	l.block("submission")
	for ; l.at("sign"); j.Items++ {
		l.value("sign")
	}
	l.bad = l.bad || a.bad || j.Items == 0 || j.Items > ledger.MaxItems
	return j
}

func (l *lines) outcome() (j Job) {
	l.value("index")
	l.time("time")
	j.Outcome, j.Intent = true, l.number("intent")
	l.value("job")
	items := 0
	for ; l.at("item"); items++ {
		state, _, _ := bytes.Cut(l.value("item"), []byte(" "))
		if ledger.State(state).Counts() {
			j.Items++
		}
	}
	l.bad = l.bad || items == 0 || items > ledger.MaxItems
	return j
}

// lines reads a canonical text, as far as it is one.
type lines struct {
	rest []byte
	bad  bool // it was not
}

func (l *lines) take(want string) []byte {
	line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
	if l.bad = l.bad || !ok || want != "" && string(line) != want; l.bad {
		return nil
	}
	l.rest = rest
	return line
}

// at reports whether the next line has this key.
func (l *lines) at(key string) bool {
	return !l.bad && len(l.rest) > len(key) && string(l.rest[:len(key)]) == key && l.rest[len(key)] == ' '
}

// value is what stands behind the key of the next line.
func (l *lines) value(key string) []byte {
	if l.bad = !l.at(key); l.bad {
		return nil
	}
	return l.take("")[len(key)+1:]
}

// sized is a value of n bytes.
func (l *lines) sized(key string, n int) []byte {
	v := l.value(key)
	if l.bad = l.bad || len(v) != n; l.bad {
		return nil
	}
	return v
}

func (l *lines) number(key string) uint64 {
	n, err := strconv.ParseUint(string(l.value(key)), 10, 64)
	l.bad = l.bad || err != nil
	return n
}

func (l *lines) time(key string) time.Time {
	t, err := time.Parse(canon.TimeLayout, string(l.value(key)))
	l.bad = l.bad || err != nil
	return t
}

// block is the bytes that a line with their number announces.
func (l *lines) block(key string) []byte {
	n := l.number(key)
	if l.bad = l.bad || n > uint64(len(l.rest)); l.bad {
		return nil
	}
	b := l.rest[:n]
	l.rest = l.rest[n:]
	return b
}
