package ledger

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/hostlink/message"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// anyJob draws an intent or outcome, and what is to be seen of it at a glance.
func anyJob(t *rapid.T) (entry []byte, want Glimpse) {
	want.Header = Header{Index: rapid.Uint64Range(2, 1<<39).Draw(t, "index"), Time: noon.Add(time.Duration(rapid.IntRange(-1e8, 1e9).Draw(t, "time")) * time.Second)}
	if rapid.Bool().Draw(t, "outcome") {
		return anyOutcome(t, want)
	}
	want.Class = rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,63}`).Draw(t, "class")
	want.Sequence, want.NotAfter = rapid.Uint64Range(1, 1<<40).Draw(t, "sequence"), want.Time.Add(time.Hour)
	a := message.Approval{Origin: "touchmark.example/x", Class: want.Class, NotAfter: want.NotAfter}
	in := &Intent{Sequence: want.Sequence, Submission: []byte("submission\n\nsign x\n")}
	for i := range rapid.IntRange(0, 3).Draw(t, "refused") {
		in.Refused = append(in.Refused, Refused{Code: fmt.Sprintf("code-%d", i), Count: 2})
		in.Refusals += 2
	}
	want.Items = rapid.IntRange(1, 16).Draw(t, "items")
	for i := range want.Items {
		d := message.Digest{Alg: message.SHA256, Sum: bytes.Repeat([]byte{byte(i)}, 32)}
		a.Items = append(a.Items, message.Item{Format: "openpgp-binary", Digest: d, Size: 1, Name: fmt.Sprintf("file-%d", i)})
		in.SignDigests = append(in.SignDigests, d)
	}
	text := a.Marshal()
	in.Job, in.Approval = message.JobOf(text), fmt.Appendf(nil, "%s\n", text)
	want.Job = in.Job
	return mustMarshal(t, want.Header, in), want
}

func anyOutcome(t *rapid.T, want Glimpse) ([]byte, Glimpse) {
	want.Intent, want.Job = rapid.Uint64Range(1, want.Index-1).Draw(t, "intent"), message.JobID{7}
	out := &Outcome{Intent: want.Intent, Job: want.Job}
	items := []ItemResult{{State: Signed, Signature: []byte("s")}, {State: Withheld}, {State: Denied},
		{State: TimedOut}, {State: Failed, Reason: "signed"}, {State: NotStarted, Reason: "unknown"}, {State: Unknown}}
	for range rapid.IntRange(1, 16).Draw(t, "items") {
		it := rapid.SampledFrom(items).Draw(t, "item")
		out.Items, want.States = append(out.Items, it), append(want.States, it.State)
	}
	return mustMarshal(t, want.Header, out), want
}

func mustMarshal(t *rapid.T, h Header, body any) []byte {
	e, err := Marshal(h, body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestGlance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entry, want := anyJob(t)
		if got, ok := Glance(entry); !ok || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v, want %+v of\n%s", got, ok, want, entry)
		}
	})
}

// Nothing is seen of entries of other kinds.
func TestGlanceElsewhere(t *testing.T) {
	for kind, body := range samples(t) {
		e, err := Marshal(Header{Index: 8, Time: noon}, body)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := Glance(e); ok != (kind == KindOutcome) { // the sample intent has no real approval
			t.Errorf("%s: %v", kind, ok)
		}
	}
}

// FuzzGlance compares what is seen at a glance of any text with what the full
// parsers find in it.
func FuzzGlance(f *testing.F) {
	gen := rapid.Custom(func(t *rapid.T) []byte { e, _ := anyJob(t); return e })
	for i := range 6 {
		f.Add(gen.Example(i))
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		got, ok := Glance(entry)
		want, parsed := glimpseOf(entry)
		if parsed && (!ok || !reflect.DeepEqual(got, want)) {
			t.Fatalf("%+v, %v, want %+v", got, ok, want)
		}
	})
}

// glimpseOf is what the full parsers find.
func glimpseOf(entry []byte) (g Glimpse, ok bool) {
	h, body, err := Parse(entry)
	if err != nil {
		return g, false
	}
	g.Header = h
	switch b := body.(type) {
	case *Intent:
		text, err := message.NoteText(b.Approval)
		if err != nil {
			return g, false
		}
		a, err := message.ParseApproval(text)
		g.Sequence, g.Job, g.Class, g.NotAfter, g.Items = b.Sequence, b.Job, a.Class, a.NotAfter, len(b.SignDigests)
		return g, err == nil
	case *Outcome:
		g.Intent, g.Job = b.Intent, b.Job
		for _, it := range b.Items {
			g.States = append(g.States, it.State)
		}
		return g, true
	}
	return g, false
}
