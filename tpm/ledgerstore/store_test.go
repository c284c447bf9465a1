package ledgerstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/derived"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/durable/disktest"
	"touchmark/tpm/ledgerstore/segment"
)

// entryBytes is an entry of a kind that its index tells: enough of one for the
// derived files, and some bytes more.
func entryBytes(i uint64, n int) []byte {
	b := fmt.Appendf(nil, "touchmark/entry/v1\nkind %s\nindex %d\ntime 2026-01-05T06:00:%02dZ\n", [...]string{"attest", "intent", "outcome", "boot", "attest"}[i%5], i, i%60)
	switch i % 5 {
	case 1:
		approval := "touchmark/approval/v1\norigin o\nclass packages\nnonce 0\nnot-after 2026-01-05T07:00:00Z\n"
		b = fmt.Appendf(b, "sequence 1\npolicy 0\nkey 0\nrefusals 0\njob %064x\napproval %d\n%ssubmission 0\nsign d\nsign d\n", i, len(approval), approval)
	case 2:
		b = fmt.Appendf(b, "intent %d\njob %064x\nitem signed x\nitem denied -\n", i-1, i-1)
	}
	return append(b, bytes.Repeat([]byte{'x'}, n)...)
}

// wantJob is what is known of such an entry, an intent or outcome.
func wantJob(i uint64) Job {
	if i%5 == 2 {
		return Job{Index: i, Outcome: true, Items: 1, Intent: i - 1}
	}
	at := time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)
	j := Job{Index: i, Items: 2, Class: derived.ClassOf("packages"), Time: at.Add(time.Duration(i%60) * time.Second), NotAfter: at.Add(time.Hour)}
	binary.BigEndian.PutUint64(j.ID[24:], i)
	return j
}

func entriesFrom(from uint64, n int) (out [][]byte) {
	for i := range n {
		out = append(out, entryBytes(from+uint64(i), int(from+uint64(i))%97))
	}
	return out
}

func mustCreate(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Options{Disk: hasty}.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a second Close is harmless
	return s
}

func mustOpen(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Options{Disk: hasty}.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustAppend(t testing.TB, s *Store, n int, plan bool) {
	t.Helper()
	var p *anchor.Plan
	if plan {
		p = &anchor.Plan{Size: s.Size() + uint64(n), X: [32]byte{byte(s.Size())}, Prev: [32]byte{1}}
	}
	if err := s.Append(entriesFrom(s.Size(), n), p); err != nil {
		t.Fatal(err)
	}
}

// check reads everything back and compares it with the model.
func check(t testing.TB, s *Store, size uint64, plans int) {
	t.Helper()
	if s.Size() != size {
		t.Fatalf("size %d, want %d", s.Size(), size)
	}
	var tree ledger.Tree
	for i := range size {
		e, err := s.Entry(i)
		if err != nil || !bytes.Equal(e, entriesFrom(i, 1)[0]) {
			t.Fatalf("entry %d: %q, %v", i, e, err)
		}
		tree.Add(ledger.LeafHash(e))
		root, err := s.Root(i + 1)
		if err != nil || root != tree.Root() {
			t.Fatalf("root of %d: %x, want %x, %v", i+1, root, tree.Root(), err)
		}
	}
	ps, err := plansOf(s)
	if err != nil || len(ps) != plans {
		t.Fatalf("%d plans, want %d, %v", len(ps), plans, err)
	}
	checkIteration(t, s, size)
}

// checkIteration wants the same entries forwards and backwards, and marks at
// the boot entries.
func checkIteration(t testing.TB, s *Store, size uint64) {
	t.Helper()
	i := size / 3
	for e, err := range s.Entries(i, size) {
		if err != nil || !bytes.Equal(e, entriesFrom(i, 1)[0]) {
			t.Fatalf("forwards, entry %d: %v", i, err)
		}
		i++
	}
	if i != size {
		t.Fatalf("forwards: %d of %d", i, size)
	}
	for e, err := range s.Backward(size) {
		if i--; err != nil || !bytes.Equal(e, entriesFrom(i, 1)[0]) {
			t.Fatalf("backwards, entry %d: %v", i, err)
		}
	}
	var marks []Mark
	for m, err := range s.MarksBackward() {
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, m)
	}
	var want []Mark
	for j := range size {
		if k := size - 1 - j; k%5 == 3 {
			want = append(want, Mark{Index: k, Kind: "boot"})
		}
	}
	if i != 0 || !slices.Equal(marks, want) {
		t.Fatalf("%d left, marks %v, want %v", i, marks, want)
	}
	checkJobs(t, s, size)
}

