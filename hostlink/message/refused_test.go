package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"touchmark/hostlink/message/canon"
)

// damage is an edit of a sample, or with nothing to replace text behind it, and the
// canon.Problem or NoteProblem that it is refused for.
type damage struct {
	name, sample, old, new string
	want                   any
}

const oneState = "state WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWloAAAAAAAAAQA=="

var (
	hugeState   = "state " + canon.Base64(make([]byte, MaxState)) + "\n"
	refusalText = "text " + string(wire()["refused"][bytes.LastIndexByte(wire()["refused"], ' ')+1:])
)

// Lines, numbers and notes.
var damagedForms = []damage{
	{"unknown key at the end", "done", "", "extra 1\n", canon.Surplus},
	{"key twice", "done", "intent 42\n", "intent 42\nintent 42\n", canon.WrongLine},
	{"wrong order", "done", "intent 42\noutcome 43\n", "outcome 43\nintent 42\n", canon.WrongLine},
	{"outcome before intent", "done", "outcome 43", "outcome 42", canon.BadValue},
	{"later version", "fetch", "/v1", "/v2", canon.OtherDomain},
	{"fetch with sign", "fetch", "42", "+42", canon.BadNumber},
	{"fetch with zero", "fetch", "42", "042", canon.BadNumber},
	{"fetch beyond int64", "fetch", "42", "9223372036854775808", canon.TooLarge},
	{"uppercase root", "mirrored", "50b312f5", "50B312F5", canon.BadHex},
	{"hello without empty line", "hello", "\n\n", "\n", NoteMalformed},
	{"hello with huge signature", "hello", "", sigPrefix + "x " + strings.Repeat("AAAA", MaxNote/4) + "\n", NoteTooLarge},
	{"cancel of nothing", "cancel", "job ", "jobs ", canon.WrongLine},
	{"checkpoint without newline", "checkpoint-note", "note 192", "note 191", canon.BadBlock},
}

// What the board sends.
var damagedAnswers = []damage{
	{"item beyond a batch", "event", "item 1", "item 16", canon.TooLarge},
	{"endless countdown", "event", "seconds 15", "seconds 86401", canon.TooLarge},
	{"state in uppercase", "event", "touch\n", "Touch\n", canon.BadValue},
	{"state too long", "event", "state touch", "state " + strings.Repeat("a", MaxToken+1), canon.BadValue},
	{"refusal with escapes", "refused", refusalText, "text " + canon.Base64([]byte("\x1b[2J")) + "\n", canon.BadValue},
	{"refusal with DEL", "refused", refusalText, "text " + canon.Base64([]byte("a\x7f")) + "\n", canon.BadValue},
	{"refusal of two lines", "refused", refusalText, "text YQpi\n", canon.BadValue},
	{"refusal too long", "refused", refusalText, "text " + canon.Base64(bytes.Repeat([]byte("a"), MaxHuman+1)) + "\n", canon.BadBase64},
	{"attestation too long", "welcome", "YW4gYXR0ZXN0YXRpb24=", canon.Base64(make([]byte, MaxAttest+1)), canon.BadBase64},
	{"signature too long", "welcome", "aXRzIHNpZ25hdHVyZQ==", canon.Base64(make([]byte, MaxAttestSig+1)), canon.BadBase64},
	{"attestation without sig", "welcome", "aXRzIHNpZ25hdHVyZQ==", "-", canon.BadValue},
	{"sig without attestation", "welcome", "YW4gYXR0ZXN0YXRpb24=", "-", canon.BadValue},
	{"firmware too long", "welcome", "touchmark-0.1.0", strings.Repeat("f", MaxToken+1), canon.BadValue},
	{"origin with plus", "welcome", "origin touchmark.example/demo", "origin touchmark.example/de+mo", canon.BadValue},
	{"entries beyond the total", "entries", "total 44", "total 43", canon.BadValue},
	{"entries with total < start", "entries", "total 44", "total 41", canon.BadValue},
}

// What comes to be signed.
var damagedSubmits = []damage{
	{"submit with empty state", "submit", oneState, "state -", canon.BadValue},
	{"submit with huge state", "submit", oneState, "state " + canon.Base64(make([]byte, MaxState+1)), canon.BadBase64},
	{"submit with 17 states", "submit", "", strings.Repeat(hugeState, MaxItems-1), canon.BadValue},
	{"empty document", "submit", "", "document -\n", canon.BadValue},
	{"huge document", "submit", "", "document " + canon.Base64(make([]byte, MaxDocument+1)) + "\n", canon.BadBase64},
	{"too much of documents", "submit", "", strings.Repeat("document "+canon.Base64(make([]byte, MaxDocument))+"\n", MaxDocuments/MaxDocument) + "document QQ==\n", canon.BadValue},
	{"document that is a state", "submit", "", "document state QQ==\n", canon.FieldCount},
	{"document number 17", "submit", "", strings.Repeat(hugeState, MaxItems-2) + "document QQ==\n", canon.BadValue},
}

