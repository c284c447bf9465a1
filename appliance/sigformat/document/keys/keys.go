// Package keys reads the keys of in-toto layouts, of OpenPGP and of in-toto's own
// kind. An id is computed from its key, or marked as claimed; no key is there under
// two ids.
package keys

import (
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

	"touchmark/appliance/sigformat/document/form"
	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/strictjson"
)

// TimeForm is that of in-toto's times.
const TimeForm = "2006-01-02T15:04:05Z"

// Key is a functionary's key. Its id was computed from the key itself, or
// else is marked as claimed.
type Key struct {
	ID      string
	Claimed bool
	what    string
	same    string // what it has in common with the same key under another id
	subkeys []Key
}

// Find is the key or the one of its subkeys with this id, nil if none has it.
func (k Key) Find(id string) *Key {
	for _, s := range k.all() {
		if s.ID == id {
			return &s
		}
	}
	return nil
}

// all are the key and its subkeys.
func (k Key) all() []Key { return append([]Key{k}, k.subkeys...) }

// Say shows the key.
func (k Key) Say(p *form.Page, depth int, what string) {
	p.Say(depth, "%s %s", what, k.ID)
	p.Say(depth+1, "%s", k.what)
	if k.Claimed {
		p.Say(depth+1, "without creation_time its id is only claimed; SHA-256 of the key:")
		p.Say(depth+2, "%x", sha256.Sum256([]byte(k.same)))
	}
	for _, s := range k.subkeys {
		s.Say(p, depth+1, "subkey")
	}
}

// Read reads an object of keys by their ids.
func Read(n form.Node) (keys []Key) {
	ids, all := n.Members()
	for i, k := range all {
		if n.Failed() {
			return nil
		}
		var key Key
		if k.Has("keytype") {
			key = nativeKey(k)
		} else {
			key = openPGPKey(k, "?subkeys")
		}
		k.Check(key.ID == ids[i] && k.Get("keyid").Text() == ids[i], "the key has the id %s, not this one", key.ID)
		differs(k, key, keys)
		keys = append(keys, key)
	}
	return keys
}

// differs wants a key that no other is, under whatever id: in-toto counts ids
// towards a threshold.
func differs(n form.Node, key Key, others []Key) {
	seen := map[string]string{}
	for _, o := range others {
		for _, k := range o.all() {
			seen[k.same] = k.ID
		}
	}
	for _, k := range key.all() {
		n.Check(seen[k.same] == "", "the same key as %s", seen[k.same])
		seen[k.same] = k.ID
	}
}

// nativeKey is one of securesystemslib's own, whose id is the hash of its
// canonical form, in older and newer versions with and without the list of hash
// algorithms.
func nativeKey(n form.Node) Key {
	n.Only("keyid", "keytype", "keyval", "scheme", "?keyid_hash_algorithms")
	val := n.Get("keyval")
	val.Only("public", "?private")
	val.Check(!val.Has("private") || val.Get("private").Text() == "", "a private key: it must not be published")
	kind := n.Get("keytype").Text()
	k := Key{what: fmt.Sprintf("%s, %s", form.Clip(kind, form.MaxFree), form.Clip(n.Get("scheme").Text(), form.MaxFree)), same: material(val.Get("public"), kind)}
	public, signed := new(strictjson.Object), new(strictjson.Object)
	public.Set("public", val.Get("public").Text())
	signed.Set("keytype", n.Get("keytype").Value)
	signed.Set("keyval", public)
	signed.Set("scheme", n.Get("scheme").Value)
	k.ID = hashOf(signed)
	if n.Get("keyid").Value == k.ID {
		return k
	}
	signed.Set("keyid_hash_algorithms", strictjson.Array{"sha256", "sha512"})
	if n.Has("keyid_hash_algorithms") {
		n.Get("keyid_hash_algorithms").Texts()
		signed.Set("keyid_hash_algorithms", n.Get("keyid_hash_algorithms").Value)
	}
	k.ID = hashOf(signed)
	return k
}

