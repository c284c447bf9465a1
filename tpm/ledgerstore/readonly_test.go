package ledgerstore

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/durable/disktest"
	"touchmark/tpm/ledgerstore/segment"
)

// TestReadOnly: on a disk that takes no writes a log is read whatever a crash left of it, its derived files or none, and
// nothing can be appended; when the disk takes writes again, the log is as it was.
func TestReadOnly(t *testing.T) {
	for name, left := range map[string]func(t *testing.T, d *disktest.Disk, s *Store){
		"nothing undone": func(t *testing.T, _ *disktest.Disk, s *Store) { closes(t, s) },
		"killed":         func(_ *testing.T, d *disktest.Disk, _ *Store) { d.Kill() },
		"a torn append": func(t *testing.T, d *disktest.Disk, s *Store) {
			d.FailAt(1, disktest.Torn, unix.EIO)
			if err := s.Append(entriesFrom(5, 1), nil); !errors.Is(err, unix.EIO) {
				t.Fatal(err)
			}
			d.Kill()
		},
		"no base, and jobs that differ": func(t *testing.T, d *disktest.Disk, s *Store) {
			closes(t, s)
			jobs := s.derived.Path(derived.Jobs)
			raw := readSim(t, d, jobs)
			raw[3] ^= 1
			writeSim(t, d, jobs, raw)
			if err := d.Remove(simDir + "/" + derived.BaseName); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := disktest.New("/d")
			s, err := Options{Disk: d}.Create(simDir)
			if err != nil {
				t.Fatal(err)
			}
			mustAppend(t, s, 2, true)
			mustAppend(t, s, 3, true)
			left(t, d, s)
			d.Freeze(true)
			if _, err := (Options{Disk: d}).Open(simDir); err != nil && !errors.Is(err, unix.EROFS) {
				t.Fatalf("to be written: %v", err)
			}
			d.Kill()
			readsOnly(t, d)
			d.Freeze(false)
			s, err = Options{Disk: d}.Open(simDir)
			if err != nil {
				t.Fatal(err)
			}
			check(t, s, 5, 2)
			mustAppend(t, s, 1, true)
		})
	}
}

// readsOnly opens a log of five entries, which is whole, on a disk that takes no writes.
func readsOnly(t *testing.T, d *disktest.Disk) {
	t.Helper()
	s, err := Options{Disk: d, ReadOnly: true}.Open(simDir)
	if err != nil {
		t.Fatal(err)
	}
	check(t, s, 5, 2)
	if err := s.Scrub(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := s.Append(entriesFrom(5, 1), nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("appended: %v", err)
	}
	if err := s.Rewind(4); !errors.Is(err, ErrReadOnly) {
		t.Errorf("taken back: %v", err)
	}
	closes(t, s)
}

func closes(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReadOnlyDamage: what is damaged in the middle is damaged for who only reads, too.
func TestReadOnlyDamage(t *testing.T) {
	d := disktest.New("/d")
	s, err := Options{Disk: d}.Create(simDir)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustAppend(t, s, 2, true)
	}
	closes(t, s)
	raw := readSim(t, d, segment.Path(simDir, 0))
	raw[40] ^= 1
	writeSim(t, d, segment.Path(simDir, 0), raw)
	d.Freeze(true)
	s, err = Options{Disk: d, ReadOnly: true}.Open(simDir)
	if err != nil {
		t.Fatal(err) // of which a start reads the end only
	}
	var corrupt *CorruptError
	if err := s.Scrub(t.Context(), nil); !errors.As(err, &corrupt) {
		t.Errorf("%v", err)
	}
	if _, err := s.Entry(5); err != nil {
		t.Errorf("what is not damaged: %v", err)
	}
}
