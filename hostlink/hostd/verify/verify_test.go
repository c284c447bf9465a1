package verify

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

func must[T any](v T, err error) T { return logtest.Must(v, err) }

var plainNote = must(message.SignNote([]byte("not looked at here\n")))

func stateOf(data string) hashstate.State {
	h := hashstate.New(message.SHA256)
	_, _ = h.Write([]byte(data)) // hashes never fail
	return h.State()
}

// approval asks for files of the given names that hold their own name.
func approval(names ...string) (message.Approval, []hashstate.State) {
	a := message.Approval{Origin: logtest.Origin, Class: "test", NotAfter: logtest.Noon.Add(time.Hour)}
	var states []hashstate.State
	for _, n := range names {
		s := stateOf(n)
		states = append(states, s)
		a.Items = append(a.Items, message.Item{Format: sigformat.OpenPGPBinary.Name, Name: n, Size: s.Count(),
			Digest: message.Digest{Alg: message.SHA256, Sum: s.Digest()}})
	}
	return a, states
}

// signed makes a log with one job in it, and the job's proof.
func signed(a message.Approval, states []hashstate.State) (*Trust, []ledger.ItemResult, []byte) {
	l := logtest.New(plainNote)
	l.Filler(logtest.Noon)
	i, items := l.Intent(must(message.SignNote(a.Marshal())), plainNote, states)
	l.Commit()
	return must(ParseTrust(l.TrustText())), items, l.Proof(i)
}

func TestCheck(t *testing.T) {
	a, states := approval("one", "two")
	trust, items, proof := signed(a, states)
	in := must(trust.OpenProof(proof))
	for i, name := range []string{"one", "two"} {
		f := must(in.Check(name, sigformat.OpenPGPBinary, states[i], items[i].Signature))
		if f.Name != name || f.Class != "test" || f.Index != 2 || f.Checkpoint != 3 || !f.Created.Equal(logtest.Noon) || !f.Emulated {
			t.Errorf("facts %+v", f)
		}
		if _, err := in.Check(name, sigformat.OpenPGPBinary, states[i], items[1-i].Signature); err == nil {
			t.Error("the other item's signature is accepted")
		}
		if _, err := in.CheckItem(1-i, states[i], items[i].Signature); err == nil {
			t.Error("the other item's place is accepted")
		}
	}
	if _, err := in.Check("one", sigformat.OpenPGPBinary, stateOf("three"), items[0].Signature); err == nil {
		t.Error("a file that was never approved is accepted")
	}
}

// TestOpenFile: a signature file is taken apart in each of its forms, as that of the item of its name.
func TestOpenFile(t *testing.T) {
	a, states := approval("one", "two")
	trust, items, proof := signed(a, states)
	in := must(trust.OpenProof(proof))
	if in.Item("two").Name != "two" || in.Item("three").Name != "one" {
		t.Error("items are not found by their names")
	}
	for i, content := range [][]byte{items[0].Signature, openpgp.ArmorSignature(items[1].Signature)} {
		f := must(in.OpenFile("one", content))
		if !bytes.Equal(f.Signature, items[i].Signature) || f.Format.Name != sigformat.OpenPGPBinary.Name || f.Alg != message.SHA256 || !f.Agrees(states[0]) {
			t.Errorf("%q: %+v", content, f)
		}
	}
	for _, bad := range [][]byte{nil, []byte("no signature"), items[0].Signature[1:]} {
		if _, err := in.OpenFile("one", bad); err == nil {
			t.Errorf("%x is a signature", bad)
		}
	}
}

// TestOpenClearFile: a file that holds what is signed agrees with that and nothing else.
func TestOpenClearFile(t *testing.T) {
	text, format := []byte("one\n"), sigformat.OpenPGPCleartext
	state := must(format.Digest(message.SHA256, bytes.NewReader(text)))
	a, _ := approval("one")
	a.Items[0].Format, a.Items[0].Size, a.Items[0].Digest.Sum = format.Name, state.Count(), state.Digest()
	trust, items, proof := signed(a, []hashstate.State{state})
	in := must(trust.OpenProof(proof))
	f := must(in.OpenFile("one", must(openpgp.Clearsign(text, items[0].Signature))))
	if f.Format.Name != format.Name || !f.Agrees(state) || f.Agrees(stateOf("two")) {
		t.Errorf("%+v", f)
	}
	if facts := must(in.Check("one", f.Format, state, f.Signature)); facts.Format != format.Name {
		t.Errorf("%+v", facts)
	}
}

