package intoto

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"pgregory.net/rapid"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/document"
	"touchmark/appliance/sigformat/strictjson"
)

var now = time.Date(2026, 3, 2, 15, 4, 5, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func file(name string) []byte { return must(os.ReadFile(filepath.Join("testdata", name))) }

// native is a key in in-toto's own form: the one that docs/spec/signature.md §4.5 has the id of.
const native = `{"keyid_hash_algorithms": ["sha256", "sha512"], "keytype": "ecdsa", "keyval": {"public": "-----BEGIN PUBLIC KEY-----\n` +
	`MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n"}, "scheme": "ecdsa-sha2-nistp256"}`

const nativeID = "47699aa3dbafebd86ff6741c331b2fbee71746273aa0c80016fbc343a0d4adb7"

func layoutOf(keys ...*Functionary) Layout {
	return Layout{Step: "rebuild", Products: "*.deb", Threshold: len(keys), Expires: DefaultExpiry(now), Keys: keys}
}

// bundle prints a certificate's key as securesystemslib has it.
const bundle = `
import json, sys
from securesystemslib.gpg.common import get_pubkey_bundle
data = sys.stdin.buffer.read()
print(json.dumps(get_pubkey_bundle(data, sys.argv[1])))
`

// TestKeysAsInSecuresystemslib: of certificates that gpg made, the objects are those that in-toto's own library makes.
func TestKeysAsInSecuresystemslib(t *testing.T) {
	for _, name := range []string{"alice.asc", "bob.asc"} {
		k := must(ParseKey(file(name), now))
		block := must(armor.Decode(bytes.NewReader(file(name))))
		cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-I", "-c", bundle, k.ID)
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = block.Body, &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("in-toto's library: %v (run \"make setup\")\n%s", err, errs.String())
		}
		want, have := must(strictjson.Canonical(must(strictjson.Parse(out)))), must(strictjson.Canonical(k.object))
		if !bytes.Equal(have, want) {
			t.Errorf("%s:\n%s\nsecuresystemslib has\n%s", name, have, want)
		}
	}
}

// TestKeys: which files are keys, and of which nobody's link would count.
func TestKeys(t *testing.T) {
	var secret bytes.Buffer
	e := must(openpgp.NewEntity("Throw-away", "", "x@touchmark.example", nil))
	must(0, e.SerializePrivate(&secret, nil))
	if k, err := ParseKey([]byte(native), now); err != nil || k.ID != nativeID {
		t.Errorf("%v, %+v", err, k)
	}
	if k, err := ParseKey([]byte(strings.Replace(native, `{"keyid_`, `{"keyid": "`+nativeID+`", "keyid_`, 1)), now); err != nil || k.ID != nativeID {
		t.Errorf("with its id: %v, %+v", err, k)
	}
	mixed, without := must(ParseKey(file("bob-mixed.asc"), now)), must(ParseKey(file("bob.asc"), now))
	if a, b := must(strictjson.Canonical(mixed.object)), must(strictjson.Canonical(without.object)); !bytes.Equal(a, b) {
		t.Errorf("a subkey for encryption, or of another type, stands in the layout: %s", a)
	}
	for what, c := range map[string]struct {
		file  []byte
		at    time.Time
		words string
	}{
		"P-256":             {file("carol.asc"), now, "takes RSA and Ed25519"},
		"expired":           {file("dave.asc"), now, "has expired"},
		"of the future":     {file("alice.asc"), now.AddDate(-10, 0, 0), "of the future"},
		"revoked":           {file("erin.asc"), now, "is revoked"},
		"certifies only":    {file("frank.asc"), now, "no key for signatures"},
		"subkey expired":    {file("bob.asc"), now.AddDate(75, 0, 0), "has expired"},
		"for 70 years":      {file("long.asc"), now, "68 years"},
		"two":               {file("two.asc"), now, "more than one"},
		"secret":            {secret.Bytes(), now, "a secret key"},
		"empty":             {nil, now, "no OpenPGP certificate"},
		"text":              {[]byte("alice"), now, "no OpenPGP certificate"},
		"cut":               {file("alice.asc")[:200], now, "no OpenPGP certificate"},
		"another block":     {[]byte("-----BEGIN PGP SIGNATURE-----\n\naGk=\n-----END PGP SIGNATURE-----\n"), now, "a PGP SIGNATURE, not"},
		"no key":            {[]byte("{}"), now, `"keyval" is missing`},
		"private":           {[]byte(strings.Replace(native, `{"public"`, `{"private": "x", "public"`, 1)), now, "a private key"},
		"not its id":        {[]byte(strings.Replace(native, `{"keyid_`, `{"keyid": "00", "keyid_`, 1)), now, "the file has another"},
		"a member twice":    {[]byte(strings.Replace(native, `{"keyid_`, `{"keytype": "ecdsa", "keyid_`, 1)), now, "twice"},
		"something behind":  {[]byte(native + "{}"), now, "behind the value"},
		"a number as a key": {[]byte(`{"keyval": {"public": 1.5}}`), now, "no number"},
	} {
		if k, err := ParseKey(c.file, c.at); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, %+v", what, err, k)
		}
	}
}

