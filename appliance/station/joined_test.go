package station

import (
	"crypto/ecdsa"
	"fmt"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/station/token"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledger/tokenkey/tokenkeytest"
)

// spareTable has every class signed with the key spare too.
func (b *board) spareTable() []byte {
	b.t.Helper()
	now, err := policy.Parse([]byte(b.pol))
	must(b.t, err)
	text := strings.Replace(b.pol, "serial = 1\nprevious = \"\"", fmt.Sprintf("serial = 2\nprevious = \"%x\"", now.Hash), 1)
	text = strings.ReplaceAll(text, `keys = ["packages"]`, `keys = ["packages", "spare"]`)
	b.pol = strings.Replace(text, "[[key]]", "[[key]]\nname = \"spare\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n[[key]]", 1)
	n, err := message.SignNote([]byte(b.pol), b.admin)
	must(b.t, err)
	return n
}

// joinable is a board whose policy waits for the key spare, and that key.
func joinable(t *testing.T) (*board, tokenkeytest.Key) {
	b := obedient(t)
	b.start()
	b.connect()
	b.signs("a.db", "content")
	b.obeys(b.spareTable())
	return b, tokenkeytest.New(tokenkeytest.Spec{})
}

// signedBySpare arms a job that the spare key is to sign, and verifies what it made.
func (b *board) signedBySpare(spare tokenkeytest.Key, name string) {
	b.t.Helper()
	id, m := b.job([]string{name}, name)
	b.submit(m)
	b.shownWith(id, "spare")
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	b.awaitTouch()
	b.token.touch <- nil
	out := b.end(id)
	_, body, err := ledger.Parse(b.entries[out.Intent])
	must(b.t, err)
	if body.(*ledger.Intent).Key != spare.Record.Fingerprint {
		b.t.Fatal("the intent names another key")
	}
	cert, err := certificate.Parse(spare.Record.Cert)
	must(b.t, err)
	h := hashstate.New(message.SHA256)
	_, err = h.Write([]byte(name))
	must(b.t, err)
	_, err = sigformat.OpenPGPBinary.Verify(cert.Key, out.Items[0].Signature, h.State())
	must(b.t, err)
}

// A further token's key is the log's from the commit of its order on, over restarts
// too; the operator is told what it is, and the first goes on.
func TestATokenJoins(t *testing.T) {
	b, spare := joinable(t)
	first := b.token.key
	note := b.order(&order.Key{Token: &spare.Record})
	id := b.bring(note)
	v := b.view("the order", func(v operator.View) bool { return v.Order != nil && v.Order.ID == id })
	said := strings.Join(v.Order.Lines, " ")
	for _, want := range []string{"FURTHER KEY", "spare", "slot 9a of token 2", fmt.Sprintf("%X", spare.Record.Fingerprint), "EMULATED"} {
		if !strings.Contains(said, want) {
			t.Errorf("the operator is not told %q: %s", want, said)
		}
	}
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.serve("order-done")
	b.signs("b.db", "content")
	b.plug(map[string]*ecdsa.PrivateKey{"9a": spare.Private})
	b.signedBySpare(spare, "c.db")
	b.kill()
	b.token.set(false, false)
	b.start()
	b.connect()
	b.view("the token is ready", func(v operator.View) bool { return v.Token == token.Ready })
	b.signedBySpare(spare, "d.db")
	b.plug(map[string]*ecdsa.PrivateKey{"9c": first})
	b.signs("e.db", "content")
}

// What may not join is refused before the operator sees it, and again when it is
// armed; the board goes on.
func TestTokensThatMayNotJoin(t *testing.T) {
	b, spare := joinable(t)
	harmed := func(harm func(k *ledger.TokenKey)) []byte {
		k := spare.Record
		harm(&k)
		return b.order(&order.Key{Token: &k})
	}
	other := tokenkeytest.New(tokenkeytest.Spec{})
	for _, c := range []struct {
		note []byte
		want string
	}{
		{harmed(func(k *ledger.TokenKey) { k.Name = "other" }), "not as the policy says"},
		{harmed(func(k *ledger.TokenKey) { k.Attestation = other.Record.Attestation }), "another key"},
		{harmed(func(k *ledger.TokenKey) { k.Cert = other.Record.Cert }), "not the same key"},
		{harmed(func(k *ledger.TokenKey) { k.Token.Serial = 9 }), "the token is number 2"},
	} {
		b.bring(c.note)
		if v := b.serve("order-dropped"); !strings.Contains(v.Message, c.want) {
			t.Errorf("%q, want %q", v.Message, c.want)
		}
	}
	note := b.order(&order.Key{Token: &spare.Record})
	b.obeys(note)
	b.bring(b.order(&order.Key{Token: &spare.Record}))
	if v := b.serve("order-dropped"); !strings.Contains(v.Message, "has a key \"spare\" already") {
		t.Errorf("it joins twice: %q", v.Message)
	}
	b.signs("z.db", "content")
}

// Wherever the board dies, the key is the log's if and only if HEAD took the order.
func TestATokenJoinsOrNot(t *testing.T) {
	for _, c := range []string{"NV_Extend before", "NV_Extend after", "PCR_Extend after", "NV_Certify before"} {
		t.Run(c, func(t *testing.T) {
			b, spare := joinable(t)
			id := b.bring(b.order(&order.Key{Token: &spare.Record}))
			b.ordered(id)
			command, kind, _ := strings.Cut(c, " ")
			b.tpm.fail(command, kind)
			b.command(operator.Command{Verb: operator.Arm, Job: id})
			took := b.serve("order-done", "order-dropped").Event == "order-done"
			if took == (c == "NV_Extend before") {
				t.Fatalf("in force: %v", took)
			}
			b.kill()
			b.cfg.Orders, b.cfg.OrderPoll = "", time.Millisecond
			b.start()
			b.connect()
			b.view("the token is ready", func(v operator.View) bool { return v.Token == token.Ready })
			if took {
				b.plug(map[string]*ecdsa.PrivateKey{"9a": spare.Private})
				b.signedBySpare(spare, "c.db")
				return
			}
			b.token.swap(map[string]*ecdsa.PrivateKey{"9a": spare.Private})
			b.view("the token is gone", func(v operator.View) bool { return v.Token == token.Missing })
			b.token.set(false, false)
			b.view("a strange token", func(v operator.View) bool { return v.Token == token.Wrong })
		})
	}
}
