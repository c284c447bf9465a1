package mirror

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/tiles"
)

func must[T any](v T, err error) T { return logtest.Must(v, err) }

func newLog() *logtest.Log {
	return logtest.New(logtest.NewParties().Policy)
}

func open(tb testing.TB, dir string, l *logtest.Log) *Mirror {
	tb.Helper()
	m, err := Open(dir, must(verify.ParseTrust(l.TrustText())))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.Store.Close() })
	return m
}

// entries are those from..to of a log as the board sends them.
func entries(l *logtest.Log, from, to uint64) *message.Entries {
	return &message.Entries{Start: from, Total: l.Size(), Entries: l.Entries[from:to]}
}

func isEvidence(err error, kind string) bool {
	var ev *Evidence
	return errors.As(err, &ev) && ev.Kind == kind && !ev.Hearsay
}

func isHearsay(err error, kind string) bool {
	var ev *Evidence
	return errors.As(err, &ev) && ev.Kind == kind && ev.Hearsay
}

// add gives the mirror entries and returns only the error.
func add(m *Mirror, e *message.Entries) error {
	_, err := m.Add(e)
	return err
}

// TestAnyDelivery: entries in any pieces, repeated and overlapping, and
// checkpoints early or late: the mirror ends as the log, and reopens as it.
func TestAnyDelivery(t *testing.T) {
	l := newLog()
	notes := [][]byte{l.Note}
	for i := range 9 {
		l.Filler(logtest.Noon)
		if i%3 == 0 {
			l.Commit()
			notes = append(notes, l.Note)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir := must(os.MkdirTemp(t.TempDir(), ""))
		m := open(t, dir, l)
		for m.Size() < l.Size() {
			from := rapid.Uint64Range(0, m.Size()).Draw(rt, "from")
			to := rapid.Uint64Range(from+1, l.Size()).Draw(rt, "to")
			if err := add(m, entries(l, from, to)); err != nil {
				rt.Fatal(err)
			}
			if err := m.Advance(rapid.SampledFrom(notes).Draw(rt, "note")); err != nil {
				rt.Fatal(err)
			}
		}
		if err := m.Advance(l.Note); err != nil {
			rt.Fatal(err)
		}
		size, root, err := m.Head()
		cp, note := m.Checkpoint()
		if err != nil || size != l.Size() || root != l.Root(size) || cp.Size != m.Committed() || !bytes.Equal(note, l.Note) {
			rt.Fatalf("size %d, checkpoint %d, %v", size, m.Committed(), err)
		}
		if err := errors.Join(durable.WriteFile(filepath.Join(dir, checkpointFile), note, 0o600), m.Store.Close()); err != nil {
			rt.Fatal(err)
		}
		if again := open(t, dir, l); again.Size() != l.Size() || again.Committed() != cp.Size || again.Policy() == nil {
			rt.Fatal("reopened otherwise")
		}
	})
}

// TestNothingWrongIsStored: what is refused leaves the mirror as it was.
func TestNothingWrongIsStored(t *testing.T) {
	l, other := newLog(), newLog()
	l.Filler(logtest.Noon)
	l.Filler(logtest.Noon)
	m := open(t, t.TempDir(), l)
	refuse := func(name string, e *message.Entries, is func(error) bool) {
		t.Helper()
		before := m.Size()
		if err := add(m, e); err == nil || !is(err) {
			t.Errorf("%s: %v", name, err)
		}
		if m.Size() != before {
			t.Errorf("%s: stored", name)
		}
	}
	plain := func(err error) bool { var ev *Evidence; return !errors.As(err, &ev) }
	refuse("a gap", entries(l, 1, 2), func(err error) bool { return errors.Is(err, ErrGap) })
	refuse("another genesis", entries(other, 0, 1), func(err error) bool { return isHearsay(err, "other-log") })
	refuse("an attest in the place of genesis", &message.Entries{Total: 1, Entries: l.Entries[1:2]}, plain)
	refuse("good ones with a bad one", &message.Entries{Total: 3, Entries: [][]byte{l.Entries[0], l.Entries[1], []byte("touchmark/entry/v9\n")}}, plain)
	if err := add(m, entries(l, 0, 2)); err != nil {
		t.Fatal(err)
	}
	refuse("an index that lies", &message.Entries{Start: 2, Total: 3, Entries: l.Entries[1:2]}, plain)
	l.Entries = l.Entries[:2]
	l.Commit()
	if err := m.Advance(l.Note); err != nil || m.Committed() != 2 {
		t.Fatal(err)
	}
	other.Entries = append([][]byte{l.Entries[0]}, other.Entries[1:]...)
	other.Filler(logtest.Noon.Add(time.Second))
	refuse("another entry in a proven place", entries(other, 1, 2), func(err error) bool { return isHearsay(err, "entry-differs") })
}