// TestLayout: the layout of three kinds of keys, as the board reads it.
func TestLayout(t *testing.T) {
	l := layoutOf(must(ParseKey(file("alice.asc"), now)), must(ParseKey(file("bob.asc"), now)), must(ParseKey([]byte(native), now)))
	l.Threshold = 2
	text := must(l.File())
	m := must(Open(text))
	all := strings.Join(m.Meaning, "\n")
	for _, want := range []string{
		"expires 2028-03-02T00:00:00Z", "1 step, 1 inspection, 3 keys", "needs 2 of 3 keys", "inspection 1 of 1: verify-rebuild",
		"runs at every client: /usr/bin/true", "MATCH *.deb WITH PRODUCTS FROM rebuild", "subkey", nativeID, "expires 2083-12-21",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if m.Kind != document.Layout || len(m.Signers) != 0 || !bytes.Equal(text, must(l.File())) {
		t.Errorf("%s by %q", m.Kind, m.Signers)
	}
}

// theirs is what the layout of Debian's apt-transport-in-toto 0.1.1 (/etc/intoto/root.layout) says beside its keys and its time.
const theirs = `{"inspect": [{"_type": "inspection", "expected_materials": [["MATCH", "*.deb", "WITH", "PRODUCTS", "FROM", "rebuild"], ["DISALLOW", "*.deb"]],
 "expected_products": [], "name": "verify-reprobuilds", "run": ["/usr/bin/true"]}],
 "steps": [{"_type": "step", "expected_command": [], "expected_materials": [], "expected_products": [["CREATE", "*.deb"], ["DISALLOW", "*.deb"]], "name": "rebuild", "threshold": 2}]}`

// TestDefaultLayout: but for its keys, its time and the name of the inspection it is the layout that Debian's transport comes with.
func TestDefaultLayout(t *testing.T) {
	type rules struct {
		Steps   []map[string]any `json:"steps"`
		Inspect []map[string]any `json:"inspect"`
	}
	var want rules
	var have struct{ Signed rules }
	ours := must(layoutOf(must(ParseKey(file("alice.asc"), now)), must(ParseKey(file("bob.asc"), now))).File())
	must(0, json.Unmarshal([]byte(theirs), &want))
	must(0, json.Unmarshal(ours, &have))
	delete(have.Signed.Steps[0], "pubkeys")
	have.Signed.Inspect[0]["name"] = want.Inspect[0]["name"]
	if h, w := must(json.Marshal(have.Signed)), must(json.Marshal(want)); !bytes.Equal(h, w) {
		t.Errorf("made\n%s\ntheirs\n%s", h, w)
	}
}

// TestBadLayouts: what nobody should sign is not made.
func TestBadLayouts(t *testing.T) {
	alice, bob := must(ParseKey(file("alice.asc"), now)), must(ParseKey(file("bob.asc"), now))
	expired := must(ParseKey([]byte(strings.Replace(native, "ecdsa-sha2-nistp256", "rot13", 1)), now))
	for what, c := range map[string]struct {
		change func(*Layout)
		words  string
	}{
		"nobody":         {func(l *Layout) { l.Keys, l.Threshold = nil, 0 }, "threshold"},
		"threshold 0":    {func(l *Layout) { l.Threshold = 0 }, "threshold"},
		"threshold 3":    {func(l *Layout) { l.Threshold = 3 }, "threshold"},
		"a key twice":    {func(l *Layout) { l.Keys = append(l.Keys, alice) }, "is given twice"},
		"no products":    {func(l *Layout) { l.Products = "" }, "no pattern"},
		"step with path": {func(l *Layout) { l.Step = "../x" }, "no name for a step"},
		"no step":        {func(l *Layout) { l.Step = "" }, "no name for a step"},
		"long step":      {func(l *Layout) { l.Step = strings.Repeat("x", MaxName+1) }, "no name for a step"},
		"long readme":    {func(l *Layout) { l.Readme = strings.Repeat("x", 40<<10) }, "at most 32768"},
		"NUL in readme":  {func(l *Layout) { l.Readme = "\x00" }, "NUL"},
	} {
		l := layoutOf(alice, bob)
		c.change(&l)
		if text, err := l.File(); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v\n%s", what, err, text)
		}
	}
	if _, err := layoutOf(expired).File(); err != nil {
		t.Errorf("a scheme is the layout's own affair: %v", err) // it is shown; in-toto refuses what it does not know
	}
}

