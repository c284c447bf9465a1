package challenge_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"touchmark/tests/swtpm"
	"touchmark/tpm/audit/challenge"
)

// A TPM that nobody here wrote tells the secret, for both kinds of endorsement
// key, and tells nothing when the credential is for another key's Name.
func TestATPMActivatesTheCredential(t *testing.T) {
	server := swtpm.Start(t)
	conn, err := linuxudstpm.Open(strings.TrimPrefix(server.Spec(), "swtpm:"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}()
	ak := primary(t, conn, tpm2.TPMRHOwner, tpm2.ECCSRKTemplate)
	for _, template := range []tpm2.TPMTPublic{tpm2.RSAEKTemplate, tpm2.ECCEKTemplate} {
		ek := primary(t, conn, tpm2.TPMRHEndorsement, template)
		c, err := challenge.New("touchmark.example/demo", time.Now(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := c.Ask(public(t, ek), ak.Name.Buffer, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := activate(conn, ak, ek, c.Credential)
		if err != nil || !bytes.Equal(got, kept.Value[:]) {
			t.Errorf("%x, want %x: %v", got, kept.Value, err)
		}
		if _, err := c.Ask(public(t, ek), bytes.Repeat([]byte{1}, 34), rand.Reader); err != nil {
			t.Fatal(err)
		}
		if got, err := activate(conn, ak, ek, c.Credential); err == nil {
			t.Errorf("a credential for another object gave %x", got)
		}
		if _, err := (tpm2.FlushContext{FlushHandle: ek.ObjectHandle}).Execute(conn); err != nil {
			t.Fatal(err)
		}
	}
}

func primary(t *testing.T, conn transport.TPM, hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic) *tpm2.CreatePrimaryResponse {
	t.Helper()
	r, err := tpm2.CreatePrimary{PrimaryHandle: hierarchy, InPublic: tpm2.New2B(template)}.Execute(conn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func public(t *testing.T, r *tpm2.CreatePrimaryResponse) crypto.PublicKey {
	t.Helper()
	p, err := r.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	if p.Type == tpm2.TPMAlgRSA {
		n, err := p.Unique.RSA()
		if err != nil {
			t.Fatal(err)
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n.Buffer), E: 65537}
	}
	point, err := p.Unique.ECC()
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, 65)
	raw[0] = 4
	new(big.Int).SetBytes(point.X.Buffer).FillBytes(raw[1:33])
	new(big.Int).SetBytes(point.Y.Buffer).FillBytes(raw[33:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func activate(conn transport.TPM, ak, ek *tpm2.CreatePrimaryResponse, c *challenge.Credential) ([]byte, error) {
	policy := func(t transport.TPM, session tpm2.TPMISHPolicy, nonce tpm2.TPM2BNonce) error {
		_, err := tpm2.PolicySecret{
			AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Name: tpm2.HandleName(tpm2.TPMRHEndorsement), Auth: tpm2.PasswordAuth(nil)},
			PolicySession: session, NonceTPM: nonce,
		}.Execute(t)
		return err
	}
	r, err := tpm2.ActivateCredential{
		ActivateHandle: tpm2.NamedHandle{Handle: ak.ObjectHandle, Name: ak.Name},
		KeyHandle:      tpm2.AuthHandle{Handle: ek.ObjectHandle, Name: ek.Name, Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, policy)},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.Blob},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: c.Secret},
	}.Execute(conn)
	if err != nil {
		return nil, err
	}
	return r.CertInfo.Buffer, nil
}