// What a host announces, and what the operator opens of it.
var damagedRounds = []damage{
	{"rounds without empty line", "rounds", "\n\n", "\n", NoteMalformed},
	{"rounds without more", "rounds", "more 1\n", "", canon.CutOff},
	{"round of no file", "rounds", "core 2 ", "core 0 ", canon.BadValue},
	{"round of very many files", "rounds", "core 2 ", "core 1000000 ", canon.TooLarge},
	{"round that escapes", "rounds", "core 2 ", "\x1b[2J 2 ", NoteMalformed},
	{"round in uppercase", "rounds", "core 2 ", "CORE 2 ", canon.BadValue},
	{"round of a long name", "rounds", "core 2 ", strings.Repeat("c", MaxToken+1) + " 2 ", canon.BadValue},
	{"round of no name", "rounds", "core 2 ", "2 ", canon.FieldCount},
	{"round in no state", "rounds", " waiting ", " - ", canon.BadValue},
	{"round since for ever", "rounds", "2026-11-21T09:00:00Z", "-", canon.BadTime},
	{"round of a far year", "rounds", "2026-11-21T09:00:00Z", "2200-11-21T09:00:00Z", canon.BadTime},
	{"round twice", "rounds", "round extra", "round core", canon.BadValue},
	{"round number 17", "rounds", "round core", manyRounds(MaxRounds-1) + "round core", canon.BadValue},
	{"rounds beyond counting", "rounds", "more 1", "more 1000000", canon.TooLarge},
	{"open-round of no rule", "open-round", "core", "-", canon.BadValue},
	{"open-round of two rules", "open-round", "core", "core extra", canon.FieldCount},
}

func TestRefusedMessages(t *testing.T) {
	for theme, list := range map[string][]damage{"forms": damagedForms, "answers": damagedAnswers, "submits": damagedSubmits, "rounds": damagedRounds} {
		for _, d := range list {
			t.Run(theme+"/"+d.name, func(t *testing.T) { refusedMessage(t, d.edited(t, wire()[d.sample]), d.want) })
		}
	}
	w := wire()
	for name, c := range map[string]struct {
		b    []byte
		want any // a canon.Problem
	}{
		"nothing":               {nil, canon.OtherDomain},
		"unknown domain":        {[]byte("touchmark/magic/v1\n"), canon.OtherDomain},
		"an approval by itself": {samples()["approval"], canon.OtherDomain},
		"larger than a message": {append(bytes.Clone(w["fetch"]), make([]byte, MaxMessage)...), canon.TooLong},
		"no entries":            {[]byte("touchmark/entries/v1\nstart 42\ntotal 44\n"), canon.CutOff},
		"too many entries":      {[]byte("touchmark/entries/v1\nstart 0\ntotal 100\n" + strings.Repeat("entry 2\na\n", MaxEntries+1)), canon.BadValue},
		"submit without states": {bytes.Split(w["submit"], []byte("state "))[0], canon.CutOff},
	} {
		t.Run(name, func(t *testing.T) { refusedMessage(t, c.b, c.want) })
	}
}

func (d *damage) edited(t *testing.T, sample []byte) []byte {
	t.Helper()
	if d.old == "" {
		return append(bytes.Clone(sample), d.new...)
	}
	if !bytes.Contains(sample, []byte(d.old)) {
		t.Fatalf("%q is not in the sample %s", d.old, d.sample)
	}
	return bytes.Replace(sample, []byte(d.old), []byte(d.new), 1)
}

func refusedMessage(t *testing.T, b []byte, want any) {
	t.Helper()
	if m, err := Parse(b); problemOf(err) != want {
		t.Errorf("%+v, %v, want %s", m, err, want)
	} else if len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\x00\x1b\n\r") {
		t.Errorf("poor error: %q", err)
	}
}

// manyRounds are lines of n rounds.
func manyRounds(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "round r%d 1 open 2026-11-21T09:00:00Z -\n", i)
	}
	return b.String()
}
