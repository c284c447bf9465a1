package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func TestCheckpointBody(t *testing.T) {
	body := CheckpointBody(testOrigin, 7, [32]byte{1})
	want := "touchmark.example/demo\n7\nAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	if string(body) != want {
		t.Fatalf("%q, want %q", body, want)
	}
	origin, size, root, err := ParseCheckpointBody(body)
	if err != nil || origin != testOrigin || size != 7 || root != [32]byte{1} {
		t.Errorf("%q %d %x %v", origin, size, root, err)
	}
	if X(body) != sha256.Sum256(body) {
		t.Error("X is not SHA-256")
	}
	tree, err := tlog.ParseTree([]byte(strings.Replace(want, testOrigin, "go.sum database tree", 1)))
	if err != nil || tree.N != 7 {
		t.Errorf("the body is not what tlog reads: %v", err)
	}
}

func TestCheckpointBodyRefused(t *testing.T) {
	root := strings.Repeat("A", 43) + "=\n"
	for _, text := range []string{
		"", "a.example\n7\n", "a.example\n7\n" + root + "extension\n", "a.example\n07\n" + root, "a.example\n-7\n" + root,
		"A b\n7\n" + root, "a.example\n7\n" + root + "\n", "a.example\n99999999999999999\n" + root,
		"a.example\n7\n" + strings.Repeat("A", 42) + "B=\n", "a.example\n7\nAAAA\n", "\n7\n" + root,
	} {
		if _, _, _, err := ParseCheckpointBody([]byte(text)); err == nil {
			t.Errorf("%q was parsed", text)
		}
	}
}

func FuzzCheckpointBody(f *testing.F) {
	f.Add(CheckpointBody(testOrigin, 7, [32]byte{1}))
	f.Add([]byte("a.example\n0\n" + strings.Repeat("A", 43) + "=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		origin, size, root, err := ParseCheckpointBody(text)
		if err == nil && !bytes.Equal(CheckpointBody(origin, size, root), text) {
			t.Errorf("second encoding %q", text)
		}
	})
}

func sampleProof() *Proof {
	return &Proof{Origin: testOrigin, Index: 3, Size: 9, Path: [][32]byte{{1}, {2}}, Intent: []byte("x\n"), Checkpoint: []byte("y\n")}
}

func TestProofIdentity(t *testing.T) {
	text, err := sampleProof().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseProof(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Marshal()
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
	bad := sampleProof()
	bad.Index = 9
	if _, err := bad.Marshal(); err == nil {
		t.Error("index 9 in a tree of 9 was marshalled")
	}
	if _, err := ParseProof(append(text, "more\n"...)); err == nil {
		t.Error("trailing bytes were accepted")
	}
	if _, err := ParseProof(make([]byte, MaxProof+1)); err == nil {
		t.Error("an endless proof was accepted")
	}
}

func FuzzProof(f *testing.F) {
	text, err := sampleProof().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProof(text)
		if err != nil {
			return
		}
		again, err := p.Marshal()
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("second encoding %q, %v", again, err)
		}
	})
}

// Tree and CheckInclusion agree with tlog's own tree at every size.
func TestTreeAgainstTlog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 70).Draw(t, "n")
		var tree Tree
		var stored []tlog.Hash
		read := tlog.HashReaderFunc(func(ix []int64) (out []tlog.Hash, err error) {
			for _, i := range ix {
				out = append(out, stored[i])
			}
			return out, nil
		})
		leaf := func(i int) [32]byte { return LeafHash(binary.BigEndian.AppendUint64(nil, uint64(i))) }
		for i := range n {
			hs, err := tlog.StoredHashesForRecordHash(int64(i), leaf(i), read)
			if err != nil {
				t.Fatal(err)
			}
			got := tree.Add(leaf(i))
			if len(got) != len(hs) || got[len(got)-1] != hs[len(hs)-1] {
				t.Fatalf("leaf %d: stored %x, want %x", i, got, hs)
			}
			stored = append(stored, hs...)
		}
		want, err := tlog.TreeHash(int64(n), read)
		if err != nil || tree.Root() != want || tree.Size() != uint64(n) {
			t.Fatalf("root %x, want %x, %v", tree.Root(), want, err)
		}
		if n == 0 {
			return
		}
		i := rapid.IntRange(0, n-1).Draw(t, "i")
		proof, err := tlog.ProveRecord(int64(n), int64(i), read)
		if err != nil {
			t.Fatal(err)
		}
		path := make([][32]byte, len(proof))
		for j := range proof {
			path[j] = proof[j]
		}
		if !CheckInclusion(path, uint64(i), uint64(n), leaf(i), want) {
			t.Fatal("a true path was refused")
		}
		if CheckInclusion(path, uint64(i), uint64(n), leaf(i+1), want) || CheckInclusion(path, uint64(i), uint64(i), leaf(i), want) {
			t.Fatal("a false path was accepted")
		}
	})
}
