package station

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// copyLog is the log directory as it is now, for putBack.
func (b *board) copyLog() map[string][]byte {
	b.t.Helper()
	files := map[string][]byte{}
	names, err := filepath.Glob(filepath.Join(b.dir, "*"))
	must(b.t, err)
	for _, n := range names {
		if files[n], err = os.ReadFile(n); err != nil {
			b.t.Fatal(err)
		}
	}
	return files
}

// putBack rolls the disk back.
func (b *board) putBack(files map[string][]byte) {
	b.t.Helper()
	names, err := filepath.Glob(filepath.Join(b.dir, "*"))
	must(b.t, err)
	for _, n := range names {
		must(b.t, os.Remove(n))
	}
	for n, raw := range files {
		must(b.t, os.WriteFile(n, raw, 0o600))
	}
}

// behind is a board whose disk is some signatures older than its TPM, halted,
// and a host that has everything and has just said hello.
func behind(t *testing.T) *board {
	t.Helper()
	b := newBoard(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.kill()
	old := b.copyLog()
	b.start()
	b.connect()
	b.signs("b.db", "content")
	b.signs("c.db", "content")
	b.kill()
	b.putBack(old)
	b.start()
	v := b.view("a halt", func(v operator.View) bool { return v.Halted != "" })
	if !strings.Contains(v.Halted, "head-unknown") || !strings.Contains(v.Halted, "HEAD ") {
		t.Fatal(v.Halted)
	}
	b.up()
	b.send(b.hello())
	return b
}

// asked waits until the board asks for entries.
func (b *board) asked() *message.Fetch {
	b.t.Helper()
	for {
		if f, ok := b.receive().(*message.Fetch); ok {
			return f
		}
	}
}

// offer answers with at most n entries of the host's.
func (b *board) offer(from uint64, n int, entries [][]byte) {
	m := message.Entries{Start: from, Total: uint64(len(entries)), Entries: entries[from:min(len(entries), int(from)+n)]}
	b.send(m.Marshal())
}

// A disk that was rolled back is made whole from a mirror, whatever the
// portions, and the board goes on by itself; what HEAD did not take is not
// taken.
func TestHealsFromAMirror(t *testing.T) {
	for _, portion := range []int{1, 3, message.MaxEntries} {
		b := behind(t)
		n := len(b.entries)
		b.gives(portion, b.entries)
		b.event("ready")
		if _, body, err := ledger.Parse(b.entries[n-3]); err != nil || ledger.KindOf(body) != ledger.KindIntent {
			t.Fatalf("%T %v", body, err)
		}
		b.entries = b.entries[:n-2]
		b.connect()
		b.signs("d.db", "content")
		b.replays()
		b.kill()
	}
}

// A host that offers anything else changes nothing on the disk, and a good one
// still helps afterwards.
func TestWrongMirrors(t *testing.T) {
	for name, wrong := range map[string]func(entries [][]byte) [][]byte{
		"another time": func(e [][]byte) [][]byte {
			i := len(e) - 4
			e[i] = []byte(strings.Replace(string(e[i]), "time 20", "time 21", 1))
			return e
		},
		"garbage":  func(e [][]byte) [][]byte { e[len(e)-3] = []byte("touchmark/entry/v1\nkind example\n"); return e },
		"too few":  func(e [][]byte) [][]byte { return e[:len(e)-4] },
		"swapped":  func(e [][]byte) [][]byte { n := len(e); e[n-4], e[n-5] = e[n-5], e[n-4]; return e },
		"repeated": func(e [][]byte) [][]byte { return append(e[:len(e)-3], e[len(e)-4:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			b := behind(t)
			size := b.store.Size()
			b.offer(b.asked().From, message.MaxEntries, wrong(slices.Clone(b.entries)))
			b.view("no help", func(v operator.View) bool { return strings.Contains(v.Message, "The mirror of host repo1") })
			if b.store.Size() != size {
				t.Fatal("entries were taken")
			}
			b.offer(size, message.MaxEntries, b.entries) // nobody asked
			b.until(func() bool { return b.refused[message.JobID{}] != nil })
			if b.store.Size() != size {
				t.Fatal("entries were taken unasked")
			}
			b.send(b.hello())
			b.gives(message.MaxEntries, b.entries)
			b.event("ready")
		})
	}
}

// gives answers the board with so many entries at a time, until it has looked
// through them and taken them: HEAD took all but the last two, an outcome and its
// attestation.
func (b *board) gives(portion int, entries [][]byte) {
	b.t.Helper()
	for range 2 {
		for next := uint64(0); next < uint64(len(entries))-2; {
			f := b.asked()
			b.offer(f.From, portion, entries)
			next = f.From + uint64(portion)
		}
	}
}

// A mirror that gives other entries the second time has given nothing: what HEAD
// does not vouch for is not written.
func TestMirrorThatChanges(t *testing.T) {
	b := behind(t)
	size := b.store.Size()
	b.offer(b.asked().From, message.MaxEntries, b.entries)
	e := slices.Clone(b.entries)
	e[len(e)-6] = []byte(strings.Replace(string(e[len(e)-6]), "time 20", "time 21", 1))
	b.offer(b.asked().From, message.MaxEntries, e)
	b.view("no help", func(v operator.View) bool { return strings.Contains(v.Message, "The mirror of host repo1") })
	if b.store.Size() != size {
		t.Fatal("entries were taken")
	}
	b.send(b.hello())
	b.gives(message.MaxEntries, b.entries)
	b.event("ready")
}

// What was looked through is not asked for again when the host says hello again,
// or in its next session; a hello with nothing new is no reason to ask twice.
func TestHealingOutlivesSessions(t *testing.T) {
	b := behind(t)
	first := b.asked().From
	b.offer(first, 1, b.entries)
	if f := b.asked(); f.From != first+1 {
		t.Fatalf("asks from %d", f.From)
	}
	b.send(b.hello())
	b.receive() // the welcome, and no fetch behind it
	b.offer(first+1, 1, b.entries)
	if f := b.asked(); f.From != first+2 {
		t.Fatalf("asks from %d", f.From)
	}
	b.up()
	b.send(b.hello())
	if f := b.asked(); f.From != first+2 {
		t.Fatalf("asks from %d in the next session", f.From)
	}
	b.offer(first+2, message.MaxEntries, b.entries)
	b.offer(b.asked().From, message.MaxEntries, b.entries)
	b.event("ready")
}

// A board that is not halted asks for nothing and takes nothing.
func TestNobodyAsked(t *testing.T) {
	b := newBoard(t)
	b.start()
	b.connect()
	b.offer(0, message.MaxEntries, b.entries)
	b.until(func() bool { return b.refused[message.JobID{}] != nil })
	if r := b.refused[message.JobID{}]; r.Code != message.CodeBadMessage {
		t.Fatalf("%+v", r)
	}
	b.signs("a.db", "content")
}
