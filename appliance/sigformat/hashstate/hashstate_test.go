package hashstate

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"touchmark/hostlink/message"
)

var algs = []message.Alg{message.SHA256, message.SHA384, message.SHA512}

func stateOf(alg message.Alg, data []byte) State {
	h := New(alg)
	h.Write(data)
	return h.State()
}

// Golden states, 2026-03: chaining values computed with an independent
// implementation of FIPS 180-4 for 64 (128) zero bytes followed by "abc".
var goldenStates = map[message.Alg]string{
	message.SHA256: "da5698be17b9b46962335799779fbeca8ce5d491c0d26243bafef9ea1837a9d8" + "0000000000000043" + "616263",
	message.SHA384: "443d3f698fb0cf2380a591795cd757ae4a9600972c39533598e763d795c489f7f765ea4b8193f748450e49ec00bc838c871cc1d60f1e68c5943bbf4c8ea94259" + "0000000000000083" + "616263",
	message.SHA512: "cf7881d5774acbe8533362e0fbc780700267639d87460eda3086cb40e85931b0717dc95288a023a396bab2c14ce0b5e06fc4fe04eae33e0b91f4d80cbd668bee" + "0000000000000083" + "616263",
}

func TestGoldenState(t *testing.T) {
	for _, alg := range algs {
		s := stateOf(alg, append(make([]byte, alg.BlockSize()), "abc"...))
		if got := hex.EncodeToString(s.Bytes()); got != goldenStates[alg] {
			t.Errorf("%s state:\n got %s\nwant %s", alg, got, goldenStates[alg])
		}
	}
}

// TestStateProperty: any data in any chunks; the state survives the wire and a
// hash continued from it equals the hash of everything.
func TestStateProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alg := rapid.SampledFrom(algs).Draw(t, "alg")
		data := rapid.SliceOfN(rapid.Byte(), 0, 700).Draw(t, "data")
		more := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "more")
		h := New(alg)
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
			h.Write(rest[:n])
			h.State() // looking must not disturb
			rest = rest[n:]
		}
		s, err := Parse(alg, h.State().Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if s != h.State() || s.Count() != uint64(len(data)) || s.Alg() != alg {
			t.Fatal("state changed on the wire")
		}
		run := s.Hash()
		run.Write(more)
		whole := alg.Hash().New()
		whole.Write(data)
		if !bytes.Equal(s.Digest(), whole.Sum(nil)) {
			t.Fatal("digest differs")
		}
		whole.Write(more)
		if !bytes.Equal(run.Sum(nil), whole.Sum(nil)) {
			t.Fatal("continued digest differs")
		}
	})
}

func TestStateRefused(t *testing.T) {
	for _, alg := range algs {
		l := layouts[alg]
		state := func(chain string, count uint64, tail int) []byte {
			return append(binary.BigEndian.AppendUint64([]byte(chain), count), make([]byte, tail)...)
		}
		other := "\x00" + l.iv[1:]
		block := uint64(l.block)
		bad := map[string]struct {
			b    []byte
			want Problem
		}{
			"empty":                     {nil, Length},
			"short":                     {state(l.iv, 0, 0)[1:], Length},
			"tail too long":             {state(l.iv, 3, 4), Tail},
			"tail too short":            {state(l.iv, 3, 2), Tail},
			"tail of a block":           {state(l.iv, block, l.block), Tail},
			"tail of many blocks":       {state(l.iv, 3, 3+100*l.block), Tail},
			"chosen iv, tiny":           {state(other, 0, 0), Initial},
			"chosen iv, one less":       {state(other, block-1, l.block-1), Initial},
			"count 2^61-4096":           {state(other, maxCount, 0), Count},
			"count max":                 {state(other, 1<<64-1, l.block-1), Count},
			"count before tail":         {state(l.iv, maxCount, 1), Count},
			"tail before initial value": {state(other, 3, 2), Tail},
		}
		for name, c := range bad {
			_, err := Parse(alg, c.b)
			var e *Error
			if !errors.As(err, &e) || e.Problem != c.want || e.Alg != alg || problemText[e.Problem] == "" {
				t.Errorf("%s: %s: %v, want %s", alg, name, err, c.want)
			}
		}
		for name, b := range map[string][]byte{
			"empty file":  state(l.iv, 0, 0),
			"first block": state(other, block, 0),
			"largest":     state(other, maxCount-1, l.block-1),
		} {
			if _, err := Parse(alg, b); err != nil {
				t.Errorf("%s: %s refused: %v", alg, name, err)
			}
		}
	}
	if (State{}).Digest() != nil || (State{}).Count() != 0 {
		t.Error("the zero State has a value")
	}
}

func FuzzParseState(f *testing.F) {
	f.Add(byte(0), stateOf(message.SHA256, []byte("abc")).Bytes())
	f.Add(byte(1), stateOf(message.SHA384, []byte("abc")).Bytes())
	f.Add(byte(2), stateOf(message.SHA512, make([]byte, 300)).Bytes())
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		alg := algs[int(which)%len(algs)]
		s, err := Parse(alg, b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Bytes(), b) {
			t.Fatal("parse → bytes is not the identity")
		}
		// A Hasher continued from the state must give the same state back.
		h := &Hasher{alg: alg, h: s.Hash()}
		if h.State() != s || len(s.Digest()) != alg.Size() {
			t.Fatal("the running hash is at another place")
		}
	})
}