// material is a public key in the form in which OpenPGP has it, if that has such,
// whatever stands around it here.
func material(n form.Node, kind string) string {
	if kind == "ed25519" {
		b, err := hex.DecodeString(n.Text())
		n.Check(err == nil && len(b) == ed25519.PublicKeySize, "no Ed25519 key of 32 bytes in hexadecimal digits")
		return string(openPGPMaterial("eddsa", b))
	}
	block, _ := pem.Decode([]byte(n.Text()))
	if block == nil || strings.TrimSuffix(n.Text(), "\n") != plainPEM(block) {
		n.Fail("not one public key in PEM, without anything else, in lines of 64")
		return ""
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	switch k := public.(type) {
	case *rsa.PublicKey:
		n.Check(kind == "rsa", "another type of keys than keytype says")
		return string(openPGPMaterial("rsa", k.N.Bytes(), big.NewInt(int64(k.E)).Bytes()))
	case *ecdsa.PublicKey:
		n.Check(strings.HasPrefix(kind, "ecdsa"), "another type of keys than keytype says")
	default:
		n.Fail("no public key that is known here (RSA, ECDSA, Ed25519): %v", err)
		return ""
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	n.Check(err == nil, "no public key: %v", err)
	return string(der)
}

// plainPEM is how a public key is written. Of what stands around it or has other
// lines, readers do not find the same key: this one would skip what another takes.
func plainPEM(b *pem.Block) string {
	return strings.TrimSuffix(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b.Bytes})), "\n")
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
func openPGPKey(n form.Node, more ...string) Key {
	n.Only(append([]string{"?creation_time", "hashes", "keyid", "keyval", "method", "type", "?validity_period"}, more...)...)
	val := n.Get("keyval")
	val.Only("private", "public")
	val.Get("private").Check(val.Get("private").Text() == "", "a private key: it must not be published")
	material, what := openPGPNumbers(n, val.Get("public"))
	k := Key{ID: n.Get("keyid").Text(), Claimed: true, same: string(material), what: what + ", does not expire"}
	if n.Has("creation_time") {
		made := n.Get("creation_time").Int()
		n.Get("creation_time").Check(0 <= made && made < 1<<32, "not a time of OpenPGP")
		id := signing.FingerprintOf(append(binary.BigEndian.AppendUint32([]byte{4}, uint32(made)), material...))
		k.ID, k.Claimed, k.what = hex.EncodeToString(id[:]), false, what+validity(n, made)
	}
	if b, err := hex.DecodeString(k.ID); err != nil || len(b) != sha1.Size || hex.EncodeToString(b) != k.ID {
		n.Get("keyid").Fail("not 40 lowercase hexadecimal digits")
	}
	if !n.Has("subkeys") {
		return k
	}
	ids, all := n.Get("subkeys").Members()
	for i, s := range all {
		sub := openPGPKey(s)
		s.Check(sub.ID == ids[i] && s.Get("keyid").Text() == ids[i], "the key has the id %s, not this one", sub.ID)
		k.subkeys = append(k.subkeys, sub)
	}
	return k
}

// validity says when in-toto ceases to take an OpenPGP key.
func validity(n form.Node, made int64) string {
	if !n.Has("validity_period") {
		return ", does not expire"
	}
	lasts := n.Get("validity_period").Int()
	n.Get("validity_period").Check(0 <= lasts && lasts < 1<<32, "not a time of OpenPGP")
	if lasts == 0 {
		return ", does not expire"
	}
	return ", expires " + time.Unix(made+lasts, 0).UTC().Format(TimeForm)
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
func openPGPNumbers(n form.Node, public form.Node) (material []byte, what string) {
	kind, known := openPGPKinds[n.Get("type").Text()]
	n.Get("type").Check(known, "no type of keys that in-toto has")
	n.Get("method").Check(n.Get("method").Text() == kind.method, "not the method of this type of keys")
	hashes := n.Get("hashes").Texts()
	n.Get("hashes").Check(slices.Equal(hashes, []string{"pgp+SHA2"}), "not what in-toto writes")
	public.Only(kind.integers...)
	var integers [][]byte
	for _, name := range kind.integers {
		v, err := hex.DecodeString(public.Get(name).Text())
		public.Get(name).Check(err == nil && 0 < len(v) && len(v) <= maxInteger, "no integer in hexadecimal digits")
		public.Get(name).Check(kind.curve == "" || len(v) == ed25519.PublicKeySize, "not 32 bytes")
		integers = append(integers, v)
	}
	what = "OpenPGP " + n.Get("type").Text()
	if kind.curve == "" && len(integers) > 0 {
		what += fmt.Sprintf(" of %d bits", new(big.Int).SetBytes(integers[0]).BitLen())
	}
	return openPGPMaterial(n.Get("type").Text(), integers...), what
}

// openPGPMaterial is what follows the time in the body of a key packet.
func openPGPMaterial(kind string, integers ...[]byte) []byte {
	b := append([]byte{openPGPKinds[kind].algorithm}, openPGPKinds[kind].curve...)
	for _, v := range integers {
		if openPGPKinds[kind].curve != "" {
			v = append([]byte{0x40}, v...)
		}
		b = packet.AppendMPI(b, v)
	}
	return b
}
