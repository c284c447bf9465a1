package sigformat_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/envelope"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/appliance/sigformat/strictjson"
	"touchmark/hostlink/message"
)

const (
	metadata  = `{"_type":"link","name":"x"}`
	statement = "{\"_type\": \"https://in-toto.io/Statement/v1\"}\n"
)

// TestDSSEInTools: openssl and securesystemslib, by its own key and under its own id of
// that, accept the signature that stands in an envelope over the encoding (PAE) that
// Debian's Python makes of what stands in it.
func TestDSSEInTools(t *testing.T) {
	const pae = `import base64,json,sys
e = json.load(open(sys.argv[1]))
p, t = base64.b64decode(e["payload"], validate=True), e["payloadType"].encode()
open(sys.argv[2], "wb").write(b"DSSEv1 %d %s %d %s" % (len(t), t, len(p), p))
open(sys.argv[3], "wb").write(base64.b64decode(e["signatures"][0]["sig"], validate=True))
from securesystemslib import interface, keys
if sys.argv[4] == "rsa":
    key = interface.import_rsa_publickey_from_file(sys.argv[5], "rsa-pkcs1v15-sha256")
else:
    key = interface.import_ecdsa_publickey_from_file(sys.argv[6])
s, over = e["signatures"][0], open(sys.argv[2], "rb").read()
hexed = {"keyid": s["keyid"], "sig": base64.b64decode(s["sig"]).hex()}
judged = [keys.verify_signature(key, hexed, x) for x in (over, over + b" ")] if s["keyid"] == key["keyid"] else key["keyid"]
print(t.decode(), p.decode(), len(e["signatures"]), sorted(e), judged)`
	f := formatOf(t, "dsse-in-toto")
	for _, k := range tokens() {
		alg, ok := enclosedBy(k)[f]
		if !ok {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(k.Public)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, dir: t.TempDir()}
		key := b.write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		signed := b.write("envelope", k.enclose(t, f, alg, []byte(statement)))
		kind, _ := envelope.SecureSystems(k.Key).Get("keytype")
		out, err := sigtest.Run(t, b.dir, debianPython, "-I", "-c", pae, signed, b.dir+"/pae", b.dir+"/sig", kind.(string), key, b.write("key.json", strictjson.Text(envelope.SecureSystems(k.Key))))
		if want := "application/vnd.in-toto+json " + statement + " 1 ['payload', 'payloadType', 'signatures'] [True, False]\n"; err != nil || out != want {
			t.Fatalf("%v: %q, want %q", err, out, want)
		}
		if out, err := b.run("openssl", "dgst", "-"+string(alg), "-verify", key, "-signature", b.dir+"/sig", b.dir+"/pae"); err != nil {
			t.Fatalf("%s: openssl: %v\n%s", k.Algorithm(), err, out)
		}
		if out, err := b.run("openssl", "dgst", "-"+string(alg), "-verify", key, "-signature", b.dir+"/sig", signed); err == nil {
			t.Fatalf("openssl accepts other data:\n%s", out)
		}
	}
}

// TestEnclosedHashes: of each key type in-toto and DSSE have one hash or none.
func TestEnclosedHashes(t *testing.T) {
	want := map[string]string{
		"rsa2048": "in-toto-gpg/sha256 dsse-x/sha256", "rsa3072": "in-toto-gpg/sha256 dsse-x/sha256", "rsa4096": "in-toto-gpg/sha256 dsse-x/sha256", "ed25519": "in-toto-gpg/sha256",
		"p256": "in-toto-native/sha256 dsse-x/sha256", "p384": "in-toto-native/sha384 dsse-x/sha384", "p521": "",
	}
	for algorithm, w := range want {
		var got []string
		for _, f := range []sigformat.Format{sigformat.InTotoGPG, sigformat.InTotoNative, formatOf(t, "dsse-x")} {
			for _, alg := range sigtest.Algs {
				if f.Signs(algorithm, alg) == nil {
					got = append(got, f.Name+"/"+string(alg))
				}
			}
		}
		if strings.Join(got, " ") != w {
			t.Errorf("%s: %v, want %s", algorithm, got, w)
		}
		packet := strings.HasPrefix(w, "in-toto-gpg")
		if sigformat.Certified(sigformat.FamilyInToto, algorithm) != packet || sigformat.Certified(sigformat.FamilyDSSE, algorithm) || sigformat.Certified(sigformat.FamilyRaw, algorithm) || sigformat.Certified(sigformat.FamilyOpenPGP, algorithm) != (w != "") {
			t.Errorf("%s: whether it has a certificate", algorithm)
		}
	}
	for _, k := range tokens() {
		raw, err := certificate.NewWithTerms(k.Key, "Layouts <layouts@touchmark.example>", certificate.Terms{Family: sigformat.FamilyInToto, Origin: sigtest.Origin}, k.Sign)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := certificate.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		bare, err := certificate.Parse(certificate.NewBare(k.Key))
		if err != nil {
			t.Fatal(err)
		}
		packet := strings.HasPrefix(want[k.Algorithm()], "in-toto-gpg")
		if (whole.Fits(sigformat.FamilyInToto) == nil) != packet || (bare.Fits(sigformat.FamilyInToto) == nil) == packet || bare.Fits(sigformat.FamilyDSSE) != nil || whole.Fits(sigformat.FamilyDSSE) == nil {
			t.Errorf("%s: the certificate fits where it must not, or the reverse", k.Algorithm())
		}
	}
}

