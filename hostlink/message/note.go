package message

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// NoteProblem says what is wrong with a note, for callers that branch.
type NoteProblem string

// The ways a note can be refused.
const (
	NoteMalformed    NoteProblem = "malformed"     // not a signed note in its one encoding
	NoteTooLarge     NoteProblem = "too-large"     // more than MaxMessage bytes or MaxSignatures
	NoteUnknownKey   NoteProblem = "unknown-key"   // a signature by a key not asked for
	NoteDuplicate    NoteProblem = "duplicate"     // two signatures by one key
	NoteBadSignature NoteProblem = "bad-signature" // the key is known, the signature is not its own
	NoteAmbiguous    NoteProblem = "ambiguous"     // the caller's keys share a name and hash
)

// NoteError refuses a note.
type NoteError struct {
	Problem NoteProblem
	Key     string // "name+hash" of the signature concerned, "" if none
	Detail  string
}

func (e *NoteError) Error() string {
	if e.Key == "" {
		return "signed note: " + e.Detail
	}
	return fmt.Sprintf("signed note: key %s: %s", e.Key, e.Detail)
}

func noteErr(p NoteProblem, key, format string, a ...any) *NoteError {
	return &NoteError{Problem: p, Key: key, Detail: fmt.Sprintf(format, a...)}
}

// sigPrefix starts a signature line (C2SP signed-note): an em dash and a space.
const sigPrefix = "\u2014 "

// SignNote makes a C2SP signed note of text. Without signers the result is
// text and an empty line: an unsigned approval. It refuses a text that is not
// a note text and two signers with one key.
func SignNote(text []byte, signers ...note.Signer) ([]byte, error) {
	if err := checkNoteText(text); err != nil {
		return nil, err
	}
	return appendSignatures(append(bytes.Clone(text), '\n'), text, nil, signers)
}

// CosignNote adds signatures to a note. It does not verify those it has; it
// refuses a note that is malformed or already signed by one of the signers.
func CosignNote(msg []byte, signers ...note.Signer) ([]byte, error) {
	text, sigs, err := splitNote(msg)
	if err != nil {
		return nil, err
	}
	return appendSignatures(bytes.Clone(msg), text, sigs, signers)
}

func appendSignatures(msg, text []byte, have []noteSig, signers []note.Signer) ([]byte, error) {
	for _, s := range signers {
		id := keyID(s.Name(), s.KeyHash())
		if !validKeyName(s.Name()) {
			return nil, noteErr(NoteMalformed, id, "the key's name must be printable ASCII without spaces and plus signs")
		}
		if slices.ContainsFunc(have, func(h noteSig) bool { return h.id == id }) {
			return nil, noteErr(NoteDuplicate, id, "has signed this note already")
		}
		sig, err := s.Sign(text)
		if err != nil {
			return nil, fmt.Errorf("sign with key %s: %w", id, err)
		}
		have = append(have, noteSig{id: id})
		raw := append(binary.BigEndian.AppendUint32(nil, s.KeyHash()), sig...)
		msg = fmt.Appendf(msg, "%s%s %s\n", sigPrefix, s.Name(), base64.StdEncoding.EncodeToString(raw))
	}
	if len(msg) > MaxMessage || len(have) > MaxSignatures {
		return nil, noteErr(NoteTooLarge, "", "the note has %d bytes and %d signatures, at most %d and %d", len(msg), len(have), MaxMessage, MaxSignatures)
	}
	return msg, nil
}

// OpenNote verifies a signed note. Every signature line must be in its one
// encoding, by one of the known keys, no key twice, and verify; anything else
// refuses the whole note with a *NoteError. by holds the indices into known
// of the keys that signed, in rising order; a note without signatures is
// opened with an empty by, and the caller decides whether that will do.
func OpenNote(msg []byte, known []note.Verifier) (text []byte, by []int, err error) {
	text, sigs, err := splitNote(msg)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range sigs {
		i, err := findKey(s, known)
		if err != nil {
			return nil, nil, err
		}
		if slices.Contains(by, i) {
			return nil, nil, noteErr(NoteDuplicate, s.id, "signed twice")
		}
		if !known[i].Verify(text, s.sig) {
			return nil, nil, noteErr(NoteBadSignature, s.id, "the signature does not verify")
		}
		by = append(by, i)
	}
	slices.Sort(by)
	return bytes.Clone(text), by, nil
}

// NoteText returns the text of a note without verifying anything: for
// dispatch and for display of what is about to be verified.
func NoteText(msg []byte) ([]byte, error) {
	text, _, err := splitNote(msg)
	return bytes.Clone(text), err
}

