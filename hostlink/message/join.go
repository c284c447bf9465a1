package message

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
)

// JoinNotes is msg with the signatures of other, a note over the same text, by
// keys that have not signed msg. It verifies nothing, neither before nor after.
func JoinNotes(msg, other []byte) ([]byte, error) {
	text, have, err := splitNote(msg)
	if err != nil {
		return nil, err
	}
	otherText, more, err := splitNote(other)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(text, otherText) {
		return nil, noteErr(NoteMalformed, "", "the notes have different texts")
	}
	out := bytes.Clone(msg)
	for _, s := range more {
		if slices.ContainsFunc(have, func(h noteSig) bool { return h.id == s.id }) {
			continue
		}
		have = append(have, s)
		raw := append(binary.BigEndian.AppendUint32(nil, s.hash), s.sig...)
		out = fmt.Appendf(out, "%s%s %s\n", sigPrefix, s.name, base64.StdEncoding.EncodeToString(raw))
	}
	if len(out) > MaxMessage || len(have) > MaxSignatures {
		return nil, noteErr(NoteTooLarge, "", "together the notes have %d bytes and %d signatures, at most %d and %d", len(out), len(have), MaxMessage, MaxSignatures)
	}
	return out, nil
}
