package station

import (
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/station/decree"
	"touchmark/appliance/station/token"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledgerstore/durable/disktest"
)

// certifying is a board whose clock the test moves, because each renewal is of a
// second of its own.
type certifying struct {
	*board
	ahead *atomic.Int64
}

func certifier(t *testing.T) certifying {
	c := certifying{obedient(t), new(atomic.Int64)}
	c.cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }
	c.later(2 * time.Second)
	c.start()
	c.connect()
	return c
}

func (c certifying) later(d time.Duration) { c.ahead.Add(int64(d)) }

func (c certifying) cert(a *order.Cert) []byte {
	c.t.Helper()
	c.later(2 * time.Second)
	a.Key = "packages"
	return c.order(a)
}

func (c certifying) forever() []byte { return c.cert(&order.Cert{}) }

// shows brings a cert order and waits until it can be armed.
func (c certifying) shows(note []byte) (id string) {
	c.t.Helper()
	id = c.bring(note)
	c.view("the order, to be armed", func(v operator.View) bool {
		return v.Order != nil && v.Order.ID == id && v.Ask == operator.AskArm && v.Token == token.Ready
	})
	return id
}

// arms brings a cert order and arms it.
func (c certifying) arms(note []byte) (id string) {
	c.t.Helper()
	id = c.shows(note)
	c.command(operator.Command{Verb: operator.Arm, Job: id})
	return id
}

// certifies has the token sign what an order says.
func (c certifying) certifies(note []byte) {
	c.t.Helper()
	c.arms(note)
	c.awaitTouch()
	c.token.touch <- nil
	c.inForce()
}

// comesTo waits for the end of an order that the token did not sign, and answers
// what the log says of it.
func (c certifying) comesTo() ledger.ItemResult {
	c.t.Helper()
	v := c.serve("order-dropped")
	c.until(func() bool { return uint64(len(c.entries)) >= v.LogSize })
	return c.newestCert()
}

// newestCert is the outcome of the newest cert entry of the mirror.
func (c certifying) newestCert() (end ledger.ItemResult) {
	c.t.Helper()
	certs := map[uint64]message.JobID{}
	for i, raw := range c.entries {
		_, body, err := ledger.Parse(raw)
		must(c.t, err)
		switch b := body.(type) {
		case *ledger.Order:
			if b.Action == ledger.KindCert {
				hash, err := order.Hash(b.Note)
				must(c.t, err)
				certs[uint64(i)], end = hash, ledger.ItemResult{}
			}
		case *ledger.Outcome:
			if id, ok := certs[b.Intent]; ok {
				if len(b.Items) != 1 || b.Job != id {
					c.t.Fatalf("outcome %+v of order %s", b, id)
				}
				end = b.Items[0]
			}
		}
	}
	return end
}

// certificate is what the mirror leaves of the certificate.
func (c certifying) certificate() *certificate.Certificate {
	c.t.Helper()
	var cert *certificate.Certificate
	certs := map[uint64]certificate.Certification{}
	for i, raw := range c.entries {
		h, body, err := ledger.Parse(raw)
		must(c.t, err)
		switch b := body.(type) {
		case *ledger.Genesis:
			cert, err = certificate.Parse(b.Keys[0].Cert)
			must(c.t, err)
		case *ledger.Order:
			if b.Action != ledger.KindCert {
				continue
			}
			hash, err := order.Hash(b.Note)
			must(c.t, err)
			text, err := message.NoteText(b.Note)
			must(c.t, err)
			o, err := order.Parse(text)
			must(c.t, err)
			x, err := o.Certification(h.Time, hash)
			must(c.t, err)
			p, err := cert.Plan(x)
			must(c.t, err)
			if want := (message.Digest{Alg: p.Alg, Sum: p.Digest}); b.Sign.String() != want.String() {
				c.t.Fatalf("entry %d is to sign %s, want %s", i, b.Sign, want)
			}
			certs[uint64(i)] = x
		case *ledger.Outcome:
			if x, ok := certs[b.Intent]; ok && b.Items[0].State == ledger.Signed {
				cert, err = cert.With(x, b.Items[0].Signature)
				must(c.t, err)
			}
		}
	}
	return cert
}

