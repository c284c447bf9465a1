package reply

import (
	"fmt"
	"strings"
	"time"

	"touchmark/appliance/sigformat/openpgp/certificate"
)

// kind is how gpg calls a type of key: doc/DETAILS, fields 3, 4 and 17.
type kind struct {
	bits, algo int
	curve      string
}

var kinds = map[string]kind{
	"rsa2048": {2048, 1, ""}, "rsa3072": {3072, 1, ""}, "rsa4096": {4096, 1, ""},
	"p256": {256, 19, "nistp256"}, "p384": {384, 19, "nistp384"}, "ed25519": {255, 22, "ed25519"},
}

// Listing is what gpg --list-secret-keys prints of the keys, for programs
// (--with-colons) or people.
func (r Ring) Listing(colons bool, now time.Time) string {
	var b strings.Builder
	for _, c := range r {
		if colons {
			listColons(&b, c, now)
		} else {
			listPlain(&b, c, now)
		}
	}
	return b.String()
}

func listColons(b *strings.Builder, c *certificate.Certificate, now time.Time) {
	k, fpr := kinds[c.Key.Algorithm()], fingerprint(c)
	expires, validity, can := "", "u", "scSC"
	if !c.Expires.IsZero() {
		expires = fmt.Sprint(c.Expires.Unix())
	}
	switch c.Usable(now) {
	case certificate.ErrRevoked:
		validity, can = "r", "sc"
	case certificate.ErrExpired:
		validity, can = "e", "sc"
	}
	fmt.Fprintf(b, "sec:%s:%d:%d:%s:%d:%s::u:::%s:::+::%s:23::0:\n", validity, k.bits, k.algo, fpr[24:], c.Key.Created.Unix(), expires, can, k.curve)
	fmt.Fprintf(b, "fpr:::::::::%s:\n", fpr)
	fmt.Fprintf(b, "uid:%s::::%d::::%s::::::::::0:\n", validity, c.Key.Created.Unix(), quoteColons(c.UserID))
}

// quoteColons writes a user id as gpg does in such a list: a colon is \x3a.
func quoteColons(s string) string {
	return strings.NewReplacer(`\`, `\x5c`, ":", `\x3a`).Replace(s)
}

func listPlain(b *strings.Builder, c *certificate.Certificate, now time.Time) {
	k, state := kinds[c.Key.Algorithm()], ""
	name := k.curve
	if name == "" {
		name = c.Key.Algorithm()
	}
	switch err := c.Usable(now); {
	case err != nil:
		state = " [" + err.Error() + "]"
	case !c.Expires.IsZero():
		state = " [expires: " + c.Expires.Format(time.DateOnly) + "]"
	}
	fmt.Fprintf(b, "sec   %s %s [SC]%s\n      %s\n", name, c.Key.Created.Format(time.DateOnly), state, fingerprint(c))
	fmt.Fprintf(b, "uid           [ultimate] %s\n      (on a signing appliance: touchmark-gpg)\n\n", c.UserID)
}
