package trustfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/logtest"
)

// place is a trust file in a directory, and a File that counts how often it reads it.
type place struct {
	*File
	t     *testing.T
	path  string
	reads int
}

// newPlace has a clock that far ahead: an hour, so that every change is long ago, or nothing.
func newPlace(t *testing.T, ahead time.Duration) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, File: At(dir), path: filepath.Join(dir, api.TrustFile)}
	p.clock = func() time.Time { return time.Now().Add(ahead) }
	p.read = func(path string) ([]byte, error) {
		p.reads++
		return api.ReadTrust(path)
	}
	p.write("one")
	return p
}

// write rewrites the file in place, until that has another time: ticks are short, but longer than a test's steps.
func (p *place) write(text string) {
	p.t.Helper()
	before, _ := identify(p.path)
	for after := before; after == nil || before != nil && after.ctime == before.ctime; {
		logtest.Must(0, os.WriteFile(p.path, []byte(text), 0o600))
		after = logtest.Must(identify(p.path))
	}
}

// finds wants Next to give text, after so many reads of the file.
func (p *place) finds(text string, reads int) {
	p.t.Helper()
	p.reads = 0
	got, err := p.Next()
	if err != nil || string(got) != text || (text == "") != (got == nil) || p.reads != reads {
		p.t.Fatalf("Next gives %q, %v after %d reads; want %q after %d", got, err, p.reads, text, reads)
	}
}

// TestReadsOnlyAnother: a file that stays is read once; one that was rewritten in place with the same size, or replaced by
// rename, is read again, whatever its time of modification says, and given out if its bytes are others.
func TestReadsOnlyAnother(t *testing.T) {
	p := newPlace(t, time.Hour)
	p.finds("one", 1)
	p.finds("", 0)
	old := logtest.Must(os.Stat(p.path)).ModTime()
	p.write("two")
	p.finds("two", 1)
	p.finds("", 0)
	logtest.Must(0, os.Chtimes(p.path, old, old))
	p.finds("", 1) // touched, the same bytes
	p.finds("", 0)

	replace := func(text string) {
		t.Helper()
		logtest.Must(0, os.WriteFile(p.path+".new", []byte(text), 0o600))
		logtest.Must(0, os.Chtimes(p.path+".new", old, old))
		logtest.Must(0, os.Rename(p.path+".new", p.path))
	}
	replace("six")
	p.finds("six", 1)
	p.finds("", 0)
}

// TestReadsWhatIsFresh: a file that changed just now may change again without another time: its bytes are looked at.
func TestReadsWhatIsFresh(t *testing.T) {
	p := newPlace(t, -time.Hour) // a clock that went back makes all files fresh
	p.finds("one", 1)
	p.finds("", 1)
	logtest.Must(0, os.WriteFile(p.path, []byte("two"), 0o600))
	p.finds("two", 1)
}

// TestLooksAgainAfterAnError: a file that is gone, or cannot be read, is an error each time, and read when it is back.
func TestLooksAgainAfterAnError(t *testing.T) {
	p := newPlace(t, time.Hour)
	p.finds("one", 1)
	aside := p.path + ".aside"
	logtest.Must(0, os.Rename(p.path, aside))
	for range 2 {
		if _, err := p.Next(); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a file that is gone: %v", err)
		}
	}
	logtest.Must(0, os.Rename(aside, p.path))
	p.write("two")
	read := p.read
	p.read = func(string) ([]byte, error) { return nil, errors.New("a bad disk") }
	for range 2 {
		if _, err := p.Next(); err == nil {
			t.Fatal("a bad disk is passed over")
		}
	}
	p.read = read
	p.finds("two", 1)
}