func TestCheckpoints(t *testing.T) {
	l := newLog()
	m := open(t, t.TempDir(), l)
	first := l.Note
	l.Filler(logtest.Noon)
	l.Commit()
	if err := m.Advance(l.Note); err != nil || m.Committed() != 0 {
		t.Fatalf("a checkpoint before its entries: %d, %v", m.Committed(), err)
	}
	if err := errors.Join(add(m, entries(l, 0, 1)), add(m, entries(l, 1, 2))); err != nil || m.Committed() != 2 {
		t.Fatalf("then its entries: %d, %v", m.Committed(), err)
	}
	if err := m.Advance(first); err != nil || m.Committed() != 2 {
		t.Fatalf("an old one again: %d, %v", m.Committed(), err)
	}
	if err := m.Advance(newLog().Note); err == nil {
		t.Fatal("another log's checkpoint is taken")
	}
	flipped := bytes.Clone(l.Note)
	flipped[len(flipped)-20] ^= 1
	if err := m.Advance(flipped); err == nil {
		t.Fatal("a changed checkpoint is taken")
	}
	l.Entries = l.Entries[:1]
	l.Filler(logtest.Noon.Add(time.Second))
	l.Commit()
	if err := m.Advance(l.Note); !isEvidence(err, "checkpoint-differs") {
		t.Fatalf("a second log of the same size: %v", err)
	}
	l.Filler(logtest.Noon.Add(time.Second))
	l.Commit()
	longer := l.Note
	if err := m.Advance(longer); err != nil {
		t.Fatalf("a longer one, not shown yet: %v", err)
	}
	if err := add(m, entries(l, 2, 3)); !isHearsay(err, "entries-differ") || m.Size() != 2 {
		t.Fatalf("entries that do not lead to it: %v, %d", err, m.Size())
	}
	if err := add(m, entries(l, 1, 3)); !isHearsay(err, "entry-differs") {
		t.Fatalf("entries that contradict the proven ones: %v", err)
	}
}

// TestExplains: HEAD may be where the checkpoint left it or one commit of the
// mirrored entries further, and nowhere else.
func TestExplains(t *testing.T) {
	l := newLog()
	m := open(t, t.TempDir(), l)
	if must(m.Explains(l.TPM.Head)) {
		t.Error("explained without any checkpoint")
	}
	l.Filler(logtest.Noon)
	l.Filler(logtest.Noon)
	if err := errors.Join(add(m, entries(l, 0, 3)), m.Advance(l.Note)); err != nil {
		t.Fatal(err)
	}
	if !must(m.Explains(l.TPM.Head)) {
		t.Error("the checkpoint's own HEAD is not explained")
	}
	l.Extend()
	if !must(m.Explains(l.TPM.Head)) {
		t.Error("the commit under way is not explained")
	}
	l.TPM.ExtendHead([32]byte{1})
	if must(m.Explains(l.TPM.Head)) {
		t.Error("anything is explained")
	}
}

