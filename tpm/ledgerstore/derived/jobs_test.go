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

// A job survives its encoding.
func TestJobEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := Job{Index: rapid.Uint64Range(1, 1<<40).Draw(t, "index"), Outcome: rapid.Bool().Draw(t, "outcome"), Items: rapid.IntRange(0, 16).Draw(t, "items")}
		if j.Outcome {
			j.Intent = rapid.Uint64Range(0, j.Index-1).Draw(t, "intent")
		} else {
			seconds := rapid.Int64Range(1577836800, 253402300799)
			j.Time, j.NotAfter = time.Unix(seconds.Draw(t, "time"), 0).UTC(), time.Unix(seconds.Draw(t, "not after"), 0).UTC()
			j.Class, j.ID = ClassOf("packages"), message.JobID{byte(j.Index)}
		}
		b := j.encode([]byte("before"))[len("before"):]
		if got, ok := DecodeJob(b); len(b) != jobSize || !ok || got != j {
			t.Fatalf("%+v became %+v, %v, in %d bytes", j, got, ok, len(b))
		}
	})
}

// What is kept of entries is what they say.
func TestJobOf(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	digest := message.Digest{Alg: message.SHA256, Sum: make([]byte, 32)}
	a := message.Approval{Origin: "touchmark.example/x", Class: "packages", NotAfter: noon.Add(time.Hour), Items: []message.Item{{Format: "openpgp-binary", Digest: digest, Name: "a"}}}
	in := &ledger.Intent{Sequence: 1, Job: message.JobOf(a.Marshal()), Approval: fmt.Appendf(nil, "%s\n", a.Marshal()), Submission: []byte("s\n\n"), SignDigests: []message.Digest{digest}}
	out := &ledger.Outcome{Intent: 6, Items: []ledger.ItemResult{{State: ledger.Signed, Signature: []byte("s")}, {State: ledger.Denied}, {State: ledger.Unknown}}}
	for want, body := range map[Job]any{
		{Items: 1, ID: in.Job, Class: ClassOf("packages"), Time: noon, NotAfter: a.NotAfter}: in,
		{Outcome: true, Intent: 6, Items: 2}:                                                 out,
	} {
		e, err := ledger.Marshal(ledger.Header{Index: 7, Time: noon}, body)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := jobOf(e); !ok || got != want {
			t.Errorf("%+v, %v, want %+v", got, ok, want)
		}
	}
	if j, ok := jobOf([]byte(ledger.Domain + "\nkind attest\n")); ok {
		t.Errorf("an attest entry gives %+v", j)
	}
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
