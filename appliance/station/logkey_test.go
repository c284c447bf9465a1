package station

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/operator"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger/order"
)

type signer = note.Signer

// testKeys are the log keys of a board, by their public halves.
type testKeys struct {
	mu     sync.Mutex // guards what follows
	have   map[string]signer
	stuck  bool // Keep fails
	inUse  string
	thrown int
}

func (k *testKeys) Origin() string { return origin }

func (k *testKeys) Find(public string) (note.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.have[public]; ok {
		return s, nil
	}
	return nil, errors.New("no such key here")
}

func (k *testKeys) Keep(public string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stuck {
		return errors.New("read-only file system")
	}
	if k.inUse == public {
		return nil
	}
	if k.inUse != "" {
		delete(k.have, k.inUse)
		k.thrown++
	}
	k.inUse = public
	return nil
}

// next makes the log key that is to come.
func (k *testKeys) next(t *testing.T) string {
	t.Helper()
	s, public := newSigner(t, origin)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.have[public] = s
	return public
}

func (k *testKeys) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.have)
}

// signedBy tells whether the newest checkpoint is by this log key.
func (b *board) signedBy(checkpoint []byte, public string) bool {
	only := *b.trust
	only.LogKey, only.OldLogKeys = public, nil
	_, err := only.OpenCheckpoint(checkpoint)
	return err == nil
}

// rotated is a board that signed, and whose administrators order another log key.
func rotated(t *testing.T) (b *board, old, next string, note []byte) {
	b = obedient(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	old, next = b.trust.LogKey, b.keys.next(t)
	return b, old, next, b.order(&order.Key{LogKey: next})
}

// follows makes the host's trust that of the new key.
func (b *board) follows(next string) {
	b.trust = &anchor.Trust{
		Origin: b.trust.Origin, Version: 2, LogKey: next, OldLogKeys: []string{b.trust.LogKey}, AK: b.trust.AK,
		Head: b.trust.Head, HeadName: b.trust.HeadName, PCR: b.trust.PCR, Genesis: b.trust.Genesis, Emulated: b.trust.Emulated, Certs: b.trust.Certs,
	}
}

// From the commit of the order on the new key signs; the old one is gone.
func TestLogKeyIsReplaced(t *testing.T) {
	b, old, next, note := rotated(t)
	if !b.signedBy(b.connect().Checkpoint, old) {
		t.Fatal("the board does not sign with its log key")
	}
	b.obeys(note)
	if w := b.connect(); !b.signedBy(w.Checkpoint, next) || b.signedBy(w.Checkpoint, old) {
		t.Error("the checkpoint of the order's commit is not by the new log key")
	}
	if _, err := b.keys.Find(old); err == nil || b.keys.count() != 1 {
		t.Error("the old private key stayed")
	}
	b.follows(next)
	b.signs("b.db", "content")
	b.kill()
	b.start()
	if w := b.connect(); !b.signedBy(w.Checkpoint, next) {
		t.Error("after a restart another key signs")
	}
	b.signs("c.db", "content")
	b.replays()
}

// A key that the board has not is none that it can be ordered to use; one that is in force is no new one.
func TestLogKeyRefused(t *testing.T) {
	b, old, next, note := rotated(t)
	_, strange := newSigner(t, origin)
	for _, c := range []struct {
		note []byte
		want string
	}{
		{b.order(&order.Key{LogKey: strange}), "must sign too; this board cannot sign it with that key"},
		{b.order(&order.Key{LogKey: old}), "in force"},
	} {
		b.bring(c.note)
		if v := b.serve("order-dropped"); !strings.Contains(v.Message, c.want) {
			t.Errorf("%q, want %q", v.Message, c.want)
		}
	}
	id := b.bring(note) // shown, and then the key is lost
	b.ordered(id)
	b.keys.mu.Lock()
	lost := b.keys.have[next]
	delete(b.keys.have, next)
	b.keys.mu.Unlock()
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.serve("order-dropped")
	b.keys.mu.Lock()
	b.keys.have[next] = lost
	b.keys.mu.Unlock()
	b.signs("b.db", "content")
	b.obeys(note)
	b.replays()
}

// Wherever the board dies, the log says which key signs, and the old one is removed when it may be.
func TestLogKeyCrashes(t *testing.T) {
	for _, c := range []string{"NV_Extend before", "NV_Extend after", "PCR_Extend before", "PCR_Extend after", "NV_Certify before", "Quote after"} {
		t.Run(c, func(t *testing.T) {
			b, old, next, note := rotated(t)
			id := b.bring(note)
			b.ordered(id)
			command, kind, _ := strings.Cut(c, " ")
			b.keys.mu.Lock()
			b.keys.stuck = true // the disk, too
			b.keys.mu.Unlock()
			b.tpm.fail(command, kind)
			b.command(operator.Command{Verb: operator.Arm, Job: id})
			took := b.serve("order-done", "order-dropped").Event == "order-done"
			if took == (c == "NV_Extend before") {
				t.Fatalf("in force: %v", took)
			}
			b.kill()
			if b.keys.count() != 2 {
				t.Fatal("a key is gone that may be needed")
			}
			b.keys.stuck = false
			b.start()
			inForce := old
			if took {
				inForce = next
				b.follows(next)
			}
			if w := b.connect(); !b.signedBy(w.Checkpoint, inForce) {
				t.Error("another log key signs than the log says")
			}
			if !took { // it is on the stick still
				b.ordered(id)
				b.command(operator.Command{Verb: operator.Deny, Job: id})
				b.serve("order-dropped")
			}
			if _, err := b.keys.Find(inForce); err != nil {
				t.Error("the key in force is gone")
			}
			b.signs("b.db", "content")
			if _, err := b.keys.Find(old); took && err == nil {
				t.Error("the key that was replaced stayed")
			}
			b.replays()
		})
	}
}

// A disk that lost the private key of the log's halts the board, which says so.
func TestLogKeyLost(t *testing.T) {
	b, _, next, note := rotated(t)
	b.obeys(note)
	b.kill()
	lost := b.keys.have[next]
	b.keys.have, b.keys.inUse = map[string]signer{}, ""
	b.start()
	b.view("a halt", func(v operator.View) bool { return strings.Contains(v.Halted, "log-key-wrong") })
	b.kill()
	b.keys.have[next] = lost
	b.start()
	b.follows(next)
	b.connect()
	b.signs("b.db", "content")
}

// A board whose log key was replaced, and whose log is lost afterwards, takes the log back
// from a mirror: what is left of it names the first key, which is gone for ever.
func TestLogLostBehindAnotherLogKey(t *testing.T) {
	b, old, next, note := rotated(t)
	b.obeys(note)
	b.follows(next)
	b.signs("a.db", "content")
	b.kill()
	if _, err := b.keys.Find(old); err == nil {
		t.Fatal("the first log key is still there")
	}
	b.lose()
	b.start()
	v := b.view("a halt", func(v operator.View) bool { return v.Halt != "" })
	if v.Halt != string(recovery.HeadUnknown) {
		t.Fatal(v.Halted)
	}
	b.kill()
	b.start()
	b.heals()
	b.connect()
	b.signs("b.db", "content")
}