func TestTraces(t *testing.T) {
	l := newLog()
	m := open(t, t.TempDir(), l)
	job := message.Approval{Origin: logtest.Origin, Class: "c", NotAfter: logtest.Noon, Items: []message.Item{{
		Format: "openpgp-binary", Digest: message.Digest{Alg: message.SHA256, Sum: make([]byte, 32)}, Size: 1, Name: "a"}}}
	n := must(message.SignNote(job.Marshal()))
	id := message.JobOf(job.Marshal())
	in := &ledger.Intent{Sequence: 1, Key: l.Key.Fingerprint(), Job: id, Approval: n, Submission: n, SignDigests: []message.Digest{job.Items[0].Digest}}
	if err := m.Watch(0, id); err != nil {
		t.Fatal(err)
	}
	tr := m.Trace(id)
	l.Append(in)
	l.Append(&ledger.Outcome{Intent: 1, Job: id, Items: []ledger.ItemResult{{State: ledger.Denied}}})
	l.Append(&ledger.Outcome{Intent: 1, Job: id, Items: []ledger.ItemResult{{State: ledger.Unknown}}})
	if err := add(m, entries(l, 0, 4)); err != nil {
		t.Fatal(err)
	}
	if tr.Intent == nil || tr.Index != 1 || tr.Outcome == nil || tr.Outcome.Items[0].State != ledger.Denied || m.Trace(id) != tr {
		t.Fatalf("trace %+v", tr)
	}
	l.Append(in)
	if err := add(m, entries(l, 4, 5)); err != nil || tr.Index != 1 {
		t.Fatalf("hearsay of a second intent: %v", err)
	}
	if err := m.Drop(); err != nil || tr.Intent != nil || tr.Outcome != nil {
		t.Fatalf("hearsay remembered: %+v, %v", tr, err)
	}
	if err := add(m, entries(l, 0, 3)); err != nil || tr.Intent == nil || tr.Outcome == nil {
		t.Fatalf("not noticed again: %+v, %v", tr, err)
	}
	l.Commit()
	if err := errors.Join(add(m, entries(l, 3, 5))); err != nil {
		t.Fatal(err)
	}
	if err := m.Advance(l.Note); !isEvidence(err, "job-twice") {
		t.Fatalf("a second proven intent for one job: %v", err)
	}
	again := open(t, reopened(t, m), l)
	if err := again.Watch(1, id); err != nil || again.Trace(id).Index != 1 || again.Trace(id).OutcomeIndex != 2 {
		t.Fatalf("after a restart: %+v, %v", again.Trace(id), err)
	}
	m.Forget(id)
	if m.Trace(id) != nil {
		t.Fatal("not forgotten")
	}
}

// reopened closes a mirror and gives its state directory.
func reopened(t *testing.T, m *Mirror) string {
	t.Helper()
	if err := m.Store.Close(); err != nil {
		t.Fatal(err)
	}
	return m.dir
}

// TestForger lets somebody on the cable mix entries and repeat old checkpoints as it likes: when it is quiet again, one
// fetch from the proven size brings the mirror to the true log, and nothing that it did is evidence.
func TestForger(t *testing.T) {
	l := newLog()
	notes, sizes := [][]byte{l.Note}, []uint64{1}
	for i := range 12 {
		l.Filler(logtest.Noon)
		if i%4 == 3 {
			l.Commit()
			notes, sizes = append(notes, l.Note), append(sizes, l.Size())
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := open(t, must(os.MkdirTemp(t.TempDir(), "")), l)
		forged := &logtest.Log{TPM: l.TPM, Entries: [][]byte{l.Entries[0]}}
		for range 12 {
			forged.Filler(logtest.Noon.Add(time.Second))
		}
		proven := uint64(0)
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			from := rapid.Uint64Range(0, min(m.Size(), l.Size()-1)).Draw(rt, "from")
			to := rapid.Uint64Range(from+1, l.Size()).Draw(rt, "to")
			var err error
			switch rapid.SampledFrom([]string{"true", "false", "checkpoint"}).Draw(rt, "what") {
			case "true":
				err = add(m, entries(l, from, to))
			case "false":
				err = add(m, entries(forged, from, to))
			default:
				err = m.Advance(rapid.SampledFrom(notes).Draw(rt, "note"))
			}
			var ev *Evidence
			if errors.As(err, &ev) && !ev.Hearsay {
				rt.Fatalf("evidence made by a forger: %v", err)
			}
			if m.Committed() < proven {
				rt.Fatalf("%d entries were proven, now %d", proven, m.Committed())
			}
			proven = m.Committed()
			for i := range proven {
				if !bytes.Equal(must(m.Store.Entry(i)), l.Entries[i]) {
					rt.Fatalf("entry %d of %d proven ones is false", i, proven)
				}
			}
		}
		if err := errors.Join(m.Drop(), add(m, entries(l, m.Committed(), l.Size()))); err != nil {
			rt.Fatal(err)
		}
		if err := m.Advance(notes[len(notes)-1]); err != nil || m.Committed() != sizes[len(sizes)-1] {
			rt.Fatalf("not healed: %d proven, %v", m.Committed(), err)
		}
	})
}

