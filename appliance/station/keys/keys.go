// Package keys says which of a log's keys a request is signed with, and what the
// operator must know of them.
package keys

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"touchmark/appliance/intake"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
)

// inForce says why nothing is signed with a key at a time.
func inForce(k *past.Key, now time.Time) error {
	switch err := k.Cert.Usable(now); {
	case errors.Is(err, certificate.ErrRevoked):
		return intake.Refuse(message.CodeKeyRevoked, "key %s was revoked: nothing is signed with it any more", k.Name)
	case err != nil:
		return intake.Refuse(message.CodeKeyExpired, "the certificate of key %s expired at %s: administrators must order to renew it first", k.Name, k.Cert.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// For is the key that a request is signed with at a time: of those that its class
// names and whose certificates are in force, the first that the token holds; the
// first of all where it holds none. Its error is a refusal, and says why there is
// none.
func For(l *past.Law, g *policy.Grant, held func(name string) bool, now time.Time) (*past.Key, error) {
	var first *past.Key
	var why error
	for _, named := range g.Keys {
		k := l.Named(named.Name)
		if k == nil {
			continue
		}
		if err := inForce(k, now); err != nil {
			if why == nil {
				why = err
			}
			continue
		}
		if held(k.Name) {
			return k, nil
		}
		if first == nil {
			first = k
		}
	}
	switch {
	case first != nil:
		return first, nil
	case why != nil:
		return nil, why
	}
	return nil, intake.Refuse(message.CodeKeyMissing, "this log has none of the keys that class %s names", g.Class)
}

// Warning is for the operator as long as a key cannot sign, or can be extracted,
// else "".
func Warning(l *past.Law, now time.Time) string {
	var all []string
	for i := range l.Keys {
		k := &l.Keys[i]
		if err := inForce(k, now); err != nil {
			all = append(all, intake.RefusalOf(err).Text+".")
		} else if k.Weak != "" {
			all = append(all, fmt.Sprintf("Whoever holds the token for a while can extract key %s: firmware %s (EUCLEAK).", k.Name, k.Weak))
		}
	}
	return strings.Join(all, " ")
}
