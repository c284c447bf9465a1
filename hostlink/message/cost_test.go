package message

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message/canon"
)

// costly are messages of the largest size there is, made to cost a parser as
// much as they can: refused ones late, accepted ones with as many parts as
// possible.
func costly() map[string][]byte {
	fill := func(head, line string) []byte {
		n := (MaxMessage - len(head)) / len(line)
		return []byte(head + strings.Repeat(line, n))
	}
	approval := string(sampleApproval.Marshal())
	item := approval[strings.Index(approval, "item "):]
	item = item[:strings.Index(item, "\n")+1]
	sigs := fill(string(sampleApproval.Marshal())+"\n", sigPrefix+"a AAAAAAAA\n")
	entry := strings.Repeat("e", 2000) + "\n"
	return map[string][]byte{
		"no newline":         bytes.Repeat([]byte("x"), MaxMessage),
		"newlines":           bytes.Repeat([]byte("\n"), MaxMessage),
		"lines of one key":   fill("touchmark/fetch/v1\n", "from 1\n"),
		"many fields":        append(fill("touchmark/fetch/v1\nfrom", " 1"), '\n'),
		"items":              fill(approval, item),
		"hello of lines":     fill("touchmark/hello/v1\n", "origin a\n"),
		"hello of notes":     fill("touchmark/hello/v1\n\n", sigPrefix+"a AAAAAAAA\n"),
		"signatures":         sigs,
		"states":             fill("touchmark/submit/v1\napproval 2\na\nsubmission 2\na\n", "state "+canon.Base64(make([]byte, MaxState))+"\n"),
		"documents":          fill("touchmark/submit/v1\napproval 2\na\nsubmission 2\na\n", "document "+canon.Base64(make([]byte, MaxDocument))+"\n"),
		"small documents":    fill("touchmark/submit/v1\napproval 2\na\nsubmission 2\na\n", "document QQ==\n"),
		"a block that lies":  fill("touchmark/submit/v1\napproval 16384\n", "a\n"),
		"entries":            fill("touchmark/entries/v1\nstart 0\ntotal 64\n", fmt.Sprintf("entry %d\n%s", len(entry), entry)),
		"empty lines inside": fill("touchmark/cancel/v1\n", "\n\n"),
	}
}

// What a message costs to parse is bounded by a small multiple of its length,
// whatever is in it.
func TestParsingAllocatesLittle(t *testing.T) {
	const times, most = 8, 2 // times its length, for all three readers
	for name, b := range costly() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			_, _ = Parse(b)
			_, _, _ = OpenNote(b, known)
			_, _ = ParseApproval(b)
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / times; each > most*MaxMessage {
			t.Errorf("%s: %d bytes allocated for a message of %d", name, each, len(b))
		}
	}
}

// Opening a note verifies no more signatures than a note may have, and none
// when there are more.
func TestOpeningVerifiesLittle(t *testing.T) {
	text := []byte("touchmark/test/v1\n")
	for lines, most := range map[int]int{1: 1, MaxSignatures: 1, MaxSignatures + 1: 0, 1000: 0} {
		v := &countingVerifier{pair: repo1}
		line := signed(text, repo1.Signer)[len(text)+1:]
		n := append(append(bytes.Clone(text), '\n'), bytes.Repeat(line, lines)...)
		if _, _, err := OpenNote(n, []note.Verifier{v}); (err == nil) != (lines == 1) || v.calls > most {
			t.Errorf("%d lines: %d verifications, %v", lines, v.calls, err)
		}
	}
}

type countingVerifier struct {
	pair
	calls int
}

func (v *countingVerifier) Verify(msg, sig []byte) bool {
	v.calls++
	return v.pair.Verifier.Verify(msg, sig)
}
func (v *countingVerifier) Name() string    { return v.pair.Verifier.Name() }
func (v *countingVerifier) KeyHash() uint32 { return v.pair.Verifier.KeyHash() }