// refuses wants a job to be refused with a code.
func (c certifying) refuses(name, code string) {
	c.t.Helper()
	id, m := c.job([]string{name}, "content")
	c.submit(m)
	c.until(func() bool { return c.refused[id] != nil })
	if r := c.refused[id]; r.Code != code {
		c.t.Fatalf("%+v, want %s", r, code)
	}
}

// again restarts the board.
func (c certifying) again() {
	c.t.Helper()
	c.kill()
	c.start()
	c.connect()
}

// The whole life of a certificate: renewed, expired, renewed without end, revoked,
// over restarts, and what the board says and refuses in each of its states.
func TestCertificateIsRenewedAndRevoked(t *testing.T) {
	c := certifier(t)
	c.signs("a.db", "content")
	expires := c.now().Add(5 * time.Minute)
	c.tpm.counts()
	id := c.bring(c.cert(&order.Cert{Expires: expires}))
	v := c.ordered(id)
	if text := strings.Join(v.Order.Lines, "\n"); v.Ask != operator.AskArm || !strings.Contains(text, "key packages: it is to expire at "+stamp(expires)+". Without this order it expires never.") {
		t.Fatalf("asks %q and shows %s", v.Ask, text)
	}
	c.command(operator.Command{Verb: operator.Arm, Job: id})
	c.awaitTouch()
	c.view("the order, while the token waits", func(v operator.View) bool {
		return v.Ask == operator.AskTouch && v.Job == nil && v.Order != nil && v.Order.State == "touching"
	})
	job := message.JobID{}
	_, err := hex.Decode(job[:], []byte(id))
	must(t, err)
	c.send(c.forge.Cancel(c.host, job, c.now())) // it is no job of the host's
	c.token.touch <- nil
	c.inForce()
	if n := c.tpm.counts(); n["NV_Extend"] != 1 || n["PCR_Extend"] != 1 || n["NV_Certify"] != 1 || n["Quote"] != 1 {
		t.Errorf("TPM commands of one order: %v", n)
	}
	for range 2 {
		if got := c.certificate(); !got.Expires.Equal(expires) {
			t.Fatalf("expires %v, want %v", got.Expires, expires)
		}
		c.signs("b.db", "content")
		c.again()
	}

	c.later(6 * time.Minute)
	c.refuses("c.db", message.CodeKeyExpired)
	c.view("the warning", func(v operator.View) bool { return strings.Contains(v.Warning, "expired at "+stamp(expires)) })
	c.certifies(c.forever())
	c.signs("d.db", "content")

	c.certifies(c.cert(&order.Cert{Revoke: true, Code: certificate.Superseded}))
	for range 2 {
		if got := c.certificate(); !got.Revoked || got.Code != certificate.Superseded {
			t.Fatalf("%+v", got)
		}
		c.refuses("e.db", message.CodeKeyRevoked)
		c.view("the warning", func(v operator.View) bool { return strings.Contains(v.Warning, "was revoked") })
		note := c.forever()
		id := decree.Named(note)
		c.send((&message.Order{Note: note}).Marshal())
		c.until(func() bool { return c.refused[id] != nil })
		if r := c.refused[id]; r.Code != message.CodeKeyRevoked {
			t.Fatalf("%+v", r)
		}
		c.again()
	}
	c.replays()
}