// TestRenewed: the expiry is another, all else the same, whatever stood in the layout, and no signature is kept.
func TestRenewed(t *testing.T) {
	text := must(layoutOf(must(ParseKey(file("alice.asc"), now))).File())
	signed := bytes.Replace(text, []byte(`"signatures": []`), []byte(`"signatures": [{"keyid": "ab", "sig": "00"}]`), 1)
	m := must(Open(signed))
	if len(m.Signers) != 1 || m.Signers[0] != "ab" {
		t.Errorf("signers %q", m.Signers)
	}
	day := 24 * time.Hour
	if m.Due(now, 700*day) || !m.Due(now, 731*day) || m.Due(now, 0) || !m.Due(m.Expires, 0) {
		t.Error("due at another time")
	}
	later := must(m.Renewed(m.Expires.AddDate(2, 0, 0)))
	if want := bytes.Replace(text, []byte("2028-03-02"), []byte("2030-03-02"), 1); !bytes.Equal(must(Open(later)).Canonical, must(Open(want)).Canonical) || !bytes.Contains(later, []byte(`"signatures": []`)) {
		t.Errorf("%s\nwant\n%s", later, want)
	}
	other := must(layoutOf(must(ParseKey(file("bob.asc"), now))).File())
	if !m.RenewedAs(later) || !must(Open(later)).RenewedAs(later) || m.RenewedAs(must(must(Open(other)).Renewed(m.Expires))) || m.RenewedAs([]byte("{}")) {
		t.Error("a renewed layout is another one, or another one this")
	}
	l := must(Open(must(Link("rebuild", []Product{{Name: "a"}}))))
	if _, err := l.Renewed(now); err == nil || l.Due(now, 1000*day) {
		t.Error("a link lapses")
	}
}

// TestEnds: keys and subkeys whose links stop to count before a time.
func TestEnds(t *testing.T) {
	m := must(Open(must(layoutOf(must(ParseKey(file("alice.asc"), now)), must(ParseKey(file("bob.asc"), now)), must(ParseKey([]byte(native), now))).File())))
	if all := m.Ends(now.AddDate(40, 0, 0)); len(all) != 0 {
		t.Errorf("in forty years: %v", all)
	}
	all := m.Ends(now.AddDate(100, 0, 0))
	if len(all) != 2 || !strings.HasPrefix(must(ParseKey(file("bob.asc"), now)).ID, all[0].ID) || !all[0].Time.Equal(time.Date(2083, 12, 21, 12, 0, 0, 0, time.UTC)) || all[1].ID == all[0].ID {
		t.Errorf("in a hundred years: %v", all)
	}
	if all := must(Open(must(Link("rebuild", []Product{{Name: "a"}})))).Ends(now); len(all) != 0 {
		t.Errorf("of a link: %v", all)
	}
	if own := must(ParseKey(file("bob.asc"), now)).Ends(now.AddDate(100, 0, 0)); !slices.Equal(own, all) {
		t.Errorf("of the certificate: %v, want %v", own, all)
	}
}

