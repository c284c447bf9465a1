package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"touchmark/hostlink/message"
)

func record(tb testing.TB, nonce byte) *Record {
	tb.Helper()
	a := message.Approval{Origin: "touchmark.example/test", Class: "db", Nonce: [16]byte{nonce}, NotAfter: time.Unix(1_800_000_000, 0).UTC(),
		Items: []message.Item{{Format: "openpgp-binary", Digest: message.Digest{Alg: message.SHA256, Sum: make([]byte, 32)}, Size: 1, Name: "a.db"}}}
	n, err := message.SignNote(a.Marshal())
	if err != nil {
		tb.Fatal(err)
	}
	return &Record{Job: message.JobOf(a.Marshal()), Number: uint64(nonce), Key: Key{nonce}, Created: a.NotAfter.Add(-time.Hour), Deadline: a.NotAfter, From: 7, Approval: n,
		Contents: []message.Content{{State: bytes.Repeat([]byte{1}, 40)}, {Document: []byte("document")}}}
}

func open(t *testing.T, dir string) (*Spool, []*Record, []error) {
	t.Helper()
	s, records, damaged, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, records, damaged
}

func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "jobs")
	s, records, damaged := open(t, dir)
	if len(records)+len(damaged) != 0 {
		t.Fatalf("a new spool holds %v %v", records, damaged)
	}
	a, b := record(t, 1), record(t, 2)
	b.End = &End{Code: 7, Text: "denied by the operator"}
	for _, err := range []error{s.Put(a), s.Keep(a), s.Keep(b)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got := map[message.JobID]*Record{}
	_, records, damaged = open(t, dir)
	for _, r := range records {
		got[r.Job] = r
	}
	if len(damaged) != 0 || len(got) != 2 || !reflect.DeepEqual(got[a.Job], a) || !reflect.DeepEqual(got[b.Job], b) {
		t.Fatalf("reopened: %+v %v", got, damaged)
	}
	for range 2 { // twice is no error
		if err := s.Remove(a.Job); err != nil {
			t.Fatal(err)
		}
	}
	if _, records, _ = open(t, dir); len(records) != 1 {
		t.Fatalf("%d records after a removal", len(records))
	}
}

// TestDamaged: what is no record is named and left alone; the others are read.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s, _, _ := open(t, dir)
	good := record(t, 1)
	if err := s.Keep(good); err != nil {
		t.Fatal(err)
	}
	other := record(t, 2)
	third, fourth := record(t, 3).Job.String(), record(t, 4).Job.String()
	for name, b := range map[string][]byte{
		other.Job.String():            good.Marshal(), // of another job
		third:                         nil,            // what a power cut may leave of Put
		fourth:                        make([]byte, MaxRecord+1),
		".touchmark-leftover.new":     []byte("x"),
		record(t, 5).Job.String()[1:]: good.Marshal(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, record(t, 6).Job.String())); err != nil {
		t.Fatal(err)
	}
	_, records, damaged := open(t, dir)
	if len(records) != 1 || records[0].Job != good.Job || len(damaged) != 4 {
		t.Fatalf("%d records, damaged %v", len(records), damaged)
	}
}

func FuzzRecord(f *testing.F) {
	r := record(f, 1)
	f.Add(r.Marshal())
	r.End = &End{Code: 130, Text: "withdrawn"}
	f.Add(r.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Parse(b); err == nil && !bytes.Equal(r.Marshal(), b) {
			t.Fatalf("%q becomes %q", b, r.Marshal())
		}
	})
}
