package binding

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/appliance/sigformat/signing"
	"touchmark/hostlink/message"
)

// now is in the past, so that tools with a clock of their own take what was made then.
var now = time.Now().UTC().Add(-time.Hour).Truncate(time.Second)

// home is a gpg without anything else.
type home struct {
	t   *testing.T
	dir string
}

func newHome(t *testing.T) home {
	dir, err := os.MkdirTemp("", "gnupg") // short: the agent's socket is in it
	if err != nil {
		t.Fatal(err)
	}
	h := home{t, dir}
	t.Cleanup(func() {
		_, _, _ = h.try("gpgconf", nil, "--kill", "all")
		_ = os.RemoveAll(dir)
	})
	return h
}

func (h home) try(program string, in []byte, args ...string) (out, said []byte, err error) {
	h.t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		h.t.Fatalf("%v: run \"make setup\"", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+h.dir, "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(in)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.Bytes(), e.Bytes(), err
}

func (h home) gpg(in []byte, args ...string) []byte {
	h.t.Helper()
	out, said, err := h.try("gpg", in, append([]string{"--batch", "--no-tty", "--pinentry-mode", "loopback"}, args...)...)
	if err != nil {
		h.t.Fatalf("gpg %v: %v\n%s", args, err, said)
	}
	return out
}

// token is a software key in the place of a token's.
type token struct {
	key    *signing.Key
	signer crypto.Signer
}

func newToken(t *testing.T, signer crypto.Signer) token {
	t.Helper()
	k, err := signing.NewKey(signer.Public(), now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token{k, signer}
}

func (k token) sign(digest []byte, h crypto.Hash) ([]byte, error) {
	return k.signer.Sign(rand.Reader, digest, h)
}

// agree is the request for a primary, as the log hands it out.
func (k token) agree(t *testing.T, p *subkey.Primary) *subkey.Binding {
	t.Helper()
	raw, err := certificate.New(k.key, "Own <own@touchmark.example>", k.sign)
	if err != nil {
		t.Fatal(err)
	}
	c, err := certificate.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	x := certificate.Certification{Created: now.Add(-time.Minute), Primary: p, Origin: "touchmark.example/test"}
	plan, err := c.Plan(x)
	if err != nil {
		t.Fatal(err)
	}
	value, err := k.sign(plan.Digest, plan.Alg.Hash())
	if err != nil {
		t.Fatal(err)
	}
	sig, err := plan.Finish(value)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = c.With(x, sig); err != nil {
		t.Fatal(err)
	}
	b, err := subkey.ParseBinding(c.Bound.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// file signs a file as the board does.
func (k token) file(t *testing.T, content []byte) []byte {
	t.Helper()
	h := hashstate.New(message.SHA512)
	if _, err := h.Write(content); err != nil {
		t.Fatal(err)
	}
	p, err := sigformat.OpenPGPBinary.Plan(k.key, h.State(), now.Add(time.Minute), "touchmark.example/test", message.JobID{1})
	if err != nil {
		t.Fatal(err)
	}
	value, err := k.sign(p.Digest, p.Alg.Hash())
	if err != nil {
		t.Fatal(err)
	}
	sig, err := p.Finish(value)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A primary that gpg made, with a passphrase, takes the keys of tokens for subkeys.
// gpg, gpgv and sqv accept files by them for the primary's, and no other ones.
func TestBind(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		algorithm string
		signer    crypto.Signer
	}{"ed25519 takes p256": {"ed25519", p256}, "rsa2048 takes rsa2048": {"rsa2048", rsa2048}} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			at := now.Add(-30 * time.Minute).Format("20060102T150405")
			h.gpg(nil, "--passphrase", "open", "--faked-system-time", at, "--quick-gen-key", "Release <release@touchmark.example>", c.algorithm, "cert", "0")
			secret := h.gpg(nil, "--passphrase", "open", "--export-secret-keys")
			p, err := subkey.ReadPrimary(h.gpg(nil, "--export", "--armor"))
			if err != nil {
				t.Fatal(err)
			}
			k := newToken(t, c.signer)
			request := k.agree(t, p)
			if _, err := Bind(request, secret, []byte("closed"), now, time.Time{}); err == nil {
				t.Error("another passphrase opened the key")
			}
			cert, err := Bind(request, secret, []byte("open"), now, now.AddDate(1, 0, 0))
			if err != nil {
				t.Fatal(err)
			}
			judged(t, k, p, cert)
			again, err := Bind(request, secret, []byte("open"), now.Add(time.Second), now.AddDate(3, 0, 0))
			if err != nil {
				t.Fatal(err)
			}
			prolonged(t, k, cert, again)
		})
	}
}

// judged has other people's tools look at a file.
func judged(t *testing.T, k token, p *subkey.Primary, cert []byte) {
	t.Helper()
	other, dir := newHome(t), t.TempDir()
	file := write(t, dir, "file", []byte("content"))
	bad := write(t, dir, "bad", []byte("contents"))
	sig := write(t, dir, "file.sig", k.file(t, []byte("content")))
	ring := write(t, dir, "ring.gpg", cert)
	other.gpg(cert, "--import")
	status := string(other.gpg(nil, "--status-fd", "1", "--verify", sig, file))
	if want := fmt.Sprintf("VALIDSIG %X ", k.key.Fingerprint()); !strings.Contains(status, want) || !strings.Contains(status, fmt.Sprintf(" %X\n", p.Fingerprint())) {
		t.Errorf("gpg says\n%s", status)
	}
	for _, tool := range [][]string{{"gpgv", "--keyring", ring, sig}, {"sqv", "--keyring", ring, sig}} {
		if _, said, err := other.try(tool[0], nil, append(tool[1:], file)...); err != nil {
			t.Errorf("%s: %v\n%s", tool[0], err, said)
		}
		if _, _, err := other.try(tool[0], nil, append(tool[1:], bad)...); err == nil {
			t.Errorf("%s takes another file", tool[0])
		}
	}
}

// prolonged: what was bound anew, without the token, expires later, and replaces what
// was there.
func prolonged(t *testing.T, k token, first, again []byte) {
	t.Helper()
	h := newHome(t)
	expires := func() string {
		for line := range strings.Lines(string(h.gpg(nil, "--with-colons", "--list-keys"))) {
			if f := strings.Split(line, ":"); f[0] == "sub" && f[4] == fmt.Sprintf("%X", k.key.Fingerprint())[24:] {
				return f[6]
			}
		}
		return ""
	}
	h.gpg(first, "--import")
	if got, want := expires(), fmt.Sprint(now.AddDate(1, 0, 0).Unix()); got != want {
		t.Errorf("it expires at %s, not %s", got, want)
	}
	h.gpg(again, "--import")
	if got, want := expires(), fmt.Sprint(now.AddDate(3, 0, 0).Unix()); got != want {
		t.Errorf("it expires at %s, not %s", got, want)
	}
}

func TestBindRefused(t *testing.T) {
	h := newHome(t)
	for _, name := range []string{"A <a@touchmark.example>", "B <b@touchmark.example>"} {
		h.gpg(nil, "--passphrase", "", "--faked-system-time", now.Add(-30*time.Minute).Format("20060102T150405"), "--quick-gen-key", name, "ed25519", "cert", "0")
	}
	public := h.gpg(nil, "--export", "a@touchmark.example")
	p, err := subkey.ReadPrimary(public)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request := newToken(t, signer).agree(t, p)
	for name, c := range map[string]struct {
		secret  []byte
		expires time.Time
	}{
		"the public half":  {public, time.Time{}},
		"another primary":  {h.gpg(nil, "--export-secret-keys", "b@touchmark.example"), time.Time{}},
		"nothing":          {nil, time.Time{}},
		"words":            {[]byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nwords"), time.Time{}},
		"too much":         {make([]byte, MaxSecret+1), time.Time{}},
		"expired at once":  {h.gpg(nil, "--export-secret-keys", "a@touchmark.example"), now},
		"expired long ago": {h.gpg(nil, "--export-secret-keys", "a@touchmark.example"), now.AddDate(-3, 0, 0)},
	} {
		if _, err := Bind(request, c.secret, nil, now, c.expires); err == nil {
			t.Errorf("%s: bound", name)
		}
	}
	if _, err := Bind(request, h.gpg(nil, "--export-secret-keys", "--armor"), nil, now, time.Time{}); err != nil {
		t.Errorf("both in one armored file: %v", err)
	}
}
