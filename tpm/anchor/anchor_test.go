package anchor

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

const origin = "touchmark.example/demo"

// world is a small log with a TPM and the keys to speak for it.
type world struct {
	t      testing.TB
	tpm    *quotetest.TPM
	logKey note.Signer
	trust  Trust
}

func newWorld(t testing.TB) *world {
	t.Helper()
	tpm := quotetest.New()
	signer, vkey := noteKey(t, origin, 1)
	_, admin := noteKey(t, "admin1", 2)
	return &world{t: t, tpm: tpm, logKey: signer, trust: Trust{
		Origin: origin, Version: 1, LogKey: vkey, Quorum: 1, Administrators: []string{admin}, AK: tpm.Public(), Head: tpm.HeadIndex, HeadName: tpm.HeadName(),
		PCR: tpm.PCRIndex, Genesis: [32]byte{3}, Certs: [][]byte{[]byte("cert")}, Emulated: true,
	}}
}

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

// commit extends HEAD by a checkpoint body and returns its note.
func (w *world) commit(size uint64, root [32]byte) []byte {
	w.t.Helper()
	body := ledger.CheckpointBody(origin, size, root)
	x, prev := ledger.X(body), w.tpm.Head
	w.tpm.ExtendHead(x)
	w.tpm.ExtendPCR(x)
	msg, _, err := SignCheckpoint(body, w.logKey, w.trust, prev, w.tpm.CertifyHead(quote.CertifyTag(x)))
	if err != nil {
		w.t.Fatal(err)
	}
	return msg
}

func TestCheckpoint(t *testing.T) {
	w := newWorld(t)
	first := w.commit(1, [32]byte{1})
	prev := w.tpm.Head
	msg := w.commit(5, [32]byte{2})
	cp, err := w.trust.OpenCheckpoint(msg)
	if err != nil {
		t.Fatal(err)
	}
	if cp.Size != 5 || cp.Root != [32]byte{2} || cp.HeadPrev != prev || cp.Head != w.tpm.Head || cp.Head != Extend(prev, cp.X) {
		t.Errorf("%+v", cp)
	}
	if cp, err := w.trust.OpenCheckpoint(first); err != nil || cp.HeadPrev != [32]byte{} {
		t.Errorf("first checkpoint: %+v, %v", cp, err)
	}
}

// The key hash and the line are what docs/spec/anchor.md says, computed here
// from the specification alone.
func TestTPMLineBytes(t *testing.T) {
	w := newWorld(t)
	msg := string(w.commit(1, [32]byte{1}))
	lines := strings.Split(strings.TrimSuffix(msg, "\n"), "\n")
	if len(lines) != 6 || lines[3] != "" {
		t.Fatalf("%q", lines)
	}
	b64, ok := strings.CutPrefix(lines[5], "\u2014 "+origin+" ")
	raw, err := base64.StdEncoding.DecodeString(b64)
	if !ok || err != nil {
		t.Fatal(lines[5], err)
	}
	want := sha256.New()
	want.Write([]byte(origin + "\n\xfftouchmark-nv-certify-v1"))
	want.Write(w.tpm.Public())
	want.Write(w.tpm.HeadName())
	if !bytes.Equal(raw[:4], want.Sum(nil)[:4]) {
		t.Errorf("key hash %x", raw[:4])
	}
	if !bytes.Equal(raw[4:36], make([]byte, 32)) {
		t.Errorf("previous HEAD %x", raw[4:36])
	}
	n := int(binary.BigEndian.Uint16(raw[36:]))
	if string(raw[38:42]) != "\xffTCG" || binary.BigEndian.Uint16(raw[38+n:]) != 0x18 {
		t.Errorf("attestation %x", raw[36:])
	}
}

