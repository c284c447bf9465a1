package order

import (
	"fmt"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
)

// Cert has the token certify its own OpenPGP key anew, revoke it, or agree that it
// be the signing subkey of a primary.
type Cert struct {
	Key     string          // name of the key in the policy
	Primary *subkey.Primary // to which it agrees; nil for the others
	Revoke  bool
	Expires time.Time          // renewal: when the key expires, whole seconds; zero for never
	Code    certificate.Reason // revocation
}

// Words of a cert order.
const (
	certRenew  = "renew"
	certRevoke = "revoke"
	certBind   = "bind"
	never      = "never"
)

// Kind is ledger.KindCert.
func (*Cert) Kind() string { return ledger.KindCert }

func (a *Cert) write(w *canon.Writer) {
	w.Line("key", a.Key)
	switch {
	case a.Primary != nil:
		w.Line("certificate", certBind)
		w.Line("primary", canon.Base64(a.Primary.Body()))
	case a.Revoke:
		w.Line("certificate", certRevoke)
		w.Line("code", canon.Uint(uint64(a.Code)))
	case a.Expires.IsZero():
		w.Line("certificate", certRenew)
		w.Line("expires", never)
	default:
		w.Line("certificate", certRenew)
		w.Line("expires", canon.Time(a.Expires))
	}
}

func (a *Cert) read(r *canon.Reader, _ string) {
	a.Key = r.Line("key", 1)[0]
	if r.Err() == nil && !ledger.ValidName(a.Key) {
		r.Failf("%q is no name of a key", a.Key)
	}
	switch word := r.Line("certificate", 1)[0]; word {
	case certRevoke:
		a.Revoke = true
		a.Code = certificate.Reason(r.Uint(r.Line("code", 1)[0], uint64(certificate.Retired)))
	case certBind:
		a.readPrimary(r)
	case certRenew:
		if at := r.Line("expires", 1)[0]; at != never {
			a.Expires = r.Time(at)
		}
	default:
		r.Failf("a certificate is %s, %s or %s, not %q", certRenew, certRevoke, certBind, word)
	}
}

func (a *Cert) readPrimary(r *canon.Reader) {
	body := r.Base64(r.Line("primary", 1)[0], subkey.MaxPrimary)
	if r.Err() != nil {
		return
	}
	var err error
	if a.Primary, err = subkey.ParsePrimary(body); err != nil {
		r.Failf("primary: %v", err)
	}
}

// Certification is what an order has the token sign, for an entry of this
// time. hash is the order's (Hash).
func (o *Order) Certification(at time.Time, hash [32]byte) (certificate.Certification, error) {
	a, ok := o.Action.(*Cert)
	if !ok {
		return certificate.Certification{}, fmt.Errorf("a %s order is about no certificate", o.Action.Kind())
	}
	return certificate.Certification{Created: at, Primary: a.Primary, Revoke: a.Revoke, Expires: a.Expires, Code: a.Code, Origin: o.Origin, Order: message.JobID(hash)}, nil
}
