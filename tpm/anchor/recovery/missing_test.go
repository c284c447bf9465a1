package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

const origin = "touchmark.example/demo"

// noteKey is the note key of this name from a seed.
func noteKey(t testing.TB, name string, seed byte) (note.Signer, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 32)), name)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, vkey
}

// history is a log as an appliance writes it, with what disk and mirror keep.
type history struct {
	t         testing.TB
	tpm       *quotetest.TPM
	trust     anchor.Trust
	entries   [][]byte
	plans     []anchor.Plan
	committed uint64
	attested  map[int]uint64 // by number of entries: what the entries so far call committed
}

func newHistory(t testing.TB, base [32]byte) *history {
	t.Helper()
	tpm := quotetest.New()
	tpm.Head = base
	_, logKey := noteKey(t, origin, 1)
	h := &history{t: t, tpm: tpm, attested: map[int]uint64{}, trust: anchor.Trust{Origin: origin, AK: tpm.Public(), HeadName: tpm.HeadName()}}
	name := append([]byte{0, 0x0b}, make([]byte, 32)...)
	h.add(&ledger.Genesis{
		Origin: origin, LogKey: logKey, AK: tpm.Public(), Creation: tpm.Creation(make([]byte, 32)), Head: tpm.HeadIndex, HeadName: name, Base: base, PCR: 14,
		Keys: []ledger.TokenKey{{Name: "k", Slot: "9c", Family: "f", Algorithm: "a", SPKI: []byte{1},
			Token: ledger.TokenInfo{Firmware: "5.7.1"}, Attestation: ledger.TokenAttestation{Slot: []byte{1}, Intermediate: []byte{1}}, Cert: []byte{1}}},
		Policy: []byte("p\n"),
	})
	h.trust.Genesis = ledger.LeafHash(h.entries[0])
	h.commit(true)
	h.attest()
	h.boot()
	return h
}

func (h *history) add(body any) {
	h.t.Helper()
	e, err := ledger.Marshal(ledger.Header{Index: uint64(len(h.entries)), Time: time.Unix(1.8e9, 0)}, body)
	if err != nil {
		h.t.Fatal(err)
	}
	h.entries = append(h.entries, e)
	h.attested[len(h.entries)] = h.attested[len(h.entries)-1]
}

func (h *history) tree(n int) *ledger.Tree {
	var tree ledger.Tree
	for _, e := range h.entries[:n] {
		tree.Add(ledger.LeafHash(e))
	}
	return &tree
}

// commit plans one of all entries; HEAD takes it or not.
func (h *history) commit(taken bool) {
	size := uint64(len(h.entries))
	x := ledger.X(ledger.CheckpointBody(origin, size, h.tree(len(h.entries)).Root()))
	h.plans = append(h.plans, anchor.Plan{Size: size, X: x, Prev: h.tpm.Head})
	if taken {
		h.tpm.ExtendHead(x)
		h.tpm.ExtendPCR(x)
		h.committed = size
	}
}

func (h *history) attest() {
	h.add(&ledger.Attest{Size: h.committed, Certify: quote.Attestation{Attest: []byte{1}, Sig: []byte{1}}})
	h.attested[len(h.entries)] = h.committed
}

func (h *history) boot() {
	a := quote.Attestation{Attest: []byte{1}, Sig: []byte{1}}
	h.add(&ledger.Boot{Number: 1, Firmware: "1", Clock: ledger.ClockSystem, Committed: h.committed, Head: h.tpm.Head, PCR: h.tpm.PCR, Certify: a, Quote: a, Recovery: "clean"})
	h.attested[len(h.entries)] = h.committed
}

func (h *history) intent(taken bool) {
	h.add(&ledger.Intent{Sequence: 1, Approval: []byte("a\n\n"), Submission: []byte("s\n\n"), SignDigests: []message.Digest{{Alg: message.SHA256, Sum: make([]byte, 32)}}})
	h.commit(taken)
}

func (h *history) outcome() {
	h.add(&ledger.Outcome{Items: []ledger.ItemResult{{State: ledger.Unknown}}})
}

func (h *history) job() {
	h.intent(true)
	h.attest()
	h.outcome()
}

