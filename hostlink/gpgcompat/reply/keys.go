// Package reply is what touchmark-gpg answers in gpg's place: which of the
// appliance's keys a caller means, the listing of secret keys, the status lines
// behind a signature or a failure, and where gpgconf says that gpg is.
//
// Sources: gpg(1) of GnuPG 2.2, "How to specify a user ID"; doc/DETAILS of GnuPG;
// gpgconf(1).
package reply

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/message"
)

// Ring are the appliance's keys that make OpenPGP signatures, of files or of in-toto's
// metadata.
type Ring []*certificate.Certificate

// NewRing takes those with a certificate out of the keys of a log.
func NewRing(keys certificate.Keyring) Ring {
	var r Ring
	for _, c := range keys {
		if !c.Bare() {
			r = append(r, c)
		}
	}
	return r
}

// Match gives the keys that gpg would take a user id to mean (gpg(1), "How to
// specify a user ID"): a fingerprint or key id, =the whole user id, <an address>,
// @a part of an address, else any part of a user id.
func (r Ring) Match(spec string) Ring {
	var found Ring
	for _, c := range r {
		if matches(c, spec) {
			found = append(found, c)
		}
	}
	return found
}

func matches(c *certificate.Certificate, spec string) bool {
	if id := hexID(spec); id != "" {
		return strings.HasSuffix(fingerprint(c), id)
	}
	uid := strings.ToLower(c.UserID)
	_, mail, _ := strings.Cut(strings.TrimSuffix(uid, ">"), "<")
	rest := strings.ToLower(spec)
	switch {
	case spec == "":
		return false
	case spec[0] == '=':
		return c.UserID == spec[1:]
	case spec[0] == '<':
		return mail != "" && mail == strings.TrimSuffix(rest[1:], ">")
	case spec[0] == '@':
		return strings.Contains(mail, rest[1:])
	}
	return strings.Contains(uid, strings.TrimPrefix(rest, "*"))
}

// hexID is a fingerprint or key id in the form of fingerprint, "" for anything
// else. A "!" behind it says that exactly this key is meant.
func hexID(spec string) string {
	s := strings.ToUpper(strings.ReplaceAll(strings.TrimSuffix(spec, "!"), " ", ""))
	if prefixed, ok := strings.CutPrefix(s, "0X"); ok {
		s = prefixed
	}
	if _, err := hex.DecodeString(s); err != nil || !slices.Contains([]int{8, 16, 40}, len(s)) {
		return ""
	}
	return s
}

func fingerprint(c *certificate.Certificate) string {
	return fmt.Sprintf("%X", c.Key.Fingerprint())
}

// Choose gives the keys that a signature may be by, at the given time. None and
// no error: it is another's key that is meant. Without a name it is any of ours,
// never the real gpg's default.
func (r Ring) Choose(users []string, now time.Time) (Ring, error) {
	chosen, others := r, 0
	for i, u := range users {
		m := r.Match(u)
		switch {
		case len(m) == 0:
			others++
		case i > 0 && others == 0 && !slices.Equal(m, chosen):
			return nil, fmt.Errorf("%w: signatures by several keys at once", gpgcompat.ErrRefused)
		default:
			chosen = m
		}
	}
	switch {
	case others > 0 && others == len(users):
		return nil, nil
	case others > 0:
		return nil, fmt.Errorf("%w: signatures by the appliance's key and another at once", gpgcompat.ErrRefused)
	case len(chosen) == 0:
		return nil, fmt.Errorf("%w: the appliance has no OpenPGP key", gpgcompat.ErrRefused)
	}
	return chosen.usable(now)
}

// usable leaves out keys whose signatures nobody would accept.
func (r Ring) usable(now time.Time) (Ring, error) {
	var fine Ring
	var last error
	for _, c := range r {
		if err := c.Usable(now); err != nil {
			last = fmt.Errorf("key %s: %w", fingerprint(c), err)
			continue
		}
		fine = append(fine, c)
	}
	if len(fine) == 0 {
		return nil, last
	}
	return fine, nil
}

// Hash is the algorithm to hash with: what the call says, else the first that all
// of the keys may sign over.
func (r Ring) Hash(said message.Alg) (message.Alg, error) {
	if said != "" {
		return said, r.signs(said)
	}
	var err error
	for _, alg := range []message.Alg{message.SHA256, message.SHA384, message.SHA512} {
		if err = r.signs(alg); err == nil {
			return alg, nil
		}
	}
	return "", err
}

func (r Ring) signs(alg message.Alg) error {
	for _, c := range r {
		if err := c.Key.Signs(alg); err != nil {
			return fmt.Errorf("%w: %w", gpgcompat.ErrRefused, err)
		}
	}
	return nil
}

// Has reports whether a fingerprint is one of the ring's.
func (r Ring) Has(fpr [20]byte) bool {
	return slices.ContainsFunc(r, func(c *certificate.Certificate) bool { return c.Key.Fingerprint() == fpr })
}

// Names lists the fingerprints, for people.
func (r Ring) Names() string {
	var names []string
	for _, c := range r {
		names = append(names, fingerprint(c))
	}
	return strings.Join(names, " or ")
}
