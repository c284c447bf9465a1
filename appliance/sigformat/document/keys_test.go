package document

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/strictjson"
)

// hashOf is the id of a key in the form of securesystemslib.
func hashOf(o *strictjson.Object) string {
	text, err := strictjson.Canonical(o)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// integers are those of OpenPGP's keys, in order.
var integers = map[string][]string{"rsa": {"n", "e"}, "eddsa": {"q"}}

// material is what stands behind the time in OpenPGP's public key packet.
func material(kind string, numbers [][]byte) []byte {
	if kind == "rsa" {
		return packet.AppendMPI(packet.AppendMPI([]byte{1}, numbers[0]), numbers[1])
	}
	return packet.AppendMPI([]byte("\x16\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01"), append([]byte{0x40}, numbers[0]...))
}

// native is a key in the form of securesystemslib, under its own id.
func native(kind, scheme, public string, hashes ...strictjson.Value) *strictjson.Object {
	val, k := new(strictjson.Object), new(strictjson.Object)
	val.Set("public", public)
	k.Set("keytype", kind)
	k.Set("keyval", val)
	k.Set("scheme", scheme)
	if len(hashes) > 0 {
		k.Set("keyid_hash_algorithms", list(hashes))
	}
	k.Set("keyid", hashOf(k))
	return k
}

// openPGP is a key in the form of a keyring, under its own id.
func openPGP(kind, method string, made int, public map[string]string) *strictjson.Object {
	val, numbers, k := new(strictjson.Object), new(strictjson.Object), new(strictjson.Object)
	var bytes [][]byte
	for _, name := range integers[kind] {
		numbers.Set(name, public[name])
		b, err := hex.DecodeString(public[name])
		if err != nil {
			panic(err)
		}
		bytes = append(bytes, b)
	}
	val.Set("private", "")
	val.Set("public", numbers)
	k.Set("creation_time", num(fmt.Sprint(made)))
	k.Set("hashes", list{"pgp+SHA2"})
	k.Set("keyval", val)
	k.Set("method", method)
	k.Set("type", kind)
	body := append([]byte{4, byte(made >> 24), byte(made >> 16), byte(made >> 8), byte(made)}, material(kind, bytes)...)
	k.Set("keyid", fmt.Sprintf("%x", signing.FingerprintOf(body)))
	return k
}

// with is the small layout with keys of these.
func with(t *testing.T, keys ...*strictjson.Object) []byte {
	t.Helper()
	v := find(t, "layout-openpgp").value(t)
	all, _ := at(t, v, "keys/x")
	for _, k := range keys {
		id, _ := k.Get("keyid")
		all.(*strictjson.Object).Set(id.(string), k)
	}
	return encoded(t, "in-toto-gpg", v)
}

// TestOneKeyUnderTwoIds: in-toto counts ids towards a threshold, so that one person
// with one key under two ids would be two.
func TestOneKeyUnderTwoIds(t *testing.T) {
	v := find(t, "layout-openpgp").value(t)
	member := func(path string) string {
		in, name := at(t, v, path)
		s, _ := in.(*strictjson.Object).Get(name)
		return s.(string)
	}
	q := member("keys/" + edID + "/keyval/public/q")
	n := member("keys/" + rsaID + "/keyval/public/n")
	sub := member("keys/" + rsaID + "/subkeys/" + subID + "/keyval/public/n")
	rsaMethod, edMethod := "pgp+rsa-pkcsv1.5", "pgp+eddsa-ed25519"
	ofRSA := func(headers map[string]string) string { return spki(t, n, headers) }
	other := strings.Repeat("01", 32)
	for name, c := range map[string]struct {
		keys []*strictjson.Object
		want string // in the refusal; "" is good
	}{
		"others":                    {[]*strictjson.Object{native("ed25519", "ed25519", other), native("rsa", "rsassa-pss-sha256", spki(t, "c"+n[1:], nil))}, ""},
		"one, of another time":      {[]*strictjson.Object{openPGP("rsa", rsaMethod, 1, map[string]string{"n": n, "e": "010001"})}, "the same key as "},
		"a subkey as a main key":    {[]*strictjson.Object{openPGP("rsa", rsaMethod, 1, map[string]string{"n": sub, "e": "010001"})}, "the same key as "},
		"with zeros before it":      {[]*strictjson.Object{openPGP("rsa", rsaMethod, 1, map[string]string{"n": "00" + n, "e": "010001"})}, "the same key as "},
		"Ed25519, of another time":  {[]*strictjson.Object{openPGP("eddsa", edMethod, 1, map[string]string{"q": q})}, "the same key as "},
		"Ed25519 in the other form": {[]*strictjson.Object{native("ed25519", "ed25519", q)}, "the same key as "},
		"… in capitals":             {[]*strictjson.Object{native("ed25519", "ed25519", other), native("ed25519", "ed25519", strings.Repeat("01", 31)+"0A"), native("ed25519", "ed25519", strings.Repeat("01", 31)+"0a")}, "the same key as "},
		"RSA in the other form":     {[]*strictjson.Object{native("rsa", "rsassa-pss-sha256", ofRSA(nil))}, "the same key as "},
		"… with another scheme":     {[]*strictjson.Object{native("rsa", "rsassa-pss-sha512", ofRSA(nil))}, "the same key as "},
		"… with a comment":          {[]*strictjson.Object{native("rsa", "rsassa-pss-sha256", ofRSA(map[string]string{"Comment": "x"}))}, "not one public key"},
		"one that Python finds, one that Go does": {[]*strictjson.Object{native("rsa", "rsassa-pss-sha256",
			strings.Replace(ofRSA(nil), "-----\n", "-----\nX\n\n", 1)+spki(t, "c"+n[1:], nil))}, "not one public key"},
		"lines of another length":   {[]*strictjson.Object{native("rsa", "rsassa-pss-sha256", strings.Replace(ofRSA(nil), "MII", "M\nII", 1))}, "not one public key"},
		"without the last line end": {[]*strictjson.Object{native("rsa", "rsassa-pss-sha256", strings.TrimSpace(spki(t, "c"+n[1:], nil)))}, ""},
		"two schemes":               {[]*strictjson.Object{native("ed25519", "ed25519", other), native("ed25519", "other", other)}, "the same key as "},
		"two generations":           {[]*strictjson.Object{native("ed25519", "ed25519", other), native("ed25519", "ed25519", other, "sha256", "sha512")}, "the same key as "},
		"another type than said":    {[]*strictjson.Object{native("ecdsa", "ecdsa-sha2-nistp256", ofRSA(nil))}, "another type of keys"},
		"an unknown type":           {[]*strictjson.Object{native("sphincs", "sphincs-shake-128s", other)}, "not one public key"},
		"two keys in PEM":           {[]*strictjson.Object{native("rsa", "rsassa-pss-sha256", ofRSA(nil)+ofRSA(nil))}, "not one public key"},
		"a key cut short":           {[]*strictjson.Object{native("rsa", "rsassa-pss-sha256", ofRSA(nil)[:100])}, "not one public key"},
		"31 bytes":                  {[]*strictjson.Object{native("ed25519", "ed25519", other[2:])}, "no Ed25519 key"},
	} {
		d, err := Parse("in-toto-gpg", with(t, c.keys...))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v\n%s", name, err, strings.Join(d.Meaning, "\n"))
		}
	}
}

// spki is an RSA key in PEM.
func spki(t *testing.T, modulus string, headers map[string]string) string {
	t.Helper()
	b, err := hex.DecodeString(modulus)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(b), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: "PUBLIC KEY", Headers: headers, Bytes: der}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