type noteSig struct {
	id   string // keyID
	name string
	hash uint32
	sig  []byte
}

func findKey(s noteSig, known []note.Verifier) (int, error) {
	found := -1
	for i, v := range known {
		if v.Name() != s.name || v.KeyHash() != s.hash {
			continue
		}
		if found >= 0 {
			return 0, noteErr(NoteAmbiguous, s.id, "two known keys have this name and hash")
		}
		found = i
	}
	if found < 0 {
		return 0, noteErr(NoteUnknownKey, s.id, "signed by a key that is not known here")
	}
	return found, nil
}

// splitNote takes a note apart at its last empty line. text and sigs alias
// msg where they can.
func splitNote(msg []byte) (text []byte, sigs []noteSig, err error) {
	if len(msg) > MaxMessage {
		return nil, nil, noteErr(NoteTooLarge, "", "%d bytes, at most %d", len(msg), MaxMessage)
	}
	split := bytes.LastIndex(msg, []byte("\n\n"))
	if split < 0 || msg[len(msg)-1] != '\n' {
		return nil, nil, noteErr(NoteMalformed, "", "no text, empty line and signature lines that end in a newline")
	}
	text, trailer := msg[:split+1], string(msg[split+2:])
	if err := checkNoteText(text); err != nil {
		return nil, nil, err
	}
	if strings.Count(trailer, "\n") > MaxSignatures {
		return nil, nil, noteErr(NoteTooLarge, "", "more than %d signatures", MaxSignatures)
	}
	for trailer != "" {
		line, rest, _ := strings.Cut(trailer, "\n")
		sig, err := parseSigLine(line)
		if err != nil {
			return nil, nil, err
		}
		sigs, trailer = append(sigs, sig), rest
	}
	return text, sigs, nil
}

// parseSigLine reads "— NAME BASE64(hash ‖ signature)" without its newline.
func parseSigLine(line string) (noteSig, error) {
	rest, ok := strings.CutPrefix(line, sigPrefix)
	name, b64, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !validKeyName(name) {
		return noteSig{}, noteErr(NoteMalformed, "", "%s is not a signature line", quote(line))
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || len(raw) < 5 || base64.StdEncoding.EncodeToString(raw) != b64 {
		return noteSig{}, noteErr(NoteMalformed, "", "the signature line of %s is not canonical base64", quote(name))
	}
	hash := binary.BigEndian.Uint32(raw)
	return noteSig{id: keyID(name, hash), name: name, hash: hash, sig: raw[4:]}, nil
}

// checkNoteText holds a text to the rules of C2SP signed-note: valid UTF-8,
// no control characters below U+0020 but newline, ending in a newline; and to
// those of a block, which a note travels in: no U+007F.
func checkNoteText(text []byte) error {
	if len(text) == 0 || text[len(text)-1] != '\n' || !utf8.Valid(text) {
		return noteErr(NoteMalformed, "", "the text must be UTF-8 and end in a newline")
	}
	for i, c := range text {
		if c < 0x20 && c != '\n' || c == 0x7f {
			line := 1 + bytes.Count(text[:i], []byte("\n"))
			return noteErr(NoteMalformed, "", "control character %#02x in line %d: use spaces and plain newlines", c, line)
		}
	}
	return nil
}

func validKeyName(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e || s[i] == '+' {
			return false
		}
	}
	return s != "" && len(s) <= MaxKeyName
}

func keyID(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }

// ParseKey reads a note verifier key ("name+hash+base64") strictly: Ed25519
// only, a printable ASCII name, lowercase hash, canonical base64. The error is
// a *NoteError, NoteMalformed.
func ParseKey(vkey string) (note.Verifier, error) {
	if strings.HasPrefix(vkey, "PRIVATE+KEY+") { // a slip; the message must not show it
		return nil, noteErr(NoteMalformed, "", "this is a private key: write its public half, and keep the private one to yourself")
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, noteErr(NoteMalformed, "", "%s is not a note key: %v", quote(vkey), err)
	}
	parts := strings.SplitN(vkey, "+", 3) // base64 may hold a '+', names never do
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || !validKeyName(v.Name()) || vkey != keyID(v.Name(), v.KeyHash())+"+"+base64.StdEncoding.EncodeToString(raw) {
		return nil, noteErr(NoteMalformed, "", "%s is not a note key in its one encoding: name+hash+base64 in printable ASCII", quote(vkey))
	}
	return v, nil
}
