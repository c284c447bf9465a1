// Package spool keeps the host's jobs on disk, so that a daemon that is
// restarted goes on with what it has promised.
//
// A spool is a directory with one file a job, named by its identity. The file
// is a canonical text (docs/spec/message.md §1):
//
//	touchmark/hostd-job/v1
//	number number             in order of acceptance
//	key 16 bytes hex          by which the client knows its request
//	created time
//	deadline time             when the client's patience ends
//	from number               the log's size then: its entries are not before
//	approval size             block: the approval note
//	state base64              one of these two for each item
//	document base64
//	end code base64           only once it ended without a word in the log
//
// Guarantees: a record is there whole or not at all; after Keep returns it
// survives a power cut, after Put the end of the program. At most MaxRecords are
// kept. A file that is no record is reported and left alone, not counted.
package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledgerstore/durable"
)

// Domain of a record.
const Domain = "touchmark/hostd-job/v1"

// Key is what a client calls its request, random: the same request said again
// is the same job.
type Key = [16]byte

// Record is one job as it is kept.
type Record struct {
	Job      message.JobID // of Approval
	Number   uint64
	Key      Key
	Created  time.Time
	Deadline time.Time
	From     uint64
	Approval []byte
	Contents []message.Content
	End      *End // nil while the job is open, or the log says how it ended
}

// End is how a job ended that the log says nothing about.
type End struct {
	Code int // exit code for the client
	Text string
}

// Marshal encodes r, nil if a field has no canonical form.
func (r *Record) Marshal() []byte {
	w := canon.NewWriter(Domain)
	w.Line("number", canon.Uint(r.Number))
	w.Line("key", canon.Hex(r.Key[:]))
	w.Line("created", canon.Time(r.Created))
	w.Line("deadline", canon.Time(r.Deadline))
	w.Line("from", canon.Uint(r.From))
	w.Block("approval", r.Approval)
	message.WriteContents(w, r.Contents)
	if r.End != nil {
		w.Line("end", canon.Uint(uint64(max(r.End.Code, 0))), canon.Base64([]byte(r.End.Text)))
	}
	return w.Bytes()
}

// Parse reads a record; Marshal of the result gives b.
func Parse(b []byte) (*Record, error) {
	r := canon.NewReader(b, Domain)
	rec := &Record{Number: r.Uint(r.Line("number", 1)[0], message.MaxTreeSize)}
	rec.Key = Key(r.Hex(r.Line("key", 1)[0], len(Key{})))
	rec.Created = r.Time(r.Line("created", 1)[0])
	rec.Deadline = r.Time(r.Line("deadline", 1)[0])
	rec.From = r.Uint(r.Line("from", 1)[0], message.MaxTreeSize)
	rec.Approval = r.Block("approval", message.MaxNote)
	rec.Contents = message.ReadContents(r)
	if r.Peek() == "end" {
		f := r.Line("end", 2)
		rec.End = &End{Code: int(r.Uint(f[0], 255)), Text: string(r.Base64(f[1], maxEnd))}
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	text, err := message.NoteText(rec.Approval)
	rec.Job = message.JobOf(text)
	return rec, err
}

// Bounds of a spool.
const (
	// MaxRecords bounds the files, and with them what a start reads: a few
	// days of jobs that nobody fetched.
	MaxRecords = 512
	// MaxRecord bounds one file in bytes: an approval note, documents and hash
	// states in base64, and a line for people. It is a text of canon.MaxText.
	MaxRecord = message.MaxNote + 2*message.MaxDocuments + message.MaxItems*(2*message.MaxState) + 2*maxEnd + 1024
	maxEnd    = 1024
)

// Spool belongs to one goroutine, but for Keep.
type Spool struct{ dir string }

// Open opens or creates a spool and reads what is in it. damaged names files
// that are no records.
func Open(dir string) (s *Spool, records []*Record, damaged []error, err error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, nil, err
	}
	s = &Spool{dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, e := range entries {
		id, err := message.ParseJobID(e.Name())
		if err != nil {
			continue // a temporary file that a crash left, or somebody else's
		}
		rec, err := s.read(id)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		records = append(records, rec)
	}
	return s, records, damaged, nil
}

func (s *Spool) path(id message.JobID) string { return filepath.Join(s.dir, id.String()) }

func (s *Spool) read(id message.JobID) (*Record, error) {
	st, err := os.Lstat(s.path(id))
	if err == nil && (!st.Mode().IsRegular() || st.Size() > MaxRecord) {
		err = errors.New("not a small regular file")
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(s.path(id))
	}
	var rec *Record
	if err == nil {
		rec, err = Parse(b)
	}
	if err == nil && rec.Job != id {
		err = errors.New("it is of another job")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(id), err)
	}
	return rec, nil
}

// Put writes a record so that it survives the program, but not yet a power cut.
func (s *Spool) Put(r *Record) error { return durable.Replace(s.path(r.Job), r.Marshal(), 0o600) }

// Keep writes it so that it survives both. It may be called from any goroutine.
func (s *Spool) Keep(r *Record) error { return durable.WriteFile(s.path(r.Job), r.Marshal(), 0o600) }

// Remove forgets a job. What a power cut brings back is offered to the client
// once more and does no harm.
func (s *Spool) Remove(id message.JobID) error {
	if err := os.Remove(s.path(id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