// TestSpoilt: a signature by a key that was revoked since, or had expired before, is told of; one made in time is not.
func TestSpoilt(t *testing.T) {
	l := logtest.New(plainNote)
	later := logtest.Noon.Add(time.Hour)
	good, revoked := must(certificate.Parse(l.Trust.Certs[0])), must(certificate.Parse(l.Revoked(certificate.Retired)))
	expired := *good
	expired.Expires = later
	for name, c := range map[string]struct {
		cert *certificate.Certificate
		made time.Time
		want string
	}{
		"good": {good, logtest.Noon, ""}, "revoked": {revoked, logtest.Noon, "REVOKED: "},
		"made in time": {&expired, logtest.Noon, ""}, "made too late": {&expired, later, "EXPIRED at "},
	} {
		f := Facts{Cert: c.cert, Created: c.made}
		if got := f.Spoilt(later.Add(time.Hour)); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What is known of one checkpoint vouches for no other.
func TestKnowing(t *testing.T) {
	a, states := approval("one")
	trust, items, proof := signed(a, states)
	p := must(ledger.ParseProof(proof))
	cp := must(trust.OpenCheckpoint(p.Checkpoint))
	known := *trust
	knows := &known
	knows.Knowing(p.Checkpoint, cp)
	if got := must(knows.OpenCheckpoint(p.Checkpoint)); got != cp {
		t.Error("it is verified again")
	}
	must(must(knows.OpenProof(proof)).Check("one", sigformat.OpenPGPBinary, states[0], items[0].Signature))
	if _, err := trust.OpenCheckpoint(nil); err == nil {
		t.Error("nothing is taken for a checkpoint")
	}
	for i := range p.Checkpoint {
		bad := bytes.Clone(p.Checkpoint)
		bad[i] ^= 1
		if _, err := knows.OpenCheckpoint(bad); err == nil {
			t.Fatalf("byte %d flipped and accepted", i)
		}
	}
	other := *p
	other.Size++ // of another tree
	if _, err := knows.OpenProof(must(other.Marshal())); err == nil {
		t.Error("a proof for another size is accepted")
	}
}

// TestSameBytes: two names for the same bytes; the name asked for is reported.
func TestSameBytes(t *testing.T) {
	a, states := approval("one")
	b := a.Items[0]
	b.Name = "two"
	a.Items, states = append(a.Items, b), append(states, states[0])
	trust, items, proof := signed(a, states)
	in := must(trust.OpenProof(proof))
	for want, name := range map[string]string{"two": "two", "one": "renamed"} {
		if f := must(in.Check(name, sigformat.OpenPGPBinary, states[0], items[0].Signature)); f.Name != want {
			t.Errorf("%s is reported as %s", name, f.Name)
		}
	}
}

// TestEveryByte changes each byte of a proof and of a signature: nothing of
// them is without meaning.
func TestEveryByte(t *testing.T) {
	a, states := approval("file")
	trust, items, proof := signed(a, states)
	sig := items[0].Signature
	check := func() error {
		in, err := trust.OpenProof(proof)
		if err == nil {
			_, err = in.Check("file", sigformat.OpenPGPBinary, states[0], sig)
		}
		return err
	}
	if err := check(); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{sig, proof} {
		for i := range b {
			b[i] ^= 1 << (i % 8)
			if check() == nil {
				t.Fatalf("byte %d of %d changed, and it verifies", i, len(b))
			}
			b[i] ^= 1 << (i % 8)
		}
	}
}

// TestIntentOfAnother: an intent that the TPM took, but for another key, job,
// log or number of items, is no intent of ours.
func TestIntentOfAnother(t *testing.T) {
	l := logtest.New(plainNote)
	trust := must(ParseTrust(l.TrustText()))
	a, _ := approval("a")
	intent := func(a message.Approval) *ledger.Intent {
		return &ledger.Intent{Key: l.Key.Fingerprint(), Job: message.JobOf(a.Marshal()), Approval: must(message.SignNote(a.Marshal())),
			SignDigests: []message.Digest{a.Items[0].Digest}}
	}
	if _, err := trust.OpenIntent(intent(a)); err != nil {
		t.Fatal(err)
	}
	foreign := a
	foreign.Origin = "other.example/log"
	for name, in := range map[string]func() *ledger.Intent{
		"log": func() *ledger.Intent { return intent(foreign) },
		"key": func() *ledger.Intent { in := intent(a); in.Key[0] ^= 1; return in },
		"job": func() *ledger.Intent { in := intent(a); in.Job[0] ^= 1; return in },
		"number": func() *ledger.Intent {
			in := intent(a)
			in.SignDigests = append(in.SignDigests, in.SignDigests[0])
			return in
		},
		"note": func() *ledger.Intent { in := intent(a); in.Approval = []byte("x"); return in },
	} {
		if _, err := trust.OpenIntent(in()); err == nil {
			t.Errorf("another %s: accepted", name)
		}
	}
}

func TestSignerName(t *testing.T) {
	text := []byte("text\n")
	private, _ := logtest.NewKey("repo1")
	n := must(message.SignNote(text, signer(private)))
	if got := signerName(n); got != "repo1" {
		t.Errorf("signed by %q", got)
	}
	if got := signerName(must(message.SignNote(text))); got != "" {
		t.Errorf("an unsigned note is signed by %q", got)
	}
}

func signer(private string) note.Signer { return must(note.NewSigner(private)) }
