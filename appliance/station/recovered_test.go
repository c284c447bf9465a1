package station

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/operator"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/order"
)

// cosigned is a policy note with more signatures.
func cosigned(t *testing.T, n []byte, by ...note.Signer) []byte {
	t.Helper()
	n, err := message.CosignNote(n, by...)
	must(t, err)
	return n
}

// Administrators who lost their keys are replaced by the recovery keys: the
// operator is told so before anything else, the new ones are obeyed from then on
// and the old ones no more, over a restart too.
func TestRecoveredAdministrators(t *testing.T) {
	b := obedient(t)
	b.start()
	b.connect()
	const first = "[[host]]\nname = \"repo1\""
	safe, safeKey := newSigner(t, "safe")
	b.obeys(cosigned(t, b.nextPolicy(first, fmt.Sprintf("[recovery]\nquorum = 1\nkeys = [%q]\n%s", safeKey, first)), safe))

	lost, lostKey := b.admin, b.pol[strings.Index(b.pol, "keys = [\"admin"):]
	lostKey = lostKey[:strings.Index(lostKey, "\n")]
	next, nextKey := newSigner(t, "admin")
	b.admin = next
	rescue := cosigned(t, b.nextPolicy(lostKey, fmt.Sprintf("keys = [%q]", nextKey)), safe)
	id := b.bring(rescue)
	v := b.ordered(id)
	if l := v.Order.Lines; len(l) < 2 || !strings.HasPrefix(l[1], "RECOVERY: ") {
		t.Fatalf("shown: %q", l)
	}
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	b.inForce()
	b.obeys(b.order(&order.Note{}))
	b.signs("a.db", "content")

	b.kill()
	b.start()
	b.connect()
	b.obeys(b.order(&order.Note{}))
	b.admin = lost
	b.bring(b.order(&order.Note{}))
	if v := b.serve("order-dropped"); !strings.Contains(v.Message, "not known") {
		t.Fatalf("said: %s", v.Message)
	}
	b.replays()
}