// TestEnclosedRefused: files in which two readers could find two things to be
// signed, or that are none.
func TestEnclosedRefused(t *testing.T) {
	payload := base64.StdEncoding.EncodeToString([]byte(statement))
	dsse := func(members string) string { return `{"payloadType":"application/vnd.in-toto+json",` + members + `}` }
	for format, files := range map[string]map[string]string{
		"in-toto-gpg": {
			"nothing":          ``,
			"a list":           `[]`,
			"a number":         `{"a":1.5}`,
			"an exponent":      `{"a":1e2}`,
			"a long number":    `{"a":9007199254740992}`,
			"twice":            `{"_type":"link","_type":"layout"}`,
			"twice, escaped":   `{"_type":"link","_typ\u0065":"layout"}`,
			"two blocks":       `{"signatures":[],"signed":{},"signed":{"a":1}}`,
			"two values":       metadata + metadata,
			"behind it":        metadata + "x",
			"more members":     `{"signatures":[],"signed":` + metadata + `,"more":1}`,
			"no signatures":    `{"signed":` + metadata + `}`,
			"odd signatures":   `{"signatures":[1],"signed":` + metadata + `}`,
			"signatures: null": `{"signatures":null,"signed":` + metadata + `}`,
			"half a character": `{"a":"\ud800"}`,
			"NUL":              `{"a":"\u0000"}`,
			"not UTF-8":        "{\"a\":\"\xff\"}",
			"byte order mark":  "\ufeff" + metadata,
			"raw line end":     "{\"a\": \"\n\"}", // neither JSON nor canonical
			"deep":             strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
			"long":             `{"a":"` + strings.Repeat("a", strictjson.MaxBytes) + `"}`,
		},
		"dsse-in-toto": {
			"nothing":           ``,
			"no object":         `"x"`,
			"twice":             `{"a":1,"a":2}`,
			"another type":      `{"payloadType":"application/vnd.other+json","payload":"` + payload + `","signatures":[]}`,
			"no payload":        dsse(`"signatures":[]`),
			"no signatures":     dsse(`"payload":"` + payload + `"`),
			"more":              dsse(`"payload":"` + payload + `","signatures":[],"x":1`),
			"no base64":         dsse(`"payload":"?","signatures":[]`),
			"URL base64":        dsse(`"payload":"` + base64.URLEncoding.EncodeToString([]byte(`{"a":">>>???"}`)) + `","signatures":[]`),
			"line in base64":    dsse(`"payload":"` + payload[:8] + `\n` + payload[8:] + `","signatures":[]`),
			"loose bits":        dsse(`"payload":"e31=","signatures":[]`),
			"payload no JSON":   dsse(`"payload":"AAAA","signatures":[]`),
			"payload ambiguous": dsse(`"payload":"` + base64.StdEncoding.EncodeToString([]byte(`{"a":1,"a":2}`)) + `","signatures":[]`),
		},
	} {
		f := formatOf(t, format)
		for name, file := range files {
			if doc, err := f.DocumentOf([]byte(file)); err == nil {
				t.Errorf("%s, %s: taken as %q", format, name, doc)
			}
			if _, err := f.Digest(message.SHA256, strings.NewReader(file)); err == nil {
				t.Errorf("%s, %s: hashed", format, name)
			}
		}
	}
}