// TestHearsayIsBounded: what no checkpoint covers cannot fill the disk.
func TestHearsayIsBounded(t *testing.T) {
	l := newLog()
	m := open(t, t.TempDir(), l)
	if err := errors.Join(add(m, entries(l, 0, 1)), m.Advance(l.Note)); err != nil {
		t.Fatal(err)
	}
	for range maxPending + 1 {
		l.Filler(logtest.Noon)
	}
	if err := add(m, entries(l, 1, 1+maxPending)); err != nil {
		t.Fatal(err)
	}
	if err := add(m, entries(l, 1+maxPending, 2+maxPending)); !errors.Is(err, ErrTooMany) || m.Size() != 1 {
		t.Fatalf("%d entries, %v", m.Size(), err)
	}
	l.Entries = l.Entries[:2+maxPending]
	l.Commit()
	if err := errors.Join(m.Advance(l.Note), add(m, entries(l, 1, 2+maxPending))); err != nil || m.Committed() != 2+maxPending {
		t.Fatalf("what a checkpoint covers is bounded too: %d, %v", m.Committed(), err)
	}
}

func TestHearsayIsKeptOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		if err := Hearsay("kind", map[string][]byte{"board": {byte(i)}}, "text").Save(dir, logtest.Noon.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if line, err := LoadEvidence(dir); line != "" || err != nil {
		t.Fatalf("hearsay stops the daemon: %q, %v", line, err)
	}
	if files := must(os.ReadDir(dir)); len(files) != 1 {
		t.Fatalf("%d files for one kind of hearsay", len(files))
	}
}

func TestOtherTrust(t *testing.T) {
	dir, l := t.TempDir(), newLog()
	m := open(t, dir, l)
	if err := errors.Join(add(m, entries(l, 0, 1)), m.Store.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, must(verify.ParseTrust(newLog().TrustText()))); err == nil || !strings.Contains(err.Error(), "another log") {
		t.Fatalf("opened with another trust: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, checkpointFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, must(verify.ParseTrust(l.TrustText()))); err == nil || !strings.Contains(err.Error(), "checkpoint of the mirror") {
		t.Fatalf("opened with a nonsense checkpoint: %v", err)
	}
}

func TestEvidenceIsKept(t *testing.T) {
	dir := t.TempDir()
	if line, err := LoadEvidence(dir); line != "" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	for i, text := range []string{"the first", "the second"} {
		ev := Contradiction("kind", map[string][]byte{"board": []byte(text)}, "%s", text)
		if err := ev.Save(dir, logtest.Noon.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if line, err := LoadEvidence(dir); line != "the first" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if found := must(filepath.Glob(filepath.Join(dir, "evidence-*-kind-board"))); len(found) != 2 {
		t.Fatalf("kept %v", found)
	}
}

// TestPublisher: the last wish is on disk when Flush or Close return; a
// directory that cannot be written is an error until it can.
func TestPublisher(t *testing.T) {
	l := newLog()
	state := t.TempDir()
	m := open(t, state, l)
	if err := errors.Join(add(m, entries(l, 0, 1)), m.Advance(l.Note)); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(state, "public")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // in the way
		t.Fatal(err)
	}
	p := NewPublisher(state, dir, m.Store, zerolog.Nop())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run() }()
	if err := p.Flush(); err != nil {
		t.Fatalf("nothing wanted: %v", err)
	}
	p.Want(l.Note, 1)
	if err := p.Flush(); err == nil || p.Published() != 0 {
		t.Fatal("published into a file")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	p.Want(l.Note, 1)
	if err := p.Flush(); err != nil || p.Published() != 1 {
		t.Fatalf("published %d, %v", p.Published(), err)
	}
	l.Filler(logtest.Noon)
	l.Commit()
	if err := errors.Join(add(m, entries(l, 1, 2)), m.Advance(l.Note)); err != nil {
		t.Fatal(err)
	}
	p.Want(l.Note, 2)
	p.Close()
	<-ended
	published := must(tiles.Open(dir))
	if !bytes.Equal(must(published.Checkpoint()), l.Note) || p.Published() != 2 {
		t.Fatal("closed before the last edition")
	}
}

// TestPublisherUnasked: an edition appears though nobody waits for it.
func TestPublisherUnasked(t *testing.T) {
	l := newLog()
	state := t.TempDir()
	m := open(t, state, l)
	if err := errors.Join(add(m, entries(l, 0, 1)), m.Advance(l.Note)); err != nil {
		t.Fatal(err)
	}
	p := NewPublisher(state, "", m.Store, zerolog.Nop())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run() }()
	p.Want(l.Note, 1)
	p.mu.Lock()
	for p.written == 0 {
		p.changed.Wait()
	}
	p.mu.Unlock()
	p.Close()
	<-ended
	if got := must(os.ReadFile(filepath.Join(state, checkpointFile))); !bytes.Equal(got, l.Note) {
		t.Fatal("another checkpoint kept")
	}
}
