package keyring

import (
	"crypto/sha1"
	"strings"

	"touchmark/appliance/sigformat/openpgp/certificate"
)

// The Web Key Directory is that of draft-koch-openpgp-webkey-service, section 3.1:
// both places that clients look at are written, the advanced one for a host
// openpgpkey.DOMAIN and the direct one for DOMAIN itself.
const wellKnown = "wkd/.well-known/openpgpkey/"

// zbase32 is the alphabet of the encoding that the directory names files in
// (RFC 6189 section 5.1.6).
const zbase32 = "ybndrfg8ejkmcpqxot1uwisza345h769"

// directory are the certificates that have an address, by that. Several of one
// address stand in one file, as gpg reads them.
func directory(keys certificate.Keyring) []File {
	type place struct{ domain, hash string }
	var order []place
	found := map[place][]byte{}
	for _, k := range keys {
		local, domain, ok := address(k.UserID)
		if !ok {
			continue
		}
		p := place{domain, hashOf(local)}
		if found[p] == nil {
			order = append(order, p)
		}
		found[p] = append(found[p], k.Bytes()...)
	}
	var files []File
	policies := map[string]bool{}
	for _, p := range order {
		for _, dir := range []string{wellKnown + p.domain + "/", wellKnown} {
			if !policies[dir] {
				policies[dir] = true
				files = append(files, File{dir + "policy", nil})
			}
			files = append(files, File{dir + "hu/" + p.hash, found[p]})
		}
	}
	// Two domains whose local parts hash alike would meet in the direct place: whoever serves several domains takes the
	// advanced one of each.
	return unique(files)
}

// unique drops all files of a path that has several contents.
func unique(files []File) (out []File) {
	seen := map[string]int{}
	for _, f := range files {
		seen[f.Path]++
	}
	for _, f := range files {
		if seen[f.Path] == 1 {
			out = append(out, f)
		}
	}
	return out
}

// address takes "Name <local@domain>" apart; a user id without an address of
// plain letters is not in any directory.
func address(userID string) (local, domain string, ok bool) {
	_, mail, found := strings.Cut(userID, "<")
	if !found {
		mail = userID + ">"
	}
	mail, rest, closed := strings.Cut(mail, ">")
	local, domain, at := strings.Cut(mail, "@")
	if !closed || rest != "" || !at || !plain(local, ".!#$%&'*+-/=?^_`{|}~") || !plain(domain, ".-") ||
		strings.HasPrefix(domain, ".") || strings.HasPrefix(domain, "-") || strings.Contains(domain, "..") {
		return "", "", false
	}
	return lower(local), lower(domain), true
}

// plain reports whether s is letters, digits and what also may be, and not empty.
func plain(s, also string) bool {
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.Contains(also, string(rune(c))) {
			return false
		}
	}
	return s != ""
}

// lower maps the ASCII capitals; there are no others in an address here.
func lower(s string) string { return strings.ToLower(s) }

// hashOf is how the directory calls a local part: z-base-32 of its SHA-1.
func hashOf(local string) string {
	sum := sha1.Sum([]byte(local))
	var b strings.Builder
	bits, n := uint32(0), 0
	for _, c := range sum {
		for bits, n = bits<<8|uint32(c), n+8; n >= 5; n -= 5 {
			b.WriteByte(zbase32[bits>>(n-5)&31])
		}
	}
	return b.String()
}