// TestPAE: the payload comes back, and nothing but one encoding of it is read.
func TestPAE(t *testing.T) {
	f := formatOf(t, "dsse-in-toto")
	const good = "DSSEv1 28 application/vnd.in-toto+json 2 {}"
	if pae := f.PAE([]byte("{}")); string(pae) != good {
		t.Fatalf("%q", pae)
	}
	if p, err := f.PayloadOf([]byte(good)); err != nil || string(p) != "{}" {
		t.Fatalf("%q, %v", p, err)
	}
	for _, bad := range []string{"", "{}", good + " ", good[:len(good)-1], strings.Replace(good, " 2 ", " 02 ", 1), strings.Replace(good, " 2 ", " +2 ", 1), strings.Replace(good, "28", "29", 1),
		strings.Replace(good, "in-toto", "in-tota", 1), strings.Replace(good, "v1", "v2", 1), strings.Replace(good, " 2 ", " 2", 1), good[:40]} {
		if p, err := f.PayloadOf([]byte(bad)); err == nil {
			t.Errorf("%q is read as %q", bad, p)
		}
	}
	if (sigformat.Format{}).PayloadType() != "" || sigformat.InTotoGPG.PayloadType() != "" {
		t.Error("a payload type without DSSE")
	}
}

// TestEnclosedSignatures: a file keeps what others signed, in its order; a changed
// object, or one that claims another key, gives no signature that verifies.
func TestEnclosedSignatures(t *testing.T) {
	for _, k := range tokens() {
		for f, alg := range enclosedBy(k) {
			file := fmt.Appendf(nil, `{"signed":%s,"signatures":[{"keyid":"aa","sig":"bb","extra":{"kept":[1.5,null]}}]}`, metadata)
			if f.Family == sigformat.FamilyDSSE {
				file = fmt.Appendf(nil, `{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"bb"}]}`)
			}
			whole := k.enclose(t, f, alg, file)
			v, err := strictjson.Parse(whole)
			if err != nil {
				t.Fatal(err)
			}
			list, _ := v.(*strictjson.Object).Get("signatures")
			sigs := list.(strictjson.Array)
			if id, _ := sigs[1].(*strictjson.Object).Get("keyid"); len(sigs) != 2 || id != f.KeyID(k.Key) || f.Family == sigformat.FamilyInToto && !bytes.Contains(whole, []byte("1.5")) {
				t.Fatalf("%s", whole)
			}
			for name, change := range changes() {
				o := sigs[1].(*strictjson.Object)
				kept := slices.Clone(o.Members)
				change(o)
				doc, sig, err := f.OpenEnclosed(k.Key, strictjson.Text(v))
				if err == nil && k.holds(f, alg, doc, sig) {
					t.Errorf("%s, %s: %s, and it verifies", k.Algorithm(), f.Name, name)
				}
				o.Members = kept
			}
			if doc, sig, err := f.OpenEnclosed(k.Key, strictjson.Text(v)); err != nil || !k.holds(f, alg, doc, sig) {
				t.Errorf("%s, %s: %v, or it does not verify", k.Algorithm(), f.Name, err)
			}
			if _, _, err := f.OpenEnclosed(tokens()[0].Key, file); err == nil {
				t.Error("a signature where there is none")
			}
		}
	}
}

// changes are what can be done to a signature's object.
func changes() map[string]func(*strictjson.Object) {
	all := map[string]func(*strictjson.Object){}
	for _, name := range []string{"sig", "signature", "other_headers", "keyid"} {
		set := func(what string, value func(string) strictjson.Value) {
			all[name+" "+what] = func(o *strictjson.Object) {
				if old, there := o.Get(name); there {
					o.Set(name, value(old.(string)))
				} else {
					o.Members = nil // of another format: nothing is left to take
				}
			}
		}
		set("cut", func(s string) strictjson.Value { return s[:len(s)/2&^1] })
		set("empty", func(string) strictjson.Value { return "" })
		set("null", func(string) strictjson.Value { return nil })
		set("no digits", func(s string) strictjson.Value { return "?" + s[1:] })
		set("longer", func(s string) strictjson.Value { return strings.Repeat(s, 20) })
		set("changed", func(s string) strictjson.Value {
			b := []byte(s)
			b[len(b)/2] ^= 1 // still a digit, or base64
			return string(b)
		})
	}
	return all
}

