package keyring

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/sigformat/sshsig"
	"touchmark/hostlink/message"
)

var made = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

const origin = "touchmark.example/keys"

// signer is a token key in software.
type signer struct {
	priv *ecdsa.PrivateKey
	cert *certificate.Certificate
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// newSigner makes a key with a certificate for userID, or a bare one.
func newSigner(userID string) *signer {
	priv := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	k := must(signing.NewKey(priv.Public(), made))
	s := &signer{priv: priv}
	raw := certificate.NewBare(k)
	if userID != "" {
		raw = must(certificate.New(k, userID, s.token))
	}
	s.cert = must(certificate.Parse(raw))
	return s
}

func (s *signer) token(digest []byte, h crypto.Hash) ([]byte, error) {
	return s.priv.Sign(rand.Reader, digest, h)
}

// revoke has the key say that it is not used any more.
func (s *signer) revoke() {
	x := certificate.Certification{Created: made.AddDate(0, 1, 0), Revoke: true, Code: certificate.Retired, Origin: origin, Order: message.JobID{1}}
	p := must(s.cert.Plan(x))
	s.cert = must(s.cert.With(x, must(p.Finish(must(s.token(p.Digest, p.Alg.Hash()))))))
}

// sign makes a signature of a format over data.
func (s *signer) sign(format string, data []byte) []byte {
	f, ok := sigformat.FormatOf(format)
	if !ok {
		panic(format)
	}
	state := must(f.Digest(message.SHA256, bytes.NewReader(data)))
	p := must(f.Plan(s.cert.Key, state, made.AddDate(0, 0, 1), origin, message.JobID{2}))
	digest, hash := p.Signed()
	return must(p.Finish(must(s.token(digest, hash))))
}

func (s *signer) fingerprint() string { return fmt.Sprintf("%X", s.cert.Key.Fingerprint()) }

func contents(files []File) map[string]string {
	m := map[string]string{}
	for _, f := range files {
		m[f.Path] = string(f.Content)
	}
	return m
}

func paths(files []File) (out []string) {
	for _, f := range files {
		out = append(out, f.Path)
	}
	slices.Sort(out)
	return out
}

// TestFiles: which files there are for which keys, and what decides it.
func TestFiles(t *testing.T) {
	good, old, bare := newSigner("Packages <Packages@Example.ORG>"), newSigner("Old <packages@example.org>"), newSigner("")
	old.revoke()
	files := must(Files(certificate.Keyring{good.cert, old.cert, bare.cert}, Options{Name: "example", Origin: origin, Namespaces: []string{"file", "git"}, Principals: []string{"release@example.org"}}))
	hu := "hu/" + hashOf("packages")
	want := []string{"apt/example-keyring.gpg", "example.asc", "fingerprints.txt", "pacman/example-revoked", "pacman/example-trusted", "pacman/example.gpg",
		"pem/" + bare.fingerprint() + ".pem", "ssh/allowed_signers", wellKnown + "example.org/" + hu, wellKnown + "example.org/policy", wellKnown + hu, wellKnown + "policy"}
	if got := paths(files); !slices.Equal(got, want) {
		t.Fatalf("files\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	has, both := contents(files), string(good.cert.Bytes())+string(old.cert.Bytes())
	for path, text := range map[string]string{
		"pacman/example.gpg":                 both,
		wellKnown + hu:                       both,
		"apt/example-keyring.gpg":            string(good.cert.Bytes()),
		"pacman/example-trusted":             good.fingerprint() + ":4:\n",
		"pacman/example-revoked":             old.fingerprint() + "\n",
		"ssh/allowed_signers":                `release@example.org namespaces="file,git" ` + sshsig.Public(bare.cert.Key) + "\n",
		wellKnown + "example.org/policy":     "",
		"pem/" + bare.fingerprint() + ".pem": has["pem/"+bare.fingerprint()+".pem"],
	} {
		if has[path] != text {
			t.Errorf("%s is %q, want %q", path, has[path], text)
		}
	}
}

// TestLeftOut: kinds of files for which there is no key are not written, empty or not.
func TestLeftOut(t *testing.T) {
	gone := newSigner("Gone <gone@example.org>")
	gone.revoke()
	for name, tc := range map[string]struct {
		keys certificate.Keyring
		not  string
	}{
		"only revoked: no apt keyring":   {certificate.Keyring{gone.cert}, "apt/"},
		"only bare: no certificates":     {certificate.Keyring{newSigner("").cert}, "pacman/|apt/|wkd/|\\.asc"},
		"only certified: no ssh, no pem": {certificate.Keyring{newSigner("A <a@b.org>").cert}, "ssh/|pem/"},
		"no address: no directory":       {certificate.Keyring{newSigner("Packages").cert}, "wkd/"},
	} {
		for _, p := range paths(must(Files(tc.keys, Options{Name: "n", Origin: origin}))) {
			if regexp.MustCompile(tc.not).MatchString(p) {
				t.Errorf("%s: %s", name, p)
			}
		}
	}
}

// metadataCertificate is that of a key for in-toto's metadata.
func metadataCertificate() *certificate.Certificate {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	k := must(signing.NewKey(must(priv, err).Public(), made))
	terms := certificate.Terms{Family: sigformat.FamilyInToto, Origin: origin}
	return must(certificate.Parse(must(certificate.NewWithTerms(k, "Layouts <packages@example.org>", terms, func(digest []byte, _ crypto.Hash) ([]byte, error) {
		return priv.Sign(rand.Reader, digest, crypto.Hash(0))
	}))))
}

// TestMetadataApart: a key for in-toto's metadata is in no keyring of a package manager, nor where its address leads.
func TestMetadataApart(t *testing.T) {
	good, metadata := newSigner("Packages <packages@example.org>"), metadataCertificate()
	without := must(Files(certificate.Keyring{good.cert}, Options{Name: "n", Origin: origin}))
	files := must(Files(certificate.Keyring{good.cert, metadata}, Options{Name: "n", Origin: origin}))
	has := contents(files)
	for _, f := range without {
		if f.Path != "fingerprints.txt" && has[f.Path] != string(f.Content) {
			t.Errorf("%s has another content", f.Path)
		}
	}
	if len(files) != len(without)+1 || has["in-toto/n.asc"] != string(openpgp.Armor(metadata.Bytes())) {
		t.Errorf("files %q", paths(files))
	}
	if !strings.Contains(has["fingerprints.txt"], "2. ed25519 OpenPGP key for in-toto's layouts and links only, made 2026-03-02\n") {
		t.Errorf("the sheet says\n%s", has["fingerprints.txt"])
	}
	for _, f := range must(Files(certificate.Keyring{metadata}, Options{Name: "n", Origin: origin})) {
		if f.Path != "fingerprints.txt" && f.Path != "in-toto/n.asc" {
			t.Errorf("%s of no key for files", f.Path)
		}
	}
}

// TestKinds: each kind of key is printed where it is asked for and nowhere else; of a kind that there is not, nothing.
func TestKinds(t *testing.T) {
	file, metadata, bare := newSigner("Packages <packages@example.org>").cert, metadataCertificate(), newSigner("").cert
	all := certificate.Keyring{file, metadata, bare}
	for name, c := range map[string]struct{ got, want []byte }{
		"for files":  {Certificates(all, false, true), file.Bytes()},
		"chosen":     {Certificates(all, true, true), slices.Concat(file.Bytes(), metadata.Bytes())},
		"armored":    {Certificates(all, false, false), openpgp.Armor(file.Bytes())},
		"no OpenPGP": {Certificates(certificate.Keyring{bare}, true, false), nil},
		"SSH":        {SSH(all), []byte(sshsig.Public(bare.Key) + "\n")},
		"no SSH":     {SSH(all[:2]), nil},
		"PEM":        {must(PEM(all)), must(pemFiles(all[2:]))[0].Content},
		"no PEM":     {must(PEM(all[:2])), nil},
		"no in-toto": {must(InToto(all[:2])), nil},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
	if line := string(must(InToto(all))); strings.Count(line, "\n") != 1 || !strings.Contains(line, `"keytype":"ecdsa"`) {
		t.Errorf("for in-toto: %s", line)
	}
}

// TestOnly: the keys that are named by their fingerprints, each once.
func TestOnly(t *testing.T) {
	a, b := newSigner("A <a@example.org>"), newSigner("B <b@example.org>")
	keys := certificate.Keyring{a.cert, b.cert}
	fpr := strings.ToLower(b.fingerprint())
	has := contents(must(Files(keys, Options{Name: "n", Origin: origin, Only: []string{fpr, fpr[:20] + "  " + fpr[20:]}})))
	if has["apt/n-keyring.gpg"] != string(b.cert.Bytes()) || strings.Contains(has["fingerprints.txt"], "a@example.org") {
		t.Errorf("chosen: %q", has)
	}
	for _, wrong := range []string{"", "B", fpr[:38], fpr + "00", strings.Repeat("0", 40)} {
		if _, err := Files(keys, Options{Name: "n", Origin: origin, Only: []string{wrong}}); err == nil {
			t.Errorf("%q is a fingerprint", wrong)
		}
	}
}

func TestRefused(t *testing.T) {
	keys := certificate.Keyring{newSigner("").cert}
	for name, o := range map[string]Options{
		"no name":        {},
		"a path":         {Name: "../x"},
		"an option":      {Name: "-x"},
		"capitals":       {Name: "Example"},
		"too long":       {Name: strings.Repeat("a", maxName+1)},
		"a pattern":      {Name: "n", Principals: []string{"*"}},
		"a negation":     {Name: "n", Principals: []string{"!a"}},
		"a second field": {Name: "n", Principals: []string{"a b"}},
		"a quote":        {Name: "n", Namespaces: []string{`file"`}},
		"an empty one":   {Name: "n", Namespaces: []string{""}},
		"a line":         {Name: "n", Namespaces: []string{"file\ncert-authority"}},
	} {
		if _, err := Files(keys, o); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if _, err := Files(nil, Options{Name: strings.Repeat("a", maxName), Origin: origin}); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("no keys: %v", err)
	}
}

// TestAddress: user ids as people write them.
func TestAddress(t *testing.T) {
	for userID, want := range map[string]string{
		"Joe Doe <Joe.Doe@Example.ORG>": "joe.doe@example.org",
		"joe@example.org":               "joe@example.org",
		"<joe@example.org>":             "joe@example.org",
		"Joe <joe@a> <eve@b>":           "",
		"Joe":                           "",
		"Joe <joe>":                     "",
		"Joe <@example.org>":            "",
		"Joe <joe@>":                    "",
		"Joe <joe@a/../b>":              "",
		"Joe <joe@.org>":                "",
		"Joe <joe@a..b>":                "",
		"Joe <joe@-a>":                  "",
		"Jo <jö@example.org>":           "",
		"Joe <joe@example.org":          "",
	} {
		local, domain, ok := address(userID)
		if got := local + "@" + domain; ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v; want %q", userID, got, ok, want)
		}
	}
}

// TestHashOfDraft is the example of draft-koch-openpgp-webkey-service section 3.1.
func TestHashOfDraft(t *testing.T) {
	if got := hashOf("joe.doe"); got != "iy9q119eutrkn8s1mk4r39qejnbu3n5q" {
		t.Errorf("joe.doe hashes to %s", got)
	}
}

// TestOneAddressInTwoDomains: in the direct place they would be one file.
func TestOneAddressInTwoDomains(t *testing.T) {
	a, b := newSigner("A <x@a.org>"), newSigner("B <x@b.org>")
	has := contents(must(Files(certificate.Keyring{a.cert, b.cert}, Options{Name: "n", Origin: origin})))
	hu := "hu/" + hashOf("x")
	if _, direct := has[wellKnown+hu]; direct {
		t.Error("one of the two stands in the direct place")
	}
	if has[wellKnown+"a.org/"+hu] != string(a.cert.Bytes()) || has[wellKnown+"b.org/"+hu] != string(b.cert.Bytes()) {
		t.Error("the advanced places are wrong")
	}
}

// TestAnyUserID: whatever a user id says, no path leaves the export, no line of a text file is made by it, and each
// path is there once.
func TestAnyUserID(t *testing.T) {
	path := regexp.MustCompile(`^(fingerprints\.txt|n\.asc|(pacman|apt)/n[.a-z-]*|wkd/\.well-known/openpgpkey/([a-z0-9.-]+/)?(policy|hu/[a-z0-9]{32}))$`)
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[ -~äß]{1,20}( <[a-zA-Z./@+-]{1,12}@[a-z./-]{1,12}>)?`).Draw(t, "user id")
		if certificate.CheckUserID(id) != nil {
			return
		}
		seen := map[string]bool{}
		for _, f := range must(Files(certificate.Keyring{newSigner(id).cert}, Options{Name: "n", Origin: origin})) {
			if !path.MatchString(f.Path) || strings.Contains(f.Path, "..") || seen[f.Path] {
				t.Fatalf("path %q", f.Path)
			}
			seen[f.Path] = true
			if f.Path == "fingerprints.txt" && bytes.Count(f.Content, []byte("\n")) != 12 {
				t.Fatalf("the sheet has other lines:\n%s", f.Content)
			}
		}
	})
}

var update = flag.Bool("make-example", false, "write testdata/sheet.txt anew")

// TestSheet compares the sheet of known keys with the one that a person looked at.
func TestSheet(t *testing.T) {
	cert := must(os.ReadFile("testdata/key.pgp"))
	k := must(certificate.Parse(cert))
	bare := must(certificate.Parse(certificate.NewBare(k.Key)))
	got := must(Options{Name: "example", Origin: origin, Emulated: true}.sheet(certificate.Keyring{k, bare}))
	if *update {
		must(0, os.WriteFile("testdata/sheet.txt", got, 0o644))
	}
	if want := must(os.ReadFile("testdata/sheet.txt")); !bytes.Equal(got, want) {
		t.Errorf("the sheet is\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(string(got)) {
		if len(line) > 73 {
			t.Errorf("longer than 72 columns: %s", line)
		}
	}
}
