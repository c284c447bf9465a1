package sigformat_test

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"pgregory.net/rapid"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

// others than OpenPGP's over files: each family with more than one label.
var otherFormats = []string{"sshsig-git", "sshsig-file", "raw-boot", "in-toto-gpg", "in-toto-native", "dsse-in-toto", "dsse-cyclonedx"}

// TestOtherFormatsProperty: for random files, chunkings, formats, key types and
// hashes, what is signed from the hash state is a signature over what a reader of
// the whole file finds, who uses nothing of this package.
func TestOtherFormatsProperty(t *testing.T) {
	rings := map[*token]pgp.EntityList{}
	for _, k := range tokens() {
		rings[k] = sigtest.Keyring(t, k.certificate(t))
	}
	rapid.Check(t, func(t *rapid.T) {
		f, _ := sigformat.FormatOf(rapid.SampledFrom(otherFormats).Draw(t, "format"))
		k := rapid.SampledFrom(tokens()).Filter(func(k *token) bool { return makes(f, k.Algorithm()) }).Draw(t, "key")
		alg := rapid.SampledFrom(sigtest.Algs).Filter(func(a message.Alg) bool { return f.Signs(k.Algorithm(), a) == nil }).Draw(t, "alg")
		file, over := fileOf(t, f)
		s, err := digested(f, alg, file, rapid.SliceOfN(rapid.IntRange(0, 50), 0, 20).Draw(t, "chunks"))
		if err != nil {
			t.Fatalf("%q: %v", file, err)
		}
		p, err := f.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{1})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := k.Sign(p.Signed())
		if err != nil {
			t.Fatal(err)
		}
		sig, err := p.Finish(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(sig); !f.Packet() && err != nil {
			t.Fatal(err)
		}
		if !referee(f, k, rings[k], alg, over, sig) {
			t.Fatalf("%s by %s over %s of %q: the signature is over something else", f.Name, k.Algorithm(), alg, file)
		}
		if referee(f, k, rings[k], alg, append([]byte("!"), over...), sig) {
			t.Fatal("the referee takes anything")
		}
		if f.Enclosed() {
			enclosedAgain(t, f, k, file, over, sig)
		}
	})
}

// makes reports whether keys of a type make a format at all.
func makes(f sigformat.Format, algorithm string) bool {
	return slices.ContainsFunc(sigtest.Algs, func(a message.Alg) bool { return f.Signs(algorithm, a) == nil })
}

// enclosedAgain puts the signature into the file, twice, and takes it out again.
func enclosedAgain(t *rapid.T, f sigformat.Format, k *token, file, over, sig []byte) {
	whole, err := f.Enclose(k.Key, file, sig)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := f.Enclose(k.Key, whole, sig)
	if err != nil || !bytes.Equal(whole, twice) {
		t.Fatalf("%v: a second signature by the same key:\n%s\n%s", err, whole, twice)
	}
	doc, back, err := f.OpenEnclosed(k.Key, whole)
	if err != nil || !bytes.Equal(doc, over) || !bytes.Equal(back, sig) {
		t.Fatalf("%v: enclosed %x over %q, found %x over %q", err, sig, over, back, doc)
	}
}

// fileOf draws a file that a format takes, and what the format should be over.
func fileOf(t *rapid.T, f sigformat.Format) (file, over []byte) {
	switch f.Family {
	case sigformat.FamilyInToto:
		o := object(3).Draw(t, "metadata")
		file = style(t, o)
		if rapid.Bool().Draw(t, "in a block") {
			file = slices.Concat([]byte(`{"signed": `), file, []byte("\n, \"signatures\":[]}"))
		}
		return file, reference(o)
	case sigformat.FamilyDSSE:
		file = style(t, object(3).Draw(t, "payload"))
		kind := "application/vnd." + strings.TrimPrefix(f.Name, "dsse-") + "+json"
		return file, fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(file), file)
	}
	file = rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "data")
	return file, file
}

// object draws an object of JSON values; those named as a container's members are
// left out.
func object(depth int) *rapid.Generator[map[string]any] {
	name := rapid.StringN(0, 6, 12).Filter(func(s string) bool { return !strings.Contains(s, "\x00") && s != "signed" })
	value := []*rapid.Generator[any]{name.AsAny(), rapid.Bool().AsAny(), rapid.Int64Range(-1<<53+1, 1<<53-1).AsAny(), rapid.Just[any](nil)}
	if depth > 0 {
		value = append(value, rapid.Deferred(func() *rapid.Generator[any] { return object(depth - 1).AsAny() }),
			rapid.SliceOfN(rapid.OneOf(value...), 0, 3).AsAny())
	}
	return rapid.MapOfN(name, rapid.OneOf(value...), 0, 4)
}