func TestEveryBitOfACheckpointMatters(t *testing.T) {
	w := newWorld(t)
	msg := w.commit(3, [32]byte{1})
	good, err := w.trust.OpenCheckpoint(msg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range msg {
		for bit := range 8 {
			mutant := bytes.Clone(msg)
			mutant[i] ^= 1 << bit
			if cp, err := w.trust.OpenCheckpoint(mutant); err == nil {
				t.Fatalf("byte %d bit %d: accepted as %+v, was %+v", i, bit, cp, good)
			}
		}
	}
}

func TestCheckpointRefused(t *testing.T) {
	w := newWorld(t)
	body := ledger.CheckpointBody(origin, 1, [32]byte{1})
	x := ledger.X(body)
	w.tpm.ExtendHead(x)
	a := w.tpm.CertifyHead(quote.CertifyTag(x))
	ak := w.tpm.AK()
	tpmLine := TPMLine(origin, ak, w.trust.HeadName, [32]byte{}, a)
	otherTPM := newWorld(t)
	foreign := TPMLine(origin, otherTPM.tpm.AK(), w.trust.HeadName, [32]byte{}, a)
	sign := func(body []byte, s ...note.Signer) []byte {
		msg, err := message.SignNote(body, s...)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	zero := ledger.CheckpointBody(origin, 0, ledger.EmptyRoot())
	extended := append(bytes.Clone(body), "extension\n"...)
	otherBody := ledger.CheckpointBody("other.example", 1, [32]byte{1})
	for name, msg := range map[string][]byte{
		"log key alone":      sign(body, w.logKey),
		"TPM alone":          sign(body, tpmLine),
		"no signature":       sign(body),
		"wrong order":        sign(body, tpmLine, w.logKey),
		"foreign AK":         sign(body, w.logKey, foreign),
		"other size":         sign(ledger.CheckpointBody(origin, 2, [32]byte{1}), w.logKey, tpmLine),
		"wrong previous":     sign(body, w.logKey, TPMLine(origin, ak, w.trust.HeadName, [32]byte{9}, a)),
		"hello tag":          sign(body, w.logKey, TPMLine(origin, ak, w.trust.HeadName, [32]byte{}, w.tpm.CertifyHead(quote.HelloTag(x[:])))),
		"quote for certify":  sign(body, w.logKey, TPMLine(origin, ak, w.trust.HeadName, [32]byte{}, w.tpm.QuotePCR(quote.CertifyTag(x)))),
		"empty attestation":  sign(body, w.logKey, TPMLine(origin, ak, w.trust.HeadName, [32]byte{}, quote.Attestation{})),
		"extension line":     sealed(w, extended),
		"other origin":       sealed(w, otherBody),
		"size 0":             sealed(w, zero),
		"huge":               make([]byte, ledger.MaxCheckpoint+1),
		"nothing":            nil,
		"surplus text after": append(sign(body, w.logKey, tpmLine), "x\n"...),
	} {
		if cp, err := w.trust.OpenCheckpoint(msg); err == nil {
			t.Errorf("%s: accepted as %+v", name, cp)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the reason is more than a line: %q", name, err)
		}
	}
	if _, _, err := SignCheckpoint(body, w.logKey, w.trust, [32]byte{8}, a); err == nil {
		t.Error("a checkpoint that does not verify was signed")
	}
}

// sealed signs any body with everything else right.
func sealed(w *world, body []byte) []byte {
	tpm := *w.tpm
	x, prev := ledger.X(body), tpm.Head
	tpm.ExtendHead(x)
	line := TPMLine(origin, tpm.AK(), w.trust.HeadName, prev, tpm.CertifyHead(quote.CertifyTag(x)))
	msg, err := message.SignNote(body, w.logKey, line)
	if err != nil {
		w.t.Fatal(err)
	}
	return msg
}

func FuzzOpenCheckpoint(f *testing.F) {
	w := newWorld(f)
	f.Add(w.commit(1, [32]byte{1}))
	f.Add([]byte("a\n1\nx\n\n\u2014 a AAAAAAAA\n"))
	good := map[[32]byte]bool{}
	f.Fuzz(func(t *testing.T, msg []byte) {
		cp, err := w.trust.OpenCheckpoint(msg)
		if err != nil {
			return
		}
		good[cp.X] = true
		if len(good) > 1 {
			t.Fatal("a checkpoint nobody signed")
		}
	})
}

func intentEntry(t testing.TB, index uint64) []byte {
	t.Helper()
	e, err := ledger.Marshal(ledger.Header{Index: index, Time: time.Unix(1.8e9, 0)}, &ledger.Intent{
		Sequence: 1, Approval: []byte("a\n\n"), Submission: []byte("s\n\n"),
		SignDigests: []message.Digest{{Alg: message.SHA256, Sum: make([]byte, 32)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestProof(t *testing.T) {
	w := newWorld(t)
	other := []byte("some other leaf")
	intent := intentEntry(t, 1)
	var tree ledger.Tree
	tree.Add(ledger.LeafHash(other))
	tree.Add(ledger.LeafHash(intent))
	msg := w.commit(2, tree.Root())
	good := ledger.Proof{Origin: origin, Index: 1, Size: 2, Path: [][32]byte{ledger.LeafHash(other)}, Intent: intent, Checkpoint: msg}
	in, h, err := w.trust.VerifyProof(&good)
	if err != nil || in.Sequence != 1 || h.Index != 1 {
		t.Fatalf("%+v %+v %v", in, h, err)
	}
	unsigned, err := message.SignNote(ledger.CheckpointBody(origin, 2, tree.Root()), w.logKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func(p *ledger.Proof){
		"origin":        func(p *ledger.Proof) { p.Origin = "other.example" },
		"index":         func(p *ledger.Proof) { p.Index = 0 },
		"size":          func(p *ledger.Proof) { p.Size = 3 },
		"path":          func(p *ledger.Proof) { p.Path = [][32]byte{{1}} },
		"no path":       func(p *ledger.Proof) { p.Path = nil },
		"other intent":  func(p *ledger.Proof) { p.Intent = bytes.Replace(intent, []byte("sequence 1"), []byte("sequence 2"), 1) },
		"not an entry":  func(p *ledger.Proof) { p.Intent = other },
		"renumbered":    func(p *ledger.Proof) { p.Intent = intentEntry(t, 0) },
		"no TPM":        func(p *ledger.Proof) { p.Checkpoint = unsigned },
		"no checkpoint": func(p *ledger.Proof) { p.Checkpoint = nil },
	} {
		p := good
		harm(&p)
		if _, _, err := w.trust.VerifyProof(&p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTrustOf(t *testing.T) {
	g := &ledger.Genesis{Origin: origin, PCR: 14, Keys: []ledger.TokenKey{{Token: ledger.TokenInfo{Emulated: true}}}}
	tr := TrustOf([]byte("entry"), g)
	if tr.Genesis != ledger.LeafHash([]byte("entry")) || !tr.Emulated || tr.Origin != origin {
		t.Errorf("%+v", tr)
	}
}
