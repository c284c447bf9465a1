// Package meaning says in lines for the operator what an administrators' note
// would change, and how requests and orders ended. Every line is computed from
// signed text, what is in force and what the log holds.
package meaning

import (
	"crypto/x509"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/piv/attest"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Order says what an order means at a time, with this certificate in force.
func Order(o *order.Order, c *certificate.Certificate, now time.Time) []string {
	var lines []string
	switch a := o.Action.(type) {
	case *order.Time:
		lines = append(lines, fmt.Sprintf("Set the clock to %s. It says %s now.", stamp(a.To), stamp(now)))
	case *order.Resume:
		lines = append(lines, fmt.Sprintf("Go on from the halt %s, HEAD being %x. What HEAD took and no log has is lost, and auditors are warned for ever.", a.Halt, a.Head))
	case *order.Close:
		lines = append(lines, "END THIS LOG. This board signs nothing with it any more.")
		if a.Successor.Origin != "" {
			lines = append(lines, fmt.Sprintf("Its successor is %s, genesis %x.", a.Successor.Origin, a.Successor.Genesis))
		}
	case *order.Key:
		if a.Token != nil {
			lines = append(lines, tokenKey(a.Token)...)
			break
		}
		lines = append(lines, "Sign checkpoints with the new log key "+a.LogKey+". The OLD PRIVATE KEY IS REMOVED. Hosts and auditors need the next trust file.")
	case *order.Cert:
		lines = append(lines, certification(a, c)...)
	case *order.Image:
		lines = append(lines, image(a)...)
	case *order.Note:
		lines = append(lines, "Put these words into the log:")
	}
	return append(lines, "Reason: "+o.Reason)
}

// image says what the board is to become.
func image(a *order.Image) []string {
	return []string{
		fmt.Sprintf("Start ANOTHER OPERATING SYSTEM: version %s, serial %d, for a board %s.", a.Version, a.Serial, a.Board),
		fmt.Sprintf("boot.img SHA-256 %x. Compare it with what the build published.", a.Image),
		"It is written to the slot that is not in use, and tried by the next start only. It is kept once it serves a host with the token in; until then a restart goes back.",
	}
}

// tokenKey says which key the log gets.
func tokenKey(k *ledger.TokenKey) []string {
	what := fmt.Sprintf("Sign with a FURTHER KEY too, %s: slot %s of token %d, firmware %s, %s, for %s.", k.Name, k.Slot, k.Token.Serial, k.Token.Firmware, k.Algorithm, k.Family)
	lines := []string{what, fmt.Sprintf("Fingerprint %X. Compare it with the one shown when the token made it. Hosts and auditors need the next trust file.", k.Fingerprint)}
	if k.Token.Emulated {
		lines = append(lines, "This token is EMULATED: its key can be copied.")
	}
	pub, err := x509.ParsePKIXPublicKey(k.SPKI)
	if err == nil && (attest.Facts{Public: pub, Firmware: k.Token.Firmware}).EUCLEAK() {
		lines = append(lines, "WARNING: whoever holds that token for a while can extract this key (EUCLEAK).")
	}
	return lines
}

// certification says what the token is to say of its own key.
func certification(a *order.Cert, c *certificate.Certificate) []string {
	what := fmt.Sprintf("Renew the certificate of key %s: it is to expire %s. Without this order it expires %s.", a.Key, expiry(a.Expires), expiry(c.Expires))
	if a.Primary != nil {
		what = fmt.Sprintf("Have key %s agree to be a SIGNING SUBKEY of the primary key %X, which is kept elsewhere. Its own certificate stays as it is. Compare that fingerprint with the primary's owner.", a.Key, a.Primary.Fingerprint())
	}
	if a.Revoke {
		what = fmt.Sprintf("REVOKE the key %s FOR EVER: %s (code %d). This board signs nothing with it any more.", a.Key, a.Code.Words(), a.Code)
	}
	return []string{what, fmt.Sprintf("Fingerprint %X. The token asks for one touch.", c.Key.Fingerprint())}
}

func expiry(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return "at " + stamp(t)
}

// Policy says what a policy has that the one in force has not, and the other
// way round.
func Policy(old, next *policy.Policy) []string {
	lines := []string{fmt.Sprintf("Policy %d in place of %d, hash %x.", next.Serial, old.Serial, next.Hash)}
	if next.Recovered {
		lines = append(lines, "RECOVERY: signed by the recovery keys, NOT by the administrators, who are replaced by it. Ask them first.")
	}
	value := func(what string, a, b any) {
		if a != b {
			lines = append(lines, fmt.Sprintf("%s: %v in place of %v.", what, b, a))
		}
	}
	value("Administrators who must sign", old.Administrators.Quorum, next.Administrators.Quorum)
	value("max_skew", old.MaxSkew, next.MaxSkew)
	value("max_validity", old.MaxValidity, next.MaxValidity)
	lines = append(lines, differ("administrator", names(old.Administrators.Texts, self), names(next.Administrators.Texts, self))...)
	value("Recovery keys that must sign", old.Recovery.Quorum, next.Recovery.Quorum)
	lines = append(lines, differ("recovery key", names(old.Recovery.Texts, self), names(next.Recovery.Texts, self))...)
	lines = append(lines, differ("host", names(old.Hosts, host), names(next.Hosts, host))...)
	lines = append(lines, differ("approver", names(old.Approvers, approver), names(next.Approvers, approver))...)
	lines = append(lines, differ("key", names(old.Keys, func(k policy.Key) string { return k.Name }), names(next.Keys, func(k policy.Key) string { return k.Name }))...)
	return append(lines, classes(old, next)...)
}

func self(s string) string { return s }
func host(h policy.Host) string {
	return fmt.Sprintf("%s (%s+%08x)", h.Name, h.Key.Name(), h.Key.KeyHash())
}
func approver(a policy.Approver) string {
	return fmt.Sprintf("%s (%s+%08x)", a.Person, a.Key.Name(), a.Key.KeyHash())
}

func names[T any](list []T, name func(T) string) (out []string) {
	for _, x := range list {
		out = append(out, name(x))
	}
	return out
}

func differ(what string, old, next []string) (lines []string) {
	for _, n := range next {
		if !slices.Contains(old, n) {
			lines = append(lines, "NEW "+what+" "+n+".")
		}
	}
	for _, n := range old {
		if !slices.Contains(next, n) {
			lines = append(lines, "Removed: "+what+" "+n+".")
		}
	}
	return lines
}

// classes says which classes are new, gone or different.
func classes(old, next *policy.Policy) (lines []string) {
	for i := range next.Classes {
		c := &next.Classes[i]
		before, ok := old.Class(c.Name)
		switch {
		case !ok:
			lines = append(lines, "NEW class "+class(c)+".")
		case !reflect.DeepEqual(*before, *c):
			lines = append(lines, "CHANGED class "+class(c)+"; it was "+class(before)+".")
		}
	}
	for _, c := range old.Classes {
		if _, ok := next.Class(c.Name); !ok {
			lines = append(lines, "Removed: class "+c.Name+".")
		}
	}
	return lines
}

func class(c *policy.Class) string {
	rates := names(c.Rates, func(r policy.Rate) string { return r.Text })
	documents := ""
	if c.Documents {
		documents = ", documents only"
	}
	return fmt.Sprintf("%s (keys %s, hosts %s, names %s, formats %s, at most %s, rates %s, approvals %d, batch %d%s)",
		c.Name, strings.Join(c.Keys, " "), strings.Join(c.Hosts, " "), strings.Join(c.Names, " "), strings.Join(c.Formats, " "), policy.SizeText(c.MaxSize), strings.Join(rates, " "), c.Approvals, c.Batch, documents)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
