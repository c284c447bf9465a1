package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/enrol/progress"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// enrolled is a data directory as a ceremony leaves it, as far as this program
// looks: a key and a log of one entry.
func enrolled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	_, err := logkey.Make(dir, "touchmark.example/open")
	must(t, err)
	s, err := ledgerstore.Create(filepath.Join(dir, "log"))
	must(t, err)
	must(t, s.Append([][]byte{[]byte("the genesis entry\n")}, nil))
	must(t, s.Close())
	return dir
}

// Whatever of a data directory cannot be had, the board comes up with the halt
// state that says so.
func TestOpenBoard(t *testing.T) {
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, name))) }
	}
	for name, c := range map[string]struct {
		do    func(*testing.T, string)
		want  recovery.Halt
		store bool
	}{
		"whole":              {func(*testing.T, string) {}, "", true},
		"a ceremony's state": {write(progress.File, "anything"), recovery.NotEnrolled, true},
		"no key":             {remove(logkey.File), recovery.LogKeyWrong, true},
		"a spoiled key":      {write(logkey.File, "PRIVATE+KEY+x"), recovery.LogKeyWrong, true},
		"no log":             {remove("log"), recovery.NotEnrolled, false},
		"a spoiled log":      {write("log/log-0000000000000000", "nonsense"), recovery.LogDamaged, false},
		"a file for a log": {func(t *testing.T, dir string) {
			remove("log")(t, dir)
			write("log", "")(t, dir)
		}, recovery.LogUnreadable, false},
		"no log, but a copy of its beginning": {func(t *testing.T, dir string) {
			remove("log")(t, dir)
			write(genesisFile, "the genesis entry\n")(t, dir)
		}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := enrolled(t)
			c.do(t, dir)
			b, err := Open(dir)
			must(t, err)
			defer b.Close()
			var h *fault.HaltError
			if errors.As(b.fault, &h) != (c.want != "") || h != nil && h.Halt != c.want {
				t.Errorf("%v, want %s", b.fault, c.want)
			}
			if _, absent := b.log().(past.Absent); absent == c.store {
				t.Errorf("the log is %T", b.log())
			}
		})
	}
}

// failing is a disk some of whose calls fail.
type failing struct {
	durable.Disk
	write, list error // of whoever opens a file to be written; of whoever lists a directory; nil: they do not fail
}

func (d failing) Open(path string, flag int, perm fs.FileMode) (durable.File, error) {
	if d.write != nil && flag != os.O_RDONLY {
		return nil, &fs.PathError{Op: "open", Path: path, Err: d.write}
	}
	return d.Disk.Open(path, flag, perm)
}

func (d failing) List(dir string) ([]string, error) {
	if d.list != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: d.list}
	}
	return d.Disk.List(dir)
}

// A log that cannot be written is read, for hosts that fetch it: the board halts, and nothing can be appended. Of a directory
// that cannot be read nobody says that it was never enrolled.
func TestOpenFailingDisk(t *testing.T) {
	for _, errno := range []error{unix.EROFS, unix.ENOSPC, unix.EIO} {
		b, err := openOn(failing{Disk: durable.OS, write: errno}, enrolled(t))
		must(t, err)
		var h *fault.HaltError
		if !errors.As(b.fault, &h) || h.Halt != recovery.LogUnwritable || !errors.Is(h, errno) {
			t.Errorf("%v: %v", errno, b.fault)
		}
		if raw, err := b.log().Entry(0); err != nil || string(raw) != "the genesis entry\n" {
			t.Errorf("%v: %q, %v", errno, raw, err)
		}
		if err := b.log().Append([][]byte{[]byte("more\n")}, nil); !errors.Is(err, ledgerstore.ErrReadOnly) {
			t.Errorf("%v: appended: %v", errno, err)
		}
		b.Close()
	}
	dir := enrolled(t)
	segment := filepath.Join(dir, "log", "log-0000000000000000")
	raw, err := os.ReadFile(segment)
	must(t, err)
	raw[len(raw)-1] ^= 1
	must(t, os.WriteFile(segment, raw, 0o600))
	b, err := openOn(failing{Disk: durable.OS, write: unix.EROFS}, dir)
	must(t, err)
	var h *fault.HaltError
	if !errors.As(b.fault, &h) || h.Halt != recovery.LogDamaged {
		t.Errorf("damaged and read-only: %v", b.fault)
	}
	b, err = openOn(failing{Disk: durable.OS, list: unix.EBADMSG}, t.TempDir())
	must(t, err)
	h = nil
	if !errors.As(b.fault, &h) || h.Halt != recovery.LogUnreadable {
		t.Errorf("%v", b.fault)
	}
}

// Where nothing was enrolled, or another process runs, there is nothing to come up.
func TestOpenBoardRefuses(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, cli.ErrEnrolment) {
		t.Errorf("%v", err)
	}
	dir := enrolled(t)
	b, err := Open(dir)
	must(t, err)
	defer b.Close()
	var locked *durable.LockedError
	if _, err := Open(dir); !errors.As(err, &locked) {
		t.Errorf("%v", err)
	}
}

// A start keeps the copy of the genesis entry, and removes what a process that
// died has left.
func TestTidy(t *testing.T) {
	dir := enrolled(t)
	left := filepath.Join(dir, ".touchmark-ABC.new")
	must(t, os.WriteFile(left, nil, 0o600))
	b, err := Open(dir)
	must(t, err)
	defer b.Close()
	b.Tidy(zerolog.Nop(), dir, filepath.Join(dir, "run"))
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, genesisFile)); err != nil || string(raw) != "the genesis entry\n" {
		t.Errorf("%q %v", raw, err)
	}
}

// A TPM that is not there is asked for again with each command.
func TestLateTPM(t *testing.T) {
	l := &LateTPM{Spec: "swtpm:" + filepath.Join(t.TempDir(), "none")}
	defer l.Close()
	for range 2 {
		if _, err := l.Head(); !errors.Is(err, cli.ErrTPM) {
			t.Errorf("%v", err)
		}
	}
	if err := l.ExtendPCR([32]byte{}); !errors.Is(err, cli.ErrTPM) {
		t.Errorf("%v", err)
	}
}

// A disk that takes nothing is not one whose log is to be moved away.
func TestUnopened(t *testing.T) {
	for errno, want := range map[error]recovery.Halt{
		unix.EROFS: recovery.LogUnwritable, unix.ENOSPC: recovery.LogUnwritable, unix.EIO: recovery.LogUnreadable, unix.EACCES: recovery.LogUnreadable,
	} {
		if got := unopened(fmt.Errorf("opening: %w", &fs.PathError{Op: "open", Path: "log", Err: errno})); got != want {
			t.Errorf("%v: %s, want %s", errno, got, want)
		}
	}
}
