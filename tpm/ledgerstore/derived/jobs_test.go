package derived

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// anyEntry draws an intent or outcome that the log would take, and what is to
// be known of it.
func anyEntry(t *rapid.T) (entry []byte, want Job) {
	h := ledger.Header{Index: rapid.Uint64Range(2, 1<<39).Draw(t, "index"), Time: noon.Add(time.Duration(rapid.IntRange(-1e8, 1e9).Draw(t, "time")) * time.Second)}
	if rapid.Bool().Draw(t, "outcome") {
		return anyOutcome(t, h)
	}
	a := message.Approval{Origin: "touchmark.example/x", Class: rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,63}`).Draw(t, "class"), NotAfter: h.Time.Add(time.Hour)}
	in := &ledger.Intent{Sequence: rapid.Uint64Range(1, 1<<40).Draw(t, "sequence"), Submission: []byte("submission\n\nsign x\n")}
	for i := range rapid.IntRange(0, 3).Draw(t, "refused") {
		in.Refused = append(in.Refused, ledger.Refused{Code: fmt.Sprintf("code-%d", i), Count: 2})
		in.Refusals += 2
	}
	want = Job{Items: rapid.IntRange(1, 16).Draw(t, "items"), Time: h.Time, NotAfter: a.NotAfter, Class: ClassOf(a.Class)}
	for i := range want.Items {
		d := message.Digest{Alg: message.SHA256, Sum: bytes.Repeat([]byte{byte(i)}, 32)}
		a.Items = append(a.Items, message.Item{Format: "openpgp-binary", Digest: d, Size: 1, Name: fmt.Sprintf("file-%d", i)})
		in.SignDigests = append(in.SignDigests, d)
	}
	text := a.Marshal()
	in.Job, in.Approval = message.JobOf(text), fmt.Appendf(nil, "%s\n", text)
	want.ID = in.Job
	return marshal(t, h, in), want
}

func anyOutcome(t *rapid.T, h ledger.Header) ([]byte, Job) {
	out := &ledger.Outcome{Intent: rapid.Uint64Range(1, h.Index-1).Draw(t, "intent")}
	want := Job{Outcome: true, Intent: out.Intent}
	items := []ledger.ItemResult{{State: ledger.Signed, Signature: []byte("s")}, {State: ledger.Withheld}, {State: ledger.Denied},
		{State: ledger.TimedOut}, {State: ledger.Failed, Reason: "signed"}, {State: ledger.NotStarted, Reason: "unknown"}, {State: ledger.Unknown}}
	for range rapid.IntRange(1, 16).Draw(t, "items") {
		it := rapid.SampledFrom(items).Draw(t, "item")
		out.Items = append(out.Items, it)
		if it.State.Counts() {
			want.Items++
		}
	}
	return marshal(t, h, out), want
}

func marshal(t *rapid.T, h ledger.Header, body any) []byte {
	e, err := ledger.Marshal(h, body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What is taken from an entry by looking at some of its lines is what is in
// it, and survives its encoding.
func TestJobOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entry, want := anyEntry(t)
		got, ok := jobOf(entry)
		if !ok || got != want {
			t.Fatalf("%+v, %v, want %+v of\n%s", got, ok, want, entry)
		}
		got.Index = want.Intent + 1
		b := got.encode(nil)
		if again, ok := DecodeJob(b); len(b) != jobSize || !ok || again != got {
			t.Fatalf("%+v became %+v, %v, in %d bytes", got, again, ok, len(b))
		}
	})
}

func TestDecodeJobRefuses(t *testing.T) {
	good := Job{Index: 7, Outcome: true, Intent: 6}.encode(nil)
	for name, b := range map[string][]byte{
		"zeros":                      make([]byte, jobSize),
		"another type":               append(append(bytes.Clone(good[:8]), 3), good[9:]...),
		"an outcome before its time": Job{Index: 7, Outcome: true, Intent: 7}.encode(nil),
	} {
		if j, ok := DecodeJob(b); ok {
			t.Errorf("%s: %+v", name, j)
		}
	}
}

// FuzzJobOf compares what is taken from any text with what the full parser
// finds in it.
func FuzzJobOf(f *testing.F) {
	gen := rapid.Custom(func(t *rapid.T) []byte { e, _ := anyEntry(t); return e })
	for i := range 6 {
		f.Add(gen.Example(i))
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		got, ok := jobOf(entry)
		h, body, err := ledger.Parse(entry)
		if err != nil {
			return
		}
		switch b := body.(type) {
		case *ledger.Intent:
			text, err := message.NoteText(b.Approval)
			if err != nil {
				return
			}
			a, err := message.ParseApproval(text)
			if err != nil {
				return
			}
			want := Job{Items: len(b.SignDigests), Time: h.Time, NotAfter: a.NotAfter, Class: ClassOf(a.Class), ID: b.Job}
			if !ok || got != want {
				t.Fatalf("%+v, %v, want %+v", got, ok, want)
			}
		case *ledger.Outcome:
			if !ok || got.Intent != b.Intent || !got.Outcome {
				t.Fatalf("%+v, %v, want the outcome of %d", got, ok, b.Intent)
			}
		default:
			if ok {
				t.Fatalf("%s gives %+v", ledger.KindOf(body), got)
			}
		}
	})
}
