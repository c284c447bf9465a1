package bootsig

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var image = []byte("a boot.img")

// keys are two keys, made once: making one takes a second.
var keys = sync.OnceValues(func() (keys [2]*rsa.PrivateKey, err error) {
	for i := range keys {
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return keys, err
		}
	}
	return keys, nil
})

func twoKeys(t testing.TB) (key, other *rsa.PrivateKey) {
	t.Helper()
	k, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	return k[0], k[1]
}

func signed(t testing.TB, key *rsa.PrivateKey) Sig {
	t.Helper()
	s, err := New(image, 1763000000, &key.PublicKey, func(digest []byte) ([]byte, error) {
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOpenSSL checks a signature as Raspberry Pi's own tool does: the third line's second word, from hexadecimal, given to
// openssl with the image; and takes one that openssl made.
func TestOpenSSL(t *testing.T) {
	key, _ := twoKeys(t)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	img := write("boot.img", image)
	pub := write("pub.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	prv := write("prv.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))

	ours := signed(t, key)
	third := strings.Fields(strings.Split(string(ours.Bytes()), "\n")[2])
	raw, err := hex.DecodeString(third[1])
	if err != nil || third[0] != "rsa2048:" {
		t.Fatal(third, err)
	}
	openssl(t, "dgst", "-verify", pub, "-signature", write("sig", raw), "-sha256", img)

	theirs := openssl(t, "dgst", "-sign", prv, "-keyform", "PEM", "-sha256", img)
	sum := strings.Fields(openssl(t, "dgst", "-sha256", "-r", img))[0]
	s, err := Parse(fmt.Appendf(nil, "%s\nts: 1763000000\nrsa2048: %x\n", sum, theirs))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(image, &key.PublicKey); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(s.Bytes(), ours.Bytes()) {
		t.Errorf("openssl's form\n%s differs from ours\n%s", s.Bytes(), ours.Bytes())
	}
}

func openssl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("openssl", args...).Output()
	if err != nil {
		t.Fatalf("openssl %v: %v (run make setup)", args, err)
	}
	return string(out)
}

func TestCheck(t *testing.T) {
	key, other := twoKeys(t)
	good := signed(t, key)
	unsigned, err := New(image, 1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := &rsa.PublicKey{N: new(big.Int).Lsh(key.N, 1024), E: key.E}
	changed := good
	changed.Signature = bytes.Clone(good.Signature)
	changed.Signature[9] ^= 1
	for name, c := range map[string]struct {
		sig   Sig
		image []byte
		key   *rsa.PublicKey
		want  error
	}{
		"good":            {good, image, &key.PublicKey, nil},
		"digest only":     {unsigned, image, nil, nil},
		"unsigned":        {unsigned, image, &key.PublicKey, ErrUnsigned},
		"another image":   {good, []byte("a boot.imh"), &key.PublicKey, ErrDigest},
		"another image 2": {unsigned, []byte("a boot.imh"), nil, ErrDigest},
		"another key":     {good, image, &other.PublicKey, ErrSignature},
		"a bit":           {changed, image, &key.PublicKey, ErrSignature},
		"a long key":      {good, image, long, ErrSignature},
	} {
		if err := c.sig.Check(c.image, c.key); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	key, other := twoKeys(t)
	fails := errors.New("no touch")
	if _, err := New(image, 1, &key.PublicKey, func([]byte) ([]byte, error) { return nil, fails }); !errors.Is(err, fails) {
		t.Error(err)
	}
	wrong := func(d []byte) ([]byte, error) { return rsa.SignPKCS1v15(nil, other, crypto.SHA256, d) }
	if _, err := New(image, 1, &key.PublicKey, wrong); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
}

func TestParseRefuses(t *testing.T) {
	key, _ := twoKeys(t)
	good := string(signed(t, key).Bytes())
	lines := strings.Split(good, "\n")
	for name, text := range map[string]string{
		"empty":         "",
		"no end":        good[:len(good)-1],
		"more":          good + "x",
		"empty line":    good + "\n",
		"upper case":    strings.ToUpper(lines[0]) + "\n" + lines[1] + "\n",
		"short digest":  lines[0][1:] + "\n" + lines[1] + "\n",
		"no time":       lines[0] + "\n" + lines[2] + "\n",
		"time's zero":   lines[0] + "\nts: 01\n",
		"negative time": lines[0] + "\nts: -1\n",
		"huge time":     lines[0] + "\nts: 9999999999999999999\n",
		"short sig":     lines[0] + "\n" + lines[1] + "\n" + lines[2][2:] + "\n",
		"other key":     strings.Replace(good, "rsa2048", "rsa4096", 1),
		"CRLF":          strings.ReplaceAll(good, "\n", "\r\n"),
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	key, _ := twoKeys(f)
	f.Add(signed(f, key).Bytes())
	f.Add(Sig{Time: 1}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Parse(b); err == nil && !bytes.Equal(s.Bytes(), b) {
			t.Errorf("%q becomes %q", b, s.Bytes())
		}
	})
}