// TestLink: products by name, in canonical order, with SHA-256 alone.
func TestLink(t *testing.T) {
	a, b := Product{"b.deb", sha256.Sum256([]byte("b"))}, Product{"a.deb", sha256.Sum256([]byte("a"))}
	m := must(Open(must(Link("rebuild", []Product{a, b}))))
	const want = `{"_type":"link","byproducts":{},"command":[],"environment":{},"materials":{},"name":"rebuild","products":{` +
		`"a.deb":{"sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},` +
		`"b.deb":{"sha256":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"}}}`
	if string(m.Canonical) != want || m.Kind != document.Link {
		t.Errorf("%s", m.Canonical)
	}
	if LinkName("rebuild", nativeID) != "rebuild.47699aa3.link" {
		t.Error(LinkName("rebuild", nativeID))
	}
	for what, err := range map[string]error{
		"nothing": second(Link("rebuild", nil)), "twice": second(Link("rebuild", []Product{a, a})), "a path": second(Link("a/b", []Product{a})),
		"no JSON": second(Open([]byte("x"))), "a list": second(Open([]byte("[]"))), "empty": second(Open(nil)),
		"signatures that are none": second(Open([]byte(`{"signatures": [1], "signed": ` + want + `}`))),
	} {
		if err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestProperty: whatever a layout is asked to be, it is refused, or the board reads it, and finds in it what was asked.
func TestProperty(t *testing.T) {
	all := []*Functionary{must(ParseKey(file("alice.asc"), now)), must(ParseKey(file("bob.asc"), now)), must(ParseKey([]byte(native), now))}
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfDistinct(rapid.SampledFrom(all), func(k *Functionary) string { return k.ID }).Draw(t, "keys")
		l := Layout{
			Step: rapid.StringMatching(`[a-z./ ]{0,4}`).Draw(t, "step"), Products: rapid.String().Draw(t, "products"), Readme: rapid.String().Draw(t, "readme"),
			Threshold: rapid.IntRange(-1, 4).Draw(t, "threshold"), Expires: now.Add(time.Duration(rapid.IntRange(0, 1<<30).Draw(t, "s")) * time.Second), Keys: keys,
		}
		text, err := l.File()
		if err != nil {
			return
		}
		m := must(Open(text))
		if !m.Expires.Equal(l.Expires.Truncate(time.Second)) || l.Threshold < 1 || l.Threshold > len(keys) {
			t.Fatalf("%+v of %+v", m, l)
		}
		again := must(Open(must(m.Renewed(m.Expires))))
		if !bytes.Equal(again.Canonical, m.Canonical) {
			t.Fatal("another content by the same expiry")
		}
	})
}

// FuzzParseKey: no file makes it fail otherwise than by an error, and what is taken for a key fits a layout that the board
// reads, or the layout is refused.
func FuzzParseKey(f *testing.F) {
	for _, name := range []string{"alice.asc", "bob.asc", "carol.asc", "two.asc"} {
		f.Add(file(name))
		if block, err := armor.Decode(bytes.NewReader(file(name))); err == nil {
			var b bytes.Buffer
			must(b.ReadFrom(block.Body))
			f.Add(b.Bytes())
		}
	}
	f.Add([]byte(native))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > MaxKeyFile {
			return
		}
		k, err := ParseKey(b, now)
		if err != nil {
			return
		}
		if text, err := layoutOf(k).File(); err == nil {
			format, _ := sigformat.FormatOf("in-toto-native")
			doc := must(format.DocumentOf(text))
			must(document.Parse("in-toto-native", doc))
		}
	})
}
