package reply

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/gpgcompat"
	"touchmark/hostlink/message"
)

var made = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// certified makes a certificate of a throw-away key.
func certified(t *testing.T, key crypto.Signer, uid string) *certificate.Certificate {
	t.Helper()
	k, err := signing.NewKey(key.Public(), made)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := certificate.New(k, uid, func(digest []byte, h crypto.Hash) ([]byte, error) {
		if _, ed := key.(ed25519.PrivateKey); ed {
			h = 0
		}
		return key.Sign(rand.Reader, digest, h)
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := certificate.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func keys(t *testing.T) Ring {
	t.Helper()
	one, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	two, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, three, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	four, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Ring{certified(t, one, "Packages <packages@a.example>"), certified(t, two, `Isos: all \ <isos@a.example>`),
		certified(t, three, "Tags <tags@b.example>"), certified(t, four, "High")}
}

func TestMatch(t *testing.T) {
	r := keys(t)
	fpr := fingerprint(r[1])
	for spec, want := range map[string]string{
		fpr: "1", strings.ToLower(fpr): "1", "0x" + fpr: "1", fpr + "!": "1", fpr[24:]: "1", "0x" + fpr[32:]: "1",
		fpr[:4] + " " + fpr[4:8] + "  " + fpr[8:]: "1", fpr[1:]: "", fpr[:39] + "G": "",
		"=High": "3", "=high": "", "High": "3", "<tags@b.example>": "2", "<tags@b>": "", "@b.ex": "2", "@a.example": "01", "*ISOS": "1",
		"packages@a.example": "0", "": "", "=": "", "<>": "", "nobody": "",
	} {
		got := ""
		for i, c := range r {
			if len(r.Match(spec)) > 0 && r.Match(spec).Has(c.Key.Fingerprint()) {
				got += string(rune('0' + i))
			}
		}
		if got != want {
			t.Errorf("%q means %q, want %q", spec, got, want)
		}
	}
}

func TestChoose(t *testing.T) {
	r := keys(t)
	r[2].Revoked = true
	r[0].Expires = made.Add(time.Hour)
	for users, want := range map[string]string{
		"":              fingerprint(r[0]) + " or " + fingerprint(r[1]) + " or " + fingerprint(r[3]), // never the real gpg's default key
		"@a.example":    fingerprint(r[0]) + " or " + fingerprint(r[1]),
		"High":          fingerprint(r[3]),
		"High =High":    fingerprint(r[3]),
		"stranger":      "",
		"stranger who":  "",
		"High stranger": "another at once",
		"stranger High": "another at once",
		"High isos":     "several keys at once",
		"tags":          "revoked",
	} {
		got, err := r.Choose(strings.Fields(users), made)
		if err != nil && !strings.Contains(err.Error(), want) || err == nil && got.Names() != want {
			t.Errorf("%q: %s, %v; want %s", users, got.Names(), err, want)
		}
	}
	if _, err := r.Choose([]string{"packages"}, made.Add(time.Hour)); !errors.Is(err, certificate.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
	if _, err := Ring(nil).Choose(nil, made); !errors.Is(err, gpgcompat.ErrRefused) {
		t.Errorf("no key: %v", err)
	}
}

func TestHash(t *testing.T) {
	r := keys(t)
	for _, c := range []struct {
		ring       Ring
		said, want message.Alg
	}{{r, "", message.SHA384}, {r[:3], "", message.SHA256}, {r, message.SHA256, ""}, {r[:1], message.SHA512, message.SHA512}} {
		got, err := c.ring.Hash(c.said)
		if (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%d keys, said %q: %q, %v", len(c.ring), c.said, got, err)
		}
	}
}

// TestListing holds what is said of keys against what gpg itself says of them.
func TestListing(t *testing.T) {
	r := keys(t)
	r[1].Expires = made.Add(1000 * time.Hour)
	home := t.TempDir()
	var certs strings.Builder
	for _, c := range r {
		certs.Write(c.Bytes())
	}
	gpg := func(in string, args ...string) string {
		cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--no-autostart", "--quiet", "--trust-model", "always"}, args...)...)
		cmd.Stdin = strings.NewReader(in)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %v: %v (not installed? run make setup)", args, err)
		}
		return string(out)
	}
	gpg(certs.String(), "--import")
	theirs := records(gpg("", "--with-colons", "--fixed-list-mode", "--list-keys"))
	ours := records(strings.ReplaceAll(r.Listing(true, made), "sec:", "pub:"))
	if len(ours) != 12 || len(theirs) < 12 {
		t.Fatalf("%d and %d records", len(ours), len(theirs))
	}
	for key, fields := range ours {
		for _, i := range []int{2, 3, 4, 5, 9, 16} { // length, algorithm, key id, created, user id or fingerprint, curve
			if g := theirs[key]; i < len(fields) && (i >= len(g) || g[i] != fields[i]) {
				t.Errorf("%s: field %d is %q, gpg has %q", key, i+1, fields[i], g)
			}
		}
	}
	if plain := r.Listing(false, made); !strings.Contains(plain, "sec   rsa2048 2026-06-01 [SC] [expires: 2026-07-13]\n      "+fingerprint(r[1])) {
		t.Error(plain)
	}
	r[0].Revoked = true
	if l := r.Listing(true, made.Add(2000*time.Hour)); !strings.HasPrefix(l, "sec:r:") || !strings.Contains(l, "\nsec:e:") || !strings.Contains(l, "\nsec:u:") {
		t.Error(l)
	}
}

// records are the pub, fpr and uid lines of a listing by type and what they are of.
func records(list string) map[string][]string {
	m := map[string][]string{}
	for line := range strings.Lines(list) {
		switch f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); f[0] {
		case "pub":
			m["pub "+f[4]] = f
		case "fpr", "uid":
			m[f[0]+" "+f[9]] = f
		}
	}
	return m
}

func TestStatus(t *testing.T) {
	r := keys(t)
	fpr := fingerprint(r[0])
	want := "[GNUPG:] KEY_CONSIDERED " + fpr + " 2\n[GNUPG:] BEGIN_SIGNING H8\n[GNUPG:] SIG_CREATED D 19 8 00 1780315200 " + fpr + "\n"
	if got := Signed(r[0], sigformat.OpenPGPBinary, message.SHA256, made); got != want {
		t.Errorf("got %s want %s", got, want)
	}
	for f, want := range map[string]string{
		Signed(r[1], sigformat.OpenPGPCleartext, message.SHA512, made): "SIG_CREATED C 1 10 01 ",
		Signed(r[2], sigformat.OpenPGPText, message.SHA384, made):      "SIG_CREATED D 22 9 01 ",
		NotSigned(Denied):   "FAILURE sign 33554531\n",
		NotSigned(TimedOut): "FAILURE sign 33554494\n",
	} {
		if !strings.Contains(f, want) {
			t.Errorf("%q, want %q", f, want)
		}
	}
}

func TestGpgconf(t *testing.T) {
	in := "gpg:OpenPGP:/usr/bin/gpg\ngpgsm:S/MIME:/usr/bin/gpgsm\n"
	want := "gpg:OpenPGP:/opt/a%3ab%25/gpg\ngpgsm:S/MIME:/usr/bin/gpgsm\n"
	if got := Gpgconf(in, "/opt/a:b%/gpg"); got != want {
		t.Errorf("%q", got)
	}
}
