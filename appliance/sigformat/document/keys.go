package document

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/strictjson"
)

// layoutKey is a functionary's key. Its id was computed from the key itself, or
// else is marked as claimed.
type layoutKey struct {
	id      string
	claimed bool
	what    string
	same    string // what it has in common with the same key under another id
	subkeys []layoutKey
}

// find is the key or the one of its subkeys with this id, nil if none has it.
func (k layoutKey) find(id string) *layoutKey {
	for _, s := range k.all() {
		if s.id == id {
			return &s
		}
	}
	return nil
}

// all are the key and its subkeys.
func (k layoutKey) all() []layoutKey { return append([]layoutKey{k}, k.subkeys...) }

func (k layoutKey) say(p *page, depth int, what string) {
	p.say(depth, "%s %s", what, k.id)
	p.say(depth+1, "%s", k.what)
	if k.claimed {
		p.say(depth+1, "without creation_time its id is only claimed; SHA-256 of the key:")
		p.say(depth+2, "%x", sha256.Sum256([]byte(k.same)))
	}
	for _, s := range k.subkeys {
		s.say(p, depth+1, "subkey")
	}
}

// layoutKeys reads an object of keys by their ids.
func (n node) layoutKeys() (keys []layoutKey) {
	ids, all := n.members()
	for i, k := range all {
		var key layoutKey
		if k.has("keytype") {
			key = k.nativeKey()
		} else {
			key = k.openPGPKey("?subkeys")
		}
		k.check(key.id == ids[i] && k.get("keyid").text() == ids[i], "the key has the id %s, not this one", key.id)
		k.differs(key, keys)
		keys = append(keys, key)
	}
	return keys
}

// differs wants a key that no other is, under whatever id: in-toto counts ids
// towards a threshold.
func (n node) differs(key layoutKey, others []layoutKey) {
	seen := map[string]string{}
	for _, o := range others {
		for _, k := range o.all() {
			seen[k.same] = k.id
		}
	}
	for _, k := range key.all() {
		n.check(seen[k.same] == "", "the same key as %s", seen[k.same])
		seen[k.same] = k.id
	}
}

// nativeKey is one of securesystemslib's own, whose id is the hash of its
// canonical form, in older and newer versions with and without the list of hash
// algorithms.
func (n node) nativeKey() layoutKey {
	n.only("keyid", "keytype", "keyval", "scheme", "?keyid_hash_algorithms")
	val := n.get("keyval")
	val.only("public", "?private")
	val.check(!val.has("private") || val.get("private").text() == "", "a private key: it must not be published")
	kind := n.get("keytype").text()
	k := layoutKey{what: fmt.Sprintf("%s, %s", clip(kind, maxFree), clip(n.get("scheme").text(), maxFree)), same: val.get("public").material(kind)}
	public, signed := new(strictjson.Object), new(strictjson.Object)
	public.Set("public", val.get("public").text())
	signed.Set("keytype", n.get("keytype").v)
	signed.Set("keyval", public)
	signed.Set("scheme", n.get("scheme").v)
	k.id = hashOf(signed)
	if n.get("keyid").v == k.id {
		return k
	}
	signed.Set("keyid_hash_algorithms", strictjson.Array{"sha256", "sha512"})
	if n.has("keyid_hash_algorithms") {
		n.get("keyid_hash_algorithms").texts()
		signed.Set("keyid_hash_algorithms", n.get("keyid_hash_algorithms").v)
	}
	k.id = hashOf(signed)
	return k
}

