package message

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// ErrTooFew says that a note is good but for signatures that it still lacks.
var ErrTooFew = errors.New("not enough signatures yet")

// OpenQuorum verifies a note that a number of people must have signed: at
// least need of the keys known, every one of the keys in all, and nobody
// else. A key that stands in both counts as both. The error says how many
// signatures are missing, or whose.
func OpenQuorum(msg []byte, known []note.Verifier, need int, all ...note.Verifier) ([]byte, error) {
	keys := union(known, all)
	text, by, err := OpenNote(msg, keys)
	if err != nil {
		return nil, err
	}
	signed := func(v note.Verifier) bool {
		return slices.ContainsFunc(by, func(i int) bool { return sameKey(keys[i], v) })
	}
	for _, v := range all {
		if !signed(v) {
			return nil, fmt.Errorf("not signed by key %s, whose holder must sign too", keyID(v.Name(), v.KeyHash()))
		}
	}
	n := 0
	for _, v := range known {
		if signed(v) {
			n++
		}
	}
	if n < need {
		return nil, fmt.Errorf("%w: signed by %d administrators, %d are needed: collect more", ErrTooFew, n, need)
	}
	return text, nil
}

// NoteNames reports whether a note has a signature that claims to be by one of
// these keys. It verifies nothing: it says by which rule a note is to be judged.
func NoteNames(msg []byte, keys []note.Verifier) bool {
	_, sigs, err := splitNote(msg)
	return err == nil && slices.ContainsFunc(sigs, func(s noteSig) bool {
		return slices.ContainsFunc(keys, func(v note.Verifier) bool { return v.Name() == s.name && v.KeyHash() == s.hash })
	})
}

// union lists each key of both once. Two keys of one name and hash, which no
// honest people have, become one that both must have signed.
func union(a, b []note.Verifier) []note.Verifier {
	out := slices.Clone(a)
	for _, v := range b {
		if i := slices.IndexFunc(out, func(o note.Verifier) bool { return sameKey(o, v) }); i >= 0 {
			out[i] = both{out[i], v}
		} else {
			out = append(out, v)
		}
	}
	return out
}

func sameKey(a, b note.Verifier) bool { return a.Name() == b.Name() && a.KeyHash() == b.KeyHash() }

type both struct {
	note.Verifier
	other note.Verifier
}

func (b both) Verify(text, sig []byte) bool {
	return b.Verifier.Verify(text, sig) && b.other.Verify(text, sig)
}
