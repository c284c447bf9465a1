package ledgerstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/durable/disktest"
	"touchmark/tpm/ledgerstore/segment"
)

// derivedContent is a small log and what is derived from it.
func derivedContent(tb testing.TB) (records []byte, files map[string][]byte) {
	tb.Helper()
	d := disktest.New("/d")
	s, err := Options{Disk: d}.Create(simDir)
	if err != nil {
		tb.Fatal(err)
	}
	for range 3 {
		if err := s.Append(entriesFrom(s.Size(), 3), &anchor.Plan{Size: s.Size() + 3}); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	files = map[string][]byte{}
	for _, name := range append(derived.Names[:], derived.BaseName) {
		files[name] = readSim(tb, d, filepath.Join(simDir, name))
	}
	return readSim(tb, d, segment.Path(simDir, 0)), files
}

func readSim(tb testing.TB, d *disktest.Disk, path string) []byte {
	tb.Helper()
	f, err := d.Open(path, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	n, err := f.Size()
	if err != nil {
		tb.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); n > 0 && err != nil {
		tb.Fatal(err)
	}
	return b
}

func writeSim(tb testing.TB, d *disktest.Disk, path string, b []byte) {
	tb.Helper()
	f, err := d.Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		tb.Fatal(err)
	}
}

// FuzzDerived: whatever stands in the files that are derived from a log, what
// is read of it is right or an error.
func FuzzDerived(f *testing.F) {
	records, files := derivedContent(f)
	f.Add(files["hashes"], files["offsets"], files["plans"], files["marks"], files["base"])
	f.Add([]byte(nil), files["offsets"], files["plans"], files["marks"], files["base"])
	f.Add(files["hashes"], bytes.Repeat([]byte{0xff}, 72), files["plans"], files["marks"], files["base"])
	f.Add(files["hashes"], files["offsets"], files["plans"], bytes.Repeat([]byte{9}, 18), []byte("x"))
	f.Fuzz(func(t *testing.T, hashes, offsets, plans, marks, base []byte) {
		d := disktest.New("/d")
		if err := d.Mkdir(simDir, 0); err != nil {
			t.Fatal(err)
		}
		writeSim(t, d, segment.Path(simDir, 0), records)
		for name, b := range map[string][]byte{"hashes": hashes, "offsets": offsets, "plans": plans, "marks": marks, "base": base} {
			writeSim(t, d, filepath.Join(simDir, name), b)
		}
		var corrupt *CorruptError
		s, err := Options{Disk: d}.Open(simDir)
		if err != nil {
			if !errors.As(err, &corrupt) {
				t.Fatal(err)
			}
			return
		}
		for i := range s.Size() {
			if e, err := s.Entry(i); err == nil && !bytes.Equal(e, entriesFrom(i, 1)[0]) || err != nil && !errors.As(err, &corrupt) {
				t.Fatalf("entry %d: %q, %v", i, e, err)
			}
		}
		for _, err := range s.PlansBackward() {
			if err != nil && !errors.As(err, &corrupt) {
				t.Fatal(err)
			}
		}
		for _, err := range s.MarksBackward() {
			if err != nil && !errors.As(err, &corrupt) {
				t.Fatal(err)
			}
		}
	})
}