// material is a public key in the form in which OpenPGP has it, if that has such,
// whatever stands around it here.
func (n node) material(kind string) string {
	if kind == "ed25519" {
		b, err := hex.DecodeString(n.text())
		n.check(err == nil && len(b) == ed25519.PublicKeySize, "no Ed25519 key of 32 bytes in hexadecimal digits")
		return string(openPGPMaterial("eddsa", b))
	}
	block, rest := pem.Decode([]byte(n.text()))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		n.fail("not one public key in PEM")
		return ""
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	switch k := public.(type) {
	case *rsa.PublicKey:
		n.check(kind == "rsa", "another type of keys than keytype says")
		return string(openPGPMaterial("rsa", k.N.Bytes(), big.NewInt(int64(k.E)).Bytes()))
	case *ecdsa.PublicKey:
		n.check(strings.HasPrefix(kind, "ecdsa"), "another type of keys than keytype says")
	default:
		n.fail("no public key that is known here (RSA, ECDSA, Ed25519): %v", err)
		return ""
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	n.check(err == nil, "no public key: %v", err)
	return string(der)
}

func hashOf(o *strictjson.Object) string {
	text, err := strictjson.Canonical(o)
	if err != nil {
		return "" // it has a number that canonical JSON has not: no key's id
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// openPGPKey is one as securesystemslib exports it from a keyring. Its id is the
// fingerprint, which nobody can compute where older versions left the time of
// creation out.
func (n node) openPGPKey(more ...string) layoutKey {
	n.only(append([]string{"?creation_time", "hashes", "keyid", "keyval", "method", "type", "?validity_period"}, more...)...)
	val := n.get("keyval")
	val.only("private", "public")
	val.get("private").check(val.get("private").text() == "", "a private key: it must not be published")
	material, what := n.openPGPNumbers(val.get("public"))
	k := layoutKey{id: n.get("keyid").text(), claimed: true, same: string(material), what: what + ", does not expire"}
	if n.has("creation_time") {
		made := n.get("creation_time").int()
		n.get("creation_time").check(0 <= made && made < 1<<32, "not a time of OpenPGP")
		id := sigformat.FingerprintOf(append(binary.BigEndian.AppendUint32([]byte{4}, uint32(made)), material...))
		k.id, k.claimed, k.what = hex.EncodeToString(id[:]), false, what+n.validity(made)
	}
	if b, err := hex.DecodeString(k.id); err != nil || len(b) != sha1.Size || hex.EncodeToString(b) != k.id {
		n.get("keyid").fail("not 40 lowercase hexadecimal digits")
	}
	if !n.has("subkeys") {
		return k
	}
	ids, all := n.get("subkeys").members()
	for i, s := range all {
		sub := s.openPGPKey()
		s.check(sub.id == ids[i] && s.get("keyid").text() == ids[i], "the key has the id %s, not this one", sub.id)
		k.subkeys = append(k.subkeys, sub)
	}
	return k
}

// validity says when in-toto ceases to take an OpenPGP key.
func (n node) validity(made int64) string {
	if !n.has("validity_period") {
		return ", does not expire"
	}
	lasts := n.get("validity_period").int()
	n.get("validity_period").check(0 <= lasts && lasts < 1<<32, "not a time of OpenPGP")
	if lasts == 0 {
		return ", does not expire"
	}
	return ", expires " + time.Unix(made+lasts, 0).UTC().Format(expiryForm)
}

// openPGPKinds are the types of keys that in-toto knows: method, algorithm
// (RFC 9580 §9.1), what stands before the integers, their names in order.
var openPGPKinds = map[string]struct {
	method    string
	algorithm byte
	curve     string
	integers  []string
}{
	"rsa":   {"pgp+rsa-pkcsv1.5", 1, "", []string{"n", "e"}},
	"dsa":   {"pgp+dsa-fips-180-2", 17, "", []string{"p", "q", "g", "y"}},
	"eddsa": {"pgp+eddsa-ed25519", 22, "\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01", []string{"q"}},
}

// openPGPNumbers makes what follows the time in the body of the key packet
// (RFC 9580 §5.5.2.2) again.
func (n node) openPGPNumbers(public node) (material []byte, what string) {
	kind, known := openPGPKinds[n.get("type").text()]
	n.get("type").check(known, "no type of keys that in-toto has")
	n.get("method").check(n.get("method").text() == kind.method, "not the method of this type of keys")
	hashes := n.get("hashes").texts()
	n.get("hashes").check(slices.Equal(hashes, []string{"pgp+SHA2"}), "not what in-toto writes")
	public.only(kind.integers...)
	var integers [][]byte
	for _, name := range kind.integers {
		v, err := hex.DecodeString(public.get(name).text())
		public.get(name).check(err == nil && 0 < len(v) && len(v) <= maxInteger, "no integer in hexadecimal digits")
		public.get(name).check(kind.curve == "" || len(v) == ed25519.PublicKeySize, "not 32 bytes")
		integers = append(integers, v)
	}
	what = "OpenPGP " + n.get("type").text()
	if kind.curve == "" && len(integers) > 0 {
		what += fmt.Sprintf(" of %d bits", new(big.Int).SetBytes(integers[0]).BitLen())
	}
	return openPGPMaterial(n.get("type").text(), integers...), what
}

// openPGPMaterial is what follows the time in the body of a key packet.
func openPGPMaterial(kind string, integers ...[]byte) []byte {
	b := append([]byte{openPGPKinds[kind].algorithm}, openPGPKinds[kind].curve...)
	for _, v := range integers {
		if openPGPKinds[kind].curve != "" {
			v = append([]byte{0x40}, v...)
		}
		b = sigformat.AppendMPI(b, v)
	}
	return b
}