// resume commits a resume entry, HEAD being whatever it is.
func (h *history) resume() {
	admin, _ := noteKey(h.t, "admin1", 2)
	msg, err := message.SignNote([]byte("an order\n"), []note.Signer{admin}...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.add(&ledger.Order{Action: ledger.KindResume, Note: msg, Certify: h.tpm.CertifyHead(quote.ResumeTag(X("an order\n")))})
	h.commit(true)
	h.boot()
}

// X is SHA-256 of a string.
func X(s string) [32]byte { return ledger.X([]byte(s)) }

// disk is what a board sees that has the first n entries only.
func (h *history) disk(n int) Observed {
	o := Observed{Head: h.tpm.Head, PCR: h.tpm.PCR, Attested: h.attested[n], Size: uint64(n), Mirror: uint64(len(h.entries))}
	for _, p := range h.plans {
		if p.Size <= uint64(n) {
			o.Plans = append(o.Plans, p)
		}
	}
	if n > 0 && len(h.plans) > 0 {
		o.Since.Head = h.plans[0].Prev
	}
	return o
}

// follow gives a disk of n entries what a mirror has from there to m.
func (h *history) follow(n, m int) (*Missing, error) {
	miss, err := NewMissing(&h.trust, h.disk(n), h.tree(n))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range h.entries[n:m] {
		if err := miss.Add(e); err != nil {
			return miss, err
		}
	}
	return miss, nil
}

// A disk that lost any end of a log gets it back from a mirror, if and only if
// the mirror reaches as far as HEAD.
func TestMissingEveryEnd(t *testing.T) {
	for name, write := range map[string]func(h *history){
		"jobs":                   func(h *history) { h.job(); h.job(); h.job() },
		"the newest not named":   func(h *history) { h.job(); h.intent(true) },
		"one that was not taken": func(h *history) { h.job(); h.intent(false); h.outcome(); h.job() },
		"several not taken":      func(h *history) { h.intent(false); h.outcome(); h.intent(false); h.outcome(); h.intent(true) },
		"not taken at the end":   func(h *history) { h.job(); h.intent(false); h.outcome() },
		"named by a boot":        func(h *history) { h.intent(true); h.boot(); h.intent(true); h.outcome() },
		"resumed":                func(h *history) { h.job(); h.tpm.ExtendHead([32]byte{9}); h.resume(); h.job() },
	} {
		for _, base := range [][32]byte{{}, {7}} {
			t.Run(fmt.Sprint(name, base[0]), func(t *testing.T) {
				h := newHistory(t, base)
				write(h)
				for n := range h.entries {
					h.end(n)
				}
			})
		}
	}
}

// end cuts the disk after n entries.
func (h *history) end(n int) {
	h.t.Helper()
	known := uint64(n) >= h.committed
	for m := n; m <= len(h.entries); m++ {
		miss, err := h.follow(n, m)
		if err != nil {
			h.t.Fatalf("disk of %d, mirror of %d: %v", n, m, err)
		}
		size, plans, err := miss.Found(h.tpm.Head)
		if known || uint64(m) < h.committed {
			if err == nil {
				h.t.Fatalf("disk of %d, mirror of %d: found size %d", n, m, size)
			}
			continue
		}
		if err != nil || size != h.committed || plans[len(plans)-1].Head() != h.tpm.Head {
			h.t.Fatalf("disk of %d, mirror of %d: size %d, want %d, %v", n, m, size, h.committed, err)
		}
		for _, p := range plans {
			if p.Size <= uint64(n) || !slices.Contains(h.plans, p) {
				h.t.Fatalf("disk of %d: plan %+v is none that was made", n, p)
			}
		}
	}
}

func TestMissingForged(t *testing.T) {
	honest := func() *history { h := newHistory(t, [32]byte{}); h.job(); h.job(); return h }
	for name, forge := range map[string]func(h *history) [][]byte{
		"an entry altered": func(h *history) [][]byte {
			e := slices.Clone(h.entries)
			e[3] = bytes.Replace(e[3], []byte("sequence 1"), []byte("sequence 2"), 1)
			return e
		},
		"an entry left out": func(h *history) [][]byte { return slices.Delete(slices.Clone(h.entries), 5, 6) },
		"an entry twice":    func(h *history) [][]byte { return slices.Insert(slices.Clone(h.entries), 5, h.entries[5]) },
		"not an entry":      func(h *history) [][]byte { return append(h.entries[:5:5], []byte("x")) },
		"another genesis":   func(*history) [][]byte { return newHistory(t, [32]byte{9}).entries },
		"a size that was never committed": func(h *history) [][]byte {
			h.committed = 5
			h.attest()
			return h.entries
		},
		"a resume entry of another TPM": func(h *history) [][]byte {
			h.tpm = quotetest.New()
			h.resume()
			return h.entries
		},
		"another log's jobs": func(h *history) [][]byte {
			o := honest()
			o.entries[3] = bytes.Replace(o.entries[3], []byte("sequence 1"), []byte("sequence 9"), 1)
			return o.entries
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := honest()
			head := h.tpm.Head
			miss, err := NewMissing(&h.trust, Observed{}, new(ledger.Tree))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range forge(h) {
				if err = miss.Add(e); err != nil {
					break
				}
			}
			size, _, found := miss.Found(head)
			if err == nil && !errors.Is(found, ErrNotHead) {
				t.Errorf("found size %d", size)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
		})
	}
}

func TestMissingIsBounded(t *testing.T) {
	h := newHistory(t, [32]byte{})
	miss, err := NewMissing(&h.trust, Observed{}, new(ledger.Tree))
	if err != nil {
		t.Fatal(err)
	}
	for range maxOpen {
		if err := miss.append([32]byte{}, true, [32]byte{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := miss.append([32]byte{}, true, [32]byte{}); err == nil {
		t.Error("a mirror may make the board keep any number of commits")
	}
	if _, err := NewMissing(&h.trust, Observed{Attested: 5}, new(ledger.Tree)); err == nil {
		t.Error("a disk without the plan of its newest commit was accepted")
	}
}

// Whatever a mirror sends: no panic, and only what was committed is found.
func FuzzMissing(f *testing.F) {
	h := newHistory(f, [32]byte{})
	h.job()
	h.intent(false)
	h.outcome()
	h.job()
	var good []byte
	for _, e := range h.entries {
		good = append(append(good, byte(len(e)>>8), byte(len(e))), e...)
	}
	f.Add(good)
	f.Add([]byte("\x00\x00\x00\x02x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		miss, err := NewMissing(&h.trust, Observed{}, new(ledger.Tree))
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; len(b) >= 2 && err == nil; b = b[n:] {
			n = int(b[0])<<8 | int(b[1])
			b = b[2:]
			n = min(n, len(b))
			err = miss.Add(b[:n])
		}
		if size, _, err := miss.Found(h.tpm.Head); err == nil && size != h.committed {
			t.Fatalf("found size %d, HEAD took %d", size, h.committed)
		}
	})
}
