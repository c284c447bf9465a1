package station

import (
	"crypto/ecdsa"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/station/token"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// plug takes the token out and puts one with these keys in; the operator types
// its PIN.
func (b *board) plug(slots map[string]*ecdsa.PrivateKey) {
	b.t.Helper()
	b.token.swap(slots)
	b.view("the token is gone", func(v operator.View) bool { return v.Token == token.Missing })
	b.token.set(false, false)
	b.view("the PIN is needed", func(v operator.View) bool { return v.Token == token.PIN })
	b.command(operator.Command{Verb: operator.PIN, PIN: []byte("123456")})
	b.view("the token is ready", func(v operator.View) bool { return v.Token == token.Ready })
}

// shownWith waits until a job can be armed that a key is to sign.
func (b *board) shownWith(id message.JobID, key string) {
	b.t.Helper()
	b.view("the job, for key "+key, func(v operator.View) bool {
		return v.Job != nil && v.Job.ID == id.String() && v.Job.Key == key && v.Ask == operator.AskArm
	})
}

// signsWith has a key sign and looks whether the log says so.
func (b *board) signsWith(key *ecdsa.PrivateKey, name string) {
	b.t.Helper()
	id, m := b.job([]string{name + ".db"}, name)
	b.submit(m)
	b.shownWith(id, name)
	b.ends(id, key, name)
}

// ends arms a job, touches the token and verifies what the key made.
func (b *board) ends(id message.JobID, key *ecdsa.PrivateKey, content string) {
	b.t.Helper()
	b.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	b.awaitTouch()
	b.token.touch <- nil
	out := b.end(id)
	_, body, err := ledger.Parse(b.entries[out.Intent])
	must(b.t, err)
	_, first, err := ledger.Parse(b.entries[0])
	must(b.t, err)
	fpr := body.(*ledger.Intent).Key
	for _, k := range first.(*ledger.Genesis).Keys {
		if k.Fingerprint != fpr {
			continue
		}
		cert, err := certificate.Parse(k.Cert)
		must(b.t, err)
		if !key.PublicKey.Equal(cert.Key.Public) {
			b.t.Fatalf("the intent names key %s", k.Name)
		}
		h := hashstate.New(message.SHA256)
		_, err = h.Write([]byte(content))
		must(b.t, err)
		_, err = sigformat.OpenPGPBinary.Verify(cert.Key, out.Items[0].Signature, h.State())
		must(b.t, err)
		return
	}
	b.t.Fatalf("the intent names key %X, which the log does not have", fpr)
}

// Whichever token is in, the first of the class's keys that it holds signs; the
// display and the log name it.
func TestTheKeyThatIsThereSigns(t *testing.T) {
	b := twoKeys(t)
	b.start()
	b.connect()
	first, second := b.token.key, b.spare
	b.signsWith(first, "packages")
	b.plug(map[string]*ecdsa.PrivateKey{"9a": second})
	b.signsWith(second, "backup")
	b.plug(map[string]*ecdsa.PrivateKey{"9a": second, "9c": first})
	b.signsWith(first, "packages")
}

// A token that is swapped for another while a job is on display: the display says
// which key signs before it can be armed again.
func TestTheDisplayFollowsTheToken(t *testing.T) {
	b := twoKeys(t)
	b.start()
	b.connect()
	id, m := b.job([]string{"x.db"}, "content")
	b.submit(m)
	b.shownWith(id, "packages")
	b.token.swap(map[string]*ecdsa.PrivateKey{"9a": b.spare})
	b.view("the token is gone", func(v operator.View) bool { return v.Token == token.Missing })
	b.token.set(false, false)
	b.view("the PIN is needed", func(v operator.View) bool { return v.Token == token.PIN })
	b.command(operator.Command{Verb: operator.PIN, PIN: []byte("123456")})
	b.shownWith(id, "backup")
	b.ends(id, b.spare, "content")
}

// A key that is revoked is passed over for the next one; a token that holds no
// other cannot be armed; without any key left, jobs are refused.
func TestRevokedKeyIsPassedOver(t *testing.T) {
	c := certifying{twoKeys(t), nil}
	c.cfg.Orders, c.cfg.OrderPoll = t.TempDir(), time.Millisecond
	c.start()
	c.connect()
	first, second := c.token.key, c.spare
	revoke := func(key string) []byte {
		return c.order(&order.Cert{Key: key, Revoke: true, Code: certificate.Superseded})
	}
	note := revoke("backup")
	id := c.shows(note)
	c.command(operator.Command{Verb: operator.Arm, Job: id})
	c.view("the token does not hold it", func(v operator.View) bool { return strings.Contains(v.Message, "does not hold key backup") })
	c.plug(map[string]*ecdsa.PrivateKey{"9a": second, "9c": first})
	c.command(operator.Command{Verb: operator.Arm, Job: id})
	c.awaitTouch()
	c.token.touch <- nil
	c.inForce()

	c.plug(map[string]*ecdsa.PrivateKey{"9a": second})
	job, m := c.job([]string{"x.db"}, "content")
	c.submit(m)
	c.shownWith(job, "packages")
	c.command(operator.Command{Verb: operator.Arm, Job: job.String()})
	c.view("nothing is armed", func(v operator.View) bool {
		return strings.Contains(v.Message, "does not hold key packages") && v.Job != nil && v.Job.State == "shown"
	})
	c.plug(map[string]*ecdsa.PrivateKey{"9c": first})
	c.ends(job, first, "content")

	c.certifies(revoke("packages"))
	c.refuses("y.db", message.CodeKeyRevoked)
}

// A key that can be taken out of its token is warned of as long as it is in use.
func TestExtractableKeyIsWarnedOf(t *testing.T) {
	b := bareBoard(t)
	b.old = true
	b.enrol()
	b.start()
	b.view("the warning", func(v operator.View) bool {
		return strings.Contains(v.Warning, "extract key packages: firmware 5.4.3 (EUCLEAK)")
	})
}