// However the touch ends, the log says so, the certificate stays as it was, the
// order is used up, and another one works.
func TestCertificationThatIsNotSigned(t *testing.T) {
	deny := func(c certifying, id string) {
		c.command(operator.Command{Verb: operator.Deny, Job: id})
		c.event("do-not-touch")
	}
	for _, tt := range []struct {
		name  string
		state ledger.State
		why   string
		end   func(c certifying, id string)
	}{
		{"timed out", ledger.TimedOut, "", func(c certifying, _ string) { c.token.touch <- ceremony.ErrTouchTimeout }},
		{"failed", ledger.Failed, "token-error", func(c certifying, _ string) { c.token.touch <- errors.New("6F00") }},
		{"denied", ledger.Denied, "", func(c certifying, id string) { deny(c, id); c.token.touch <- ceremony.ErrTouchTimeout }},
		{"denied, touched", ledger.Withheld, "", func(c certifying, id string) { deny(c, id); c.token.touch <- nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := certifier(t)
			note := c.cert(&order.Cert{Revoke: true, Code: certificate.Compromised})
			id := c.arms(note)
			c.awaitTouch()
			tt.end(c, id)
			if end := c.comesTo(); end.State != tt.state || end.Reason != tt.why || end.Signature != nil {
				t.Fatalf("%+v", end)
			}
			c.signs("a.db", "content")
			c.bring(note)
			if v := c.serve("order-dropped"); !strings.Contains(v.Message, "took effect already") {
				t.Fatal(v.Message)
			}
			c.again()
			if c.certificate().Revoked {
				t.Error("it is revoked all the same")
			}
			c.certifies(c.cert(&order.Cert{Revoke: true}))
			c.refuses("b.db", message.CodeKeyRevoked)
			c.replays()
		})
	}
}

// Whatever command of the commit fails, and whether it was carried out or not: the
// token is asked only after HEAD and PCR took the order, the log says what came of
// it, and the board goes on. An order that HEAD did not take can be brought again.
func TestCertificationFaults(t *testing.T) {
	for _, tt := range []struct {
		command, kind, end string
		touched, used      bool
	}{
		{"NV_Extend", "before", "not-started tpm-error", false, false},
		{"NV_Extend", "after", "signed ", true, true},
		{"PCR_Extend", "before", "not-started tpm-error", false, true},
		{"PCR_Extend", "after", "signed ", true, true},
		{"NV_Certify", "before", "signed-withheld ", true, true},
		{"NV_Certify", "after", "signed-withheld ", true, true},
		{"Quote", "before", "signed-withheld ", true, true},
		{"Quote", "after", "signed-withheld ", true, true},
	} {
		t.Run(tt.command+" "+tt.kind, func(t *testing.T) {
			c := certifier(t)
			expires := c.now().Add(time.Hour)
			note := c.cert(&order.Cert{Expires: expires})
			id := c.shows(note)
			c.tpm.fail(tt.command, tt.kind)
			c.command(operator.Command{Verb: operator.Arm, Job: id})
			if tt.touched {
				c.awaitTouch()
				c.token.touch <- nil
			}
			v := c.serve("order-done", "order-dropped")
			c.until(func() bool { return uint64(len(c.entries)) >= v.LogSize })
			end := c.newestCert()
			if got := string(end.State) + " " + end.Reason; got != tt.end {
				t.Fatalf("%q, want %q", got, tt.end)
			}
			if renewed := c.certificate().Expires.Equal(expires); renewed != (end.State == ledger.Signed) || renewed != (v.Event == "order-done") {
				t.Errorf("renewed: %v, %s", renewed, v.Event)
			}
			c.signs("a.db", "content")
			if tt.used {
				c.bring(note)
				if v := c.serve("order-dropped"); !strings.Contains(v.Message, "took effect already") {
					t.Fatal(v.Message)
				}
				note = c.forever()
			}
			c.later(2 * time.Second)
			c.certifies(note)
			c.signs("b.db", "content")
			c.again()
			c.signs("c.db", "content")
			c.replays()
		})
	}
}

// A TPM that is reset inside the ceremony is explained by a start; the order is
// used up, and what the token may have signed is unknown to the log.
func TestResetInsideACertification(t *testing.T) {
	for command, end := range map[string]ledger.State{"NV_Extend": ledger.Withheld, "NV_Certify": ledger.Withheld} {
		t.Run(command, func(t *testing.T) {
			c := certifier(t)
			id := c.shows(c.forever())
			c.tpm.resetBefore(command)
			c.command(operator.Command{Verb: operator.Arm, Job: id})
			c.awaitTouch()
			c.token.touch <- nil
			if got := c.comesTo(); got.State != end {
				t.Fatalf("%+v", got)
			}
			c.certifies(c.forever())
			c.signs("a.db", "content")
			c.replays()
		})
	}
}