// holds verifies a signature that was taken out of a file.
func (t *token) holds(f sigformat.Format, alg message.Alg, doc, sig []byte) bool {
	s := sigtest.StateOf(alg, doc)
	if f.Packet() {
		_, err := f.Verify(t.Key, sig, s)
		return err == nil
	}
	p, err := f.Plan(t.Key, s, sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
	return err == nil && p.Verify(sig) == nil
}

// TestClaimed: all that a reader may take for the key's signature is found: behind
// another that names it, and in an envelope without a name.
func TestClaimed(t *testing.T) {
	for _, k := range tokens() {
		for f, alg := range enclosedBy(k) {
			file := []byte(metadata)
			whole := k.enclose(t, f, alg, file)
			for name, c := range map[string]struct {
				change func(list strictjson.Array) strictjson.Array
				want   int
			}{
				"as it is": {func(l strictjson.Array) strictjson.Array { return l }, 1},
				"behind one": {func(l strictjson.Array) strictjson.Array {
					return append(strictjson.Array{l[0]}, l...)
				}, 2},
				"without a name": {func(l strictjson.Array) strictjson.Array {
					l[0].(*strictjson.Object).Set("keyid", "")
					return l
				}, map[bool]int{true: 1}[f.Family == sigformat.FamilyDSSE]},
				"no other's": {func(strictjson.Array) strictjson.Array {
					o := new(strictjson.Object)
					o.Set("sig", "AAAA")
					return strictjson.Array{o}
				}, 0},
			} {
				v, err := strictjson.Parse(whole)
				if err != nil {
					t.Fatal(err)
				}
				doc, err := f.DocumentOf(whole)
				if err != nil {
					t.Fatal(err)
				}
				l, _ := v.(*strictjson.Object).Get("signatures")
				var objects []*strictjson.Object
				for _, o := range c.change(l.(strictjson.Array)) {
					objects = append(objects, o.(*strictjson.Object))
				}
				if sigs := f.Claimed(k.Key, doc, objects); len(sigs) != c.want {
					t.Errorf("%s, %s, %s: %d signatures", k.Algorithm(), f.Name, name, len(sigs))
				}
			}
		}
	}
}

// TestEncloseRefuses: only signatures of the format by the key go into a file.
func TestEncloseRefuses(t *testing.T) {
	rsa, other := tokens()[1], tokens()[4]
	sig := other.sealed(t, sigformat.InTotoGPG, sigtest.StateOf(message.SHA256, []byte(metadata)))
	for name, bad := range map[string][]byte{"another key's": sig, "none": nil, "noise": []byte("noise")} {
		if whole, err := sigformat.InTotoGPG.Enclose(rsa.Key, []byte(metadata), bad); err == nil {
			t.Errorf("%s: %s", name, whole)
		}
	}
	if sigformat.InTotoNative.KeyID(rsa.Key) != "" || envelope.SecureSystems(tokens()[3].Key) != nil {
		t.Error("an RSA key has an id that in-toto's own format knows")
	}
	// An integer as long as another type's, under this key's fingerprint.
	forged, err := openpgp.ParseSignature(rsa.sealed(t, sigformat.InTotoGPG, sigtest.StateOf(message.SHA256, []byte(metadata))))
	if err != nil {
		t.Fatal(err)
	}
	if whole, err := sigformat.InTotoGPG.Enclose(rsa.Key, []byte(metadata), long(forged.Hashed(), rsa.Fingerprint())); err == nil {
		t.Errorf("%s", whole)
	}
}

// long is a packet of the profile with this hashed part and an integer of 512 bytes.
func long(hashed []byte, fpr [20]byte) []byte {
	b := append(append(bytes.Clone(hashed), 0, 10), packet.AppendSubpacket(nil, packet.SubIssuer, fpr[12:]...)...)
	b = append(b, 0, 0) // left bits of the digest
	return packet.Append(nil, packet.TagSignature, packet.AppendMPI(b, bytes.Repeat([]byte{0x7f}, 512)))
}

func FuzzOpenEnclosed(f *testing.F) {
	dsse, _ := sigformat.FormatOf("dsse-in-toto")
	keys := map[sigformat.Format]*token{sigformat.InTotoGPG: tokens()[3], sigformat.InTotoNative: tokens()[0], dsse: tokens()[2]}
	for format, k := range keys {
		f.Add(k.enclose(f, format, enclosedBy(k)[format], []byte(metadata)))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		for format, k := range keys {
			doc, err := format.DocumentOf(file)
			if err != nil {
				continue
			}
			// What is signed is the same once it is signed.
			alg := enclosedBy(k)[format]
			whole, err := format.Enclose(k.Key, file, k.sealed(t, format, sigtest.StateOf(alg, doc)))
			if err != nil {
				continue // too long with a signature
			}
			again, sig, err := format.OpenEnclosed(k.Key, whole)
			if err != nil || !bytes.Equal(again, doc) || !k.holds(format, alg, doc, sig) {
				t.Fatalf("%s: %v: %q became %q", format.Name, err, doc, again)
			}
			if format.Family == sigformat.FamilyInToto {
				if v, err := strictjson.ParseCanonical(doc); err != nil || v == nil {
					t.Fatalf("%q is not canonical: %v", doc, err)
				}
			}
		}
	})
}