// style writes a value in one of the ways in which JSON can be written.
func style(t *rapid.T, v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(rapid.Bool().Draw(t, "escaped"))
	enc.SetIndent("", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// reference is canonical JSON, written down once more.
func reference(v any) []byte {
	quoted := func(s string) string {
		return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
	}
	switch v := v.(type) {
	case string:
		return []byte(quoted(v))
	case []any:
		var parts [][]byte
		for _, e := range v {
			parts = append(parts, reference(e))
		}
		return slices.Concat([]byte("["), bytes.Join(parts, []byte(",")), []byte("]"))
	case map[string]any:
		// By code points, as Python sorts.
		names := slices.SortedFunc(maps.Keys(v), func(a, b string) int { return slices.CompareFunc([]rune(a), []rune(b), cmp.Compare[rune]) })
		var parts [][]byte
		for _, n := range names {
			parts = append(parts, append([]byte(quoted(n)+":"), reference(v[n])...))
		}
		return slices.Concat([]byte("{"), bytes.Join(parts, []byte(",")), []byte("}"))
	}
	b, err := json.Marshal(v) // numbers, true, false, null
	if err != nil {
		panic(err)
	}
	return b
}

// referee verifies a signature over data with go-crypto's OpenPGP or the standard
// library.
func referee(f sigformat.Format, k *token, ring pgp.EntityList, alg message.Alg, data, sig []byte) bool {
	if f.Packet() {
		now := &packet.Config{Time: func() time.Time { return sigtest.When.Add(time.Hour) }}
		_, _, err := pgp.VerifyDetachedSignature(ring, bytes.NewReader(data), bytes.NewReader(sig), now)
		return err == nil
	}
	if f.Family == sigformat.FamilySSH {
		return sshReferee(f, k, alg, data, sig)
	}
	return mathematics(k, alg, data, sig)
}

func mathematics(k *token, alg message.Alg, data, sig []byte) bool {
	h := alg.Hash().New()
	h.Write(data)
	switch pub := k.Signer.Public().(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, alg.Hash(), h.Sum(nil), sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, h.Sum(nil), sig)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, data, sig)
	}
	return false
}

// sshReferee follows PROTOCOL.sshsig.
func sshReferee(f sigformat.Format, k *token, alg message.Alg, data, sig []byte) bool {
	str := func(s []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }
	block, _ := pem.Decode(sig)
	if block == nil || block.Type != "SSH SIGNATURE" {
		return false
	}
	b := bytes.TrimPrefix(block.Bytes, []byte("SSHSIG\x00\x00\x00\x01"))
	var parts [][]byte // key, namespace, reserved, hash, signature
	for len(b) >= 4 && int(binary.BigEndian.Uint32(b)) <= len(b)-4 {
		n := 4 + binary.BigEndian.Uint32(b)
		parts, b = append(parts, b[4:n]), b[n:]
	}
	if len(parts) != 5 || string(parts[1]) != strings.TrimPrefix(f.Name, "sshsig-") || string(parts[3]) != string(alg) {
		return false
	}
	h := alg.Hash().New()
	h.Write(data)
	signed := slices.Concat([]byte("SSHSIG"), str(parts[1]), str(nil), str(parts[3]), str(h.Sum(nil)))
	name := parts[4][4 : 4+binary.BigEndian.Uint32(parts[4])]
	value := parts[4][8+len(name):]
	switch {
	case bytes.HasSuffix(name, []byte("256")) || bytes.HasSuffix(name, []byte("384")):
		r := value[4 : 4+binary.BigEndian.Uint32(value)]
		s := value[8+len(r):]
		inner := message.SHA256
		if bytes.HasSuffix(name, []byte("384")) {
			inner = message.SHA384
		}
		digest := inner.Hash().New()
		digest.Write(signed)
		return ecdsa.Verify(k.Signer.Public().(*ecdsa.PublicKey), digest.Sum(nil), new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
	case bytes.HasSuffix(name, []byte("-512")):
		return mathematics(k, message.SHA512, signed, value)
	}
	return mathematics(k, alg, signed, value)
}
