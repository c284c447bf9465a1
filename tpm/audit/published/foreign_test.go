package published

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/openpgp"
	sigpacket "touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/tpm/ledger"
)

// gnupg signs with the log's key as any OpenPGP program does, and never asks the log.
func (s *signer) gnupg(content string, kind byte, hashed ...byte) []byte {
	s.t.Helper()
	head := append([]byte{4, kind, 19, 8, 0, byte(6 + len(hashed)), 5, 2}, 0x69, 0xf4, 0x9e, 0xc0)
	head = append(head, hashed...)
	digest := sha256.Sum256(slices.Concat([]byte(content), head, []byte{4, 0xff, 0, 0, 0, byte(len(head))}))
	r, v, err := ecdsa.Sign(rand.Reader, s.priv, digest[:])
	s.must(err)
	body := append(head, 0, 10, 9, 16)
	body = append(append(body, s.keyID()...), digest[:2]...)
	body = sigpacket.AppendMPI(sigpacket.AppendMPI(body, r.Bytes()), v.Bytes())
	return append([]byte{0xc2, byte(len(body))}, body...)
}

// issuer is the subpacket with the key's fingerprint.
func (s *signer) issuer() []byte {
	f := s.key.Fingerprint()
	return append([]byte{22, 33, 4}, f[:]...)
}

// take does with a file what the command does.
func take(t *testing.T, r *Repository, name string, file []byte, over []hashstate.State) {
	t.Helper()
	for _, part := range r.Apart(file) {
		r.Add(name, part, over)
	}
}

// Whoever has the token sign around the log may write the packet as he likes: programs
// that verify take many forms, so none of them hides it.
func TestAroundTheLogInOtherForms(t *testing.T) {
	s, stranger := newSigner(t), newSigner(t)
	plain := s.gnupg("x", 0, s.issuer()...)
	armored := func(label string, b []byte) []byte {
		var out bytes.Buffer
		w, err := armor.Encode(&out, label, map[string]string{"Version": "GnuPG v2"})
		s.must(err)
		_, err = w.Write(b)
		s.must(err)
		s.must(w.Close())
		return out.Bytes()
	}
	mine := s.sign("logged", "x", true, ledger.Signed)
	body := mine[3:]
	if mine[0] == 0x88 {
		body = mine[2:]
	}
	text := []byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n")
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"plain":               {plain, "signature-unlogged"},
		"key id alone":        {s.gnupg("x", 0), "signature-unlogged"},
		"of a text":           {s.gnupg("x", 1), "signature-unlogged"},
		"armored":             {armored("PGP SIGNATURE", plain), "signature-unlogged"},
		"in a message":        {slices.Concat([]byte("look:\n"), armored("PGP MESSAGE", plain)), "signature-unlogged"},
		"as a key":            {armored("PGP PUBLIC KEY BLOCK", plain), "signature-unlogged"},
		"behind another's":    {slices.Concat(stranger.gnupg("x", 0), plain), "signature-unlogged"},
		"below a text":        {slices.Concat(text, armored("PGP SIGNATURE", slices.Concat(stranger.gnupg("x", 0), plain))), "signature-unlogged"},
		"version 3":           {slices.Concat([]byte{0xc2, 22, 3, 5, 0, 0, 0, 0, 0}, s.keyID(), []byte{19, 8, 0, 0, 0, 0, 0}), "signature-unlogged"},
		"another's":           {stranger.gnupg("x", 0), "signature-foreign"},
		"a certification":     {s.gnupg("x", 0x13), "signature-foreign"},
		"logged, another's":   {slices.Concat(mine, stranger.gnupg("x", 0)), "published"},
		"logged, new header":  {slices.Concat([]byte{0xc2, 0xff, 0, 0, byte(len(body) >> 8), byte(len(body))}, body), "published"},
		"logged, in a letter": {slices.Concat([]byte("look:\r\n"), bytes.ReplaceAll(armored("PGP SIGNATURE", mine), []byte("\n"), []byte("\r\n"))), "published"},
	} {
		r := New(s.ring(), origin)
		take(t, r, "x.sig", c.file, state("x"))
		got := s.match(r)
		if !slices.Contains(got, c.want+" x.sig") {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

func (s *signer) keyID() []byte {
	f := s.key.Fingerprint()
	return f[len(f)-8:]
}

// A text that two have signed, as distributions' InRelease is, counts as if each stood
// below it alone.
func TestTwoBelowAText(t *testing.T) {
	s, stranger := newSigner(t), newSigner(t)
	s.format = sigformat.OpenPGPCleartext
	mine := s.sign("InRelease", "Suite: stable\n", true, ledger.Signed)
	both := slices.Concat(stranger.gnupg("x", 0), mine)
	file := []byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256, SHA512\n\nSuite: stable\n" + string(openpgp.ArmorSignature(both)))
	r := New(s.ring(), origin)
	parts := r.Apart(file)
	if len(parts) != 1 {
		t.Fatalf("%d parts, want that of the log's key", len(parts))
	}
	over, err := r.Hash(parts[0], nil)
	s.must(err)
	r.Add("InRelease", parts[0], over)
	if got := strings.Join(s.match(r), "\n"); got != "published InRelease" {
		t.Error(got)
	}
}

// Whatever stands in a file, it is read to its end, and what is found in it can be read.
func FuzzApart(f *testing.F) {
	f.Add([]byte{0xc2, 22, 3, 5, 0})
	f.Add([]byte{0x89, 1, 0, 4, 0, 19, 8, 0xff, 0xff, 0xfe})
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\n\niHUEABMIAB0WIQ\n-----END"))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, body := range signatures(file) {
			issuersOf(body)
			if len(alone(file, body)) <= len(body) {
				t.Error("less than its body")
			}
		}
	})
}
