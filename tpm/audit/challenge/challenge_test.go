package challenge

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"reflect"
	"strings"
	"testing"
	"time"

	"touchmark/tpm/quote"
)

const origin = "touchmark.example/demo"

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func sample(t testing.TB, ek crypto.PublicKey) (*Challenge, *Secret, []byte) {
	t.Helper()
	c, err := New(origin, noon, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var kept *Secret
	if ek != nil {
		if kept, err = c.Ask(ek, bytes.Repeat([]byte{7}, 34), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	text, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return c, kept, text
}

func answerTo(c *Challenge, secret []byte) *Answer {
	a := quote.Attestation{Attest: []byte("attest"), Sig: []byte("sig")}
	return &Answer{Origin: c.Origin, Nonce: c.Nonce, Secret: secret, Certify: a, Quote: a, Checkpoint: []byte("checkpoint\n")}
}

func TestIdentity(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, ek := range []crypto.PublicKey{nil, &key.PublicKey} {
		c, kept, text := sample(t, ek)
		again, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := again.Marshal(); err != nil || !bytes.Equal(b, text) {
			t.Errorf("%v\n%s\n%s", err, text, b)
		}
		var value []byte
		if kept != nil {
			value, kept.EK = kept.Value[:], []byte("certificate")
			b, err := kept.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if s, err := ParseSecret(b); err != nil || !reflect.DeepEqual(s, kept) {
				t.Errorf("%v %+v", err, s)
			}
		}
		b, err := answerTo(c, value).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseAnswer(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Check(a, kept); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c, kept, _ := sample(t, &key.PublicKey)
	other, otherKept, _ := sample(t, &key.PublicKey)
	good := kept.Value[:]
	for _, tt := range []struct {
		name, want string
		answer     *Answer
		kept       *Secret
	}{
		{"other origin", "from log", &Answer{Origin: "a.example/b", Nonce: c.Nonce}, kept},
		{"other nonce", "another challenge", answerTo(other, good), kept},
		{"no secret", "has no secret", answerTo(c, nil), kept},
		{"other secret", "not the one", answerTo(c, otherKept.Value[:]), kept},
		{"secret of another challenge", "secret kept", answerTo(c, good), otherKept},
	} {
		if err := c.Check(tt.answer, tt.kept); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := c.Check(answerTo(c, good), kept); err != nil {
		t.Error(err)
	}
}

func TestRefusedKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c, _, _ := sample(t, nil)
	for _, ek := range []crypto.PublicKey{&small.PublicKey, &wide.PublicKey, "key"} {
		if _, err := c.Ask(ek, []byte("name"), rand.Reader); err == nil {
			t.Errorf("%T is taken", ek)
		}
	}
}

func FuzzParse(f *testing.F) {
	_, _, text := sample(f, nil)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		if b, err := c.Marshal(); err != nil || !bytes.Equal(b, text) {
			t.Errorf("%v %q", err, b)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	c, _, _ := sample(f, nil)
	text, err := answerTo(c, bytes.Repeat([]byte{1}, SecretSize)).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := ParseAnswer(text)
		if err != nil {
			return
		}
		if b, err := a.Marshal(); err != nil || !bytes.Equal(b, text) {
			t.Errorf("%v %q", err, b)
		}
	})
}