// The board dies while the token waits for its touch. The next start says that
// nobody knows what was signed; the certificate is as it was, and another order
// renews it.
func TestKilledInsideACertification(t *testing.T) {
	c := certifier(t)
	note := c.cert(&order.Cert{Revoke: true, Code: certificate.Retired})
	c.arms(note)
	c.awaitTouch()
	dead := filepath.Join(t.TempDir(), "dead")
	must(t, disktest.Snapshot(dead, c.dir)) // what the disk has at this moment
	c.token.touch <- nil
	c.kill()
	c.dir = dead
	c.start()
	c.connect()
	if end := c.newestCert(); end.State != ledger.Unknown {
		t.Fatalf("%+v", end)
	}
	c.signs("a.db", "content")
	c.bring(note)
	if v := c.serve("order-dropped"); !strings.Contains(v.Message, "took effect already") {
		t.Fatal(v.Message)
	}
	c.certifies(c.cert(&order.Cert{Revoke: true, Code: certificate.Retired}))
	c.refuses("b.db", message.CodeKeyRevoked)
	c.replays()
}

// Without a host that holds it, HEAD takes no cert order unless the operator says
// so; the token is not asked before.
func TestCertificationWithoutAMirror(t *testing.T) {
	c := certifier(t)
	c.kill()
	c.cfg.MirrorTimeout, c.acks = time.Millisecond, false
	c.start()
	c.connect()
	id := c.arms(c.forever())
	c.view("the question", func(v operator.View) bool { return v.Order != nil && v.Ask == operator.AskUnmirrored })
	c.command(operator.Command{Verb: operator.Unmirrored, Job: id})
	c.awaitTouch()
	c.token.touch <- nil
	c.inForce()
	if o := c.newestOrder(); o.Mirrored || c.kinds()[ledger.KindCert] != 2 {
		t.Fatalf("%+v", o)
	}
	c.certificate()
	c.replays()
}

// What makes no sense is refused before anybody is asked, and a token that is not
// ready is not armed.
func TestCertOrdersRefused(t *testing.T) {
	c := certifier(t)
	size := c.store.Size()
	for name, tt := range map[string]struct {
		a    order.Cert
		want string
	}{
		"another key":     {order.Cert{Key: "kernel"}, "which this log does not have"},
		"expires already": {order.Cert{Key: "packages", Expires: c.now().Add(-time.Hour)}, "expiry"},
		"a past century":  {order.Cert{Key: "packages", Expires: c.now().AddDate(150, 0, 0)}, "136 years"},
	} {
		c.bring(c.order(&tt.a))
		if v := c.serve("order-dropped"); !strings.Contains(v.Message, tt.want) {
			t.Errorf("%s: %s", name, v.Message)
		}
	}
	c.token.set(false, false)
	c.event("pin-needed")
	id := c.bring(c.forever())
	c.view("the order, and the PIN first", func(v operator.View) bool { return v.Order != nil && v.Ask == operator.AskPIN })
	c.command(operator.Command{Verb: operator.Arm, Job: id})
	c.view("why not", func(v operator.View) bool { return strings.Contains(v.Message, "nothing was armed") })
	if c.store.Size() != size {
		t.Error("something was written")
	}
	c.command(operator.Command{Verb: operator.PIN, PIN: []byte("123456")})
	c.event("token-ready")
	c.command(operator.Command{Verb: operator.Arm, Job: id})
	c.awaitTouch()
	c.token.touch <- nil
	c.inForce()
	c.replays()
}

// Two renewals are never of one second: the second one waits.
func TestRenewedTwiceInASecond(t *testing.T) {
	c := certifier(t)
	c.kill()
	still := time.Now()
	c.cfg.Clock = func() time.Time { return still.Add(time.Duration(c.ahead.Load())) }
	c.start()
	c.connect()
	c.certifies(c.forever())
	c.arms(c.order(&order.Cert{Key: "packages"}))
	c.later(time.Second)
	c.awaitTouch()
	c.token.touch <- nil
	c.inForce()
	c.certificate()
	c.replays()
}
