package hostd

import (
	"errors"
	"strings"
	"testing"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// told pushes what the board appended, and its checkpoint, and waits until the
// daemon has made something of it.
func (w *world) told(from uint64) {
	w.t.Helper()
	w.b.push(from)
	w.b.acked()
	w.b.Commit()
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	w.settled()
	w.look(func() {})
}

// TestPolicyInForce: requests are made under the policy that the log has, not
// under that of its beginning.
func TestPolicyInForce(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	w.sign("core.img").expect(api.Refused, "no class of the policy")
	next := w.b.parties.NextPolicy(`"*.iso"`, `"*.img"`)
	w.told(w.b.Decree(ledger.KindPolicy, 0, next))
	w.b.policy = must(w.b.policy.Successor(next))
	c := w.sign("core.img")
	r := w.b.submitted()
	if r.Approval.Class != "iso" {
		t.Fatalf("class %q", r.Approval.Class)
	}
	w.b.run(r, nil)
	c.expect(api.OK, "")
}

func TestEndedLog(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	w.told(w.b.Decree(ledger.KindClose, 0, w.b.Order(&order.Close{}, w.b.parties.Admin)))
	w.sign("core.db").expect(api.DeviceFault, "the administrators ended this log")
}

// TestNextTrust: after the administrators replaced the log key nothing is asked
// for that nobody here could verify, until the next trust file lies in the place
// of the one in use; only one that follows it is taken.
func TestNextTrust(t *testing.T) {
	w := newWorld(t)
	lies := func(text []byte, err error) {
		w.look(func() { w.d.trust.Next = func() ([]byte, error) { return text, err } })
	}
	w.b.meet()
	pinned := w.b.Trust
	earlier := w.sign("core.db") // shown on the board while the order is decided
	job := w.b.submitted().Job
	from := w.b.Size()
	w.b.Rotate(0, w.b.parties.Admin)
	w.b.push(from)
	w.b.acked()
	w.b.say(&message.Checkpoint{Note: w.b.Note})
	if c := hear[*message.CancelNote](w.b); len(c.Note) == 0 {
		t.Fatal("no cancellation")
	}
	w.b.say(&message.Refused{Job: job, Code: message.CodeCancelled, Text: "cancelled by the host"})
	refused := func() { w.sign("core.db").expect(api.BadInput, "get its next version") }
	refused()
	if s := w.status(); s.Code != api.BadInput || !strings.Contains(s.Refuses, "get its next version") {
		t.Fatalf("status %+v", s)
	}
	earlier.expect(api.BadInput, "get its next version")
	lies(nil, errors.New("no file"))
	refused()
	lies(must(pinned.Sign(w.b.Signer)), nil)
	refused()
	next := w.b.Trust
	next.Version, next.Previous = 2, pinned.Hash()
	lies(must(next.Sign(newBoard(t).parties.Admin)), nil)
	refused()
	second := must(next.Sign(w.b.parties.Admin))
	lies(second, nil)
	c := w.sign("core.db")
	w.b.run(w.b.submitted(), nil)
	got := c.expect(api.OK, "")
	if _, err := must(verify.ParseTrust(second)).OpenProof(got.Proofs[0]); err != nil {
		t.Fatal(err)
	}
}

// TestRevokedKey: status says so from the commit of the order on, and in the trust
// file's words when that is here. That file is taken although nothing needs it, so
// that the one behind it follows.
func TestRevokedKey(t *testing.T) {
	w := newWorld(t)
	w.b.meet()
	standing := func(want string) {
		t.Helper()
		if s := w.status(); len(s.Standing) != 1 || !strings.HasPrefix(s.Standing[0], want) || want == "" && s.Standing[0] != "" {
			t.Fatalf("status says %q, want %q", s.Standing, want)
		}
	}
	standing("")
	first := w.b.Trust
	note := w.b.Order(&order.Cert{Key: "packages", Revoke: true, Code: certificate.Retired}, w.b.parties.Admin)
	w.told(w.b.Append(&ledger.Order{Action: ledger.KindCert, Mirrored: true, Note: note, Sign: message.Digest{Alg: message.SHA256, Sum: make([]byte, 32)}}))
	standing("ordered to be REVOKED (entry 1); the trust file does not say so")
	version := func(n uint64) []byte {
		next := w.b.Trust
		next.Version, next.Previous = n, first.Hash()
		first = next
		return must(next.Sign(w.b.parties.Admin))
	}
	w.b.Trust.Certs = [][]byte{w.b.Revoked(certificate.Retired)}
	for n := uint64(2); n < 4; n++ {
		text := version(n)
		w.look(func() { w.d.trust.Next = func() ([]byte, error) { return text, nil } })
		standing("REVOKED: it is out of use")
		w.look(func() {
			if w.d.mirror.Pinned().Version != n {
				t.Errorf("version %d of the trust file is in use, want %d", w.d.mirror.Pinned().Version, n)
			}
		})
	}
}

// TestClocksApart: status says that the board would refuse every request, before
// somebody asks for one.
func TestClocksApart(t *testing.T) {
	for seconds, want := range map[int64]string{0: "", 86400 * 365: "8760h0m0s ahead of this host's", -86400: "24h0m0s behind this host's"} {
		w := newWorld(t)
		w.back.Store(seconds)
		w.b.meet()
		s := w.status()
		for ; !s.Verified; s = w.status() {
			continue
		}
		if (s.Refuses == "") != (want == "") || !strings.Contains(s.Refuses, want) || want != "" && s.Code != api.Refused {
			t.Errorf("%d s: %q, code %d", seconds, s.Refuses, s.Code)
		}
	}
}