// checkJobs wants what is known of the intents and outcomes from some entry on.
func checkJobs(t testing.TB, s *Store, size uint64) {
	t.Helper()
	from := size / 3
	for j, err := range s.Jobs(from) {
		for from < size && from%5 != 1 && from%5 != 2 {
			from++
		}
		if err != nil || from == size || j != wantJob(from) {
			t.Fatalf("job %+v, %v, want %+v", j, err, wantJob(from))
		}
		from++
	}
	if size-from > 3 {
		t.Fatalf("jobs only up to entry %d of %d", from, size)
	}
}

// plansOf gives the plans oldest first.
func plansOf(s *Store) (plans []anchor.Plan, err error) {
	for p, err := range s.PlansBackward() {
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	slices.Reverse(plans)
	return plans, nil
}

func TestAppendAndReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	s := mustCreate(t, dir)
	mustAppend(t, s, 1, true)
	mustAppend(t, s, 5, false)
	mustAppend(t, s, 3, true)
	check(t, s, 9, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	check(t, s, 9, 2)
	mustAppend(t, s, 1, true)
	check(t, s, 10, 3)
	ps, err := plansOf(s)
	if err != nil || ps[1] != (anchor.Plan{Size: 9, X: [32]byte{6}, Prev: [32]byte{1}}) {
		t.Errorf("%+v, %v", ps, err)
	}
	if _, err := s.Entry(10); err == nil {
		t.Error("entry 10 of 10 was read")
	}
	if _, err := s.Root(11); err == nil {
		t.Error("root of 11 of 10 was made")
	}
}

func TestProofs(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	mustAppend(t, s, 21, false)
	for n := uint64(1); n <= 21; n++ {
		root, err := s.Root(n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			e, _ := s.Entry(i)
			path, err := s.Inclusion(i, n)
			if err != nil || !ledger.CheckInclusion(path, i, n, ledger.LeafHash(e), root) {
				t.Fatalf("inclusion of %d in %d: %v", i, n, err)
			}
			p, err := s.Consistency(i+1, n)
			if err != nil {
				t.Fatal(err)
			}
			old, _ := s.Root(i + 1)
			proof := make(tlog.TreeProof, len(p))
			for j := range p {
				proof[j] = p[j]
			}
			if err := tlog.CheckTree(proof, int64(n), root, int64(i+1), old); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, bad := range [][2]uint64{{5, 5}, {0, 22}} {
		if _, err := s.Inclusion(bad[0], bad[1]); err == nil {
			t.Errorf("inclusion %v was made", bad)
		}
	}
	for _, bad := range [][2]uint64{{0, 5}, {6, 5}, {1, 22}} {
		if _, err := s.Consistency(bad[0], bad[1]); err == nil {
			t.Errorf("consistency %v was made", bad)
		}
	}
}

func TestRefusedArguments(t *testing.T) {
	dir := t.TempDir()
	s := mustCreate(t, dir)
	for name, f := range map[string]func() error{
		"nothing":     func() error { return s.Append(nil, nil) },
		"empty entry": func() error { return s.Append([][]byte{{}}, nil) },
		"long entry":  func() error { return s.Append([][]byte{make([]byte, ledger.MaxEntry+1)}, nil) },
		"other plan":  func() error { return s.Append(entriesFrom(0, 1), &anchor.Plan{Size: 2}) },
		"too much at once": func() error {
			var es [][]byte
			for range 80 {
				es = append(es, make([]byte, ledger.MaxEntry))
			}
			return s.Append(es, nil)
		},
	} {
		if f() == nil {
			t.Errorf("%s was appended", name)
		}
	}
	mustAppend(t, s, 1, true) // a refused argument does not break the store
	if _, err := Create(dir); !errors.Is(err, ErrExists) {
		t.Errorf("Create on a store: %v", err)
	}
	var locked *durable.LockedError
	if _, err := Open(dir); !errors.As(err, &locked) {
		t.Errorf("Open of an open store: %v", err)
	}
	for _, none := range []string{t.TempDir(), filepath.Join(dir, "missing")} {
		if _, err := Open(none); !errors.Is(err, ErrNoStore) {
			t.Errorf("Open of nothing: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(entriesFrom(1, 1), nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	if _, err := s.Entry(0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Entry after Close: %v", err)
	}
}

// A log cut anywhere in its last append loses that append and nothing else.
func TestTornTailIsDropped(t *testing.T) {
	dir := t.TempDir()
	s := mustCreate(t, dir)
	mustAppend(t, s, 2, true)
	before := s.end
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	saved := snapshot(t, dir)
	s = mustOpen(t, dir)
	mustAppend(t, s, 3, true)
	after := s.end
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	records := readFile(t, segment.Path(dir, 0))
	for cut := before; cut <= after; cut++ {
		putBack(t, dir, saved)
		writeFile(t, segment.Path(dir, 0), records[:cut])
		s := mustOpen(t, dir)
		if cut < after {
			check(t, s, 2, 1)
			mustAppend(t, s, 3, true)
		}
		check(t, s, 5, 2)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The same with the tail there but unwritten, or written in part.
	for hole := before; hole < after; hole += 7 {
		putBack(t, dir, saved)
		torn := bytes.Clone(records)
		clear(torn[hole:min(hole+20, after)])
		if bytes.Equal(torn, records) {
			continue // zeros anyway
		}
		writeFile(t, segment.Path(dir, 0), torn)
		s := mustOpen(t, dir)
		check(t, s, 2, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageIsNotDropped(t *testing.T) {
	build := func(t *testing.T) string {
		dir := t.TempDir()
		s := mustCreate(t, dir)
		for range 4 {
			mustAppend(t, s, 2, true)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	size := int64(len(readFile(t, segment.Path(build(t), 0))))
	for name, harm := range map[string]func(t *testing.T, dir string){
		"a bit in the first entry": func(t *testing.T, dir string) { flip(t, segment.Path(dir, 0), segment.HeaderSize+2) },
		"a bit in a length":        func(t *testing.T, dir string) { flip(t, segment.Path(dir, 0), 3) },
		"a bit in the third append": func(t *testing.T, dir string) {
			flip(t, segment.Path(dir, 0), size*5/8)
		},
		"the last durable append cut off": func(t *testing.T, dir string) {
			writeFile(t, segment.Path(dir, 0), readFile(t, segment.Path(dir, 0))[:size-1])
		},
		"the last durable append damaged": func(t *testing.T, dir string) { flip(t, segment.Path(dir, 0), size-1) },
		"a stored hash":                   func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "hashes"), 40) },
		"a gap between segments": func(t *testing.T, dir string) {
			writeFile(t, segment.Path(dir, size+1), nil)
		},
		"a strange segment name": func(t *testing.T, dir string) {
			writeFile(t, filepath.Join(dir, "log-zz"), nil)
		},
		"garbage longer than any append": func(t *testing.T, dir string) {
			b := readFile(t, segment.Path(dir, 0))
			writeFile(t, segment.Path(dir, 0), append(b, make([]byte, segment.MaxAppend+1)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := build(t)
			harm(t, dir)
			isFound(t, dir)
		})
	}
}

// isFound wants damage to be found: by Open, or else by a scrub, after which
// the next Open finds it too.
func isFound(t *testing.T, dir string) {
	t.Helper()
	var corrupt *CorruptError
	s, err := Open(dir)
	if err == nil {
		scrubbed := s.Scrub(t.Context(), nil)
		if !errors.As(scrubbed, &corrupt) {
			t.Fatalf("scrubbed: %v", scrubbed)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, err = Open(dir)
	}
	if !errors.As(err, &corrupt) {
		t.Fatalf("%v, %v", s, err)
	}
	if text := corrupt.Error(); len(text) > 250 || !strings.Contains(text, "restore") && !strings.Contains(text, "start again") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

// What is derived is made again when it is missing, short or zeros.
func TestDerivedFilesAreRebuilt(t *testing.T) {
	dir := t.TempDir()
	s := mustCreate(t, dir)
	for range 5 {
		mustAppend(t, s, 3, true)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good := snapshot(t, dir)
	for name, harm := range map[string]func(b []byte) []byte{
		"missing": func([]byte) []byte { return nil },
		"short":   func(b []byte) []byte { return b[:len(b)-5] },
		"zeros":   func(b []byte) []byte { b = bytes.Clone(b); clear(b[max(0, len(b)-64):]); return b },
	} {
		for _, file := range derived.Names {
			for _, based := range []bool{false, true} {
				putBack(t, dir, good)
				writeFile(t, filepath.Join(dir, file), harm(good[file]))
				if !based {
					remove(t, filepath.Join(dir, derived.BaseName))
				}
				s := mustOpen(t, dir)
				if based && len(harm(good[file])) == len(good[file]) {
					s = healed(t, s)
				}
				check(t, s, 15, 5)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(readFile(t, filepath.Join(dir, file)), good[file]) {
					t.Errorf("%s %s: not made again as it was", name, file)
				}
			}
		}
	}
}

// healed has a scrub notice that what is derived is wrong, unless Open did;
// the next Open makes it good.
func healed(t *testing.T, s *Store) *Store {
	t.Helper()
	var corrupt *CorruptError
	if err := s.Scrub(t.Context(), nil); err == nil {
		return s
	} else if !errors.As(err, &corrupt) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return mustOpen(t, s.dir)
}

// A base that does not fit, or is nonsense, costs time and nothing else.
func TestBaseIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	s := mustCreate(t, dir)
	var bases [][]byte
	for range 4 {
		mustAppend(t, s, 3, true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		bases = append(bases, readFile(t, filepath.Join(dir, derived.BaseName)))
		s = mustOpen(t, dir)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good := snapshot(t, dir)
	// A base with a number changed, and the checksum that goes with it.
	altered := func(at int, by uint64) []byte {
		b := bytes.Clone(bases[3])
		binary.BigEndian.PutUint64(b[at:], binary.BigEndian.Uint64(b[at:])+by)
		return binary.BigEndian.AppendUint32(b[:len(b)-4], crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli)))
	}
	less := func(n uint64) uint64 { return ^n + 1 }
	const entries, end, plans, marks, jobs, root = 0, 8, 16, 24, 32, 40
	if !bytes.Equal(altered(root, 0), bases[3]) {
		t.Fatal("the checksum of a base is another one")
	}
	for name, base := range map[string][]byte{
		"none": nil, "long": make([]byte, 1000), "an old one": bases[1], "cut": bases[3][:70],
		"another root": altered(root, 1), "more entries": altered(entries, 1), "fewer": altered(entries, less(1)),
		"too far": altered(end, 1), "too short": altered(end, less(81)), "more plans": altered(plans, 1),
		"more marks": altered(marks, 1), "more jobs": altered(jobs, 1), "huge": altered(entries, 1<<63),
	} {
		putBack(t, dir, good)
		writeFile(t, filepath.Join(dir, derived.BaseName), base)
		s := mustOpen(t, dir)
		check(t, s, 12, 4)
		mustAppend(t, s, 3, true)
		check(t, s, 15, 5)
		if err := s.Scrub(t.Context(), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A log that lost durable appends is not taken for a short one.
func TestRolledBackSegment(t *testing.T) {
	dir := t.TempDir()
	s := mustCreate(t, dir)
	mustAppend(t, s, 3, true)
	at := s.end
	mustAppend(t, s, 3, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b := readFile(t, segment.Path(dir, 0))
	writeFile(t, segment.Path(dir, 0), b[:at])
	isFound(t, dir)
}

// TestScrub: progress reaches the end, a context ends it.
func TestScrub(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	for range 20 {
		mustAppend(t, s, 7, true)
	}
	var done, total int64
	if err := s.Scrub(t.Context(), func(d, t int64) { done, total = d, t }); err != nil || done != total || done != s.end {
		t.Errorf("%d of %d, %v", done, total, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no time")
	cancel(why)
	if err := s.Scrub(ctx, nil); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Scrub(t.Context(), nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestSegments(t *testing.T) {
	dir := t.TempDir()
	s := mustCreate(t, dir)
	big := make([]byte, ledger.MaxEntry)
	for i := 0; s.end < segment.Size+segment.MaxAppend; i++ {
		var es [][]byte
		for j := range 60 {
			e := bytes.Clone(big)
			binary.BigEndian.PutUint64(e, uint64(i*60+j))
			es = append(es, e)
		}
		if err := s.Append(es, nil); err != nil {
			t.Fatal(err)
		}
	}
	n, root := s.Size(), s.totals.Tree.Root()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	if s.log.Files() != 2 || s.Size() != n || s.totals.Tree.Root() != root {
		t.Fatalf("%d segments, %d entries of %d", s.log.Files(), s.Size(), n)
	}
	for _, i := range []uint64{0, n / 2, n - 1} {
		e, err := s.Entry(i)
		if err != nil || binary.BigEndian.Uint64(e) != i {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, segment.Path(dir, 0), segment.Size-5) // the end of a segment that is not the last is no torn tail
	isFound(t, dir)
}

func TestDiskFull(t *testing.T) {
	if !alone(t) {
		return
	}
	dir := t.TempDir()
	s := mustCreate(t, dir)
	mustAppend(t, s, 2, true)
	old := limitFileSize(t, uint64(s.end)+20)
	err := s.Append(entriesFrom(2, 3), nil)
	old()
	var de *durable.DiskError
	if !errors.As(err, &de) || !errors.Is(err, unix.EFBIG) {
		t.Fatalf("%v", err)
	}
	if err := s.Append(entriesFrom(2, 1), nil); err == nil {
		t.Error("appended after a failure")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, mustOpen(t, dir), 2, 1)
}

func TestPropertyModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opt := Options{Disk: disktest.New("/d")}
		s, err := opt.Create(simDir)
		if err != nil {
			rt.Fatal(err)
		}
		size, plans := uint64(0), 0
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "reopen") {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = opt.Open(simDir); err != nil {
					rt.Fatal(err)
				}
			}
			n := rapid.IntRange(1, 20).Draw(rt, "n")
			var p *anchor.Plan
			if rapid.Bool().Draw(rt, "plan") {
				p = &anchor.Plan{Size: size + uint64(n)}
				plans++
			}
			if err := s.Append(entriesFrom(size, n), p); err != nil {
				rt.Fatal(err)
			}
			size += uint64(n)
		}
		check(t, s, size, plans)
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestConcurrentReaders(t *testing.T) {
	s := mustCreate(t, t.TempDir())
	mustAppend(t, s, 1, false)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				n := s.Size()
				if _, err := s.Entry(n - 1); err != nil {
					t.Error(err)
				}
				if _, err := s.Root(n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		mustAppend(t, s, 2, true)
	}
	wg.Wait()
	check(t, s, 41, 20)
}

func FuzzOpen(f *testing.F) {
	b, _, err := segment.Encode(entriesFrom(0, 3), &anchor.Plan{Size: 3})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add(append(bytes.Clone(b), b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		writeFile(t, segment.Path(dir, 0), b)
		s, err := Open(dir)
		if err != nil {
			return
		}
		for i := range s.Size() {
			if _, err := s.Entry(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Append(entriesFrom(s.Size(), 1), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s := mustCreate(b, b.TempDir())
	e := [][]byte{bytes.Repeat([]byte{'x'}, 1500)}
	for b.Loop() {
		if err := s.Append(e, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(t testing.TB, path string, at int64) {
	t.Helper()
	b := readFile(t, path)
	b[at] ^= 0x10
	writeFile(t, path, b)
}

func snapshot(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	names, err := durable.OS.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string][]byte{}
	for _, n := range names {
		m[n] = readFile(t, filepath.Join(dir, n))
	}
	return m
}

func putBack(t testing.TB, dir string, m map[string][]byte) {
	t.Helper()
	for n, b := range m {
		writeFile(t, filepath.Join(dir, n), b)
	}
}

// limitFileSize makes writes beyond n bytes fail with EFBIG, the one way to
// get a real short write without a file system of our own; it returns the
// undo. SIGXFSZ is ignored by the Go runtime's default handling of it.
func limitFileSize(t *testing.T, n uint64) func() {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
}
