package station

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
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
		return intake.Refuse(message.CodeKeyExpired, "the certificate of key %s expired at %s: administrators must order to renew it first", k.Name, stamp(k.Cert.Expires))
	}
	return nil
}

// keyFor is the key that a request is signed with at a time: of those that its
// class names and whose certificates are in force, the first that the token
// holds; the first of all where it holds none. It answers why there is none.
func (s *Station) keyFor(g *policy.Grant, now time.Time) (*past.Key, error) {
	var first *past.Key
	var why error
	for _, named := range g.Keys {
		k := s.past.Named(named.Name)
		if k == nil {
			continue
		}
		if err := inForce(k, now); err != nil {
			if why == nil {
				why = err
			}
			continue
		}
		if slices.Contains(s.token.holds, k.Name) {
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

// keyWarning is shown as long as a key cannot sign, or can be extracted.
func (s *Station) keyWarning() string {
	var all []string
	for i := range s.past.Keys {
		k := &s.past.Keys[i]
		if err := inForce(k, s.clock.Now()); err != nil {
			all = append(all, refusalOf(err).Text+".")
		} else if k.Weak != "" {
			all = append(all, fmt.Sprintf("Whoever holds the token for a while can extract key %s: firmware %s (EUCLEAK).", k.Name, k.Weak))
		}
	}
	return strings.Join(all, " ")
}

// notHeld tells the operator, and answers true, if the token does not hold a key.
func (s *Station) notHeld(name string) bool {
	if slices.Contains(s.token.holds, name) {
		return false
	}
	s.say("The token does not hold key " + name + ": insert the one that does. Nothing was armed.")
	return true
}

// heldBy names those of the log's keys that the token holds; it holds none of
// them if it is another log's.
func heldBy(t Token, keys []past.Key) ([]string, error) {
	if len(keys) == 0 {
		return nil, errors.New("without a log nobody knows the enrolled keys")
	}
	var held []string
	for _, k := range keys {
		pub, err := t.Public(k.Slot)
		if err != nil {
			return nil, fmt.Errorf("reading the key in slot %s: %w", k.Slot, err)
		}
		if p, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); ok && p.Equal(k.Cert.Key.Public) {
			held = append(held, k.Name)
		}
	}
	if held == nil {
		return nil, errWrongToken
	}
	return held, nil
}

var errWrongToken = errors.New("this token does not hold a key of this log: insert the one that was enrolled")
